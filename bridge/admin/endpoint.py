"""Endpoints of the API, and the steps from a request to its response, which are the same for all of them.

Requests and responses are models, so the check of a request and the OpenAPI document cannot disagree.

A compressed page is a little shorter if a text in its address stands elsewhere in the page too. Somebody who opens
pages of the dashboard in a person's browser, with guesses in the address, and sees the length of the encrypted
responses can find a form's token or a lead in this way (the BREACH attack). So responses to such requests are not
compressed. Browsers name them with the header `Sec-Fetch-Site`, which no page can change.
"""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.admin import schemas
from bridge.admin.authentication import COOKIE, CSRF_HEADER, SAFE, Caller, Gate, RequestRefusedError, Role
from bridge.admin.request_schemas import ApiRequest
from bridge.errors import NotFoundError, OperatorError, StoreUnavailableError

BODY_LIMIT = 256 * 1024
"""Maximum number of bytes of a request's body on the admin listener."""
JSON_TYPE = "application/json"
CSV_TYPE = "text/csv"
FILE_SECONDS = 600.0
"""Seconds that a file may take."""
PATH_DIGITS = 20
"""Maximum number of digits of a number in a path."""
_IN_PATH = re.compile(r"\{(\w+)\}")

log = structlog.get_logger()


class UnansweredError(OperatorError):
    """The work took too long and was stopped."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """Names in braces are fields of `request`."""
    summary: str
    given: type[ApiRequest]
    answer: type[BaseModel] | None
    """None for a CSV file."""
    act: Callable[[Caller, Any], Awaitable[BaseModel | bytes | AsyncGenerator[bytes, None]]]
    """Takes the caller and an instance of `given`; returns an instance of `answer`, its JSON, or the parts of a file.

    Raises NotFoundError, ConflictError, StoreUnavailableError, UnansweredError.
    """
    role: Role = Role.VIEWER
    failures: Sequence[int] = ()
    """Statuses of its errors, besides those of all endpoints."""
    scoped: bool = False
    """True if users of some chatbots may use it: it is limited to the events of these."""

    @property
    def in_path(self) -> frozenset[str]:
        """Fields that come from the path."""
        return frozenset(_IN_PATH.findall(self.path))


class ApiCall:
    """Answers the requests to one endpoint; any number in parallel."""

    def __init__(self, endpoint: Endpoint, gate: Gate) -> None:
        self._endpoint = endpoint
        self._gate = gate

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            caller = self._caller(request)
            given = await read_request(self._endpoint, request)
            result = await self._endpoint.act(caller, given)
            return await send_file(request, result) if isinstance(result, AsyncGenerator) else _response(result)
        except RequestRefusedError as error:
            return refusal_response(error)
        except OperatorError as error:
            status = status_of(error)
            return error_response(status, str(error), {"Retry-After": "5"} if status == 503 else None)  # noqa: PLR2004 - an HTTP status

    def _caller(self, request: web.Request) -> Caller:
        caller = self._gate.known(request)
        if caller.session and request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITES:
            # A link there opens an address with the cookie, and a file or a reveal is an entry in the audit log.
            raise RequestRefusedError(403, "another site opened this: write the address yourself, or send a token")
        if not caller.may(self._endpoint.role):
            raise RequestRefusedError(403, "only operators may do this: use server.admin_token")
        if caller.chatbots is not None and not self._endpoint.scoped:
            raise RequestRefusedError(403, "only users of all chatbots may do this")
        if request.method not in SAFE and caller.session and self._gate.asks_for_token():
            self._gate.check_form(caller, request.headers.get(CSRF_HEADER))
        return caller


async def read_request(endpoint: Endpoint, request: web.Request) -> ApiRequest:
    """Read the fields of a request. Raises RequestRefusedError if the endpoint does not accept them."""
    said: dict[str, Any] = {name: _in_path(endpoint.given, name, request.match_info[name]) for name in endpoint.in_path}
    if endpoint.method == "GET":
        if len(set(request.query)) < len(request.query):
            raise RequestRefusedError(400, "a parameter stands twice in the address: send it once")
        return _checked(lambda: endpoint.given.model_validate({**request.query, **said}), request.query.keys() & said)
    if request.query:
        raise RequestRefusedError(400, "this endpoint has no parameters in the address: send them in the JSON body")
    needed = {name for name, each in endpoint.given.model_fields.items() if each.is_required()}
    body = await _body(request, required=bool(needed - endpoint.in_path))
    text = json.dumps({**body, **said})
    return _checked(lambda: endpoint.given.model_validate_json(text, strict=True), body.keys() & said)


async def send_file(request: web.Request, parts: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Send a CSV file part by part, as fast as its reader takes it. Raises what making the first part raises.

    If a later part fails, or the reader is too slow, the connection is cut, so that nobody takes a part for the whole.
    """
    async with contextlib.aclosing(parts):
        first = await anext(parts, b"")
        response = web.StreamResponse(headers={"Content-Disposition": 'attachment; filename="leads.csv"'})
        response.content_type, response.charset = CSV_TYPE, "utf-8"
        await response.prepare(request)
        try:
            async with asyncio.timeout(FILE_SECONDS):
                await response.write(first)
                async for part in parts:
                    await response.write(part)
                await response.write_eof()
        except (OperatorError, OSError) as error:
            _cut(request)
            log.warning("file_cut", reason=type(error).__name__)
        except BaseException:
            _cut(request)
            raise
    return response


