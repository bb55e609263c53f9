"""What an endpoint of the API is, and how a request becomes its answer: one way for all of them.

What an endpoint takes and gives are models, so that the check of a request and the OpenAPI document cannot disagree.
"""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.admin import schemas
from bridge.admin.authentication import CSRF_HEADER, SAFE, Caller, Gate, RefusedError, Role
from bridge.admin.request_schemas import Given, Nothing
from bridge.errors import NotFoundError, OperatorError, StoreUnavailableError

BODY_LIMIT = 256 * 1024
"""Bytes of a request's body on the admin listener, at most."""
JSON = "application/json"
DIGITS = 20
"""Of a number in a path, at most: none that is longer is one."""
_IN_PATH = re.compile(r"\{(\w+)\}")


class UnansweredError(OperatorError):
    """The work took too much time or memory and was stopped; it is not done again elsewhere."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """Names in braces are fields of `given`."""
    summary: str
    given: type[Given]
    answer: type[BaseModel]
    act: Callable[[Caller, Any], Awaitable[BaseModel | bytes]]
    """Given who asks and an instance of `given`; gives an instance of `answer`, or the JSON of one.

    Raises NotFoundError, ConflictError, StoreUnavailableError, UnansweredError.
    """
    role: Role = Role.VIEWER
    failures: Sequence[int] = ()
    """Statuses that it answers besides those that all endpoints do."""

    @property
    def in_path(self) -> frozenset[str]:
        """The fields that stand in the path."""
        return frozenset(_IN_PATH.findall(self.path))


class ApiCall:
    """Answers the requests to one endpoint; any number in parallel."""

    def __init__(self, endpoint: Endpoint, gate: Gate) -> None:
        self._endpoint = endpoint
        self._gate = gate

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            caller = self._caller(request)
            given = await read(self._endpoint, request)
            return _response(await self._endpoint.act(caller, given))
        except RefusedError as error:
            return refusal(error)
        except OperatorError as error:
            status = status_of(error)
            return failure(status, str(error), {"Retry-After": "5"} if status == 503 else None)  # noqa: PLR2004 - an HTTP status

    def _caller(self, request: web.Request) -> Caller:
        caller = self._gate.known(request)
        if not caller.may(self._endpoint.role):
            raise RefusedError(403, "this is for operators: use server.admin_token")
        if request.method not in SAFE and caller.session and self._gate.asks_for_token():
            self._gate.check_form(caller, request.headers.get(CSRF_HEADER))
        return caller


async def read(endpoint: Endpoint, request: web.Request) -> Given:
    """Read what the request says. Raises RefusedError for what the endpoint does not take."""
    said: dict[str, Any] = {name: _in_path(endpoint.given, name, request.match_info[name]) for name in endpoint.in_path}
    if endpoint.method == "GET":
        if len(set(request.query)) < len(request.query):
            raise RefusedError(400, "a parameter is given twice")
        return _checked(lambda: endpoint.given.model_validate({**request.query, **said}), request.query.keys() & said)
    if request.query:
        raise RefusedError(400, "this takes no parameters in the address: put them into the body")
    needed = {name for name, each in endpoint.given.model_fields.items() if each.is_required()}
    body = await _body(request, required=bool(needed - endpoint.in_path))
    text = json.dumps({**body, **said})
    return _checked(lambda: endpoint.given.model_validate_json(text, strict=True), body.keys() & said)


def status_of(error: RefusedError | OperatorError) -> int:
    """Return the HTTP status that answers an error."""
    if isinstance(error, RefusedError):
        return error.status
    if isinstance(error, NotFoundError):
        return 404
    return 503 if isinstance(error, StoreUnavailableError | UnansweredError) else 409


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Answer that something cannot be done."""
    answer = schemas.Failure(error=message)
    return web.Response(status=status, text=answer.model_dump_json(), content_type=JSON, headers=headers)


def refusal(error: RefusedError) -> web.Response:
    """Answer a request that is refused."""
    headers = {}
    if error.status == 401:  # noqa: PLR2004 - an HTTP status
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    return failure(error.status, str(error), headers)


async def _body(request: web.Request, *, required: bool) -> dict[str, Any]:
    try:
        text = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise RefusedError(413, f"the body is larger than {BODY_LIMIT:,} bytes") from error
    if not text and not required:
        return {}
    if request.content_type != JSON:
        raise RefusedError(415, f"send the body as {JSON}")
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"the body is no JSON: {error.msg}") from error
    if not isinstance(body, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return body


def _in_path(given: type[Given], name: str, text: str) -> str | int:
    """Read a part of the path as the type of its field: a JSON body is checked strictly, and it goes with it."""
    number = given is not Nothing and int in _types(given, name)
    return int(text) if number and text.isascii() and text.isdigit() and len(text) <= DIGITS else text


def _types(given: type[Given], name: str) -> set[Any]:
    return {given.model_fields[name].annotation}


def _checked(make: Callable[[], Given], twice: set[str]) -> Given:
    if twice:
        raise RefusedError(400, f"{', '.join(sorted(twice))}: stands in the path already")
    try:
        return make()
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()]
        raise RefusedError(400, "; ".join(faults)) from error


def _response(answer: BaseModel | bytes) -> web.Response:
    body = answer if isinstance(answer, bytes) else answer.model_dump_json().encode()
    return web.Response(body=body, content_type=JSON, charset="utf-8")
