import json
import time
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from connectors.base import ExpressionError, Record, SettingError
from connectors.http.requests import HttpRequest, HttpRequests
from connectors.http.settings import HttpSettings
from tests.connectors.building import EVENT, NOW, context, record

HOST = "https://crm.example"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_c2Vjb25kLXNlY3JldC1mb3Itcm90YXRpb24="


def wire(**settings: Any) -> HttpRequests:
    return HttpRequests(HttpSettings.model_validate({"url": f"{HOST}/contacts", **settings}), context())


def request(made: Record | None = None, **settings: Any) -> HttpRequest:
    return wire(**settings).request(made or record(), NOW)


def body(made: HttpRequest) -> bytes:
    assert made.body is not None
    return made.body


def test_by_default_the_mapped_fields_are_posted_as_one_json_object() -> None:
    made = request(record({"b": "García", "a": 1, "c": ["x"], "d": None, "e": True}))
    assert made.method == "POST"
    assert str(made.url) == f"{HOST}/contacts"
    assert dict(made.headers) == {"Content-Type": "application/json"}
    assert made.body == '{"b":"García","a":1,"c":["x"],"d":null,"e":true}'.encode()


def test_what_is_the_same_for_each_record_is_made_once() -> None:
    made = wire(headers={"X-Source": "chat"}, auth={"bearer": "t"})
    first, second = made.request(record(), NOW), made.request(record(), NOW)
    assert first.url is second.url
    assert first.headers is second.headers


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/contacts/{{ Email }}", "/contacts/david%40example.com"),
        ("/c/{{ FirstName }}-{{ LastName }}?s={{ chatbot }}", "/c/David-Garc%C3%ADa?s=acme"),
        ("/c/a%20b/x y?e=é&v={{ Content }}", "/c/a%20b/x%20y?e=%C3%A9&v=said%20%22hello%22"),
        ("/c/{{ FirstName | upper }}{{ LastName }}", "/c/DAVIDGarc%C3%ADa"),
        ("/c?p={{ PhoneNumber }}", "/c?p=%2B34%20600%20000%20000"),
        ("/c?id={{ record_id }}&f={{ fields.email }}&g={{ fields.nothing }}", "/c?id=r1&f=david%40example.com&g="),
        ("/c/{{ event.id }}", "/c/" + "0" * 32),
    ],
)
def test_values_are_percent_encoded_where_they_are_put(url: str, expected: str) -> None:
    made = request(record(record_id="r1"), url=HOST + url)
    assert str(made.url) == HOST + expected
    assert made.url.raw_path_qs == expected


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_value_must_not_lead_to_another_resource(value: str) -> None:
    for url in ("/c/{{ Email }}", "/c/{{ Email }}/notes", "/c/{{ Email }}?x=1", "/c/.{{ Email }}"):
        if url == "/c/.{{ Email }}" and value == "..":
            continue
        with pytest.raises(ExpressionError, match="empty or made of dots"):
            request(record(Email=value), url=HOST + url)
    assert str(request(record(Email=value), url=f"{HOST}/c/x-{{{{ Email }}}}?e={{{{ Email }}}}").url)


@given(st.text())
def test_no_value_changes_anything_but_its_own_place(value: str) -> None:
    made = wire(url=f"{HOST}/a/x{{{{ Email }}}}/b?q={{{{ Email }}}}&r=1").request(record(Email=value), NOW)
    _, a, segment, b = made.url.raw_path.split("/")
    expected = value.encode("utf-8", "replace").decode()
    assert (made.url.host, a, b) == ("crm.example", "a", "b")
    assert unquote(segment) == "x" + expected
    assert parse_qs(made.url.raw_query_string, keep_blank_values=True) == {"q": [expected], "r": ["1"]}
    assert str(made.url).isascii()
    assert str(made.url) == f"{HOST}{made.url.raw_path_qs}"


json_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(st.dictionaries(st.text(), json_values))
def test_the_fields_arrive_as_they_are(fields: dict[str, Any]) -> None:
    assert json.loads(body(request(record(fields)))) == fields


