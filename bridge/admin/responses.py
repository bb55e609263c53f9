"""Responses of the admin listener for errors.

Health and metrics have them too. So they are made without the models of the API, which are loaded later.
"""

from typing import Final

import orjson
from aiohttp import web

from bridge.admin.authentication import RequestRefusedError
from bridge.errors import NotFoundError, OperatorError, StoreUnavailableError

BODY_LIMIT = 256 * 1024
"""Maximum number of bytes of a request's body on the admin listener."""
JSON_TYPE = "application/json"
_PROGRAMS: Final = ("/api/", "/metrics", "/healthz", "/readyz")
"""Beginnings of the paths that only programs ask."""
REFRESH: Final = "Leadbridge-Refresh"
"""Header that live.js sends when it refreshes a page that is shown already."""


class UnansweredError(OperatorError):
    """The work took too long and was stopped."""


def is_programs(request: web.Request) -> bool:
    """Return True if the sender of a request is a program that expects JSON."""
    wanted = request.headers.get("Accept", "")
    return request.path.startswith(_PROGRAMS) or (JSON_TYPE in wanted and "text/html" not in wanted)


def status_of(error: RequestRefusedError | OperatorError) -> int:
    """Return the HTTP status that answers an error."""
    if isinstance(error, RequestRefusedError):
        return error.status
    if isinstance(error, NotFoundError):
        return 404
    return 503 if isinstance(error, StoreUnavailableError | UnansweredError) else 409


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return the response for an error: a `FailureSchema` of the API."""
    body = orjson.dumps({"status": "error", "error": message})
    return web.Response(status=status, body=body, content_type=JSON_TYPE, charset="utf-8", headers=headers)


def refusal_response(error: RequestRefusedError) -> web.Response:
    """Return the response for a refused request."""
    headers = {}
    if error.status == 401:  # noqa: PLR2004 - an HTTP status
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    return error_response(error.status, str(error), headers)
