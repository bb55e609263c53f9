from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.base import ExpressionError, RouteSettings, SettingError
from connectors.hubspot import HubSpotConnector
from connectors.hubspot.remarks import hubspot_activity
from connectors.hubspot.requests import HubSpotRequests, lead_of, match_key, property_text
from connectors.hubspot.settings import HubSpotRoute
from tests.connectors.building import NOW, context
from tests.connectors.hubspot.building import connector, lead, settings, with_fields, with_route


def test_an_upsert_is_what_the_reference_shows() -> None:
    record = with_fields(lead(0, Email=" A@B.co "), lastname="B")
    request = HubSpotRequests(settings()).upsert([lead_of(record, "")])
    assert (request.method, request.url.path) == ("POST", "/crm/objects/2026-09/contacts/batch/upsert")
    assert orjson.loads(request.body or b"") == {
        "inputs": [
            {
                "id": "a@b.co",
                "idProperty": "email",
                "objectWriteTraceId": "record-0",
                "properties": {"email": "a@b.co", "firstname": "Lead 0", "lastname": "B"},
            }
        ]
    }


def test_paths_of_both_kinds_of_versions() -> None:
    made = lead_of(lead(0), "")
    dated, old = HubSpotRequests(settings()), HubSpotRequests(settings(api_version="v3"))
    assert dated.update(made, "a+b/c@d.co", "email").url.raw_path_qs == (
        "/crm/objects/2026-09/contacts/a%2Bb%2Fc%40d.co?idProperty=email"
    )
    assert old.upsert([made]).url.path == "/crm/v3/objects/contacts/batch/upsert"
    assert old.properties("contacts").url.path == "/crm/v3/properties/contacts"
    assert dated.properties("contacts").url.path == "/crm/properties/2026-09/contacts"
    assert dated.associated("notes", {"1": None}).url.path == "/crm/associations/2026-09/contacts/notes/batch/read"
    assert old.associated("notes", {"1": None}).url.path == "/crm/v4/associations/contacts/notes/batch/read"
    leads = "leads/batch/associate/default"
    assert dated.link("notes", [("1", "2")]).url.path == f"/crm/associations/2026-09/notes/{leads}"
    assert old.link("notes", [("1", "2")]).url.path == f"/crm/v4/associations/notes/{leads}"
    assert (dated.token_url.path, old.token_url.path) == ("/oauth/2026-09/token", "/oauth/v3/token")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        ("", ""),
        (True, "true"),
        (7, "7"),
        (7.0, "7"),
        (7.25, "7.25"),
        (["a", 2], "a;2"),
    ],
)
def test_values_are_text(value: object, text: str) -> None:
    assert property_text(value) == text


@pytest.mark.parametrize("value", [{"a": 1}, float("nan"), float("inf"), b"x", object()])
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(ExpressionError):
        property_text(value)


def test_the_key_is_match_then_email() -> None:
    record = with_fields(lead(0), lead_key=7)
    assert match_key(with_route(record, match="lead_key")) == ("lead_key", "7")
    assert match_key(with_route(lead(0), match="lead_key")) == ("email", "lead0@example.com")
    assert match_key(lead(0, Email="  ")) is None
    with pytest.raises(TypeError):
        match_key(replace(record, route=RouteSettings()))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"access_token": "a", "oauth": {"client_id": "a", "client_secret": "b", "refresh_token": "c"}}, "exactly one"),
        ({"access_token": None}, "exactly one"),
        ({"api_version": "4"}, "pattern"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://api.hubapi.com", "allow_private": False},
        {"base_url": "https://api.hubapi.com/crm"},
        {"base_url": "nonsense"},
        {"base_url": "https://[::1"},
    ],
)
def test_a_wrong_address_is_told_with_its_setting(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as told:
        HubSpotConnector(settings(**changes), context())
    assert told.value.path == ("base_url",)


@pytest.mark.parametrize("token", ["", " ", "pat-1 ", "pat\n-1", "pat-\x7f1", "pat-é", "pat 1"])
def test_a_wrong_token_is_told_and_not_shown(token: str) -> None:
    with pytest.raises(SettingError) as told:
        HubSpotConnector(settings(access_token=token), context())
    assert told.value.path == ("access_token",)
    assert not token.strip() or token.strip() not in told.value.message


@pytest.mark.parametrize("object_name", ["contacts", "companies"])
def test_a_key_that_no_field_gives_is_told(object_name: str) -> None:
    route = HubSpotRoute(object=object_name, match="lead_key")
    with pytest.raises(SettingError) as told:
        connector().check_route(route, ["email"])
    assert told.value.path == ("match",)
    connector().check_route(route, ["email", "lead_key"])
    connector().check_route(HubSpotRoute(), ["phone"])


def test_all_wrong_settings_are_told_together() -> None:
    with pytest.raises(ExceptionGroup) as told:
        HubSpotConnector(settings(access_token="", base_url="nonsense"), context())
    assert [each.path for each in told.value.exceptions if isinstance(each, SettingError)] == [
        ("access_token",),
        ("base_url",),
    ]


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ({"object": "companies", "match": "domain", "remark": "Content"}, "remark needs"),
        ({"object": "companies"}, "match must be"),
        ({"appointment": {"zone": "Mars"}}, "IANA"),
        ({"object": "../x"}, "pattern"),
    ],
)
def test_wrong_routes(route: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        HubSpotRoute.model_validate(route)


async def test_a_preview_shows_the_request_without_the_token() -> None:
    target = connector()
    batch = target.preview([lead(0), lead(1)])
    single = target.preview([lead(2, Email="")])
    await target.close()
    assert batch.headers["Authorization"] == "Bearer ***"
    assert batch.url.endswith("/contacts/batch/upsert")
    assert len(orjson.loads(batch.body)["inputs"]) == 2
    assert single.url.endswith("/contacts")
    assert "lead0@example.com" not in repr(lead_of(lead(0), ""))


@given(st.text(max_size=200), st.integers(65_000, 65_600))
def test_a_body_is_escaped_and_never_too_long(text: str, size: int) -> None:
    activity = hubspot_activity(lead_of(lead(0), text + "&<\n" * (size // 12)), NOW)
    assert activity is not None
    body = activity.properties["hs_note_body"]
    assert len(body) <= 65_536
    assert "<" not in body.replace("<br>", "").replace("<small>", "").replace("</small>", "")
    assert body.endswith("</small>")
    assert body.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0