@pytest.mark.parametrize("value", [2**64, -(2**100), "half an emoji \ud83d"])
def test_values_that_are_hard_to_encode_arrive_too(value: Any) -> None:
    assert json.loads(body(request(record({"x": value})))) == {"x": value}


@pytest.mark.parametrize("form", ["json", "form"])
def test_a_value_without_a_form_on_the_wire_is_the_mappings_fault(form: str) -> None:
    with pytest.raises(ExpressionError, match="cannot hold the value of a field"):
        request(record({"x": {"y": object()}}), body=form)


def test_fields_under_a_name() -> None:
    assert body(request(record({"a": 1}), wrap='con"tact')) == b'{"con\\"tact":{"a":1}}'
    assert body(request(record(), wrap="lead", body="event")).startswith(b'{"lead":{"SerialNumber"')


def test_a_form() -> None:
    made = request(record({"a b": "x&y=ü", "n": 1.5, "yes": True, "no": None, "many": ["1", "2"]}), body="form")
    assert made.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(body(made).decode("ascii"), keep_blank_values=True) == {
        "a b": ["x&y=ü"],
        "n": ["1.5"],
        "yes": ["true"],
        "no": [""],
        "many": ["1", "2"],
    }


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1))
def test_what_is_in_a_form_comes_out_of_it(fields: dict[str, str]) -> None:
    assert parse_qs(body(request(record(fields), body="form")).decode("ascii"), keep_blank_values=True) == {
        name: [value] for name, value in fields.items()
    }


@given(st.binary())
def test_the_event_is_passed_on_byte_for_byte(payload: bytes) -> None:
    made = Record(id="x", fields={}, event=EVENT, payload=payload, route=record().route)
    assert request(made, body="event").body == payload


def test_a_template() -> None:
    template = '{"who": {{ Email | json }}, "text": {{ Content | json }}, "phone": {{ fields.phone | json }}}'
    made = request(body={"template": template})
    assert orjson.loads(body(made)) == {"who": "david@example.com", "text": 'said "hello"', "phone": ""}
    xml = request(body={"template": "<lead>{{ FirstName }}</lead>", "content_type": "application/xml; charset=utf-8"})
    assert xml.body == b"<lead>David</lead>"
    assert xml.headers["Content-Type"] == "application/xml; charset=utf-8"


def test_a_template_for_json_that_gives_none_is_found_before_it_is_sent() -> None:
    with pytest.raises(ExpressionError, match=r"does not produce JSON.*\| json"):
        request(body={"template": '{"text": {% if Content %}{{ Content | json }}{% endif %}"}'})


@pytest.mark.parametrize(
    "text", ['{"text": "{{ Content }}"}', '{"id": {{ SessionID }},\n "x": "{{- fields.x | trim }}"}']
)
def test_a_template_for_json_that_a_quote_would_break_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"in JSON write `\{\{ .* \| json \}\}` without quotes"):
        request(body={"template": text})
    assert request(body={"template": text, "content_type": "text/plain"}).body


def test_no_body() -> None:
    for made in (request(method="GET"), request(body="none")):
        assert made.body is None
        assert not made.headers


def test_headers_and_credentials() -> None:
    assert request(auth={"bearer": "tok"}).headers["authorization"] == "Bearer tok"
    assert request(auth={"basic": {"username": "Aladdin", "password": "open sesame"}}).headers["Authorization"] == (
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617 section 2's own example
    )
    assert request(auth={"header": {"name": "X-Api-Key", "value": "k"}}).headers["X-Api-Key"] == "k"
    made = request(
        headers={"X-Bot": "{{ chatbot }} ", "X-Name": "{{ LastName }}", "Content-Type": "application/x+json"}
    )
    assert dict(made.headers) == {"X-Bot": "acme", "X-Name": "García", "Content-Type": "application/x+json"}


