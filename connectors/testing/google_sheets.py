"""A fake of Google Sheets: tokens for a service account, and the values of one spreadsheet."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

import jwt
from aiohttp import web

from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.fake import FakeApi, json_object
from connectors.testing.faults import Faults

_RANGE = re.compile(r"'((?:[^']|'')+)'!(?:(1):1|([A-Z]+):\3|(A1))(:append)?")
_SCOPE = "https://www.googleapis.com/auth/spreadsheets"


class GoogleSheetsFake(FakeApi):
    """The sheets of one spreadsheet.

    | request | answers |
    | --- | --- |
    | `POST /token` with a signed assertion | 200 with a token, or 400 `invalid_grant` |
    | `GET /v4/spreadsheets/ID` | 200 `{"sheets": [{"properties": {"title"}}]}` |
    | `GET /v4/spreadsheets/ID/values/'SHEET'!1:1`, `…!C:C` | 200 `{"range", "majorDimension", "values"?}` |
    | `POST /v4/spreadsheets/ID/values/'SHEET'!A1:append` | 200 `{"spreadsheetId", "updates"}` |

    Args:
        public_key: Key of the service account, in PEM form.
        spreadsheet_id: Id of the spreadsheet.
        sheets: Rows by the names of the sheets; the first row is the header.
        now: Seconds since the epoch.
    """

    def __init__(
        self, *, public_key: str, spreadsheet_id: str, sheets: dict[str, list[list[Any]]], now: Callable[[], float]
    ) -> None:
        super().__init__(now=now)
        self.sheets = sheets
        self.token_requests = 0
        """Number of token requests."""
        self.token_faults = Faults()
        """Faults of token requests."""
        self._key = public_key
        self._id = spreadsheet_id
        self._now = now
        self._tokens: set[str] = set()
        self.route("/token", self._token, faults=self.token_faults, noted=False)
        self.route("/v4/spreadsheets/{id}", self._about)
        self.route("/v4/spreadsheets/{id}/values/{range}", self._values)

    def expire(self) -> None:
        """Invalidate all issued tokens."""
        self._tokens.clear()

    def _token(self, _: web.Request, body: bytes) -> Reply:
        self.token_requests += 1
        form = dict(parse_qsl(body.decode("ascii")))
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return Reply(400, {"error": "unsupported_grant_type"})
        try:
            claims = jwt.decode(
                form.get("assertion", ""),
                self._key,
                algorithms=["RS256"],
                audience=f"{self.origin}/token",
                options={"verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return Reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        if claims.get("scope") != _SCOPE or not 0 < claims["exp"] - self._now() <= 3600:  # noqa: PLR2004 - an hour
            return Reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT: Token must be short-lived"})
        token = f"ya29.token-of-the-fake-{self.token_requests}"
        self._tokens.add(token)
        return Reply(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _about(self, request: web.Request, _: bytes) -> Reply:
        self._check(request, "GET")
        return Reply(200, {"sheets": [{"properties": {"title": title}} for title in self.sheets]})

    def _values(self, request: web.Request, body: bytes) -> Reply:
        text = unquote(request.match_info["range"])
        found = _RANGE.fullmatch(text)
        sheet = self.sheets.get(found[1].replace("''", "'")) if found else None
        self._check(request, "POST" if found and found[5] else "GET")
        if not found or sheet is None:
            raise _refused(400, f"Unable to parse range: {text}", "INVALID_ARGUMENT")
        if found[5]:
            return self._append(request, found[1], sheet, json_object(body))
        if found[2]:
            header = {"values": [sheet[0]]} if sheet and sheet[0] else {}
            return Reply(200, {"range": f"{found[1]}!A1:Z1", "majorDimension": "ROWS", **header})
        if request.query.get("majorDimension") != "COLUMNS":
            raise _refused(400, "the fake reads a column by columns", "INVALID_ARGUMENT")
        number = _column_number(found[3])
        cells = ["" if len(row) <= number or row[number] is None else row[number] for row in sheet]
        return Reply(200, {"range": text, "majorDimension": "COLUMNS", "values": [cells]})

    def _append(self, request: web.Request, name: str, sheet: list[list[Any]], document: dict[str, Any]) -> Reply:
        if request.query.get("valueInputOption") not in ("RAW", "USER_ENTERED"):
            raise _refused(400, "'valueInputOption' is required but not specified", "INVALID_ARGUMENT")
        rows = document.get("values")
        cells = [cell for row in rows or () for cell in (row if isinstance(row, list) else [{}])]
        if not isinstance(rows, list) or any(isinstance(cell, dict | list) for cell in cells):
            raise _refused(400, "Invalid values: list_value", "INVALID_ARGUMENT")
        if any(isinstance(cell, str) and len(cell) > 50_000 for cell in cells):  # noqa: PLR2004 - Google's limit
            raise _refused(400, "Your input contains more than the maximum of 50000 characters", "INVALID_ARGUMENT")
        first = len(sheet) + 1
        sheet.extend(rows)
        updates = {"updatedRange": f"{name}!A{first}:Z{len(sheet)}", "updatedRows": len(rows)}
        return Reply(200, {"spreadsheetId": self._id, "updates": updates})

    def _check(self, request: web.Request, method: str) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            raise _refused(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        if request.match_info["id"] != self._id:
            raise _refused(404, "Requested entity was not found.", "NOT_FOUND")
        if request.method != method:
            raise _refused(405, "method not allowed", "INVALID_ARGUMENT")


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _refused(status: int, message: str, code: str) -> RefusedError:
    refused = RefusedError(status, message)
    refused.reply = Reply(status, {"error": {"code": status, "message": message, "status": code}})
    return refused
