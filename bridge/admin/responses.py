"""Responses of the admin listener: those for errors, and the compression of all.

Health and metrics have them too. So they are made without the models of the API, which are loaded later.

A compressed page is a little shorter if a text in its address stands elsewhere in the page too. Somebody who opens
pages of the dashboard in a person's browser, with guesses in the address, and sees the length of the encrypted
responses can find a form's token or a lead in this way (the BREACH attack). So responses to such requests are not
compressed. Browsers name them with the header `Sec-Fetch-Site`, which no page can change.
"""

import asyncio
import gzip
from typing import Final

import orjson
from aiohttp import web

from bridge.admin.authentication import COOKIE, RequestRefusedError
from bridge.errors import NotFoundError, OperatorError, StoreUnavailableError

BODY_LIMIT = 256 * 1024
"""Maximum number of bytes of a request's body on the admin listener."""
JSON_TYPE = "application/json"
_PROGRAMS: Final = ("/api/", "/metrics", "/healthz", "/readyz")
"""Beginnings of the paths that only programs ask."""
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
