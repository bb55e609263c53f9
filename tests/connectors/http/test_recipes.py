"""Recipes for well-known APIs: the file itself, its mapping and the connector, against a fake as strict as the API."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from bridge.config import load
from bridge.mapping.record import build_record
from bridge.operations.event_dry_run import route_trial, trial_delivery
from connectors.base import Delivered, Outcome, Record, Rejected, Retry
from connectors.testing import Fault
from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.fake import FakeApi, json_object
from tests.building import NOW, lead

RECIPES = Path(__file__).parents[3] / "docs" / "recipes"
SECRET = "a-secret-of-the-fake-0815"
VARIABLES = dict.fromkeys(("ACME_SIGN_KEY", "SCRIPT_TOKEN"), SECRET) | {"SCRIPT_ID": "deployment-1"}
EVENT = {"FirstName": "Ada", "LastName": "Lovelace", "Email": "Ada@Example.com", "PhoneNumber": "(415) 555-0100"}
ORIGIN = re.compile(r"https://[\w.-]+\.(?:com|net)(?=/)")

Answer = Callable[["Api", web.Request, dict[str, Any]], Reply]


class Api(FakeApi):
    """An API whose handler gets the parsed body, and which keeps what is written."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.held: dict[str, dict[str, Any]] = {}
        self.refuses: str | None = None
        """Message with which the API refuses the next write."""
        self._answer = answer
        self.route("/{path:.*}", self._handle)

    def _handle(self, request: web.Request, body: bytes) -> Reply:
        if body and request.content_type != "application/json":
            raise RefusedError(415, "want JSON")
        return self._answer(self, request, json_object(body) if body else {})

    def write(self, key: str, document: dict[str, Any]) -> dict[str, Any]:
        self.held[key] = {**self.held.get(key, {}), **document}
        return self.held[key]


def want(holds: object, status: int, document: dict[str, Any]) -> None:
    if not holds:
        refused = RefusedError(status, "")
        refused.reply = Reply(status, document)
        raise refused


def slack(api: Api, request: web.Request, document: dict[str, Any]) -> Reply:
    """docs.slack.dev/reference/methods/chat.postMessage: 200 with `ok`, also for an error."""
    if request.headers.get("Authorization") != f"Bearer {SECRET}":
        return Reply(200, {"ok": False, "error": "invalid_auth"})
    if api.refuses:
        return Reply(200, {"ok": False, "error": api.refuses})
    assert (request.method, request.path) == ("POST", "/api/chat.postMessage")
    assert set(document) <= {"channel", "text", "unfurl_links"}
    api.write(document["text"], document)
    return Reply(200, {"ok": True, "channel": document["channel"], "ts": "1503435956.000247"})


def close(api: Api, request: web.Request, document: dict[str, Any]) -> Reply:
    """developer.close.com: the key is the user name of Basic; a lead has contacts with e-mails and phones."""
    basic = base64.b64encode(f"{SECRET}:".encode()).decode()
    want(request.headers.get("Authorization") == f"Basic {basic}", 401, {"error": "unauthorized"})
    want(not api.refuses, 400, {"errors": [api.refuses], "field-errors": {}})
    if request.method == "GET":
        assert request.path == "/api/v1/lead/"
        email = re.fullmatch(r'email_address:"(.+)"', request.query["query"])
        assert email
        found = [{"id": "lead_1"}] if email[1] in api.held else []
        return Reply(200, {"data": found, "has_more": False, "total_results": len(found)})
    if request.method == "PUT":
        assert request.path == "/api/v1/lead/lead_1/"
        return Reply(200, {"id": "lead_1", **api.write(next(iter(api.held)), document)})
    assert (request.method, request.path) == ("POST", "/api/v1/lead/")
    (contact,) = document["contacts"]
    assert contact["phones"] == [{"type": "office", "phone": "+14155550100"}]
    (email_entry,) = contact["emails"]
    assert document["name"]
    api.write(email_entry["email"], document)
    return Reply(200, {"id": "lead_1", "html_url": "https://app.close.com/lead/lead_1/", **document})