def _cut(request: web.Request) -> None:
    if request.transport:
        request.transport.abort()


def status_of(error: RequestRefusedError | OperatorError) -> int:
    """Return the HTTP status that answers an error."""
    if isinstance(error, RequestRefusedError):
        return error.status
    if isinstance(error, NotFoundError):
        return 404
    return 503 if isinstance(error, StoreUnavailableError | UnansweredError) else 409


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return the response for an error."""
    answer = schemas.FailureSchema(error=message)
    return web.Response(status=status, text=answer.model_dump_json(), content_type=JSON_TYPE, headers=headers)


def refusal_response(error: RequestRefusedError) -> web.Response:
    """Return the response for a refused request."""
    headers = {}
    if error.status == 401:  # noqa: PLR2004 - an HTTP status
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    return error_response(error.status, str(error), headers)


async def _body(request: web.Request, *, required: bool) -> dict[str, Any]:
    try:
        text = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise RequestRefusedError(413, f"the body is larger than {BODY_LIMIT:,} bytes") from error
    if not text and not required:
        return {}
    if request.content_type != JSON_TYPE:
        raise RequestRefusedError(415, f"send the body as {JSON_TYPE}")
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestRefusedError(400, f"the body is not JSON: {error.msg}") from error
    if not isinstance(body, dict):
        raise RequestRefusedError(400, "the body must be a JSON object")
    return body


def _in_path(given: type[ApiRequest], name: str, text: str) -> str | int:
    """Read a part of the path as the type of its field, because it is checked strictly together with the JSON body."""
    number = int in _types(given, name)
    return int(text) if number and text.isascii() and text.isdigit() and len(text) <= PATH_DIGITS else text


def _types(given: type[ApiRequest], name: str) -> set[Any]:
    return {given.model_fields[name].annotation}


def _checked(make: Callable[[], ApiRequest], twice: set[str]) -> ApiRequest:
    if twice:
        raise RequestRefusedError(400, f"{', '.join(sorted(twice))}: comes from the path; leave it out elsewhere")
    try:
        return make()
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()]
        raise RequestRefusedError(400, "; ".join(faults)) from error


def _response(answer: BaseModel | bytes) -> web.Response:
    body = answer if isinstance(answer, bytes) else answer.model_dump_json().encode()
    return web.Response(body=body, content_type=JSON_TYPE, charset="utf-8")


LEAST_BYTES: Final = 1_000
"""Size from which a body is compressed; a smaller one fits into one packet anyway."""
REFRESH: Final = "Leadbridge-Refresh"
"""Header that live.js sends when it refreshes a page that is shown already."""
FOREIGN: Final = "foreign"
"""Value of this header if another site, or a program that names none, had the page opened."""
OWN_SITES: Final = frozenset({"same-origin", "none"})
"""Values for requests of the dashboard's own pages, and for addresses that a person wrote or kept."""
_LEVEL: Final = 6
_TYPES: Final = frozenset(
    {
        "application/json",
        "image/svg+xml",
        "text/css",
        "text/csv",
        "text/html",
        "text/javascript",
        "text/plain",
    }
)


def is_own(request: web.Request) -> bool:
    """Return True if no other site can have chosen the address of a request.

    Programs send no cookie. A browser that sends one and does not say where the request comes from is not trusted.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        return COOKIE not in request.cookies
    return site in OWN_SITES and request.headers.get(REFRESH) != FOREIGN


async def compress(request: web.Request, response: web.StreamResponse) -> None:
    """Compress the body of a response, in a thread, if it is large enough and the request is the caller's own."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return
    if len(response.body) < LEAST_BYTES or response.content_type not in _TYPES:
        return
    response.headers["Vary"] = "Accept-Encoding"
    if _accepts_gzip(request) and is_own(request):
        # Without a time: the same response is the same bytes.
        response.body = await asyncio.to_thread(gzip.compress, response.body, _LEVEL, mtime=0)
        response.headers["Content-Encoding"] = "gzip"


def _accepts_gzip(request: web.Request) -> bool:
    for each in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, _, quality = each.replace(" ", "").partition(";q=")
        if name == "gzip":
            return quality.strip("0.") != "" or not quality
    return False
