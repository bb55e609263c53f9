"""Documents with templates in them: nested, typed, and without what has no value."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from connectors.base import Record, SettingError
from connectors.http.requests import HttpRequests
from connectors.http.settings import HttpSettings
from tests.connectors.building import NOW, context, record


def wire(document: Any, **settings: Any) -> HttpRequests:
    url = "https://crm.example/contacts"
    return HttpRequests(HttpSettings.model_validate({"url": url, "body": {"json": document}, **settings}), context())


def sent(document: Any, made: Record | None = None) -> Any:
    body: bytes | None = wire(document).request(made or record(), NOW).body
    assert body is not None
    return orjson.loads(body)


def test_a_nested_document() -> None:
    document = {
        "person": {"name": "{{ FirstName }} {{ LastName }}", "age": "{{ fields.age | int }}", "vip": True},
        "tags": ["chat", "{{ chatbot }}"],
        "score": 3.5,
        "source": None,
        "first": "{{ SessionID == 7 }}",
        "list": "{{ [FirstName, 2] }}",
    }
    assert sent(document, record({"age": "42"})) == {
        "person": {"name": "David García", "age": 42, "vip": True},
        "tags": ["chat", "acme"],
        "score": 3.5,
        "source": None,
        "first": True,
        "list": ["David", 2],
    }


def test_a_text_needs_no_escaping() -> None:
    assert sent({"note": "{{ Content }}!"}) == {"note": 'said "hello"!'}
    assert sent({"note": "{{ Content }}"}, record(Content='"} , \n{{ x }}')) == {"note": '"} , \n{{ x }}'}


def test_values_keep_their_type_only_alone() -> None:
    assert sent({"alone": " {{ SessionID }} ", "text": "no {{ SessionID }}", "phone": "{{ PhoneNumber }}"}) == {
        "alone": 7,
        "text": "no 7",
        "phone": "+34 600 000 000",
    }
    assert sent({"both": "{{ FirstName }}{{ LastName }}"}) == {"both": "DavidGarcía"}


def test_what_has_no_value_is_left_out_with_the_constants_that_describe_it() -> None:
    document = {
        "phones": [{"kind": "work", "value": "{{ PhoneNumber }}"}],
        "age": "{{ fields.age | int(none) }}",
        "address": {"city": "{{ fields.city }}", "geo": {"lat": "{{ fields.lat }}", "system": "WGS84"}},
        "zero": "{{ 0 }}",
        "no": "{{ false }}",
        "empty": "",
    }
    made = record({}, PhoneNumber="")
    assert sent(document, made) == {"zero": 0, "no": False, "empty": ""}
    assert sent([{"kind": "work", "value": "{{ PhoneNumber }}"}], made) == []
    assert sent({"a": "{{ PhoneNumber }}"}, made) == {}


def test_a_document_of_constants_is_sent_as_written() -> None:
    assert sent({"a": [1, {"b": "c"}], "d": {}}) == {"a": [1, {"b": "c"}], "d": {}}


@pytest.mark.parametrize(
    ("path", "document", "said"),
    [
        (("body", "json", "person", "name"), {"person": {"name": "{{ FristName }}"}}, "FirstName"),
        (("body", "json", "tags", 1), {"tags": ["a", "{{ Email"]}, ""),
        (("body", "json", "person", "name"), {"person": {"name": "FirstName"}}, '"{{ FirstName }}"'),
        (("body", "json", "n"), {"n": "{{ Email | nothing }}"}, "nothing"),
    ],
)
def test_mistakes_are_found_at_their_place(path: tuple[str | int, ...], document: Any, said: str) -> None:
    with pytest.raises(SettingError) as found:
        wire(document)
    assert found.value.path == path
    assert said in found.value.message


@pytest.mark.parametrize(
    "body", [{"json": {}, "template": "x"}, {"content_type": "text/plain"}, {"document": {}}, {"json": "text"}]
)
def test_a_body_is_written_in_one_form(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HttpSettings.model_validate({"url": "https://crm.example/", "body": body})


def test_a_mistake_in_a_body_is_reported_with_the_keys_of_a_map() -> None:
    with pytest.raises(ValidationError) as found:
        HttpSettings.model_validate({"url": "https://crm.example/", "body": {"jsn": {}}})
    (error,) = found.value.errors()
    assert (error["type"], error["loc"][-1]) == ("extra_forbidden", "jsn")


def test_a_document_is_not_wrapped() -> None:
    with pytest.raises(SettingError):
        wire({}, wrap="contact")


HMAC: dict[str, Any] = {"header": "X-Signature", "secret": "key"}
VECTOR = "The quick brown fox jumps over the lazy dog"
"""A published test vector (Wikipedia, "HMAC", Examples)."""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"),
        ({"algorithm": "sha1", "prefix": "sha1="}, "sha1=de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9"),
        ({"encoding": "base64"}, "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg="),
    ],
)
def test_a_signature_of_the_apis_own(changes: dict[str, Any], expected: str) -> None:
    made = signed({**HMAC, **changes})
    assert made["X-Signature"] == expected


def signed(hmac: dict[str, Any]) -> Any:
    document = {"url": "https://crm.example/", "body": {"template": VECTOR, "content_type": "text/plain"}}
    requests = HttpRequests(HttpSettings.model_validate({**document, "sign": {"hmac": hmac}}), context())
    return requests.request(record(record_id="r1"), NOW).headers


def test_a_signature_over_time_id_and_body() -> None:
    import hashlib
    import hmac

    made = signed(
        {
            **HMAC,
            "signed": "v0:{{ timestamp }}:{{id}}:{{ body }}",
            "prefix": "t={{ timestamp }},v1=",
            "timestamp_header": "X-Time",
        }
    )
    text = f"v0:{int(NOW)}:r1:{VECTOR}"
    assert made["X-Time"] == str(int(NOW))
    digest = hmac.new(b"key", text.encode(), hashlib.sha256).hexdigest()
    assert made["X-Signature"] == f"t={int(NOW)},v1={digest}"


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (("sign", "hmac", "signed"), {"signed": "{{ Email }}"}),
        (("sign", "hmac", "prefix"), {"prefix": "{{ body }}"}),
        (("sign", "hmac", "header"), {"header": "X Y"}),
        (("sign", "hmac", "timestamp_header"), {"timestamp_header": "Host"}),
        (("sign", "hmac", "secret"), {"secret": ""}),
    ],
)
def test_a_signature_that_cannot_be_made_is_found_by_check(path: tuple[str, ...], changes: dict[str, str]) -> None:
    with pytest.raises(SettingError) as found:
        signed({**HMAC, **changes})
    assert found.value.path == path
