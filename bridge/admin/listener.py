"""What answers on the admin listener: health, metrics, the API and the dashboard, under one set of headers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import orjson
import structlog
from aiohttp import web

from bridge.admin import openapi
from bridge.admin.api import Api
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Gate, RefusedError
from bridge.admin.dashboard.pages import Pages
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.desk import Desk, DryRuns
from bridge.admin.endpoint import BODY_LIMIT, JSON, ApiCall, Endpoint, failure, refusal
from bridge.admin.health import Health
from bridge.admin.jobs import Inquiries, Runs
from bridge.admin.metrics import Metrics
from bridge.admin.orders import Orders
from bridge.admin.reconcile import Reconcile
from bridge.admin.refusals import Refusals
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.delivery.supervisor import Lanes
from bridge.ingress.server import BROKEN
from bridge.store.driver import Driver
from bridge.store.interface import Store

HEADERS = {
    # Nothing but this listener's own style sheet, script and pictures; nothing inline; no frame around it.
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
BAD = frozenset({400, 413, 415})
"""Of requests that cannot be read or understood; the log says so of each."""

log = structlog.get_logger()

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Admin:
    """Answers on the admin listener. Made inside the running loop."""

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
        """Make it; `config` returns the configuration in use, `files` its files."""
        rendering = Rendering()
        self._desk = Desk(driver)
        self._dry_runs = DryRuns(self._desk)
        self._described: bytes | None = None
        self._audit = AuditLog(store, self._desk, clock)
        self._runs = Runs(self._desk, self._audit, clock)
        self._refusals = Refusals(self._audit, clock)
        self._gate = Gate(lambda: config().server, clock)
        self.health = Health(store, lanes, metrics, self._desk, self._gate, config=config, clock=clock)
        self._api = Api(self._desk, self._audit, lanes, config=config, files=files, clock=clock)
        self._orders = Orders(self._audit, self._runs, config, clock)
        self._inquiries = Inquiries(store, self._desk, self._audit, lanes, config, clock)
        self._reconcile = Reconcile(self._api, self._inquiries, clock)
        self._pages = Pages(self._api, self._orders, self._reconcile, self._gate, rendering, self._dry_runs, clock)

    def application(self) -> web.Application:
        """Make the application for the listener."""
        application = web.Application(middlewares=[self._audited, _surround], client_max_size=BODY_LIMIT)
        application.on_response_prepare.append(_unnamed)
        self.health.add_to(application.router)
        groups = (self._api, self._orders, self._reconcile)
        endpoints = [each for group in groups for each in group.endpoints()]
        for each in endpoints:
            application.router.add_route(each.method, each.path, ApiCall(each, self._gate).answer)
        application.router.add_get("/api/openapi.json", partial(self._describe, endpoints))
        self._pages.add_to(application.router)
        return application

    async def close(self) -> None:
        """End what was begun here; what is done of it stays done."""
        await self._refusals.close()
        await self._inquiries.close()
        await self._runs.close()
        await self._dry_runs.close()
        await self._desk.close()

    async def _describe(self, endpoints: Sequence[Endpoint], request: web.Request) -> web.Response:
        try:
            self._gate.known(request)
        except RefusedError as error:
            return refusal(error)
        if self._described is None:
            # In a thread, and once: it takes tens of milliseconds.
            self._described = orjson.dumps(await asyncio.to_thread(openapi.document, endpoints))
        return web.Response(body=self._described, content_type=JSON, charset="utf-8")

    @web.middleware
    async def _audited(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """Keep refusals in the audit log."""
        response = await handler(request)
        await self._refusals.note(request, response.status)
        return response


async def _unnamed(_: web.Request, response: web.StreamResponse) -> None:
    """Take off the name and version of the server's software, which aiohttp adds."""
    response.headers.popall("Server", None)


@web.middleware
async def _surround(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Put the headers on every answer, and say in JSON what the API does not have."""
    try:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise web.HTTPUnsupportedMediaType  # noqa: TRY301 - answered as any other
        response = await handler(request)
    except web.HTTPException as error:
        response = _said(error) if request.path.startswith("/api/") else error
        if response is error:
            error.headers.update(HEADERS)
            raise
    except BROKEN:
        # Answered and logged below the application: the client hung up, or its body is broken.
        raise
    except Exception as error:
        # Without the message: it may hold a lead's data.
        log.exception("fault", work="admin", path=_path(request), exc_info=error)
        response = failure(500, "a fault of the program; the log says more")
    if response.status in BAD:
        log.warning("bad_request", path=_path(request), status=response.status, address=request.remote)
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", NOT_KEPT)
    return response


def _said(error: web.HTTPException) -> web.Response:
    allowed = error.headers.get("Allow")
    return failure(error.status, error.reason or "", {"Allow": allowed} if allowed else None)


def _path(request: web.Request) -> str | None:
    """Give the route's own path: what stands in the request's may be anything."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else None