def monday(api: Api, request: web.Request, document: dict[str, Any]) -> Reply:
    """developer.monday.com: GraphQL; errors come with 200; `column_values` is JSON in a text."""
    want(request.headers.get("Authorization") == SECRET, 401, {"errors": ["Not Authenticated"]})
    assert (request.method, request.path) == ("POST", "/v2")
    assert request.headers["API-Version"]
    assert set(document) == {"query", "variables"}
    query, variables = document["query"], document["variables"]
    assert set(re.findall(r"\$(\w+)", query)) == set(variables)
    assert all(isinstance(each, str) for each in variables.values())
    if query.startswith("query"):
        found = [{"id": "42"}] if variables["email"] in api.held else []
        return Reply(200, {"data": {"items_page_by_column_values": {"items": found}}})
    if api.refuses:
        return Reply(200, {"errors": [{"message": api.refuses}], "data": None})
    columns = json.loads(variables["columns"])
    if "create_item" in query:
        assert columns["email"]["text"] == columns["email"]["email"]
        api.write(columns["email"]["email"], {"name": variables["name"], **columns})
        return Reply(200, {"data": {"create_item": {"id": "42"}}})
    assert variables["item"] == "42"
    api.write(next(iter(api.held)), columns)
    return Reply(200, {"data": {"change_multiple_column_values": {"id": "42"}}})


def freshsales(api: Api, request: web.Request, document: dict[str, Any]) -> Reply:
    """developers.freshworks.com/crm/api, "Upsert a Contact"."""
    want(request.headers.get("Authorization") == f"Token token={SECRET}", 401, {"login": "failed"})
    assert (request.method, request.path) == ("POST", "/crm/sales/api/contacts/upsert")
    assert set(document) == {"unique_identifier", "contact"}
    want(not api.refuses, 400, {"errors": {"code": 400, "message": [api.refuses]}})
    api.write(document["unique_identifier"]["emails"], document["contact"])
    return Reply(200, {"contact": {"id": 42, **document["contact"]}})


def activecampaign(api: Api, request: web.Request, document: dict[str, Any]) -> Reply:
    """developers.activecampaign.com, "Sync a contact's data"."""
    want(request.headers.get("Api-Token") == SECRET, 403, {"message": "You do not have permission"})
    assert (request.method, request.path) == ("POST", "/api/3/contact/sync")
    contact = document["contact"]
    want(not api.refuses, 422, {"errors": [{"title": api.refuses, "code": "field_invalid"}]})
    assert all(set(each) == {"field", "value"} for each in contact["fieldValues"])
    known = contact["email"] in api.held
    api.write(contact["email"], contact)
    return Reply(200 if known else 201, {"fieldValues": [], "contact": {"id": "113", "email": contact["email"]}})


def mailchimp(api: Api, request: web.Request, document: dict[str, Any]) -> Reply:
    """mailchimp.com/developer, "Add or update list member": the e-mail may stand in place of its hash."""
    _, password = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().split(":")
    want(password == SECRET, 401, {"title": "API Key Invalid", "status": 401})
    path = re.fullmatch(r"/3\.0/lists/a1b2c3d4e5/members/([^/]+)", request.path)
    assert request.method == "PUT"
    assert path
    want(not api.refuses, 400, {"title": "Member In Compliance State", "detail": api.refuses, "status": 400})
    assert path[1] == document["email_address"] == document["email_address"].lower()
    assert document["status_if_new"] in {"subscribed", "pending", "unsubscribed", "cleaned", "transactional"}
    api.write(path[1], document)
    return Reply(200, {"id": "62eeb292278cc15f5817cb78f7790b08", "status": "pending"})


def script(api: Api, request: web.Request, document: dict[str, Any]) -> Reply:
    """developers.google.com/apps-script/guides/web: the write answers 302, the text of the answer is elsewhere."""
    if request.path.startswith("/macros/echo"):
        if request.method != "GET" or document:
            raise RefusedError(411, "length required")
        return Reply(200, {"ok": not api.refuses, "error": api.refuses, "id": "row"})
    assert (request.method, request.path) == ("POST", "/macros/s/deployment-1/exec")
    assert request.query["token"] == SECRET
    if not api.refuses:
        api.write(document["id"], document)
    return Reply(302, None, {"Location": "/macros/echo?user_content_key=k"})


