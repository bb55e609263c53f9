"""`find`, then a new record or `update`: for APIs without an upsert, under the contract of every connector."""

from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from connectors.base import Blame, Delivered, Expressions, Retry, SettingError
from connectors.http import HttpConnector
from connectors.http.settings import HttpSettings
from connectors.testing import Fault
from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.contract import ConnectorContract
from connectors.testing.fake import FakeApi, json_object
from tests.connectors.building import EXPRESSIONS, connector, context, record

TOKEN = "token-of-the-fake"
FIND: dict[str, Any] = {
    "url": "https://crm.example/contacts?email={{ Email }}",
    "id": "answer.contacts[0].id",
    "when": "answer.contacts is defined",
}


class PlainFake(FakeApi):
    """An API without an upsert: `POST /contacts` creates, whether or not there is one with that e-mail."""

    def __init__(self) -> None:
        super().__init__()
        self.contacts: list[dict[str, Any]] = []
        self.route("/contacts", self._contacts)
        self.route("/contacts/{id}", self._contact)

    def _contacts(self, request: web.Request, body: bytes) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, "wrong token")
        if request.method == "GET":
            return Reply(200, {"contacts": [each for each in self.contacts if each["email"] == request.query["email"]]})
        contact = json_object(body)
        if not contact.get("email"):
            raise RefusedError(422, "email is required")
        self.contacts.append({**contact, "id": len(self.contacts) + 1})
        return Reply(201, self.contacts[-1])

    def _contact(self, request: web.Request, body: bytes) -> Reply:
        if request.method != "PATCH":
            raise RefusedError(405, "only PATCH")
        self.contacts[int(request.match_info["id"]) - 1].update(json_object(body))
        return Reply(200, self.contacts[int(request.match_info["id"]) - 1])


def settings_for(fake: PlainFake) -> dict[str, Any]:
    return {
        "url": f"{fake.origin}/contacts",
        "allow_private": True,
        "auth": {"bearer": TOKEN},
        "find": {**FIND, "url": f"{fake.origin}/contacts?email={{{{ Email }}}}"},
        "update": {"url": f"{fake.origin}/contacts/{{{{ found }}}}"},
        "success": {"when": "answer.id"},
        "remote_id": "answer.id",
    }


class TestFindThenWrite(ConnectorContract[PlainFake]):
    connector = HttpConnector

    def fake(self) -> PlainFake:
        return PlainFake()

    def settings(self, fake: PlainFake) -> dict[str, Any]:
        return settings_for(fake)

    def fields(self, number: int) -> dict[str, Any]:
        return {"email": self.event(number)["Email"], "name": self.event(number)["LastName"]}

    def refused(self) -> dict[str, Any]:
        return {"name": "without an e-mail"}

    def held(self, fake: PlainFake) -> list[object]:
        return [{name: value for name, value in each.items() if name != "id"} for each in fake.contacts]

    def expressions(self) -> Expressions:
        return EXPRESSIONS


async def test_a_known_record_is_updated_with_a_body_of_its_own() -> None:
    async with PlainFake() as fake:
        settings = settings_for(fake)
        settings["update"]["body"] = {"json": {"note": "{{ Content }}", "again": True}}
        target = connector(**settings)
        first = await target.deliver([record()])
        second = await target.deliver([record()])
        await target.close()
    assert first == [Delivered("1", status=201)]
    assert second == [Delivered("1", status=200)]
    assert fake.contacts == [
        {"id": 1, "email": "david@example.com", "name": "David", "note": 'said "hello"', "again": True}
    ]


async def test_without_update_a_known_record_is_left_as_it_is() -> None:
    async with PlainFake() as fake:
        settings = settings_for(fake)
        del settings["update"]
        target = connector(**settings)
        outcomes = [*await target.deliver([record()]), *await target.deliver([record({"email": "other@example.com"})])]
        await target.close()
        assert [each.method for each in fake.ledger] == ["GET", "POST", "GET"]
    assert outcomes == [Delivered("1", status=201), Delivered("1")]


