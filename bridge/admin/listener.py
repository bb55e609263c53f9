"""The application of the admin listener: health, metrics, the API and the dashboard, under one set of headers.

API and dashboard take 6 MB, which a process that only monitoring asks does without. So they are loaded at the first
request to one of them.
"""

import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from bridge.admin.audit_log import AuditLog, RefusalLog
from bridge.admin.authentication import Gate, RequestRefusedError
from bridge.admin.health import HealthEndpoints, Metrics
from bridge.admin.origin import client_address, foreign_reason
from bridge.admin.query_threads import QueryThreads
from bridge.admin.responses import BODY_LIMIT, error_response, is_programs
from bridge.config.model import Config, ServerSettings
from bridge.config.reload import Files
from bridge.delivery.supervisor import Lanes
from bridge.errors import StoreUnavailableError
from bridge.ingress.server import BROKEN
from bridge.store.driver import Driver
from bridge.store.interface import Store

if TYPE_CHECKING:
    from bridge.admin.console import Console

HEADERS = {
    # Only this listener's own style sheet, script and pictures; nothing inline; no frame around it.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would send `Origin: null` along with the dashboard's own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
NOT_KEPT = "no-store"
UNCHANGED = 304
BAD = frozenset({400, 413, 415})
"""Statuses of requests that cannot be read; each is logged."""

log = structlog.get_logger()


class Admin:
    """The admin listener. Create it inside the running loop."""

    def __init__(
        self,
        store: Store,
        driver: Driver,
        lanes: Lanes,
        metrics: Metrics,
        *,
        config: Callable[[], Config],
        files: Callable[[], Files | None],
        clock: Callable[[], float],
    ) -> None:
        """Create the parts; `config` returns the configuration in use, `files` its files."""
        self._query_threads = QueryThreads(driver)
        self._audit = AuditLog(store, self._query_threads, clock)
        self._refusals = RefusalLog(self._audit, clock)
        self._server: Callable[[], ServerSettings] = lambda: config().server
        self._gate = Gate(self._query_threads, self._server, clock)
        self.health = HealthEndpoints(
            store, lanes, metrics, self._query_threads, self._gate, config=config, clock=clock
        )
        self._make_console: Callable[[], Console] = lambda: importlib.import_module("bridge.admin.console").Console(
            store, lanes, self._query_threads, self._audit, self._gate, config=config, files=files, clock=clock
        )
        self._console: Console | None = None
        self._making = asyncio.Lock()

    def application(self) -> web.Application:
        """Return the application for the listener."""
        steps = [self._of_client, self._audited, self._surround, self._of_own_site]
        application = web.Application(middlewares=steps, client_max_size=BODY_LIMIT)
        application.on_response_prepare.append(_complete)
        self.health.add_to(application.router)
        application.router.register_resource(_ConsoleResource(self.console))
        return application

    async def console(self) -> "Console":
        """Return the API and the dashboard. They are loaded in a thread, since that takes some tenths of a second."""
        async with self._making:
            if self._console is None:
                self._console = await asyncio.to_thread(self._make_console)
            return self._console

    async def close(self) -> None:
        """End background jobs and dry runs. Finished steps stay finished."""
        await self._refusals.close()
        if self._console:
            await self._console.close()
        await self._query_threads.close()

    @web.middleware
    async def _of_client(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Set the client's address, which is another than the sender's behind a trusted proxy."""
        address = client_address(request, self._server().trusted_proxies)
        return await handler(request.clone(remote=address) if address and address != request.remote else request)

    @web.middleware
    async def _surround(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer errors as pages or, for programs, as JSON."""
        try:
            if request.headers.get("Content-Encoding", "identity") != "identity":
                raise web.HTTPUnsupportedMediaType  # noqa: TRY301 - answered as any other
            response = await handler(request)
        except web.HTTPException as error:
            response = await self._trouble(request, error.status, error.reason or "")
            if allowed := error.headers.get("Allow"):
                response.headers["Allow"] = allowed
        except RequestRefusedError as error:
            response = await self._trouble(request, error.status, str(error), str(error))
        except BROKEN:
            # Answered and logged below the application: the client hung up, or its body is broken.
            raise
        except Exception as error:
            # Without the message: it may hold a lead's data.
            log.exception("fault", work="admin", path=_path(request), exc_info=error)
            response = await self._trouble(request, 500, "a fault of the program; the log says more")
        if response.status in BAD:
            log.warning("bad_request", path=_path(request), status=response.status, address=request.remote)
        return response

    async def _trouble(
        self, request: web.Request, status: int, reason: str, message: str | None = None
    ) -> web.Response:
        """Return the answer to a failed request; without `message` a page has its own words for the status."""
        if is_programs(request):
            return error_response(status, reason)
        try:
            return await (await self.console()).troubles.unanswered(request, status, message)
        except Exception as error:
            # The fault may be one of all pages.
            log.exception("fault", work="admin", path=_path(request), exc_info=error)
            return error_response(status, reason)

    @web.middleware
    async def _of_own_site(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what a page of another site asks for."""
        reason = foreign_reason(request, open_to_all=not self._gate.asks_for_token())
        if reason is not None:
            # The audit log has the sender, and a refusal of the sender comes first.
            with contextlib.suppress(StoreUnavailableError):
                await self._gate.caller(request)
            raise RequestRefusedError(403, reason)
        return await handler(request)

    @web.middleware
    async def _audited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Write refusals to the audit log."""
        response = await handler(request)
        await self._refusals.note(request, response.status)
        return response


class _ConsoleResource(web.PlainResource):
    """All paths of the API and the dashboard. The router asks it last, as the resource of the shortest path."""

    def __init__(self, console: "Callable[[], Awaitable[Console]]") -> None:
        super().__init__("/")
        self._console = console

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """Return the route of a request, or None and the methods that its path has."""
        found = await (await self._console()).router.resolve(request)
        if isinstance(found.http_exception, web.HTTPMethodNotAllowed):
            return None, found.http_exception.allowed_methods
        return (None, set()) if found.http_exception else (found, set())


async def _complete(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers, and remove the name and version of the server's software, which aiohttp adds."""
    response.headers.popall("Server", None)
    if response.status != UNCHANGED:
        # Without a body, the headers of the response before it hold.
        response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", NOT_KEPT)


def _path(request: web.Request) -> str | None:
    """Return the path of the route, because the path of the request may hold anything."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else None
