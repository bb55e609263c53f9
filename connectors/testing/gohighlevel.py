"""A fake of HighLevel's API 2.0 for contacts, as strict as the real one."""

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.fake import FakeApi, json_object

_FIELDS = frozenset(
    {
        "locationId",
        "firstName",
        "lastName",
        "name",
        "email",
        "phone",
        "companyName",
        "website",
        "source",
        "tags",
        "assignedTo",
        "country",
        "customFields",
    }
)


class GoHighLevelFake(FakeApi):
    """The contacts of one location.

    | request | answers |
    | --- | --- |
    | `GET /contacts/search/duplicate` | 200 `{"contact"}`, null if there is none |
    | `POST /contacts/upsert` | 201 or 200 `{"new", "contact", "traceId"}`; 400, 401, 403, 422 with `message` |
    | `POST /contacts/` | 201 `{"contact"}`; 400 with `meta` for a duplicate; the same errors |
    | `GET`, `PUT /contacts/ID` | 200 `{"contact"}`; 404; the same errors |
    | `POST /contacts/ID/tags` | 201 `{"tags"}` |
    | `GET`, `POST /contacts/ID/notes`, `/tasks` | 200 `{"notes"}`, 201 `{"note"}` |
    | `GET /contacts/ID/appointments`, `POST /calendars/events/appointments` | 200 `{"events"}`, 200 `{"id"}` |
    | `GET /locations/ID` | 200 `{"location"}` |

    A contact is found by its e-mail, else by its phone. If these belong to two contacts, the phone is dropped, and an
    additional e-mail becomes the primary one, as in the real API. Each answer has the `X-RateLimit-*` headers.

    Args:
        token: Bearer token that requests must have.
        location_id: The only location.
        remaining: Number of calls left for the day.
        allows_duplicates: True if several contacts may have one phone.
        search_lag: Seconds until a search finds a contact that was created.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        token: str,
        location_id: str,
        remaining: int = 200_000,
        allows_duplicates: bool = False,
        search_lag: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(now=now)
        self._search_lag, self._now = search_lag, now
        self._searchable: dict[str, float] = {}
        self._allows_duplicates = allows_duplicates
        self.contacts: list[dict[str, Any]] = []
        """Contacts in the order of creation."""
        self.activities: dict[str, list[dict[str, Any]]] = {"notes": [], "tasks": [], "events": []}
        """Notes, tasks and appointments in the order of creation, each with its `contactId`."""
        self._token = token
        self._location_id = location_id
        self._remaining = remaining
        self.route("/contacts/upsert", self._upsert)
        self.route("/contacts/", self._create)
        self.route("/contacts/search/duplicate", self._duplicate)
        self.route("/calendars/events/appointments", self._appointment)
        self.route("/contacts/{id}/{kind:notes|tasks|tags|appointments}", self._of_contact)
        self.route("/contacts/{id}", self._one)
        self.route("/locations/{id}", self._location)

    def _upsert(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "POST")
        document = json_object(body)
        self._validate(document, _FIELDS)
        if not (document.get("email") or document.get("phone")):
            raise _unprocessable(["email or phone is needed"])
        if document.get("locationId") != self._location_id:
            return Reply(403, {"statusCode": 403, "message": "The token does not have access to this location."})
        return self._write({name: value for name, value in document.items() if name != "locationId"})

    def _create(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "POST")
        document = json_object(body)
        self._validate(document, _FIELDS)
        matching = next((name for name in ("email", "phone") if self._find(name, document) is not None), None)
        if matching and not (self._allows_duplicates and matching == "phone"):
            held = self._find(matching, document) or {}
            message = "This location does not allow duplicated contacts."
            meta = {"contactId": held["id"], "matchingField": matching}
            return Reply(400, {"statusCode": 400, "message": message, "meta": meta})
        made = {name: value for name, value in document.items() if name != "locationId"}
        return Reply(201, {"contact": self._add_contact(made)}, self._limits())

    def _add_contact(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        made = {"id": f"contact{len(self.contacts) + 1}", "email": None, "phone": None, **fields}
        self.contacts.append(made)
        self._searchable[made["id"]] = self._now() + self._search_lag
        return made

    def _one(self, request: web.Request, body: bytes) -> Reply:
        if request.method == "GET":
            self._check(request, "GET")
            return Reply(200, {"contact": self._contact(request)}, self._limits())
        self._check(request, "PUT")
        document = json_object(body)
        self._validate(document, _FIELDS - {"locationId"})
        held = self._contact(request)
        if self._find("phone", document) not in (None, held):
            document = {**document, "phone": held.get("phone")}
        held.update(document)
        return Reply(200, {"succeded": True, "contact": held}, self._limits())

    def _duplicate(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        wanted = {"email": request.query.get("email"), "phone": request.query.get("number")}
        found = next((each for name in wanted if (each := self._find(name, wanted)) is not None), None)
        if found is not None and self._searchable.get(found["id"], 0.0) > self._now():
            found = None
        return Reply(200, {"contact": found, "traceId": "trace"}, self._limits())

    def _of_contact(self, request: web.Request, body: bytes) -> Reply:
        held, kind = self._contact(request), request.match_info["kind"]
        if request.method == "GET" and kind != "tags":
            self._check(request, "GET")
            name = "events" if kind == "appointments" else kind
            rows = [each for each in self.activities[name] if each["contactId"] == held["id"]]
            return Reply(200, {name: rows}, self._limits())
        self._check(request, "POST")
        document = json_object(body)
        if kind == "tags":
            held["tags"] = list(dict.fromkeys([*(held.get("tags") or []), *document["tags"]]))
            return Reply(201, {"tags": held["tags"]}, self._limits())
        needed = ("body",) if kind == "notes" else ("title", "dueDate", "completed")
        return Reply(201, {kind.removesuffix("s"): self._add(kind, held["id"], document, needed)}, self._limits())

    def _appointment(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "POST")
        document = json_object(body)
        needed = ("calendarId", "locationId", "contactId", "startTime")
        return Reply(200, self._add("events", document.get("contactId"), document, needed), self._limits())

    def _add(self, kind: str, contact: object, document: dict[str, Any], needed: Sequence[str]) -> dict[str, Any]:
        if missing := [f"{name} should not be empty" for name in needed if name not in document]:
            raise _unprocessable(missing)
        self.activities[kind].append(
            {**document, "contactId": contact, "id": f"{kind}{len(self.activities[kind]) + 1}"}
        )
        return self.activities[kind][-1]

    def _contact(self, request: web.Request) -> dict[str, Any]:
        found = next((each for each in self.contacts if each["id"] == request.match_info["id"]), None)
        if found is None:
            raise RefusedError(404, "Contact not found")
        return found

    def _validate(self, document: Mapping[str, Any], known: frozenset[str]) -> None:
        wrong = [f"property {name} should not exist" for name in document if name not in known]
        wrong += [f"{name} must be text" for name in ("email", "phone") if not isinstance(document.get(name, ""), str)]
        if not isinstance(document.get("tags", []), list):
            wrong.append("tags must be an array")
        if wrong:
            raise _unprocessable(wrong)

    def _write(self, fields: dict[str, Any]) -> Reply:
        by_email, by_phone = self._find("email", fields), self._find("phone", fields)
        held = by_email or by_phone
        if held is not None and by_phone not in (None, held):
            fields = {**fields, "phone": held.get("phone")}
        created = held is None
        if held is None:
            held = self._add_contact({})
        held.update(fields)
        self._remaining -= 1
        answer = {"new": created, "contact": {**held, "locationId": self._location_id}, "traceId": "trace"}
        return Reply(201 if created else 200, answer, self._limits())

    def _location(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        if request.match_info["id"] != self._location_id:
            raise RefusedError(404, "Location not found")
        return Reply(200, {"location": {"id": self._location_id}}, self._limits())

    def _find(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        wanted = str(fields.get(name) or "").lower()
        return next((each for each in self.contacts if wanted and wanted in _values(each, name)), None)

    def _limits(self) -> Mapping[str, str]:
        return {
            "X-RateLimit-Limit-Daily": "200000",
            "X-RateLimit-Daily-Remaining": str(self._remaining),
            "X-RateLimit-Interval-Milliseconds": "10000",
            "X-RateLimit-Max": "100",
            "X-RateLimit-Remaining": "99",
        }

    def _check(self, request: web.Request, method: str) -> None:
        shown = request.headers.get("Authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {self._token}".encode()):
            raise RefusedError(401, "Invalid JWT")
        if request.headers.get("Version") != "2021-07-28":
            raise RefusedError(401, "version header was not found.")
        if request.method != method:
            raise RefusedError(404, f"Cannot {request.method}")


def _values(contact: Mapping[str, Any], name: str) -> list[str]:
    others = contact.get("additionalEmails", []) if name == "email" else []
    return [str(each or "").lower() for each in (contact.get(name), *others)]


def _unprocessable(messages: Sequence[str]) -> RefusedError:
    refused = RefusedError(422, "Unprocessable Entity")
    refused.reply = Reply(422, {"statusCode": 422, "message": list(messages), "error": "Unprocessable Entity"})
    return refused
