"""A fake of Zoho CRM's API: tokens, upserts with a verdict for each record, and the fields of the module Leads."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.fake import FakeApi, json_object
from connectors.testing.faults import Faults

_FIELDS: Mapping[str, int] = {"Last_Name": 80, "First_Name": 40, "Company": 200, "Email": 100, "Phone": 30}
_REQUIRED = ("Last_Name", "Company")
_MOST = 100


class ZohoFake(FakeApi):
    """The leads of one account.

    | request | answers |
    | --- | --- |
    | `POST /oauth/v2/token` | 200 with a token, or 200 `{"error"}` |
    | `POST /crm/v8/Leads/upsert` | 200, 207 or 400 with `data`, in the order of the request; 401 `INVALID_TOKEN` |
    | `GET /crm/v8/settings/fields` | 200 `{"fields"}` |

    An unknown field is ignored, as in the real API.

    Args:
        client: Client id, client secret and refresh token.
    """

    def __init__(self, *, client: tuple[str, str, str]) -> None:
        super().__init__()
        self.leads: list[dict[str, Any]] = []
        """Leads in the order of creation."""
        self.token_requests = 0
        """Number of token requests."""
        self.token_faults = Faults()
        """Faults of token requests."""
        self._client = client
        self._tokens: set[str] = set()
        self.route("/oauth/v2/token", self._token, faults=self.token_faults, noted=False)
        self.route("/crm/v8/Leads/upsert", self._upsert)
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
        document = json_object(body)
        rows, keys = document.get("data"), document.get("duplicate_check_fields", [])
        if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST:
            return _error(400, "INVALID_DATA", f"data must have 1 to {_MOST} records")
        verdicts = [self._write(row, keys) for row in rows]
        good = sum(verdict["code"] == "SUCCESS" for verdict in verdicts)
        status = 200 if good == len(verdicts) else 207 if good else 400
        return Reply(status, {"data": verdicts})

    def _write(self, row: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
        missing = next((name for name in _REQUIRED if not row.get(name)), None)
        if missing:
            return _verdict("MANDATORY_NOT_FOUND", "required field not found", {"api_name": missing})
        long = next((name for name, most in _FIELDS.items() if len(str(row.get(name, ""))) > most), None)
        if long:
            return _verdict("INVALID_DATA", "invalid data", {"api_name": long, "maximum_length": _FIELDS[long]})
        held = next((each for each in self.leads for key in keys if _same(each.get(key), row.get(key))), None)
        action = "update" if held else "insert"
        if held is None:
            held = {"id": str(5_725_767_000_000_000 + len(self.leads))}
            self.leads.append(held)
        held.update({name: value for name, value in row.items() if name in _FIELDS})
        return {**_verdict("SUCCESS", f"record {action}ed", {"id": held["id"]}), "action": action, "status": "success"}

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
