"""Common parts of all pages: the check of the role, forms, and messages after a form.

An error becomes a page with its message.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import web
from pydantic import ValidationError

from bridge.admin.authentication import Caller, Gate, RequestRefusedError, Role
from bridge.admin.dashboard.rendering import Rendering, is_known, versioned
from bridge.admin.dashboard.trouble import SENT, TroublePages, page_before
from bridge.admin.query_threads import Query, QueryRunner, QueryThreads
from bridge.admin.request_schemas import ApiRequest
from bridge.admin.responses import REFRESH, status_of
from bridge.errors import OperatorError

if TYPE_CHECKING:
    from bridge.store.filter import Scope

SAID_LIMIT = 1_000

FormFields = Mapping[str, str]
Holder = tuple[Role, str | None, str]


@dataclass(frozen=True, slots=True, repr=False)
class DashboardPage:
    """A page that is not rendered yet: queries and rendering are done in the query threads."""

    template: str
    caller: Caller
    values: Mapping[str, Any]
    queries: Mapping[str, Query[Any]]
    """Values that are read from the store."""
    status: int = 200

    def render(self, rendering: Rendering, ask: QueryRunner, said: str | None) -> tuple[bytes, str]:
        """Render the page, and return its version too; `said` is the message of the form before it."""
        found = ask(lambda connection: {name: query(connection) for name, query in self.queries.items()})
        values = {**self.values, **found, "said": said}
        page, version = versioned(rendering.text(self.template, self.caller, **values))
        return page.encode(), version


PageResponse = web.StreamResponse | DashboardPage
"""Response of a page."""
Show = Callable[[Caller, web.Request], Awaitable[PageResponse]]
Act = Callable[[Caller, web.Request, FormFields], Awaitable[PageResponse]]


class Screen:
    """Makes handlers of functions that show a page or process a form."""

    def __init__(self, gate: Gate, rendering: Rendering, query_threads: QueryThreads) -> None:
        self._gate = gate
        self.troubles = TroublePages(gate, rendering)
        self._rendering = rendering
        self._query_threads = query_threads
        self._said: OrderedDict[Holder, str] = OrderedDict()
        """Message for the next page of a caller."""
        self.problem_count: Callable[[Scope], Query[int]] | None = None
        """Returns the query of the number in the navigation, for the reader of some chatbots or of all."""

    def show(
        self, act: Show, role: Role = Role.VIEWER, *, scoped: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler that shows a page.

        `scoped` pages are shown to users of some chatbots too, whose events they are limited to.
        """

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._guarded(request, role, lambda caller: act(caller, request), scoped=scoped)

        return answer

    def act(
        self, act: Act, role: Role = Role.OPERATOR, *, scoped: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler that processes a form; see `show`."""

        async def answer(request: web.Request) -> web.StreamResponse:
            async def do(caller: Caller) -> PageResponse:
                form = request[SENT] = await form_of(request)
                return await act(caller, request, form)

            return await self._guarded(request, role, do, scoped=scoped)

        return answer

    def page(
        self,
        template: str,
        caller: Caller,
        queries: Mapping[str, Query[Any]] = MappingProxyType({}),
        **values: Any,  # noqa: ANN401 - what the template uses
    ) -> DashboardPage:
        """Describe a page; the template gets the results of `queries` and the values."""
        counted = {"problem_count": self.problem_count(caller.scope)} if self.problem_count else {}
        return DashboardPage(template, caller, values, {**queries, **counted})

    def say(self, caller: Caller, message: str, where: str) -> web.Response:
        """Redirect to a page with a message, so that reloading the page does not send the form again."""
        self._said[holder_of(caller)] = message
        while len(self._said) > SAID_LIMIT:
            self._said.popitem(last=False)
        return web.Response(status=303, headers={"Location": where})

    async def _guarded(
        self, request: web.Request, role: Role, do: Callable[[Caller], Awaitable[PageResponse]], *, scoped: bool
    ) -> web.StreamResponse:
        caller = None
        try:
            caller = await self._gate.caller(request)
            if caller is None:
                return self._login(request)
            if refused := self._refused(caller, request, role, scoped=scoped):
                return refused
            seen = await do(caller)
            if not isinstance(seen, DashboardPage):
                return seen
            said = self._hear(caller, request)
            body, version = await self._query_threads.work(lambda ask: seen.render(self._rendering, ask, said))
            if REFRESH in request.headers and is_known(request, version):
                return web.Response(status=304, headers={"ETag": f'"{version}"'})
            return web.Response(body=body, status=seen.status, content_type="text/html", charset="utf-8")
        except (RequestRefusedError, OperatorError) as error:
            answer = self.troubles.page(request, caller, status_of(error), str(error))
            if isinstance(error, RequestRefusedError) and error.retry_after:
                answer.headers["Retry-After"] = str(error.retry_after)
            return answer

    def _refused(self, caller: Caller, request: web.Request, role: Role, *, scoped: bool) -> web.Response | None:
        """Return the answer to a caller without the rights that a page needs; None if the caller has them."""
        if not caller.scope.is_whole and not scoped:
            message = "This is about all chatbots, so only a user of all chatbots may do it."
            return self.troubles.page(request, caller, 403, message)
        if not caller.may(role):
            message = f"You are logged in as a {caller.role}, and this needs an {role}: log in with an {role}'s token."
            return self.troubles.page(request, caller, 403, message)
        return None

    def _login(self, request: web.Request) -> web.Response:
        """Ask for a login, after which the page that was asked for is shown, or the page with the form."""
        following = (page_before(request) if request.method == "POST" else request.path_qs) or "/"
        wanted = f"?next={quote(following, safe='')}" if following != "/" else ""
        return web.Response(status=303, headers={"Location": f"/login{wanted}"})

    def _hear(self, caller: Caller, request: web.Request) -> str | None:
        """Take the message for the page, except for a refresh, which shows the live parts only."""
        return None if REFRESH in request.headers else self._said.pop(holder_of(caller), None)


async def form_of(request: web.Request) -> dict[str, str]:
    """Read a form, without files, because no form here has one. Raises RequestRefusedError."""
    try:
        posted = await request.post()
    except web.HTTPRequestEntityTooLarge as error:
        raise RequestRefusedError(413, "the form is too large") from error
    except (ValueError, LookupError) as error:
        # Parts without their boundary, or bytes that are not text in the charset of the request.
        raise RequestRefusedError(400, "the form cannot be read: send it as the page does") from error
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def parse_fields(model: type[ApiRequest], said: Mapping[str, str], **more: object) -> Any:  # noqa: ANN401 - an instance of the model
    """Return a request made of a form's fields; empty fields are left out. Raises RequestRefusedError."""
    known = {name: value.strip() for name, value in said.items() if name in model.model_fields and value.strip()}
    try:
        return model.model_validate({**known, **more})
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise RequestRefusedError(400, "; ".join(faults)) from error


def holder_of(caller: Caller) -> Holder:
    """Return the caller's user and session, which messages and searches are kept for.

    The user is part of it: programs with a token have no session, and a user can choose the key of their own session.
    """
    return caller.role, caller.name, caller.session.key if caller.session else ""
