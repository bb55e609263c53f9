"""Error pages: one sentence about the error, a link back, and the form with the person's input."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

from aiohttp import web

from bridge.admin.authentication import Caller, Gate, RequestRefusedError
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.origin import is_page
from bridge.errors import StoreUnavailableError

LABELS: Final = MappingProxyType(
    {
        "who": "Name, e-mail, phone or id",
        "from": "From",
        "to": "To",
        "since": "Since",
        "until": "Until",
        "yaml": "The route, as YAML",
        "event": "An event, as JSON",
        "name": "Name",
    }
)
"""Fields that people write in, each with its label. Only a form with one of them is shown again."""
SENT: Final = web.RequestKey("sent", dict[str, str])
"""Fields of the form of a request, once they are read."""
_OF_INPUT: Final = frozenset({400, 503})
"""Statuses after which the same address can be asked again, with other input or later."""
_TITLES: Final = {
    403: "You may not do this",
    404: "There is no such page",
    405: "There is no such page",
    410: "This is no longer there",
    500: "Leadbridge has a fault",
    503: "This does not work now",
}
_MESSAGES: Final = {
    404: "The address is wrong, or what it showed is gone.",
    405: "This address belongs to a form, and shows nothing by itself.",
    413: "The form is too large.",
    415: "The dashboard reads no compressed forms.",
    500: "A fault of the program; the log says more. Try again in a moment.",
}


@dataclass(frozen=True, slots=True, repr=False)
class KeptForm:
    """A form that did not arrive, to be sent again."""

    method: str
    path: str
    fields: Mapping[str, str]
    """Values by name."""

    def label(self, name: str) -> str | None:
        """Return the label of a field that a person writes in; None for the other fields, which are hidden."""
        return LABELS.get(name)


def kept_form(request: web.Request, sent: Mapping[str, str] | None) -> KeptForm | None:
    """Return the form of a request that failed; None without input of a person."""
    posted = request.method == "POST"
    fields = dict((sent or {}) if posted else request.query)
    if not any(fields.get(name, "").strip() for name in LABELS):
        return None
    return KeptForm("post" if posted else "get", request.path, fields)


def next_path(text: str) -> str:
    """Return the page to show after a login: a path of this listener that only shows something, or the start page."""
    try:
        path = unquote(urlsplit(text).path)
    except ValueError:
        return "/"
    # Browsers read a backslash as a slash, and shorten a path with dots.
    local = text.startswith("/") and not text.startswith(("//", "/login")) and text.isprintable()
    return text if local and not re.search(r"\\|/\.", path) and is_page(path) else "/"


def page_before(request: web.Request) -> str | None:
    """Return the path of the page that a request comes from; None if it is another site's or not known."""
    try:
        parts = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        return None
    if parts.netloc != request.host or parts.path == "/login":
        return None
    return next_path(f"{parts.path}?{parts.query}" if parts.query else parts.path)


class TroublePages:
    """Makes the pages for errors."""

    def __init__(self, gate: Gate, rendering: Rendering) -> None:
        self._gate = gate
        self._rendering = rendering

    def page(
        self, request: web.Request, caller: Caller | None, status: int, message: str | None = None
    ) -> web.Response:
        """Return the page for an error, for its sender."""
        return self._rendering.page(
            "trouble.html",
            caller,
            status,
            said=None,
            heading=_TITLES.get(status, "That did not work"),
            message=message or _MESSAGES.get(status, "The request cannot be answered."),
            back=page_before(request),
            form=kept_form(request, request.get(SENT)) if request.method == "POST" or status in _OF_INPUT else None,
            # Somebody else may be allowed to.
            login=request.path_qs if status == 403 and request.method == "GET" else None,  # noqa: PLR2004 - an HTTP status
        )

    async def unanswered(self, request: web.Request, status: int, message: str | None = None) -> web.Response:
        """Return the page for a request that no page answers, such as one of a wrong address or of another site."""
        try:
            caller = await self._gate.caller(request)
        except (RequestRefusedError, StoreUnavailableError):
            caller = None
        return self.page(request, caller, status, message)
