"""Whether the process lives, and whether it can do its work."""

import hmac
from collections.abc import Callable

from aiohttp import web

from bridge.admin.metrics import Metrics
from bridge.errors import StoreUnavailableError
from bridge.lanes import Lanes
from bridge.store.base import Store


class Admin:
    """Answers on the admin listener."""

    def __init__(self, store: Store, lanes: Lanes, metrics: Metrics, token: Callable[[], str | None]) -> None:
        """Make it; `token` gives what `/metrics` asks for, None where the listener is bound to loopback without."""
        self._store = store
        self._lanes = lanes
        self._metrics = metrics
        self._token = token

    def application(self) -> web.Application:
        """Make the application for the listener."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._show_metrics)
        return application

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        """Ready if the store commits and every lane is worked here; a paused lane is worked."""
        try:
            await self._store.check()
        except StoreUnavailableError:
            return web.json_response({"status": "the store cannot commit"}, status=503)
        if not self._lanes.complete():
            return web.json_response({"status": "not every lane is owned yet"}, status=503)
        return web.json_response({"status": "ready"})

    async def _show_metrics(self, request: web.Request) -> web.Response:
        token = self._token()
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token is not None and not hmac.compare_digest(token.encode(), shown.encode("utf-8", "surrogateescape")):
            return web.json_response(
                {"status": "error", "error": "send Authorization: Bearer <server.admin_token>"}, status=401
            )
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})
