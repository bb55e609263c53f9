"""Rendering of the dashboard's templates, and its static files."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bridge.admin.authentication import Caller, Role
from bridge.admin.dashboard import charts
from bridge.admin.presentation import optional_timestamp
from bridge.operations.event_dry_run import json_text
from bridge.operations.figures import change, duration, lasting, percent, points, since
from bridge.operations.masking import reason_text
from bridge.operations.problems import Problem, ProblemKind

_FOLDER: Final = str(resources.files("bridge.admin.dashboard") / "templates")
_FILES: Final = {
    "style.css": "text/css",
    "live.js": "text/javascript",
    "leads.js": "text/javascript",
    "lead.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_YEAR: Final = 365 * 86_400
_UNVERSIONED: Final = 'data-version=""'
"""Place of the version in a page. No value can contain it, because quotes are escaped."""
_LIVE: Final = " data-live"
_PASSING: Final = re.compile(r"(?<=data-age>)[^<]*|<p data-said[^<]*</p>\n")
"""Texts that differ from one moment to the next although nothing changed: ages, and the message after a form."""


@dataclass(frozen=True, slots=True)
class _File:
    """A static file."""

    content: bytes
    version: str


NAMED: Final = 5
"""Problems of a kind that Home names."""


class Rendering:
    """Renders templates. All values are escaped, and a misspelt name in a template is an error."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            auto_reload=False,
        )
        self._environment.filters["age"] = age
        self._environment.filters["clock"] = clock
        self._environment.filters["iso"] = optional_timestamp
        self._environment.filters["since"] = since
        self._environment.filters["as_json"] = json_text
        self._environment.filters["older"] = older
        self._environment.filters["meaning"] = reason_text
        self._environment.filters["change"] = change
        self._environment.filters["percent"] = percent
        self._environment.filters["lasting"] = lasting
        self._environment.filters["points"] = points
        self._environment.filters["ranked"] = ranked
        self._environment.globals |= {
            "hours": charts.hours,
            "days": charts.days,
            "bands": charts.bands,
            "BANDS": charts.BANDS,
            "meter": charts.meter,
            "static": self._address,
            "trend": charts.trend,
        }
        contents = {
            name: (resources.files("bridge.admin.dashboard") / "templates" / name).read_bytes() for name in _FILES
        }
        self._files = {name: _File(content, _digest(content)) for name, content in contents.items()}

    def text(self, template: str, caller: Caller | None, **values: Any) -> str:  # noqa: ANN401 - what the template uses
        """Return the text of a page."""
        found = self._environment.get_template(template)
        context = found.new_context(
            {
                "caller": caller,
                "operator": caller is not None and caller.may(Role.OPERATOR),
                "sees_all": caller is not None and caller.scope.is_whole,
                **values,
            }
        )
        try:
            return "".join(found.root_render_func(context))
        except Exception:  # noqa: BLE001 - raised again, with the line of the template
            self._environment.handle_exception()
        finally:
            # The macros refer to the context, which holds them. Without this cycle the values go at once, and no
            # garbage collection, during which nothing else runs, has to find thousands of them.
            context.vars.clear()
            context.parent.clear()

    def page(self, template: str, caller: Caller | None, status: int = 200, **values: Any) -> web.Response:  # noqa: ANN401 - see above
        """Return the response of a small page."""
        return web.Response(status=status, text=self.text(template, caller, **values), content_type="text/html")

    async def file(self, request: web.Request) -> web.Response:
        """Answer with the style sheet, a script or the icon. Pages ask for a version, which never changes."""
        name = request.match_info["name"]
        if name not in self._files:
            raise web.HTTPNotFound
        known = self._files[name]
        lasting = request.query.get("v") == known.version
        headers = {
            "Cache-Control": f"max-age={_YEAR}, immutable" if lasting else "no-cache",
            "ETag": f'"{known.version}"',
        }
        if is_known(request, known.version):
            return web.Response(status=304, headers=headers)
        return web.Response(body=known.content, content_type=_FILES[name], charset="utf-8", headers=headers)

    def _address(self, name: str) -> str:
        """Return the address of a static file in its present version."""
        return f"/static/{name}?v={self._files[name].version}"


def versioned(page: str) -> tuple[str, str]:
    """Return a page with its version in it, and the version: a hash of all that is not passing.

    A page without live parts is not refreshed, and has none.
    """
    if _LIVE not in page:
        return page, ""
    version = _digest(_PASSING.sub("", page).encode())
    return page.replace(_UNVERSIONED, f'data-version="{version}"', 1), version


def is_known(request: web.Request, version: str) -> bool:
    """Return True if the sender of a request has this version of the response already."""
    return bool(version) and any(each.value == version for each in request.if_none_match or ())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def older(cursor: int, path: str, query: Mapping[str, str]) -> str:
    """Return the address of the next page."""
    return f"{path}?{urlencode({**query, 'before': str(cursor)})}"


def age(moment: str | float | None, now: float) -> str:
    """Write the time since a moment in one unit: `5 min`. live.js goes on with it."""
    written = optional_timestamp(moment) if isinstance(moment, float) else moment
    if written is None:
        return "-"
    text = duration(now - datetime.fromisoformat(written).timestamp())
    return Markup('<time datetime="{}" title="{} UTC" data-age>{}</time>').format(written, clock(written), text)


def clock(written: str | None) -> str:
    """Write a time for people, in UTC, to the second."""
    if written is None:
        return "-"
    return datetime.fromisoformat(written).astimezone(UTC).strftime("%d %b %Y %H:%M:%S")


def ranked(problems: Sequence[Problem]) -> list[tuple[ProblemKind, Sequence[Problem], int]]:
    """Return the first problems of each kind, in the order of the problems, with the number of the others."""
    kinds = dict.fromkeys(each.kind for each in problems)
    groups = [(kind, [each for each in problems if each.kind is kind]) for kind in kinds]
    return [(kind, group[:NAMED], max(0, len(group) - NAMED)) for kind, group in groups]
