"""Compression of responses with gzip, where nobody else steers the request.

A compressed page is a little shorter if a text in its address stands elsewhere in the page too. Somebody who opens
pages of the dashboard in a person's browser, with guesses in the address, and sees the length of the encrypted
responses can find a form's token or a lead in this way (the BREACH attack). So responses to such requests are not
compressed. Browsers name them with the header `Sec-Fetch-Site`, which no page can change.
"""

import asyncio
import gzip
from typing import Final

from aiohttp import web

from bridge.admin.authentication import COOKIE

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
