"""A fake of Pipedrive's API: persons, leads, deals, notes and activities of one company."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from aiohttp import web

from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.fake import FakeApi, json_object

_PERSON = frozenset({"name", "emails", "phones", "owner_id", "org_id", "label_ids", "visible_to", "custom_fields"})
_KNOWN: Mapping[str, frozenset[str]] = {
    "leads": frozenset({"title", "person_id", "organization_id", "owner_id", "label_ids", "origin_id"}),
    "deals": frozenset({"title", "person_id", "pipeline_id", "stage_id", "value", "currency", "owner_id"}),
    "notes": frozenset({"content", "lead_id", "deal_id", "person_id"}),
    "activities": frozenset(
        {"subject", "type", "due_date", "due_time", "duration", "participants", "lead_id", "deal_id", "owner_id"}
        | {"location", "note", "done"}
    ),
}
_REQUIRED: Mapping[str, str] = {"leads": "title", "deals": "title", "notes": "content", "activities": "subject"}
_PARENTS = ("lead_id", "deal_id", "person_id")


class PipedriveFake(FakeApi):
    """The objects of one company, as far as the connector uses them.

    | request | answers |
    | --- | --- |
    | `GET /api/v2/persons/search` | 200 with `data.items` |
    | `POST /api/v2/persons`, `GET`, `PATCH /api/v2/persons/ID` | 201 or 200 with `data`; 400, 404 |
    | `GET`, `POST /api/v1/leads`, `/api/v2/deals`, `/api/v1/notes`, `/api/v2/activities` | 200 or 201 with `data` |
    | `GET /api/v2/pipelines/1`, `/api/v2/stages/1` | 200; 404 for other ids |

    Args:
        token: API token.
        search_lag: Seconds until a search finds a person that was created.
        now: Seconds since the epoch.
    """

    def __init__(self, *, token: str, search_lag: float = 0.0, now: Callable[[], float] = time.time) -> None:
        super().__init__(now=now)
        self.persons: list[dict[str, Any]] = []
        self.objects: dict[str, list[dict[str, Any]]] = {name: [] for name in _KNOWN}
        """Leads, deals, notes and activities in the order of creation."""
        self._token, self._now = token, now
        self._search_lag = search_lag
        self._searchable: dict[int, float] = {}
        self.route("/api/v2/persons", self._persons)
        self.route("/api/v2/persons/search", self._search)
        self.route("/api/v2/persons/{id}", self._person)
        self.route("/api/v2/{kind:pipelines|stages}/{id}", self._setting)
        self.route("/api/v1/{kind:leads|notes}", self._objects)
        self.route("/api/v2/{kind:deals|activities}", self._objects)

    def _persons(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "GET", "POST")
        if request.method == "GET":
            return _done(self.persons[:1])
        document = json_object(body)
        if not document.get("name"):
            raise _refused("name: Required")
        _check_person(document)
        self.persons.append({"emails": [], "phones": [], "custom_fields": {}, **document, "id": len(self.persons) + 1})
        self._searchable[len(self.persons)] = self._now() + self._search_lag
        return _done(self.persons[-1], 201)

    def _search(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        term, field = request.query["term"].lower(), request.query["fields"]
        if request.query.get("exact_match") != "true" or field not in ("email", "phone"):
            raise _refused("fields: Invalid option")
        seen = [each for each in self.persons if self._searchable.get(each["id"], 0.0) <= self._now()]
        found = [each for each in seen if term in [str(entry["value"]).lower() for entry in each[f"{field}s"]]]
        items = [
            {"id": each["id"], "name": each["name"], f"{field}s": [entry["value"] for entry in each[f"{field}s"]]}
            for each in found
        ]
        return _done({"items": [{"result_score": 1, "item": each} for each in items]})

    def _person(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "GET", "PATCH")
        person = next((each for each in self.persons if str(each["id"]) == request.match_info["id"]), None)
        if person is None:
            raise _refused("Person not found", 404)
        if request.method == "PATCH":
            document = json_object(body)
            _check_person(document)
            custom = {**person["custom_fields"], **document.pop("custom_fields", {})}
            person.update(document, custom_fields=custom)
        return _done(person)

    def _setting(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        if request.match_info["id"] != "1":
            raise _refused("not found", 404)
        return _done({"id": 1})

    def _objects(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "GET", "POST")
        kind = request.match_info["kind"]
        held = self.objects[kind]
        if request.method == "GET":
            wanted = {name: value for name, value in request.query.items() if name in _PARENTS}
            rows = [each for each in held if all(str(_parent(each, name)) == value for name, value in wanted.items())]
            return _done(rows or None)
        document = json_object(body)
        unknown = set(document) - _KNOWN[kind]
        if unknown or not document.get(_REQUIRED[kind]):
            raise _refused(f"{', '.join(sorted(unknown)) or _REQUIRED[kind]}: Invalid input")
        if all(_parent(document, name) is None for name in _PARENTS):
            raise _refused("a person, lead or deal is required")
        if not isinstance(_parent(document, "person_id") or 0, int):
            raise _refused("person_id: Expected number")
        number = len(held) + 1
        held.append({**document, "id": str(UUID(int=number)) if kind == "leads" else number})
        return _done(held[-1], 201)

    def _check(self, request: web.Request, *methods: str) -> None:
        if request.headers.get("x-api-token") != self._token:
            raise _refused("unauthorized access", 401)
        if request.method not in methods:
            raise _refused("method not allowed", 405)


def _check_person(document: Mapping[str, Any]) -> None:
    unknown = set(document) - _PERSON
    if unknown:
        raise _refused(f"{', '.join(sorted(unknown))}: Unrecognized key")
    for many in ("emails", "phones"):
        if any(not isinstance(each, dict) or not each.get("value") for each in document.get(many, [])):
            raise _refused(f"{many}: Invalid input")


def _parent(document: Mapping[str, Any], name: str) -> object:
    """Return the lead, deal or person of an object; an activity names its person among the participants."""
    if name == "person_id" and "participants" in document:
        return next((each["person_id"] for each in document["participants"]), None)
    return document.get(name)


def _done(data: object, status: int = 200) -> Reply:
    return Reply(status, {"success": True, "data": data})


def _refused(message: str, status: int = 400) -> RefusedError:
    refused = RefusedError(status, message)
    refused.reply = Reply(status, {"success": False, "error": message, "code": "ERR_SCHEMA_VALIDATION_FAILED"})
    return refused
