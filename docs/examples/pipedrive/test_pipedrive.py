"""Holds the connector `pipedrive` to what every connector is held to: run `python -m pytest` in this folder."""

# ruff: noqa: INP001 - a test beside a plugin, not part of a package

from typing import Any

from aiohttp import web
from pipedrive import Pipedrive

from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.contract import ConnectorContract
from connectors.testing.fake import FakeApi, json_object

TOKEN = "a-token-of-the-fake"  # noqa: S105 - of the fake


class PipedriveFake(FakeApi):
    """Holds persons and leads, as far as the connector uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.persons: list[dict[str, Any]] = []
        self.leads: list[dict[str, Any]] = []
        self.route("/api/v2/persons", self._persons)
        self.route("/api/v2/persons/search", self._search)
        self.route("/api/v2/persons/{id}", self._person)
        self.route("/api/v1/leads", self._leads)

    def _persons(self, request: web.Request, body: bytes) -> Reply:
        _check(request)
        if request.method == "GET":
            return _found(self.persons[:1])
        document = json_object(body)
        if not document.get("name"):
            return Reply(400, {"success": False, "error": "name: Required", "code": "ERR_SCHEMA_VALIDATION_FAILED"})
        self.persons.append({**document, "id": len(self.persons) + 1})
        return Reply(201, {"success": True, "data": self.persons[-1]})

    def _search(self, request: web.Request, _: bytes) -> Reply:
        _check(request)
        many, term = f"{request.query['fields']}s", request.query["term"]
        found = [each for each in self.persons if term in [entry["value"] for entry in each.get(many, [])]]
        return _found({"items": [{"result_score": 1, "item": {"id": each["id"]}} for each in found]})

    def _person(self, request: web.Request, body: bytes) -> Reply:
        _check(request)
        person = self.persons[int(request.match_info["id"]) - 1]
        person.update(json_object(body))
        return _found(person)

    def _leads(self, request: web.Request, body: bytes) -> Reply:
        _check(request)
        if request.method == "GET":
            return _found([each for each in self.leads if str(each["person_id"]) == request.query["person_id"]] or None)
        self.leads.append({**json_object(body), "id": f"adf21080-{len(self.leads)}"})
        return Reply(201, {"success": True, "data": self.leads[-1]})


def _check(request: web.Request) -> None:
    if request.headers.get("x-api-token") != TOKEN:
        raise RefusedError(401, "unauthorized access")


def _found(data: object) -> Reply:
    return Reply(200, {"success": True, "data": data})


class TestPipedrive(ConnectorContract[PipedriveFake]):
    """More than sixty tests, of which the author writes none."""

    connector = Pipedrive

    def fake(self) -> PipedriveFake:
        """Make a fake of the API."""
        return PipedriveFake()

    def settings(self, fake: PipedriveFake) -> dict[str, Any]:
        """Give settings that lead to it."""
        return {"api_token": TOKEN, "base_url": fake.origin, "allow_private": True}

    def fields(self, number: int) -> dict[str, Any]:
        """Give the fields of a lead, as a route maps them."""
        event = self.event(number)
        return {
            "name": event["LastName"],
            "email": event["Email"],
            "phone": event["PhoneNumber"],
            "title": f"Lead of the chat {number}",
        }

    def refused(self) -> dict[str, Any]:
        """Give a lead that Pipedrive does not take."""
        return {"email": "without-a-name@example.com"}

    def held(self, fake: PipedriveFake) -> list[object]:
        """Give the persons and the leads that there are."""
        persons = [{name: value for name, value in each.items() if name != "id"} for each in fake.persons]
        return [*persons, *(each["title"] for each in fake.leads)]
