import string

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.event import contact_key, decode, fields_of, identity, restore, serial_number, unrecognised_identity
from tests.building import lead


def fields(**changes: object) -> dict[str, object]:
    known = fields_of({**lead(Email="a@b.co", SessionID=5), **changes})
    assert known is not None
    return known


def test_the_same_event_has_the_same_id_whatever_its_spelling() -> None:
    first = identity(fields())
    assert identity(fields(Email=" a@b.co ", SessionID="5", Content="other", URI="x", FirstName="y")) == first
    assert identity(fields(SessionID=5.0)) == first


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
    assert identity(fields(**change)) != identity(fields())


def test_ids_begin_with_the_time_of_creation() -> None:
    times = ["2023-11-23T18:36:21.512302Z", "2023-11-23T18:36:22", "2026-01-01 00:00:00Z"]
    ids = [identity(fields(CreateTime=time)) for time in times]
    assert ids == sorted(ids)
    assert len({len(each) for each in ids}) == 1


@pytest.mark.parametrize("time", ["", "yesterday", "2026-13-99T99:99:99Z", "0001-01-01T00:00:00Z", 5, True])
def test_an_unreadable_time_still_gives_an_id(time: object) -> None:
    assert len(identity(fields(CreateTime=time))) == 32


def test_an_unrecognised_event_is_the_same_if_its_canonical_json_is() -> None:
    one, other = b'{"a": 1, "b": [2.0]}', b'{"b":[2],"a":1}'
    assert unrecognised_identity(one, decode(one)) == unrecognised_identity(other, decode(other))
    assert unrecognised_identity(b"no json", None) != unrecognised_identity(b"no  json", None)


def test_a_contact_is_known_by_its_email_or_else_its_phone_or_else_its_session() -> None:
    by_email = contact_key(fields(PhoneNumber="1"))
    assert contact_key(fields(Email=" A@B.co", PhoneNumber="2")) == by_email
    by_phone = contact_key(fields(Email="", PhoneNumber="+49 30 1234"))
    assert contact_key(fields(Email="", PhoneNumber="(4930)1234", SessionID=9)) == by_phone
    by_session = contact_key(fields(Email="", PhoneNumber=""))
    assert contact_key(fields(Email="", PhoneNumber="", Content="x")) == by_session
    assert len({by_email, by_phone, by_session, contact_key(fields(Email="", PhoneNumber="", SessionID=9))}) == 4


@pytest.mark.parametrize("document", [None, [], "Lead", 5, {"Email": {}}, {"Content": ["x"]}])
def test_other_shapes_have_no_fields(document: object) -> None:
    assert fields_of(document) is None


def test_missing_and_null_fields_are_empty() -> None:
    known = fields_of({"Type": " Lead ", "Email": None})
    assert known is not None
    assert (known["Type"], known["Email"], known["URI"]) == ("Lead", "", "")


@pytest.mark.parametrize("document", [None, {}, {"SerialNumber": 5}, {"SerialNumber": " "}, []])
def test_there_may_be_no_serial_number(document: object) -> None:
    assert serial_number(document) is None


def test_reads_what_cannot_be_encoded_as_the_replacement_character() -> None:
    assert decode(b'{"a":"x\\ud83d"}') == {"a": "x\ufffd"}
    assert decode(b'\xef\xbb\xbf{"a":"\xff"}') == {"a": "\ufffd"}


def test_restores_an_event_from_its_payload() -> None:
    document = lead(FirstName="明")
    restored = restore("0" * 32, "acme", orjson.dumps(document), 5.0)
    assert restored.fields["FirstName"] == "明"
    with pytest.raises(ValueError, match="shape"):
        restore("0" * 32, "acme", b"{}", 5.0)


def test_a_repr_holds_no_value_of_the_event() -> None:
    restored = restore("0" * 32, "acme", orjson.dumps(lead(Email="secret@b.co")), 5.0)
    assert "secret" not in repr(restored)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(string.printable),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Type", "Email", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(lead())), JSON))
def test_any_values_give_an_identity_or_no_fields(document: dict[str, object]) -> None:
    known = fields_of(document)
    if known is not None:
        assert len(identity(known)) == 32
        assert 0 <= contact_key(known) < 2**63


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_are_no_json(body: bytes) -> None:
    try:
        document = decode(body)
    except ValueError:
        document = None
    assert len(unrecognised_identity(body, document)) == 32
