"""Who may call the HubSpot sandbox, how often, at which addresses; the definitions; and what goes wrong on request."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, Limits, OAuthApp, Property, faults
from connectors.testing.hubspot.auth import SCOPES
from tests.building import Clock
from tests.connectors.testing.hubspot_client import CONTACTS, NOW, UPSERT, Got, activity, call, upserts

FORM = "application/x-www-form-urlencoded"
APP = OAuthApp(client_id="client", client_secret="secret", refresh_token="refresh")
PROPERTIES = "/crm/properties/2026-09/contacts"
INFO = "/oauth/v2/private-apps/get/access-token-info"


@pytest.fixture
async def crm() -> AsyncIterator[HubSpotSandbox]:
    async with HubSpotSandbox(oauth=APP, now=lambda: NOW) as sandbox:
        yield sandbox


async def refresh(crm: HubSpotSandbox, version: str = "2026-09", **changes: str) -> Got:
    form = {"grant_type": "refresh_token", "client_id": "client", "client_secret": "secret", "refresh_token": "refresh"}
    body = urlencode({**form, **changes}).encode()
    return await call(crm, f"/oauth/{version}/token", body=body, content_type=FORM)


@pytest.mark.parametrize("token", ["wrong", " "])
async def test_a_wrong_token(crm: HubSpotSandbox, token: str) -> None:
    answer = await call(crm, UPSERT, upserts("a@b.co"), token=token)
    assert (answer.status, answer.document["category"], crm.contacts) == (401, "INVALID_AUTHENTICATION", [])
    assert not [name for name in answer.headers if name.startswith("X-HubSpot-RateLimit")]


@pytest.mark.parametrize("version", ["v1", "v3", "2026-03", "2026-09"])
async def test_oauth(crm: HubSpotSandbox, version: str) -> None:
    answer = await refresh(crm, version)
    assert (answer.status, answer.document["expires_in"], answer.document["refresh_token"]) == (200, 1800, "refresh")
    assert answer.document["hub_id"] == 891936587
    written = await call(crm, UPSERT, upserts("a@b.co"), token=answer.document["access_token"])
    assert written.status == 200
    assert "X-HubSpot-RateLimit-Max" in written.headers
    assert "X-HubSpot-RateLimit-Daily" not in written.headers
    assert (len(crm.credentials.requests), len(crm.ledger)) == (1, 1)


async def test_an_access_token_expires() -> None:
    clock = Clock()
    async with HubSpotSandbox(oauth=APP, now=clock) as crm:
        token = (await refresh(crm)).document["access_token"]
        clock.now += 1800
        answer = await call(crm, UPSERT, upserts("a@b.co"), token=token)
    assert (answer.status, answer.document["category"]) == (401, "EXPIRED_AUTHENTICATION")
    assert answer.document["context"] == {"expire time": ["2026-11-25T10:16:40Z"]}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_id": "x"}, "BAD_CLIENT_ID"),
        ({"client_secret": "x"}, "BAD_CLIENT_SECRET"),
        ({"grant_type": "password"}, "BAD_GRANT_TYPE"),
        ({"refresh_token": "x"}, "BAD_REFRESH_TOKEN"),
        ({"grant_type": "authorization_code", "code": "x"}, "BAD_AUTH_CODE"),
    ],
)
async def test_refused_token_requests(crm: HubSpotSandbox, changes: dict[str, str], status: str) -> None:
    answer = await refresh(crm, **changes)
    assert (answer.status, answer.document["status"]) == (400, status)


async def test_what_a_token_request_must_be(crm: HubSpotSandbox) -> None:
    query = urlencode({"grant_type": "refresh_token", "client_id": "client"})
    assert (await call(crm, f"/oauth/2026-09/token?{query}", body=b"", content_type=FORM)).status == 400
    assert (await call(crm, "/oauth/2026-09/token", {})).status == 415
    assert (await call(crm, "/oauth/2026-09/token")).status == 405


async def test_a_code_is_exchanged_once() -> None:
    app = OAuthApp(client_id="client", client_secret="secret", refresh_token="r", code="c", redirect_uri="https://x.co")
    async with HubSpotSandbox(oauth=app, access_token=None) as crm:
        wrong = await refresh(crm, grant_type="authorization_code", code="c", redirect_uri="https://y.co")
        assert wrong.document["status"] == "MISMATCH_REDIRECT_URI_AUTH_CODE"
        for status in (200, 400):
            answer = await refresh(crm, grant_type="authorization_code", code="c", redirect_uri="https://x.co")
            assert answer.status == status


async def test_refresh_tokens_rotate() -> None:
    app = OAuthApp(client_id="client", client_secret="secret", refresh_token="refresh", rotates=True)
    async with HubSpotSandbox(oauth=app) as crm:
        second = (await refresh(crm)).document["refresh_token"]
        assert second != "refresh"
        assert (await refresh(crm)).status == 400
        assert (await refresh(crm, refresh_token=second)).status == 200
        crm.credentials.revoke()
        assert (await call(crm, PROPERTIES, token="access-1")).status == 401


@pytest.mark.parametrize(
    ("path", "document", "missing"),
    [
        (UPSERT, upserts("a@b.co"), "contacts.write"),
        ("/crm/objects/2026-09/notes", activity("1", 202), "contacts.write"),
        ("/crm/objects/2026-09/meetings", activity("1", 200), "contacts.write"),
        ("/crm/objects/2026-09/tasks", activity("1", 204), "contacts.write"),
        ("/crm/objects/2026-09/leads", {"properties": {}}, "leads.write"),
        (f"{CONTACTS}/batch/read", {"inputs": [{"id": "1"}]}, "contacts.read"),
        (f"{CONTACTS}/search", {}, "contacts.read"),
        (PROPERTIES, None, "contacts.read"),
    ],
)
async def test_missing_scopes(path: str, document: Any, missing: str) -> None:
    async with HubSpotSandbox(scopes=SCOPES - {f"crm.objects.{missing}"}) as crm:
        answer = await call(crm, path, document)
    assert (answer.status, answer.document["category"]) == (403, "MISSING_SCOPES")
    (error,) = answer.document["errors"]
    assert f"crm.objects.{missing}" in error["context"]["requiredGranularScopes"]


async def test_what_a_token_allows(crm: HubSpotSandbox) -> None:
    answer = await call(crm, INFO, {"tokenKey": crm.access_token})
    assert (answer.document["hubId"], answer.document["scopes"]) == (891936587, sorted(SCOPES))
    assert (await call(crm, INFO, {"tokenKey": "x"})).status == 401
    assert (await call(crm, INFO)).status == 405


async def test_ten_seconds_are_a_rolling_window() -> None:
    clock = Clock()
    async with HubSpotSandbox(now=clock, limits=Limits(ten_secondly=3)) as crm:
        left = []
        for _ in range(3):
            answer = await call(crm, PROPERTIES)
            left.append(answer.headers["X-HubSpot-RateLimit-Remaining"])
            clock.now += 1
        assert left == ["2", "1", "0"]
        refused = await call(crm, PROPERTIES)
        assert (refused.status, refused.headers["X-HubSpot-RateLimit-Interval-Milliseconds"]) == (429, "10000")
        assert "Retry-After" not in refused.headers
        identity = refused.document.pop("correlationId")
        assert identity
        assert refused.document == {
            "status": "error",
            "message": "You have reached your ten_secondly_rolling limit.",
            "errorType": "RATE_LIMIT",
            "policyName": "TEN_SECONDLY_ROLLING",
            "groupName": "publicapi:private-apps:891936587",
        }
        clock.now += 7  # the first is ten seconds ago now, and nothing that was refused has counted
        assert [(await call(crm, PROPERTIES)).status for _ in range(2)] == [200, 429]


async def test_an_oauth_app_has_a_window_of_its_own() -> None:
    async with HubSpotSandbox(oauth=APP, now=lambda: NOW) as crm:
        token = (await refresh(crm)).document["access_token"]
        answers = [await call(crm, PROPERTIES, token=token) for _ in range(111)]
        left = [each.headers["X-HubSpot-RateLimit-Remaining"] for each in answers]
        assert (left[0], left[109], answers[0].headers["X-HubSpot-RateLimit-Max"]) == ("109", "0", "110")
        assert {each.status for each in answers[:110]} == {200}
        refused = answers[110]
        assert (refused.status, refused.document["policyName"]) == (429, "TEN_SECONDLY_ROLLING")
        assert "groupName" not in refused.document
        assert (await call(crm, PROPERTIES)).headers["X-HubSpot-RateLimit-Remaining"] == "99"
        assert crm.refusals == 1


async def test_the_day() -> None:
    clock = Clock()
    async with HubSpotSandbox(now=clock, limits=Limits(daily=1)) as crm:
        answer = await call(crm, PROPERTIES)
        assert answer.headers["X-HubSpot-RateLimit-Daily-Remaining"] == "0"
        refused = await call(crm, f"{CONTACTS}/search", {})
        assert (refused.status, refused.document["policyName"]) == (429, "DAILY")
        assert refused.document["message"] == "You have reached your daily limit."
        assert "requestId" in refused.document
        clock.now += 86_400
        assert (await call(crm, PROPERTIES)).status == 200


async def test_searches_have_a_limit_of_their_own_and_no_headers(crm: HubSpotSandbox) -> None:
    answers = [await call(crm, f"{CONTACTS}/search", {}) for _ in range(6)]
    assert [each.status for each in answers] == [200] * 5 + [429]
    assert answers[5].document["policyName"] == "SECONDLY"
    assert not [name for each in answers for name in each.headers if name.startswith("X-HubSpot-RateLimit")]
    assert (await call(crm, PROPERTIES)).headers["X-HubSpot-RateLimit-Remaining"] == "99"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 404),
        ("POST", "/crm/objects/2025-09/contacts", 404),
        ("POST", "/crm/objects/contacts", 404),
        ("POST", "/crm/v2/objects/contacts", 404),
        ("POST", f"{CONTACTS}/batch/merge", 404),
        ("POST", f"{CONTACTS}/1/associations/contacts/2", 404),
        ("GET", CONTACTS, 405),
        ("DELETE", f"{CONTACTS}/1", 405),
        ("GET", UPSERT, 405),
        ("PATCH", PROPERTIES, 405),
        ("GET", f"{PROPERTIES}/nothing", 404),
        ("GET", f"{PROPERTIES}/a/b", 404),
    ],
)
async def test_other_addresses_and_methods(crm: HubSpotSandbox, method: str, path: str, status: int) -> None:
    assert (await call(crm, path, method=method)).status == status


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (b'{"inputs": [}', "application/json", 400, "Invalid input JSON on line 1, column"),
        (b"[]", "application/json", 400, "Invalid input JSON on line 1, column"),
        (b"{}", "application/json", 400, "Some required fields were not set: [inputs]"),
        (b'{"inputs": [{}]}', "application/json", 400, "Some required fields were not set: [id, properties]"),
        (b'{"inputs": [1]}', "application/json", 400, "Invalid input JSON"),
        (b"{}", "text/plain", 415, "Unsupported Media Type"),
    ],
)
async def test_bodies(crm: HubSpotSandbox, body: bytes, content_type: str, status: int, words: str) -> None:
    answer = await call(crm, UPSERT, body=body, content_type=content_type)
    assert (answer.status, "category" in answer.document) == (status, False)
    assert words in answer.document["message"]
    assert answer.document["correlationId"]


async def test_definitions(crm: HubSpotSandbox) -> None:
    by_name = {each["name"]: each for each in (await call(crm, PROPERTIES)).document["results"]}
    assert by_name["createdate"]["modificationMetadata"]["readOnlyValue"]
    assert by_name["hs_object_id"]["calculated"]
    assert not by_name["email"]["modificationMetadata"]["readOnlyValue"]
    assert by_name["hubspot_owner_id"]["externalOptions"]
    assert by_name["hs_lead_status"]["options"][0] == {
        "label": "New",
        "value": "NEW",
        "displayOrder": 0,
        "hidden": False,
    }
    one = await call(crm, "/crm/v3/properties/contacts/phone")
    assert (one.document["type"], one.document["fieldType"]) == ("string", "phonenumber")


async def test_a_property_is_added(crm: HubSpotSandbox) -> None:
    def new(name: str) -> dict[str, Any]:
        shown = {"label": name, "type": "string", "fieldType": "text", "groupName": "contactinformation"}
        return {"name": name, "hasUniqueValue": True, **shown}

    refused = await call(crm, PROPERTIES, new("key"))
    assert (refused.status, refused.document["category"]) == (403, "MISSING_SCOPES")
    crm.credentials.scopes |= {"crm.schemas.contacts.write"}
    statuses = [(await call(crm, PROPERTIES, new(f"key{number}"))).status for number in range(11)]
    assert statuses == [201] * 10 + [400]
    assert (await call(crm, PROPERTIES, new("key1"))).status == 409
    assert (await call(crm, PROPERTIES, {**new("other"), "type": "text"})).status == 400
    assert (await call(crm, PROPERTIES, {})).status == 400
    batch = {"inputs": [{"id": "k", "idProperty": "key1", "properties": {"lastname": "x"}}]}
    assert (await call(crm, UPSERT, batch)).status == 200


async def test_properties_of_the_administrator_are_there_from_the_beginning() -> None:
    own = [Property(name="key", unique=True), Property(name="phone", type="number")]
    async with HubSpotSandbox(properties={"contacts": own}) as crm:
        by_name = {each["name"]: each for each in (await call(crm, PROPERTIES)).document["results"]}
    assert (by_name["key"]["hasUniqueValue"], by_name["phone"]["type"]) == (True, "number")


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (faults.ten_secondly(), 429, b'"policyName":"TEN_SECONDLY_ROLLING"'),
        (faults.secondly(), 429, b'"policyName":"SECONDLY"'),
        (faults.daily(), 429, b'"policyName":"DAILY"'),
        (faults.locked(), 423, b'"status":"error"'),
        (faults.migrating(7), 477, b'"status":"error"'),
        (faults.page_of_gateway(521), 521, b"<!DOCTYPE html>"),
        (faults.unread(), 400, b"Invalid input JSON on line 3, column 9"),
        (faults.uri_too_long(), 414, b"<!DOCTYPE html>"),
        (faults.empty_answer(207, written=False), 207, b'"results":[]'),
    ],
)
async def test_what_goes_wrong_on_request(crm: HubSpotSandbox, fault: Fault, status: int, words: bytes) -> None:
    crm.faults.next(fault, on="/batch/upsert")
    assert (await call(crm, PROPERTIES)).status == 200
    async with aiohttp.ClientSession() as session, session.post(crm.origin + UPSERT, json={}) as response:
        assert response.status == status
        assert words in await response.read()
        assert response.headers.get("Retry-After") == ("7" if status == 477 else None)
    assert crm.contacts == []
    assert [each.fault for each in crm.ledger] == [None, fault]


@pytest.mark.parametrize(("length", "status"), [(8192, 404), (8193, 414)])
async def test_an_address_may_be_too_long(crm: HubSpotSandbox, length: int, status: int) -> None:
    answer = await call(crm, f"{CONTACTS}/1?properties=".ljust(length, "x"))
    assert (answer.status, answer.headers["Content-Type"] == "text/html") == (status, status == 414)


async def test_answers_that_are_lost_after_the_write(crm: HubSpotSandbox) -> None:
    crm.faults.next(faults.empty_answer(written=True))
    answer = await call(crm, UPSERT, upserts("a@b.co"))
    assert (answer.status, answer.document["results"], len(crm.contacts)) == (200, [], 1)
    crm.faults.next(faults.answer_lost())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await call(crm, UPSERT, upserts("c@d.co"))
    assert len(crm.contacts) == 2
    crm.token_faults.next(Fault.answers(503))
    assert [(await refresh(crm)).status for _ in range(2)] == [503, 200]