HELD: dict[str, tuple[Answer, dict[str, Any]]] = {
    "slack-message": (slack, {"channel": "C0123456789", "unfurl_links": False}),
    "close-leads": (close, {"name": "Ada Lovelace", "custom.cf_LastChatMessage": "Hello"}),
    "monday-items": (monday, {"name": "Ada Lovelace", "message": {"text": "Hello"}}),
    "freshsales-contacts": (freshsales, {"last_name": "Lovelace", "custom_field": {"cf_chat_message": "Hello"}}),
    "activecampaign-contacts": (
        activecampaign,
        {"phone": "+14155550100", "fieldValues": [{"field": "1", "value": "Hello"}]},
    ),
    "mailchimp-members": (
        mailchimp,
        {"merge_fields": {"FNAME": "Ada", "LNAME": "Lovelace", "PHONE": "+14155550100"}, "status_if_new": "pending"},
    ),
    "google-apps-script": (script, {"email": "ada@example.com", "text": "Hello"}),
}
IDEMPOTENT = sorted(set(HELD) - {"slack-message"})


def prepared(folder: Path, name: str, api: Api) -> tuple[Any, Callable[..., Record]]:
    """Return the connector of a recipe, which leads to the fake, and the function that maps an event."""
    text = ORIGIN.sub(api.origin, (RECIPES / f"{name}.yaml").read_text())
    text = text.replace("connector: http\n", "connector: http\n    allow_private: true\n")
    text = text.replace("follow: get\n", "follow: get\n    follow_hosts: [127.0.0.1]\n")
    path = folder / "config.yaml"
    path.write_text(text)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)", text), SECRET) | VARIABLES
    config = load(path, variables)
    (destination,) = config.destinations.values()
    chatbot = config.chatbots["acme-website"]

    def mapped(**fields: Any) -> Record:
        document = lead(**{**EVENT, "Content": "Hello", **fields})
        routed, _ = route_trial(orjson.dumps(document), document, chatbot, NOW)
        return build_record(trial_delivery(routed.event, chatbot.routes[0]), config.chatbots.get)

    return destination.connector, mapped


async def deliver(target: Any, record: Record) -> Outcome:
    (outcome,) = await target.deliver([record])
    assert isinstance(outcome, Delivered | Retry | Rejected)
    return outcome


@pytest.mark.parametrize("name", HELD)
async def test_a_lead_arrives_as_the_api_wants_it(tmp_path: Path, name: str) -> None:
    answer, expected = HELD[name]
    async with Api(answer) as api:
        target, mapped = prepared(tmp_path, name, api)
        outcome = await deliver(target, mapped())
        await target.close()
        assert isinstance(outcome, Delivered), outcome
        assert outcome.remote_id
        assert not outcome.warning
        (held,) = api.held.values()
        assert {key: held[key] for key in expected} == expected


@pytest.mark.parametrize("name", IDEMPOTENT)
async def test_a_lost_answer_doubles_nothing(tmp_path: Path, name: str) -> None:
    async with Api(HELD[name][0]) as api:
        target, mapped = prepared(tmp_path, name, api)
        record = mapped()
        requests = 2 if name in {"close-leads", "monday-items", "google-apps-script"} else 1
        for at in range(requests):
            api.faults.next(Fault(), times=at)
            api.faults.next(Fault.disconnects(written=True))
            assert isinstance(await deliver(target, record), Retry)
        assert isinstance(await deliver(target, record), Delivered)
        await target.close()
        assert len(api.held) == 1


@pytest.mark.parametrize("name", HELD)
async def test_an_error_of_the_api_is_no_delivery_and_shows_its_words(tmp_path: Path, name: str) -> None:
    async with Api(HELD[name][0]) as api:
        target, mapped = prepared(tmp_path, name, api)
        api.refuses = "the API says no"
        outcome = await deliver(target, mapped())
        await target.close()
        assert not isinstance(outcome, Delivered)
        assert "the API says no" in outcome.detail
        assert SECRET not in repr(outcome)
        assert not api.held


async def test_a_message_cannot_use_the_marks_of_slack(tmp_path: Path) -> None:
    async with Api(slack) as api:
        target, mapped = prepared(tmp_path, "slack-message", api)
        await deliver(target, mapped(Content="<!channel> & more"))
        await target.close()
        (text,) = api.held
    assert text.endswith(": &lt;!channel&gt; &amp; more")


async def test_a_second_message_of_a_person_reaches_the_known_lead_in_close(tmp_path: Path) -> None:
    async with Api(close) as api:
        target, mapped = prepared(tmp_path, "close-leads", api)
        await deliver(target, mapped())
        outcome = await deliver(target, mapped(Content="me again", SessionID=2))
        await target.close()
        assert isinstance(outcome, Delivered)
        assert outcome.remote_id == "lead_1"
        (held,) = api.held.values()
    assert held["custom.cf_LastChatMessage"] == "me again"
    assert held["contacts"]
