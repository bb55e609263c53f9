"""Endpoints of health: liveness, readiness, and metrics."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web

from bridge.admin.authentication import Gate, RequestRefusedError
from bridge.admin.endpoint import refusal_response
from bridge.admin.metrics import Metrics
from bridge.admin.query_threads import QueryRunner, QueryThreads
from bridge.config.model import Config
from bridge.delivery.supervisor import Lanes
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store
from bridge.store.lane_queries import LaneRow, all_lanes

_REFUSED = "the store cannot commit"
_SPOOLED = "the store cannot commit; events are kept in the spool, up to store.spool_limit, until it can"
_FULL = "the store cannot commit, and the spool is full: new events are refused"
_REFUSING = "the spool is full, and is being moved to the store: new events are refused until that is done"


class Spooling(Protocol):
    """The part of a spool that health checks ask; see `bridge.ingress.spool.Spool`."""

    refusing: str | None
    undeleted: str | None


class HealthEndpoints:
    """Endpoints for monitoring."""

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        metrics: Metrics,
        query_threads: QueryThreads,
        gate: Gate,
        *,
        config: Callable[[], Config],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._metrics = metrics
        self._query_threads = query_threads
        self._gate = gate
        self._config = config
        self._clock = clock
        self.spool: Spooling | None = None
        """Spool for events while the store cannot commit; None without one."""

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get("/healthz", self._healthz)
        router.add_get("/readyz", self._readyz)
        router.add_get("/metrics", self._show_metrics)

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        """Answer ready if the store commits and a process works every lane; a paused lane counts as worked."""
        try:
            await self._store.check()
        except StoreUnavailableError:
            return web.json_response({"status": self._uncommitted()}, status=503)
        if self.spool and self.spool.refusing:
            return web.json_response({"status": _REFUSING}, status=503)
        if failing := len(self._lanes.failing()):
            status = f"{failing} destination{'' if failing == 1 else 's'} whose lane fails; see lane_fault in the log"
            return web.json_response({"status": status}, status=503)
        if not self._lanes.complete():
            return web.json_response({"status": "not every lane is owned yet"}, status=503)
        return web.json_response({"status": "ready", **self._besides()})

    def _uncommitted(self) -> str:
        if self.spool is None:
            return _REFUSED
        return _FULL if self.spool.refusing else _SPOOLED

    def _besides(self) -> dict[str, int]:
        """Count the matters that need a person although the process is ready, such as unused files; without zeros."""
        config = self._config()
        counts = {
            "files_left_out": len(config.left_out),
            "changes_held": len(config.held),
            "clock_set_forward_seconds": round(self._lanes.clock_moved()),
            "spools_not_deleted": int(self.spool is not None and self.spool.undeleted is not None),
        }
        return {name: count for name, count in counts.items() if count}

    async def _show_metrics(self, request: web.Request) -> web.Response:
        try:
            caller = self._gate.known(request)
        except RequestRefusedError as error:
            return refusal_response(error)
        if caller.chatbots is not None:
            return refusal_response(RequestRefusedError(403, "only users of all chatbots see the metrics"))
        text = await self._query_threads.work(self._written())
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    def _written(self) -> Callable[[QueryRunner], bytes]:
        """Return a function that writes the metrics. If the store cannot be read, the gauges are missing."""
        names, now = list(self._config().destinations), self._clock()
        quotas = {name: each.connector.quotas() for name, each in self._lanes.destinations.items()}

        def write(ask: QueryRunner) -> bytes:
            rows: Sequence[LaneRow] = ()
            with contextlib.suppress(StoreUnavailableError):
                rows = ask(lambda connection: all_lanes(connection, names, now))
            return self._metrics.text(rows, quotas, now)

        return write
