"""Endpoints of the API, and the steps from a request to its response, which are the same for all of them.

Requests and responses are models, so the check of a request and the OpenAPI document cannot disagree.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.admin.authentication import Caller, Gate, RequestRefusedError, Role
from bridge.admin.request_schemas import ApiRequest
from bridge.admin.responses import BODY_LIMIT, JSON_TYPE, error_response, refusal_response, status_of
from bridge.errors import OperatorError

CSV_TYPE = "text/csv"
FILE_SECONDS = 600.0
"""Seconds that a file may take."""
PATH_DIGITS = 20
"""Maximum number of digits of a number in a path."""
_IN_PATH = re.compile(r"\{(\w+)\}")

log = structlog.get_logger()


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
            caller = await self._caller(request)
            given = await read_request(self._endpoint, request)
            result = await self._endpoint.act(caller, given)
            return await send_file(request, result) if isinstance(result, AsyncGenerator) else _response(result)
        except RequestRefusedError as error:
            return refusal_response(error)
        except OperatorError as error:
            status = status_of(error)
            return error_response(status, str(error), {"Retry-After": "5"} if status == 503 else None)  # noqa: PLR2004 - an HTTP status

    async def _caller(self, request: web.Request) -> Caller:
        caller = await self._gate.known(request)
        if not caller.may(self._endpoint.role):
            raise RequestRefusedError(403, "only operators may do this: use server.admin_token")
        if not caller.scope.is_whole and not self._endpoint.scoped:
            raise RequestRefusedError(403, "only users of all chatbots may do this")
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
