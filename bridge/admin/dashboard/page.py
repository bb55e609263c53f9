"""What all pages have in common: who may see them, forms that were meant, and what is said after one.

A page that cannot be shown is a page too, with the words of the error.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from bridge.admin.authentication import CSRF_FIELD, Caller, Gate, RefusedError, Role
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.desk import Ask, Desk, Query
from bridge.admin.endpoint import status_of
from bridge.admin.request_schemas import Given
from bridge.errors import OperatorError

SAID_LIMIT = 1_000
REFRESH = "Leadbridge-Refresh"
"""The header by which pages/live.js says that it asks again for a page that is shown already."""

Form = Mapping[str, str]


@dataclass(frozen=True, slots=True, repr=False)
class Page:
    """A page that is not rendered yet: queries and rendering are done in the desk's threads."""

    template: str
    caller: Caller
    values: Mapping[str, Any]
    queries: Mapping[str, Query[Any]]
    """Values that are read from the store."""

    def render(self, rendering: Rendering, ask: Ask, said: str | None) -> bytes:
        """Render the page; `said` is the message of the form before it."""
        values = {**self.values, **{name: ask(query) for name, query in self.queries.items()}, "said": said}
        return rendering.text(self.template, self.caller, **values).encode()


Seen = web.StreamResponse | Page
"""What a function answers with."""
Show = Callable[[Caller, web.Request], Awaitable[Seen]]
Act = Callable[[Caller, web.Request, Form], Awaitable[Seen]]


class Screen:
    """Makes handlers of functions that show a page, or that do what a form asks for."""

    def __init__(self, gate: Gate, rendering: Rendering, desk: Desk) -> None:
        self.gate = gate
        self._rendering = rendering
        self._desk = desk
        self._said: OrderedDict[str, str] = OrderedDict()
        """What is to be said on the next page of a session."""

    def show(self, act: Show, role: Role = Role.VIEWER) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Make a handler that shows a page."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._guarded(request, role, lambda caller: act(caller, request))

        return answer

    def act(self, act: Act, role: Role = Role.OPERATOR) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Make a handler that does what a form asks for."""

        async def answer(request: web.Request) -> web.StreamResponse:
            async def do(caller: Caller) -> Seen:
                form = await form_of(request)
                self.gate.check_form(caller, form.get(CSRF_FIELD))
                return await act(caller, request, form)

            return await self._guarded(request, role, do)

        return answer

    def page(
        self,
        template: str,
        caller: Caller,
        queries: Mapping[str, Query[Any]] = MappingProxyType({}),
        **values: Any,  # noqa: ANN401 - what the template uses
    ) -> Page:
        """Describe a page; the template gets the results of `queries` and the values."""
        return Page(template, caller, values, queries)

    def say(self, caller: Caller, message: str, where: str) -> web.Response:
        """Go to a page and say something there; after a form, so that reloading it does nothing twice."""
        self._said[_key(caller)] = message
        while len(self._said) > SAID_LIMIT:
            self._said.popitem(last=False)
        return web.Response(status=303, headers={"Location": where})

    async def _guarded(
        self, request: web.Request, role: Role, do: Callable[[Caller], Awaitable[Seen]]
    ) -> web.StreamResponse:
        caller = None
        try:
            caller = self.gate.caller(request)
            if caller is None:
                return web.Response(status=303, headers={"Location": "/login"})
            if not caller.may(role):
                return self._trouble(caller, 403, "This is for operators: log in with server.admin_token.")
            seen = await do(caller)
            if not isinstance(seen, Page):
                return seen
            said = self._hear(caller, request)
            body = await self._desk.work(lambda ask: seen.render(self._rendering, ask, said))
            return web.Response(body=body, content_type="text/html", charset="utf-8")
        except (RefusedError, OperatorError) as error:
            answer = self._trouble(caller, status_of(error), str(error))
            if isinstance(error, RefusedError) and error.retry_after:
                answer.headers["Retry-After"] = str(error.retry_after)
            return answer

    def _hear(self, caller: Caller, request: web.Request) -> str | None:
        """Take what is to be said, unless nobody would see it: of a refreshed page only the live parts are shown."""
        return None if REFRESH in request.headers else self._said.pop(_key(caller), None)

    def _trouble(self, caller: Caller | None, status: int, message: str) -> web.Response:
        return self._rendering.page("trouble.html", caller, status, said=None, message=message)


async def form_of(request: web.Request) -> Form:
    """Read a form; files are left out, for no form here has one. Raises RefusedError."""
    try:
        posted = await request.post()
    except web.HTTPRequestEntityTooLarge as error:
        raise RefusedError(413, "the form is too large") from error
    except (ValueError, LookupError) as error:
        # Parts without their boundary, or bytes that are no text of the charset that is named.
        raise RefusedError(400, "the form cannot be read: send it as the page does") from error
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def asked(model: type[Given], said: Mapping[str, str], **more: object) -> Any:  # noqa: ANN401 - an instance of the model
    """Make what an endpoint is asked of a form's fields; empty ones choose nothing. Raises RefusedError."""
    known = {name: value.strip() for name, value in said.items() if name in model.model_fields and value.strip()}
    try:
        return model.model_validate({**known, **more})
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise RefusedError(400, "; ".join(faults)) from error


def _key(caller: Caller) -> str:
    return caller.session.key if caller.session else ""
