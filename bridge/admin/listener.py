"""The application of the admin listener: health, metrics, the API and the dashboard, under one set of headers."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from bridge.admin import openapi
from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints
from bridge.admin.audit_log import AuditLog, RefusalLog
from bridge.admin.authentication import Gate, RequestRefusedError
from bridge.admin.dashboard.pages import EndpointGroups, Pages
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.dashboard.trouble import is_programs
from bridge.admin.endpoint import BODY_LIMIT, JSON_TYPE, ApiCall, Endpoint, compress, error_response, refusal_response
from bridge.admin.export import LeadExports
from bridge.admin.health import HealthEndpoints, Metrics
from bridge.admin.jobs import BulkRuns, Inquiries
from bridge.admin.problems import ProblemEndpoints
from bridge.admin.query_threads import DryRuns, QueryThreads
from bridge.admin.reconcile import ReconcileEndpoints
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.delivery.supervisor import Lanes
from bridge.ingress.server import BROKEN
from bridge.store.driver import Driver
from bridge.store.interface import Store

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
        rendering = Rendering()
        self._query_threads = QueryThreads(driver)
        self._dry_runs = DryRuns(self._query_threads)
        self._described: bytes | None = None
        self._audit = AuditLog(store, self._query_threads, clock)
        self._runs = BulkRuns(self._query_threads, self._audit, clock)
        self._refusals = RefusalLog(self._audit, clock)
        self._gate = Gate(lambda: config().server, clock)
        self.health = HealthEndpoints(
            store, lanes, metrics, self._query_threads, self._gate, config=config, clock=clock
        )
        api = ReadEndpoints(self._query_threads, self._audit, lanes, config=config, files=files, clock=clock)
        self._inquiries = Inquiries(store, self._query_threads, self._audit, lanes, config, clock)
        self._groups = EndpointGroups(
            api,
            LeadExports(self._query_threads, self._audit, config),
            ActionEndpoints(self._query_threads, self._audit, self._runs, config, clock),
            ProblemEndpoints(api, self._runs, clock),
            ReconcileEndpoints(api, self._inquiries, clock),
        )
        self._pages = Pages(self._groups, self._gate, rendering, self._dry_runs, clock)

    def application(self) -> web.Application:
        """Return the application for the listener."""
        application = web.Application(middlewares=[self._audited, self._surround], client_max_size=BODY_LIMIT)
        application.on_response_prepare.append(_complete)
        self.health.add_to(application.router)
        endpoints = self._groups.endpoints()
        for each in endpoints:
            application.router.add_route(each.method, each.path, ApiCall(each, self._gate).answer)
        application.router.add_get("/api/openapi.json", partial(self._describe, endpoints))
        self._pages.add_to(application.router)
        return application

    async def close(self) -> None:
        """End background jobs and dry runs. Finished steps stay finished."""
        await self._refusals.close()
        await self._inquiries.close()
        await self._runs.close()
        await self._dry_runs.close()
        await self._query_threads.close()

    async def _describe(self, endpoints: Sequence[Endpoint], request: web.Request) -> web.Response:
        try:
            self._gate.known(request)
        except RequestRefusedError as error:
            return refusal_response(error)
        if self._described is None:
            # In a thread, and once: it takes tens of milliseconds.
            self._described = orjson.dumps(await asyncio.to_thread(openapi.openapi_document, endpoints))
        return web.Response(body=self._described, content_type=JSON_TYPE, charset="utf-8")

    @web.middleware
    async def _surround(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Compress every response, and answer errors as pages or, for programs, as JSON."""
        try:
            if request.headers.get("Content-Encoding", "identity") != "identity":
                raise web.HTTPUnsupportedMediaType  # noqa: TRY301 - answered as any other
            response = await handler(request)
        except web.HTTPException as error:
            response = self._trouble(request, error.status, error.reason or "")
            if allowed := error.headers.get("Allow"):
                response.headers["Allow"] = allowed
        except BROKEN:
            # Answered and logged below the application: the client hung up, or its body is broken.
            raise
        except Exception as error:
            # Without the message: it may hold a lead's data.
            log.exception("fault", work="admin", path=_path(request), exc_info=error)
            response = self._trouble(request, 500, "a fault of the program; the log says more")
        if response.status in BAD:
            log.warning("bad_request", path=_path(request), status=response.status, address=request.remote)
        await compress(request, response)
        return response

    def _trouble(self, request: web.Request, status: int, reason: str) -> web.Response:
        if is_programs(request):
            return error_response(status, reason)
        try:
            return self._pages.troubles.unanswered(request, status)
        except Exception as error:
            # The fault may be one of all pages.
            log.exception("fault", work="admin", path=_path(request), exc_info=error)
            return error_response(status, reason)

    @web.middleware
    async def _audited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Write refusals to the audit log."""
        response = await handler(request)
        await self._refusals.note(request, response.status)
        return response


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
