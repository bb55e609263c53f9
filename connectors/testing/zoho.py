"""A fake of Zoho CRM's API: tokens, upserts with a verdict for each record, and the fields of the module Leads."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.fake import FakeApi, json_object
from connectors.testing.faults import Faults

_FIELDS: Mapping[str, int] = {
    "Last_Name": 80,
    "First_Name": 40,
    "Company": 200,
    "Email": 100,
    "Phone": 30,
    "Lead_Status": 20,
}

_REQUIRED = ("Last_Name", "Company")
_REQUIRED_OF: Mapping[str, Sequence[str]] = {
    "Notes": ("Note_Content", "Parent_Id"),
    "Events": ("Event_Title", "Start_DateTime", "End_DateTime"),
    "Tasks": ("Subject",),
}
_CONDITION = re.compile(r"(\w+) in \((.*?)\)")
_MOST = 100


class ZohoFake(FakeApi):
    """The leads of one account.

    | request | answers |
    | --- | --- |
    | `POST /oauth/v2/token` | 200 with a token, or 200 `{"error"}` |
    | `POST /crm/v8/Leads/upsert` | 200, 207 or 400 with `data`, in the order of the request; 401 `INVALID_TOKEN` |
    | `PUT /crm/v8/Leads` | the same |
    | `GET /crm/v8/Leads?ids=…&fields=…` | 200 with `data`, or 204 |
    | `POST /crm/v8/Notes`, `Events`, `Tasks` | the same |
    | `GET /crm/v8/Leads/ID/Notes`, `Events`, `Tasks` | 200 with `data`, or 204 |
    | `POST /crm/v8/coql` | 200 with `data`, or 204; understands `FIELD in (…) or FIELD in (…)` only |
    | `GET /crm/v8/users` | 200 `{"users"}` |
    | `GET /crm/v8/settings/fields` | 200 `{"fields"}` |

    An unknown field is ignored, as in the real API.

    Args:
        client: Client id, client secret and refresh token.
        users: Ids of the active users, by e-mail.
        search_lag: Seconds until a COQL query finds a lead that was created.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        client: tuple[str, str, str],
        users: Mapping[str, str] | None = None,
        search_lag: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(now=now)
        self._search_lag, self._now = search_lag, now
        self._searchable: dict[str, float] = {}
        self.leads: list[dict[str, Any]] = []
        """Leads in the order of creation."""
        self.token_requests = 0
        """Number of token requests."""
        self.token_faults = Faults()
        """Faults of token requests."""
        self.activities: dict[str, list[dict[str, Any]]] = {name: [] for name in _REQUIRED_OF}
        """Notes, events and tasks in the order of creation."""
        self._client = client
        self._users = users or {}
        self._tokens: set[str] = set()
        self.route("/oauth/v2/token", self._token, faults=self.token_faults, noted=False)
        self.route("/crm/v8/Leads/upsert", self._upsert)
        self.route("/crm/v8/Leads", self._by_id)
        self.route("/crm/v8/coql", self._query)
        self.route("/crm/v8/Leads/{id}/{kind:Notes|Events|Tasks}", self._related)
        self.route("/crm/v8/{kind:Notes|Events|Tasks}", self._add)
        self.route("/crm/v8/users", self._active_users)
        self.route("/crm/v8/settings/fields", self._fields)
        self.route("/crm/v8/{rest:.*}", self._elsewhere)

    def expire(self) -> None:
        """Invalidate all issued tokens."""
        self._tokens.clear()

    def _token(self, _: web.Request, body: bytes) -> Reply:
        self.token_requests += 1
        form = dict(parse_qsl(body.decode("ascii")))
        shown = tuple(form.get(name) for name in ("client_id", "client_secret", "refresh_token"))
        if form.get("grant_type") != "refresh_token" or shown != self._client:
            return Reply(200, {"error": "invalid_code"})
        token = f"1000.token-of-the-fake-{self.token_requests}"
        self._tokens.add(token)
        return Reply(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    def _upsert(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "POST")
        keys = json_object(body).get("duplicate_check_fields", [])
        return self._each(body, lambda row: self._write(row, keys))

    def _by_id(self, request: web.Request, body: bytes) -> Reply:
        if request.method == "GET":
            self._check(request, "GET")
            ids = request.query.get("ids", "").split(",")
            rows = [each for each in self.leads if each["id"] in ids]
            return Reply(200, {"data": rows, "info": {}}) if rows else Reply(204, None)
        self._check(request, "PUT")
        return self._each(body, lambda row: self._write(row, ["id"]))

    def _each(self, body: bytes, write: Callable[[dict[str, Any]], dict[str, Any]]) -> Reply:
        """Write each record of a body, and answer with a verdict for each."""
        rows = json_object(body).get("data")
        if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST:
            return _error(400, "INVALID_DATA", f"data must have 1 to {_MOST} records")
        verdicts = [write(row) for row in rows]
        good = sum(verdict["code"] == "SUCCESS" for verdict in verdicts)
        status = 200 if good == len(verdicts) else 207 if good else 400
        return Reply(status, {"data": verdicts})

    def _add(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "POST")
        kind = request.match_info["kind"]
        return self._each(body, lambda row: self._add_one(kind, row))

    def _add_one(self, kind: str, row: dict[str, Any]) -> dict[str, Any]:
        missing = next((name for name in _REQUIRED_OF[kind] if not row.get(name)), None)
        if missing:
            return _verdict("MANDATORY_NOT_FOUND", "required field not found", {"api_name": missing})
        parent = (row.get("Parent_Id") or row.get("What_Id") or {}).get("id")
        if kind != "Notes" and row.get("$se_module") != "Leads":
            return _verdict("INVALID_DATA", "invalid data", {"api_name": "What_Id"})
        if all(each["id"] != parent for each in self.leads):
            return _verdict("INVALID_DATA", "the related id given seems to be invalid", {"api_name": "Parent_Id"})
        self.activities[kind].append({**row, "id": str(len(self.activities[kind]) + 1), "lead": parent})
        return {**_verdict("SUCCESS", "record added", {"id": self.activities[kind][-1]["id"]}), "status": "success"}

    def _related(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        if not request.query.get("fields"):
            return _error(400, "REQUIRED_PARAM_MISSING", "fields is required")
        held = self.activities[request.match_info["kind"]]
        rows = [each for each in reversed(held) if each["lead"] == request.match_info["id"]]
        return Reply(200, {"data": rows, "info": {}}) if rows else Reply(204, None)

    def _query(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, "POST")
        query = str(json_object(body).get("select_query"))
        wanted = [(name, re.findall("'([^']*)'", values)) for name, values in _CONDITION.findall(query)]
        seen = [each for each in self.leads if self._searchable.get(each["id"], 0.0) <= self._now()]
        rows = [each for each in seen if any(str(each.get(name, "")).lower() in values for name, values in wanted)]
        return Reply(200, {"data": rows, "info": {}}) if rows else Reply(204, None)

    def _write(self, row: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
        held = next((each for each in self.leads for key in keys if _same(each.get(key), row.get(key))), None)
        missing = next((name for name in _REQUIRED if not {**(held or {}), **row}.get(name)), None)
        if missing:
            return _verdict("MANDATORY_NOT_FOUND", "required field not found", {"api_name": missing})
        long = next((name for name, most in _FIELDS.items() if len(str(row.get(name, ""))) > most), None)
        if long:
            return _verdict("INVALID_DATA", "invalid data", {"api_name": long, "maximum_length": _FIELDS[long]})
        action = "update" if held else "insert"
        if held is None:
            held = {"id": str(5_725_767_000_000_000 + len(self.leads))}
            self.leads.append(held)
            self._searchable[held["id"]] = self._now() + self._search_lag
        held.update({name: value for name, value in row.items() if name in _FIELDS or name == "Owner"})
        return {**_verdict("SUCCESS", f"record {action}ed", {"id": held["id"]}), "action": action, "status": "success"}

    def _active_users(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        return Reply(200, {"users": [{"id": one, "email": email} for email, one in self._users.items()], "info": {}})

    def _fields(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        if request.query.get("module") != "Leads":
            return _error(400, "INVALID_MODULE", "the module name given seems to be invalid")
        fields = [
            {"api_name": name, "system_mandatory": name in _REQUIRED, "length": _FIELDS[name]} for name in _FIELDS
        ]
        return Reply(200, {"fields": fields})

    def _elsewhere(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "POST")
        return _error(400, "INVALID_MODULE", "the module name given seems to be invalid")

    def _check(self, request: web.Request, method: str) -> None:
        shown = request.headers.get("Authorization", "")
        if shown.removeprefix("Zoho-oauthtoken ") not in self._tokens or not shown.startswith("Zoho-oauthtoken "):
            refused = RefusedError(401, "invalid oauth token")
            refused.reply = _error(401, "INVALID_TOKEN", "invalid oauth token")
            raise refused
        if request.method != method:
            raise RefusedError(405, "method not allowed")


def _verdict(code: str, message: str, details: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": code, "details": details, "message": message, "status": "error"}


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"code": code, "details": {}, "message": message, "status": "error"})


def _same(one: object, other: object) -> bool:
    return bool(one) and str(one).lower() == str(other).lower()
