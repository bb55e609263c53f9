from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from connectors.base import SettingError
from connectors.http import HttpConnector
from connectors.http.settings import HttpSettings
from tests.connectors.building import connector, context

URL = "https://crm.example/contacts"
CLIENT = {"token_url": "https://crm.example/token", "client_id": "id", "client_secret": "very-secret"}


def settings(**keys: Any) -> HttpSettings:
    return HttpSettings.model_validate({"url": URL, **keys})


def test_a_url_is_enough() -> None:
    made = HttpConnector(settings(), context())
    assert not made.batches()


@pytest.mark.parametrize(
    "keys",
    [
        {"unknown": 1},
        {"method": "post"},
        {"method": "DELETE"},
        {"auth": {}},
        {"auth": {"bearer": "a", "basic": {"username": "u", "password": "p"}}},
        {"auth": {"basic": {"username": "a:b", "password": "p"}}},
        {"auth": {"digest": {}}},
        {"body": "xml"},
        {"body": {"content_type": "text/plain"}},
        {"sign": {"secrets": []}},
        {"idempotency_key": True},
        {"idempotency_key": "yes"},
        {"success": {"status": [99]}},
        {"success": {"status": ["2xx"]}},
        {"success": {"status": ["299-200"]}},
        {"success": {"status": [True]}},
        {"success": {"otherwise": "ignore"}},
        {"results": {}},
        {"max_answer": "1 MB"},
        {"max_answer": 0},
        {"wrap": ""},
        {"tls": {"verify": False}},
    ],
)
def test_what_the_types_refuse(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**keys)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([200, 201], {200, 201}),
        (["200-202", 409], {200, 201, 202, 409}),
        ("200 - 201", {200, 201}),
        (204, {204}),
    ],
)
def test_statuses_are_written_as_numbers_and_ranges(written: Any, meant: set[int]) -> None:
    assert settings(success={"status": written}).success.status == frozenset(meant)


@pytest.mark.parametrize(("written", "meant"), [("256KiB", 262144), ("1MiB", 1048576), (1000, 1000), ("10 B", 10)])
def test_sizes(written: Any, meant: int) -> None:
    assert settings(max_answer=written).max_answer == meant


TEMPLATE_ERROR = "{{ Emial }}"


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (("url",), {"url": URL + "/{{ Emial }}"}),
        (("url",), {"url": URL + "/{{ Email"}),
        (("url",), {"url": "https://{{ Email }}/"}),
        (("url",), {"url": "{{ URI }}"}),
        (("url",), {"url": URL + "/{% if Email %}x{% endif %}"}),
        (("url",), {"url": URL + "#part"}),
        (("url",), {"url": "https://crm.example:99999/"}),
        (("headers", "X-A"), {"headers": {"X-A": TEMPLATE_ERROR}}),
        (("headers", "X-A"), {"headers": {"X-A": "a\r\nX-B: c"}}),
        (("headers", "X A"), {"headers": {"X A": "b"}}),
        (("headers", "Host"), {"headers": {"Host": "other.example"}}),
        (("headers", "content-length"), {"headers": {"content-length": "1"}}),
        (("headers", "authorization"), {"headers": {"authorization": "x"}, "auth": {"bearer": "t"}}),
        (("headers", "Authorization"), {"headers": {"Authorization": "x"}, "auth": {"oauth2": CLIENT}}),
        (("headers", "x-key"), {"headers": {"x-key": "x"}, "auth": {"header": {"name": "X-Key", "value": "t"}}}),
        (("headers", "idempotency-key"), {"headers": {"idempotency-key": "x"}, "idempotency_key": "bare"}),
        (("headers", "Webhook-Id"), {"headers": {"Webhook-Id": "x"}, "sign": {"secrets": ["whsec_c2VjcmV0"]}}),
        (("auth", "bearer"), {"auth": {"bearer": "a\nb"}}),
        (("auth", "header", "name"), {"auth": {"header": {"name": "a b", "value": "c"}}}),
        (("auth", "header", "value"), {"auth": {"header": {"name": "a", "value": "c\n"}}}),
        (("auth", "oauth2", "token_url"), {"auth": {"oauth2": {**CLIENT, "token_url": "http://crm.example/"}}}),
        (("auth", "oauth2", "token_url"), {"auth": {"oauth2": {**CLIENT, "token_url": "https://crm.example:x/"}}}),
        (("body", "template"), {"body": {"template": TEMPLATE_ERROR}}),
        (("body", "content_type"), {"body": {"template": "x", "content_type": "a\nb"}}),
        (("wrap",), {"body": "form", "wrap": "contact"}),
        (("sign", "secrets", 1), {"sign": {"secrets": ["whsec_c2VjcmV0", "whsec_"]}}),
        (("sign", "secrets", 0), {"sign": {"secrets": ["whsec_abcde"]}}),
        (("success", "when"), {"success": {"when": "anwser.ok"}}),
        (("success", "when"), {"success": {"when": "answer.ok ="}}),
        (("remote_id",), {"remote_id": "result.id"}),
        (("remote_url",), {"remote_url": "]"}),
        (("results", "ok"), {"results": {"ok": "resutl.ok"}}),
        (("results", "each"), {"results": {"ok": "result.ok", "each": "result"}}),
        (("results", "error"), {"results": {"ok": "result.ok", "error": "("}}),
        (
            ("results", "match", "record"),
            {"results": {"ok": "result.ok", "match": {"record": "x", "result": "result"}}},
        ),
        (("results", "match", "result"), {"results": {"ok": "result.ok", "match": {"record": "Email", "result": "x"}}}),
        (("url",), {"results": {"ok": "result.ok"}, "url": URL + "?c={{ chatbot }}"}),
        (("headers", "X-A"), {"results": {"ok": "result.ok"}, "headers": {"X-A": "{{ chatbot }}"}}),
        (("idempotency_key",), {"results": {"ok": "result.ok"}, "idempotency_key": "quoted"}),
        (("body",), {"results": {"ok": "result.ok"}, "body": "form"}),
        (("body",), {"results": {"ok": "result.ok"}, "body": {"template": "x"}}),
    ],
)
def test_what_the_types_cannot_see_is_found_when_the_connector_is_made(
    path: tuple[str | int, ...], keys: dict[str, Any]
) -> None:
    with pytest.raises(SettingError) as found:
        HttpConnector(settings(**keys), context())
    assert found.value.path == path
    assert found.value.message
    assert "secret" not in found.value.message


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from models(inner)


def test_every_setting_is_described() -> None:
    described = [(model, name, field) for model in models(HttpSettings) for name, field in model.model_fields.items()]
    assert len(described) > 35
    for model, name, field in described:
        assert field.description, f"{model.__name__}.{name}"


def test_the_schema_can_be_written_down() -> None:
    schema = HttpSettings.model_json_schema()
    assert schema["required"] == ["url"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["max_answer"]["anyOf"]


def test_no_setting_shows_a_secret() -> None:
    made = settings(
        url=URL + "?key=very-secret",
        headers={"X-Api-Key": "very-secret"},
        auth={"oauth2": CLIENT},
        sign={"secrets": ["very-secret"]},
        tls={"certificate": "/c.pem", "key_password": "very-secret"},
    )
    assert "very-secret" not in repr(made)
    assert "very-secret" not in str(made)
    with pytest.raises(ValidationError) as refused:
        settings(auth={"bearer": ["very-secret"]}, headers={"X": ["very-secret"]})
    assert "very-secret" not in str(refused.value)


def test_unbuilt_connectors_leave_nothing_open() -> None:
    connector("http://127.0.0.1:9/")