def test_a_token_is_added_to_a_copy() -> None:
    plain = request()
    assert plain.with_token("t").headers["Authorization"] == "Bearer t"
    assert "Authorization" not in plain.headers


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\x7f", "\x1b[31m"])
def test_a_value_that_would_begin_another_header_is_not_sent(value: str) -> None:
    with pytest.raises(ExpressionError, match="line break or a control character"):
        request(record(Content=value), headers={"X-Content": "[{{ Content }}]"})


@given(st.text())
def test_no_header_ever_holds_a_control_character(value: str) -> None:
    try:
        made = request(record(Content=value), headers={"X-Content": "[{{ Content }}]"})
    except ExpressionError:
        return
    assert not any(character in made.headers["X-Content"] for character in "\r\n\0")


@pytest.mark.parametrize(
    ("form", "record_id", "expected"),
    [("bare", "id-1", "id-1"), ("quoted", "id-1", '"id-1"'), ("quoted", 'a"b\\c', '"a\\"b\\\\c"')],
)
def test_the_idempotency_key_is_the_records_id(form: str, record_id: str, expected: str) -> None:
    assert request(record(record_id=record_id), idempotency_key=form).headers["Idempotency-Key"] == expected


def verified(made: HttpRequest, secret: str) -> bool:
    """Ask the reference implementation, which also compares the time of signing with the clock."""
    try:
        Webhook(secret).verify(body(made), dict(made.headers), json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def signed(made: Record, *secrets: str) -> HttpRequest:
    return wire(sign={"secrets": secrets}).request(made, time.time())


def test_each_of_several_secrets_signs() -> None:
    made = signed(record(record_id="msg_1"), SECRET, OTHER)
    assert made.headers["webhook-id"] == "msg_1"
    assert len(made.headers["webhook-signature"].split(" ")) == 2
    assert verified(made, SECRET)
    assert verified(made, OTHER)
    assert not verified(made, "whsec_c29tZWJvZHkgZWxzZQ==")


def test_the_id_stays_and_the_time_moves_when_a_record_is_sent_again() -> None:
    made, again = (wire(sign={"secrets": [SECRET]}).request(record(record_id="r"), NOW + later) for later in (0, 60))
    assert made.headers["webhook-id"] == again.headers["webhook-id"]
    assert made.headers["webhook-timestamp"] == str(int(NOW))
    assert again.headers["webhook-timestamp"] == str(int(NOW) + 60)


@given(st.text())
def test_any_text_can_be_signed(text: str) -> None:
    assert verified(signed(record({"x": text}), SECRET), SECRET)


def test_a_body_that_is_no_text_cannot_be_signed() -> None:
    made = Record(id="x", fields={}, event=EVENT, payload=b'{"x":"\xff"}', route=record().route)
    with pytest.raises(ExpressionError, match="cannot be signed"):
        request(made, body="event", sign={"secrets": [SECRET]})


def test_a_batch_is_an_array() -> None:
    made = wire(results={"ok": "result.ok"}, wrap="data")
    several = [record({"n": number}) for number in range(3)]
    batch = made.batch([each.id for each in several], [made.part(each) for each in several], NOW)
    assert batch.body == b'{"data":[{"n":0},{"n":1},{"n":2}]}'
    bare = wire(results={"ok": "result.ok"}, body="event")
    assert bare.batch(["a"], [bare.part(several[0])], NOW).body == b"[" + several[0].payload + b"]"


def test_a_batch_has_the_same_id_when_it_is_sent_again_and_another_one_when_it_is_put_together_anew() -> None:
    made = wire(results={"ok": "result.ok"}, sign={"secrets": [SECRET]})

    def id_of(*ids: str) -> str:
        return made.batch(ids, [b"{}"] * len(ids), NOW).headers["webhook-id"]

    assert id_of("a") == "a"
    assert id_of("a", "b") == id_of("a", "b")
    assert len({id_of("a", "b"), id_of("a", "c"), id_of("b", "a"), id_of("a", "b", "c")}) == 4
    assert verified(made.batch(["a", "b"], [b"{}", b"{}"], time.time()), SECRET)


@pytest.mark.parametrize(
    ("settings", "per_record", "keyed"),
    [
        ({}, False, False),
        ({"url": HOST + "/{{ Email }}"}, True, False),
        ({"headers": {"X": "{{ Email }}"}}, True, False),
        ({"idempotency_key": "bare"}, False, True),
    ],
)
def test_what_changes_the_meaning_of_answers(settings: dict[str, Any], *, per_record: bool, keyed: bool) -> None:
    asked = wire(**settings).traits
    assert (asked.per_record, asked.keyed) == (per_record, keyed)
