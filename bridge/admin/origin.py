"""Origin of a request of the admin listener: the client's address, and the site of the page that sent it.

A proxy adds the address of its client to `X-Forwarded-For`, at the right of what that one sent. So the header is read
from the right, and only as far as the proxies that the configuration trusts go.

A browser sends the cookie of a session along with its requests. `SameSite=Strict` keeps it from those of other sites,
and without a token there is no cookie at all. So a page of another site is refused by what browsers say of it: by
`Sec-Fetch-Site`, which pages cannot set, and where a browser does not send it, as over plain HTTP, by `Origin`
(RFC 6454 section 7). A program that sends a token is no browser, and no other site knows the token.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from bridge.admin.authentication import COOKIE

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
_FORWARDED_FOR: Final = "X-Forwarded-For"
_HOP: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?|(?P<bare>[0-9A-Fa-f:.]+)")
"""An address with or without a port; one of version 6 with a port stands in brackets."""
_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site` for the dashboard's own pages, and for addresses that a person wrote or kept."""
_API: Final = "/api/"
_ANOTHER: Final = "a page of another site sent this: use the dashboard's own pages, write the address, or send a token"
_UNKNOWN: Final = "nothing says which site sent this change: send it from the dashboard's own pages, or with a token"


def client_address(request: web.Request, trusted: Sequence[IPv4Network | IPv6Network]) -> str | None:
    """Return the right-most address that is not a trusted proxy; the sender's if it or the header is not believed.

    If all are trusted, the client is the left-most one.
    """
    client = _address(request.remote or "")
    if client is None or not _is_among(client, trusted):
        return request.remote
    hops = ",".join(request.headers.getall(_FORWARDED_FOR, [])).split(",")
    for text in filter(None, map(str.strip, reversed(hops))):
        client = _address(text)
        if client is None:
            return request.remote
        if not _is_among(client, trusted):
            break
    return str(client)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; one of version 4 that is written as version 6 is the same one. None if it is malformed."""
    match = _HOP.fullmatch(text)
    try:
        found = ip_address(match["v6"] or match["v4"] or match["bare"]) if match else None
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _is_among(address: IPv4Address | IPv6Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in each for each in networks)


def foreign_reason(request: web.Request, *, open_to_all: bool) -> str | None:
    """Return why a request counts as one of another site; None if it does not.

    `open_to_all` says that no token is configured. Another site may open a page, which changes nothing.
    """
    if request.headers.get("Authorization", "").partition(" ")[0].lower() == "bearer":
        return None
    if is_foreign(request):
        return None if _opens_page(request) else _ANOTHER
    if request.method in SAFE or "Sec-Fetch-Site" in request.headers or "Origin" in request.headers:
        return None
    # Every browser of today names the origin of a change. A program has no cookie, and sends no forms.
    form = request.method == "POST" and is_page(request.path)
    return _UNKNOWN if COOKIE in request.cookies or (open_to_all and form) else None


def is_foreign(request: web.Request) -> bool:
    """Return True if the browser says that a page of another site sent the request."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site not in _OWN_SITES
    if origin is None:
        return False
    try:
        sender = urlsplit(origin).netloc
    except ValueError:
        return True
    return sender not in {request.host, request.headers.get("X-Forwarded-Host", request.host)}


def is_page(path: str) -> bool:
    """Return True unless a path is one of the API or an export, whose use is an entry in the audit log."""
    return not path.startswith(_API) and not path.endswith(".csv")


def _opens_page(request: web.Request) -> bool:
    """Return True if a person followed a link to a page, which then stands by itself and in no frame."""
    fetch = (request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest", "document"))
    return request.method == "GET" and fetch == ("navigate", "document") and is_page(request.path)
