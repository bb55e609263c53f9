"""The keyed hashes of an installation: what is equal stays equal, and nobody without the key can confirm a guess."""

import hashlib
import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.event import decode, fields_of
from bridge.identity import Identity
from tests.building import IDENTITY, IDENTITY_KEY, lead

OTHER = Identity(bytes(reversed(range(32))))


def fields(**changes: object) -> dict[str, object]:
    known = fields_of({**lead(Email="a@b.co", SessionID=5), **changes})
    assert known is not None
    return known


def test_the_same_event_has_the_same_id_whatever_its_spelling() -> None:
    first = IDENTITY.event_id(fields())
    assert IDENTITY.event_id(fields(Email=" a@b.co ", SessionID="5", Content="other", URI="x", FirstName="y")) == first
    assert IDENTITY.event_id(fields(SessionID=5.0)) == first


@pytest.mark.parametrize(
    "change",
    [
        {"Type": "Appointment"},
        {"SessionID": 6},
        {"CreateTime": "2026-11-24T10:00:01Z"},
        {"Email": "A@b.co"},
        {"PhoneNumber": "+1"},
        {"SerialNumber": "other"},
    ],
)
def test_what_differs_in_a_field_of_the_identity_is_another_event(change: dict[str, object]) -> None:
    assert IDENTITY.event_id(fields(**change)) != IDENTITY.event_id(fields())


def test_ids_begin_with_the_time_of_creation() -> None:
    times = ["2023-11-23T18:36:21.512302Z", "2023-11-23T18:36:22", "2026-01-01 00:00:00Z"]
    ids = [IDENTITY.event_id(fields(CreateTime=time)) for time in times]
    assert ids == sorted(ids)
    assert len({len(each) for each in ids}) == 1


@pytest.mark.parametrize("time", ["", "yesterday", "2026-13-99T99:99:99Z", "0001-01-01T00:00:00Z", 5, True])
def test_an_unreadable_time_still_gives_an_id(time: object) -> None:
    assert len(IDENTITY.event_id(fields(CreateTime=time))) == 32


def test_an_unrecognised_event_is_the_same_if_its_canonical_json_is() -> None:
    one, other = b'{"a": 1, "b": [2.0]}', b'{"b":[2],"a":1}'
    assert IDENTITY.unrecognised_id(one, decode(one)) == IDENTITY.unrecognised_id(other, decode(other))
    assert IDENTITY.unrecognised_id(b"no json", None) != IDENTITY.unrecognised_id(b"no  json", None)


def test_a_contact_is_known_by_its_email_or_else_its_phone_or_else_its_session() -> None:
    by_email = IDENTITY.contact(fields(PhoneNumber="1"))
    assert IDENTITY.contact(fields(Email=" A@B.co", PhoneNumber="2")) == by_email
    by_phone = IDENTITY.contact(fields(Email="", PhoneNumber="+49 30 1234"))
    assert IDENTITY.contact(fields(Email="", PhoneNumber="(4930)1234", SessionID=9)) == by_phone
    by_session = IDENTITY.contact(fields(Email="", PhoneNumber=""))
    assert IDENTITY.contact(fields(Email="", PhoneNumber="", Content="x")) == by_session
    assert len({by_email, by_phone, by_session, IDENTITY.contact(fields(Email="", PhoneNumber="", SessionID=9))}) == 4


def test_a_phone_number_beside_an_address_has_the_key_that_it_has_alone() -> None:
    alone = IDENTITY.contact(fields(Email="", PhoneNumber="+49 30 1234"))
    assert (
        IDENTITY.of_event(fields(PhoneNumber=" (4930) 1234"))[2]
        == IDENTITY.of_event(fields(PhoneNumber=49301234))[2]
        == alone
    )
    for without in ({"Email": "", "PhoneNumber": "+49 30 1234"}, {"PhoneNumber": "123 456"}, {"PhoneNumber": ""}):
        assert IDENTITY.of_event(fields(**without))[2] is None


def test_two_installations_share_no_id_contact_or_digest() -> None:
    person = fields(PhoneNumber="+1 202 555 0134")
    assert IDENTITY.event_id(person)[:10] == OTHER.event_id(person)[:10]  # the time, for the index
    assert IDENTITY.event_id(person)[10:] != OTHER.event_id(person)[10:]
    assert IDENTITY.unrecognised_id(b"x", None) != OTHER.unrecognised_id(b"x", None)
    assert IDENTITY.contact(person) != OTHER.contact(person)
    assert IDENTITY.digest(b"x") != OTHER.digest(b"x")
    assert IDENTITY.check != OTHER.check


def test_a_phone_number_is_not_found_by_hashing_all_of_them() -> None:
    """What an attacker knows: everything but the number, and every unkeyed hash there is."""
    known = fields(Email="", PhoneNumber="202555013")
    id_, contact = IDENTITY.event_id(known), IDENTITY.contact(known)
    for number in range(202_555_000, 202_555_100):
        digits = str(number).encode()
        parts = f'["{known["SerialNumber"]}","Lead","5","{known["CreateTime"]}","","{number}"]'.encode()
        for name in ("sha256", "sha512", "sha1", "md5", "blake2b", "blake2s", "sha3_256"):
            assert hashlib.new(name, parts).hexdigest()[:22] != id_[10:]
            assert int.from_bytes(hashlib.new(name, digits).digest()[:8]) >> 1 != contact
        assert int.from_bytes(hashlib.blake2b(digits, digest_size=8).digest()) >> 1 != contact
        assert hashlib.blake2b(parts, digest_size=11).hexdigest() != id_[10:]


def test_each_purpose_has_hashes_of_its_own() -> None:
    assert IDENTITY.email_contact("1234") != IDENTITY.phone_contact("1234")
    assert IDENTITY.email_contact(" A@b.co ") == IDENTITY.contact(fields())
    assert IDENTITY.phone_contact("+49 (30) 1234") == IDENTITY.contact(fields(Email="", PhoneNumber="49301234"))
    assert IDENTITY.digest(b"") != IDENTITY.check
    assert len(IDENTITY.digest(b"x")) == 32


def test_it_shows_nothing_of_its_key_and_travels_to_the_reader() -> None:
    assert IDENTITY_KEY.hex() not in repr(IDENTITY)
    assert str(IDENTITY_KEY) not in f"{IDENTITY!r} {IDENTITY!s}"
    copy = pickle.loads(pickle.dumps(IDENTITY))
    assert copy == IDENTITY != OTHER
    assert copy.event_id(fields()) == IDENTITY.event_id(fields())
    assert {IDENTITY: 1}[copy] == 1
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(b"short")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(string.printable),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Type", "Email", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(lead())), JSON))
def test_any_values_give_an_identity_or_no_fields(document: dict[str, object]) -> None:
    known = fields_of(document)
    if known is not None:
        assert len(IDENTITY.event_id(known)) == 32
        assert 0 <= IDENTITY.contact(known) < 2**63


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_are_no_json(body: bytes) -> None:
    try:
        document = decode(body)
    except ValueError:
        document = None
    assert len(IDENTITY.unrecognised_id(body, document)) == 32
