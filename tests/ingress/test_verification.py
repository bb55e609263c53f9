"""Who may speak for whom: `verification`, without a server."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.model import Chatbot, Config
from bridge.event import UNSIGNED, Form, Verified
from bridge.ingress import javascript_json
from bridge.ingress.signature import SignatureError, SignatureFault, key_fingerprint, sign
from bridge.ingress.verification import EVENTS_LIMIT, read_claim, verify
from tests.building import KEY, NOW, SERIAL, chatbot, config, lead

OTHER_KEY = b"the-key-of-the-other-chatbot"
BOTS = config(
    [
        chatbot("acme"),
        chatbot("other", serial_numbers=("other",), signing_keys=(OTHER_KEY,)),
        chatbot("sister", serial_numbers=("sister",), signing_keys=(b"an-old-key-being-replaced", KEY)),
        chatbot("open", serial_numbers=("open",), signing_keys=(), insecure_skip_verify=True),
    ]
)


def check(
    document: Any, key: bytes = KEY, *, path: str | None = None, at: float = NOW, using: Config = BOTS
) -> list[Verified]:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    addressed: Chatbot | None = using.chatbots[path] if path else None
    claim = read_claim(body, addressed, using)
    return verify(claim, [sign(key, str(int(NOW)), body)], at, using)


def refused(document: Any, key: bytes = KEY, **options: Any) -> SignatureFault:
    with pytest.raises(SignatureError) as caught:
        check(document, key, **options)
    return caught.value.code


def test_a_chatbots_key_speaks_for_it() -> None:
    (verified,) = check(lead())
    assert (verified.chatbot, verified.form) == ("acme", Form.RAW)


def test_each_of_several_keys_holds() -> None:
    for key in BOTS.chatbots["sister"].signing_keys:
        assert check(lead(SerialNumber="sister"), key)[0].chatbot == "sister"


@pytest.mark.parametrize("path", [None, "acme", "other"])
def test_a_key_never_speaks_for_a_chatbot_that_does_not_have_it(path: str | None) -> None:
    assert refused(lead(SerialNumber="other"), KEY, path=path) is SignatureFault.MISMATCH
    assert refused(lead(), OTHER_KEY, path=path) is SignatureFault.MISMATCH


def test_an_event_posted_to_a_chatbots_own_path_is_of_the_chatbot_that_it_names() -> None:
    assert check(lead(SerialNumber="sister"), path="acme")[0].chatbot == "sister"


def test_an_unknown_serial_number_is_authentic_under_any_key_and_of_no_chatbot() -> None:
    assert check(lead(SerialNumber="unknown"), OTHER_KEY)[0].chatbot is None
    assert check(lead(SerialNumber="unknown"), KEY, path="acme")[0].chatbot == "acme"
    assert refused(lead(SerialNumber="unknown"), OTHER_KEY, path="acme") is SignatureFault.MISMATCH


@pytest.mark.parametrize("body", [b"", b"no json", b"{}", b"[]", b"null", b'"x"', b"[" * 100_000, b"9" * 5_000])
def test_what_is_no_event_is_authentic_all_the_same(body: bytes) -> None:
    (verified,) = check(body)
    assert (verified.payload, verified.chatbot) == (body, None)


def test_an_array_is_verified_for_each_of_its_chatbots() -> None:
    both = [lead(), lead(SerialNumber="sister"), lead(SerialNumber="unknown"), 5]
    assert [each.chatbot for each in check(both)] == ["acme", "sister", None, None]
    assert refused([lead(), lead(SerialNumber="other")]) is SignatureFault.MISMATCH
    assert refused([lead(SerialNumber="other"), lead()], OTHER_KEY) is SignatureFault.MISMATCH


def test_a_chatbot_without_verification_does_not_open_the_others() -> None:
    assert check(lead(SerialNumber="open"), b"any key")[0].form is Form.UNSIGNED
    assert refused([lead(SerialNumber="open"), lead()], b"any key") is SignatureFault.MISMATCH
    assert [each.chatbot for each in check([lead(SerialNumber="open"), lead()])] == ["open", "acme"]


def test_an_element_of_an_array_is_kept_as_received() -> None:
    elements = [
        b'{"SerialNumber" : "%s","n":9007199254740993, "x": 1.0}' % SERIAL.encode(),
        rb'{"cut": "\ud83d", "a": "],", "b": [1, {"c": "\"}"}]}',
        '"中 😀"'.encode(),
        b"-0.0",
        b"null",
    ]
    body = b" [\n" + b" ,\t".join(elements) + b"\r\n] "

    assert [each.payload for each in check(body)] == elements


@pytest.mark.parametrize("odd", [b'"\xff"', b"[" * 5_000 + b"]" * 5_000])
def test_an_array_that_only_javascript_reads_has_its_elements_in_javascripts_form(odd: bytes) -> None:
    form = javascript_json.json_form(b"[1.0," + odd + b"]") or b""
    payloads = [each.payload for each in check(b"[1.0," + odd + b"]")]

    assert payloads in ([b"1", form[3:-1]], [b"[1.0," + odd + b"]"])


def test_a_very_long_array_is_kept_whole() -> None:
    assert len(check([1] * EVENTS_LIMIT)) == EVENTS_LIMIT
    assert len(check([1] * (EVENTS_LIMIT + 1))) == 1


def test_the_values_come_from_the_form_that_was_signed() -> None:
    body = b'{"SerialNumber": "%s", "Email": "x", "Email": "\\u002By"}' % SERIAL.encode()
    form = b'{"SerialNumber":"%s","Email":"+y"}' % SERIAL.encode()
    claim = read_claim(body, None, BOTS)
    (verified,) = verify(claim, [sign(KEY, str(int(NOW)), form)], NOW, BOTS)
    assert (verified.form, verified.payload, verified.document["Email"]) == (Form.JSON, form, "+y")


def test_the_strictest_tolerance_of_the_chatbots_concerned_counts() -> None:
    using = config(
        [
            chatbot("acme", signature_tolerance=60.0),
            chatbot("sister", serial_numbers=("sister",), signature_tolerance=0.0),
        ]
    )
    assert check(lead(SerialNumber="sister"), at=NOW + 1e6, using=using)
    assert check(lead(), at=NOW + 60, using=using)
    assert refused(lead(), at=NOW + 61, using=using) is SignatureFault.STALE
    assert refused(lead(), at=NOW - 61, using=using) is SignatureFault.STALE
    assert refused([lead(), lead(SerialNumber="sister")], at=NOW + 61, using=using) is SignatureFault.STALE
    assert refused(lead(SerialNumber="unknown"), at=NOW + 61, using=using) is SignatureFault.STALE


def test_a_claims_cost_grows_with_the_keys_that_must_be_tried() -> None:
    named = read_claim(orjson.dumps(lead()), None, BOTS)
    unnamed = read_claim(orjson.dumps(lead(SerialNumber="unknown")), None, BOTS)
    assert len(named.keys) == 1
    assert len(unnamed.keys) == 3
    assert unnamed.cost > named.cost


def fingerprints(*keys: bytes) -> tuple[str, ...]:
    return tuple(key_fingerprint(key) for key in keys)


def test_the_keys_that_verified_an_event_are_known_by_fingerprints() -> None:
    (verified,) = check(lead())
    assert verified.verified_by == fingerprints(KEY)
    assert check(lead(SerialNumber="unknown"), OTHER_KEY)[0].verified_by == fingerprints(OTHER_KEY)
    assert KEY.decode() not in str(verified.verified_by)
    assert KEY.hex() not in str(verified.verified_by)


def test_each_key_that_matches_is_known() -> None:
    body, at = orjson.dumps(lead(SerialNumber="unknown")), str(int(NOW))
    both = f"{sign(KEY, at, body)},{sign(OTHER_KEY, at, body).partition(',')[2]}"
    (verified,) = verify(read_claim(body, None, BOTS), [both], NOW, BOTS)
    assert set(verified.verified_by) == set(fingerprints(KEY, OTHER_KEY))
    # Two keys that HMAC pads to the same bytes are one to whoever signs, so both are known.
    padded = config([chatbot("acme"), chatbot("twin", serial_numbers=("twin",), signing_keys=(KEY + b"\0",))])
    (verified,) = check(lead(SerialNumber="unknown"), using=padded)
    assert set(verified.verified_by) == set(fingerprints(KEY, KEY + b"\0"))


def test_an_event_that_nobody_verified_is_marked_so() -> None:
    (verified,) = check(lead(SerialNumber="open"), b"any key")
    assert verified.verified_by == (UNSIGNED,)
    (kept,) = check(lead(SerialNumber="unknown"), b"any key", path="open")
    assert (kept.chatbot, kept.verified_by) == ("open", (UNSIGNED,))
    beside, signed = check([lead(SerialNumber="open"), lead()])
    assert UNSIGNED in beside.verified_by
    assert signed.verified_by == fingerprints(KEY)


NOBODYS = {"Type": "Lead", "Email": "a@b.co"}


@pytest.mark.parametrize("element", [NOBODYS, {**NOBODYS, "SerialNumber": "unknown"}, 5, None, {}])
def test_an_element_of_an_array_is_the_addressed_chatbots_only_if_that_has_the_key(element: Any) -> None:
    assert [each.chatbot for each in check([lead(), element], path="other")] == ["acme", None]
    assert [each.chatbot for each in check([lead(), element], path="open")] == ["acme", None]
    assert [each.chatbot for each in check([lead(), element], path="sister")] == ["acme", "sister"]
    assert [each.chatbot for each in check([lead(SerialNumber="open"), element], b"any", path="acme")] == ["open", None]
    # Two chatbots that share the key, and a path of a third one with it, or without.
    both = [lead(), lead(SerialNumber="sister"), element]
    assert [each.chatbot for each in check(both, path="other")] == ["acme", "sister", None]
    assert [each.chatbot for each in check(both, path="sister")] == ["acme", "sister", "sister"]


@given(
    st.lists(st.sampled_from([SERIAL, "other", "sister", "open", "unknown", ""]), min_size=1, max_size=4),
    st.sampled_from([None, "acme", "other", "sister", "open"]),
    st.sampled_from([KEY, OTHER_KEY, b"an-old-key-being-replaced", b"nobodys-key-of-good-length"]),
)
def test_whatever_is_sent_each_event_is_of_a_chatbot_that_admits_it(
    serials: list[str], path: str | None, key: bytes
) -> None:
    documents = [lead(SerialNumber=serial) for serial in serials]
    try:
        found = check(documents if len(documents) > 1 else documents[0], key, path=path)
    except SignatureError:
        return
    for each in found:
        assert each.verified_by
        assert set(each.verified_by) <= {*fingerprints(key), UNSIGNED}
        if each.chatbot is not None:
            chatbot = BOTS.chatbots[each.chatbot]
            assert chatbot.admits(each.verified_by)
            assert key in chatbot.signing_keys or chatbot.insecure_skip_verify


def test_what_admits_an_event_is_a_key_and_not_a_name() -> None:
    acme, other, sister, opened = BOTS.chatbots.values()
    assert acme.admits(fingerprints(OTHER_KEY, KEY))
    assert sister.admits(fingerprints(KEY))
    assert not other.admits(fingerprints(KEY))
    assert not any(each.admits(()) for each in BOTS.chatbots.values())
    # A chatbot that skips verification takes what nobody verified, and no other's events.
    assert opened.admits((UNSIGNED,))
    assert not opened.admits(fingerprints(KEY))
    assert not acme.admits((UNSIGNED,))