async def test_an_update_may_answer_without_a_body() -> None:
    async with PlainFake() as fake:
        settings = settings_for(fake)
        settings["update"]["success"] = {"status": [204]}
        fake.contacts.append({"id": 1, "email": "david@example.com"})
        fake.faults.next(Fault.answers(204, written=True), on="/contacts/1")
        target = connector(**settings)
        assert await target.deliver([record()]) == [Delivered("1", status=204)]
        await target.close()


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_an_answer_to_the_search_that_says_nothing_creates_nothing(status: int) -> None:
    async with PlainFake() as fake:
        fake.faults.next(Fault.answers(status, {"Content-Type": "application/json"}, b'{"error": "try later"}'))
        target = connector(**settings_for(fake))
        (outcome,) = await target.deliver([record()])
        await target.close()
    assert not isinstance(outcome, Delivered)
    assert not fake.contacts
    if status == 200:
        assert isinstance(outcome, Retry)
        assert outcome.blame is not Blame.RECORD
        assert "find.when is not true" in outcome.detail


async def test_a_status_may_mean_that_there_is_no_such_record() -> None:
    async with PlainFake() as fake:
        settings = settings_for(fake)
        settings["find"] = {"url": settings["find"]["url"], "id": "answer.id", "missing": [404]}
        fake.faults.next(Fault.answers(404))
        target = connector(**settings)
        assert await target.deliver([record()]) == [Delivered("1", status=201)]
        (unread,) = await target.deliver([record()])
        await target.close()
    assert isinstance(unread, Retry)
    assert "names no find.id" in unread.detail
    assert len(fake.contacts) == 1


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (("find", "url"), {"find": {**FIND, "url": "https://crm.example/{{ Emial }}"}}),
        (("find", "url"), {"find": {**FIND, "url": "http://crm.example/"}}),
        (("find", "id"), {"find": {**FIND, "id": "result.id"}}),
        (("find", "when"), {"find": {**FIND, "when": "answer."}}),
        (("find", "body", "json", "email"), {"find": {**FIND, "method": "POST", "body": {"json": {"email": "Email"}}}}),
        (("update",), {"update": {"url": "https://crm.example/1"}}),
        (("update", "url"), {"find": FIND, "update": {"url": "https://crm.example/{{ fuond }}"}}),
        (
            ("update", "body", "template"),
            {"find": FIND, "update": {"url": "https://crm.example/1", "body": {"template": "{{ x }}"}}},
        ),
        (
            ("update", "success", "when"),
            {"find": FIND, "update": {"url": "https://crm.example/1", "success": {"when": "("}}},
        ),
        (("results",), {"find": FIND, "results": {"ok": "result.ok"}}),
        (("method",), {"find": FIND, "method": "GET"}),
    ],
)
def test_mistakes_are_found_at_their_place(path: tuple[str, ...], keys: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as found:
        HttpConnector(HttpSettings.model_validate({"url": "https://crm.example/contacts", **keys}), context())
    assert found.value.path == path


def test_a_search_must_tell_errors_from_nothing() -> None:
    for find in ({"url": "https://crm.example/", "id": "answer.id"}, {**FIND, "body": {"json": {}}}):
        with pytest.raises(ValidationError):
            HttpSettings.model_validate({"url": "https://crm.example/", "find": find})


def test_a_preview_shows_the_search_and_what_may_follow() -> None:
    document = {"url": "https://crm.example/contacts", "auth": {"bearer": TOKEN}, "find": FIND}
    document["update"] = {"url": "https://crm.example/contacts/{{ found }}"}
    target = HttpConnector(HttpSettings.model_validate(document), context())
    search, new, known = [target.preview([record()]), *target.related_previews(record())]
    assert (search.method, search.url) == ("GET", "https://crm.example/contacts?email=david%40example.com")
    assert (new.method, new.why) == ("POST", "a new record, if `find` finds none")
    assert (known.method, known.why) == ("PATCH", "`update` of the record that `find` found")
    assert known.url == "https://crm.example/contacts/%5Bfound%5D"
    assert TOKEN not in str((search, new, known))
