"""A fake of HighLevel's API 2.0 for contacts, as strict as the real one."""

import hmac
from collections.abc import Mapping
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
        "country",
        "customFields",
    }
)


class GoHighLevelFake(FakeApi):
    """The contacts of one location.

    | request | answers |
    | --- | --- |
    | `POST /contacts/upsert` | 201 or 200 `{"new", "contact", "traceId"}`; 400, 401, 403, 422 with `message` |
    | `GET /locations/ID` | 200 `{"location"}` |

    A contact is found by its e-mail, else by its phone. If these belong to two contacts, the phone is dropped, as in
    the real API. Each answer has the `X-RateLimit-*` headers.

    Args:
        token: Bearer token that requests must have.
        location_id: The only location.
        remaining: Number of calls left for the day.
    """

    def __init__(self, *, token: str, location_id: str, remaining: int = 200_000) -> None:
        super().__init__()
        self.contacts: list[dict[str, Any]] = []
        """Contacts in the order of creation."""
        self._token = token
        self._location_id = location_id
        self._remaining = remaining
        self.route("/contacts/upsert", self._upsert)
        self.route("/locations/{id}", self._location)

    def _upsert(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "POST")
        document = json_object(body)
        wrong = [f"property {name} should not exist" for name in document if name not in _FIELDS]
        wrong += [f"{name} must be text" for name in ("email", "phone") if not isinstance(document.get(name, ""), str)]
        if not isinstance(document.get("tags", []), list):
            wrong.append("tags must be an array")
        if not (document.get("email") or document.get("phone")):
            wrong.append("email or phone is needed")
        if wrong:
            return Reply(422, {"statusCode": 422, "message": wrong, "error": "Unprocessable Entity"})
        if document.get("locationId") != self._location_id:
            return Reply(403, {"statusCode": 403, "message": "The token does not have access to this location."})
        return self._write({name: value for name, value in document.items() if name != "locationId"})

    def _write(self, fields: dict[str, Any]) -> Reply:
        by_email, by_phone = self._find("email", fields), self._find("phone", fields)
        held = by_email or by_phone
        if held is not None and by_phone not in (None, held):
            fields = {**fields, "phone": held.get("phone")}
        created = held is None
        if held is None:
            held = {"id": f"contact{len(self.contacts) + 1}", "email": None, "phone": None}
            self.contacts.append(held)
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
        return next((each for each in self.contacts if wanted and str(each.get(name) or "").lower() == wanted), None)

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
