"""Health and metrics: the metrics for Prometheus, and the endpoints of liveness, readiness and metrics.

Labels are names from the configuration and closed lists, so that their number is bounded.
"""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bridge.admin.authentication import Gate, RequestRefusedError
from bridge.admin.query_threads import QueryRunner, QueryThreads
from bridge.admin.responses import error_response, refusal_response
from bridge.config.model import Config
from bridge.delivery.retry import CallTiming
from bridge.delivery.supervisor import Lanes
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store
from bridge.store.lane_queries import LaneRow, LaneStatus, all_lanes
from connectors.base import Delivered, Outcome, Quota


class Gauges:
    """Gauges about destinations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(name, says, ["destination", *labels], registry=registry)

        self._oldest = gauge("leadbridge_oldest_pending_seconds", "Age of the oldest pending delivery; 0 without one.")
        self._pending = gauge("leadbridge_pending", "Pending deliveries.")
        self._dead = gauge("leadbridge_dead", "Dead letters.")
        self._state = gauge("leadbridge_lane_state", "1 for the current state of the lane.", "state")
        self._remaining = gauge(
            "leadbridge_quota_remaining", "Remaining quota, as the destination last reported it.", "quota"
        )
        self._limit = gauge("leadbridge_quota_limit", "Limit of the quota.", "quota")

    def show(self, rows: Sequence[LaneRow], quotas: Mapping[str, Sequence[Quota]], now: float) -> None:
        """Set all gauges; removed destinations disappear."""
        for gauge in (self._oldest, self._pending, self._dead, self._state, self._remaining, self._limit):
            gauge.clear()
        for row in rows:
            waits = 0.0 if row.oldest_pending_at is None else max(0.0, now - row.oldest_pending_at)
            self._oldest.labels(row.name).set(waits)
            self._pending.labels(row.name).set(row.pending)
            self._dead.labels(row.name).set(row.dead)
            for state in LaneStatus:
                self._state.labels(row.name, state).set(row.state == state)
        for name, known in quotas.items():
            for quota in known:
                self._remaining.labels(name, quota.name).set(quota.remaining)
                self._limit.labels(name, quota.name).set(quota.limit)


class Metrics:
    """All metrics of the process, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter(
            "leadbridge_events", "Requests to the webhook by result.", ["chatbot", "result"], registry=self._registry
        )
        # The children that were needed so far: looking one up by its labels costs more than counting.
        self._received: dict[tuple[str, str], Counter] = {}
        self._attempts = Counter(
            "leadbridge_attempts",
            "Attempts by outcome; the reason is empty for a delivered record.",
            ["destination", "outcome", "reason"],
            registry=self._registry,
        )
        self._attempted: dict[tuple[str, type[Outcome], str], Counter] = {}
        self._warnings = Counter(
            "leadbridge_warnings",
            "Delivered records with a warning, by field that was left out; the field is empty where none was.",
            ["destination", "field"],
            registry=self._registry,
        )
        self._delivery = Histogram(
            "leadbridge_delivery_seconds",
            "Time from receipt to the destination's answer, for delivered leads.",
            ["destination"],
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600, 3600, 86400),
            registry=self._registry,
        )
        self._delivered: dict[str, Histogram] = {}
        self._commit_seconds = Histogram(
            "leadbridge_store_commit_seconds",
            "Time of a commit of the store.",
            buckets=(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
            registry=self._registry,
        )
        self._commit_changes = Counter(
            "leadbridge_store_changes", "Changes in commits of the store.", registry=self._registry
        )

        self._reloads = Counter(
            "leadbridge_config_reloads", "Reloads of the configuration by result.", ["result"], registry=self._registry
        )
        self._problems = Gauge(
            "leadbridge_config_problems",
            "Problems of the configuration on disk at the last reload. Files with problems stay in use as they were.",
            registry=self._registry,
        )
        self._spool = Gauge(
            "leadbridge_spool_bytes",
            "Bytes of payloads that wait on this machine because the database could not be reached.",
            registry=self._registry,
        )
        self._lanes = Gauges(self._registry)
        self._showing = threading.Lock()

    def reloaded(self, result: str, problems: int) -> None:
        """Count a reload: `complete`, or `partly` if files with problems stay as they were."""
        self._reloads.labels(result).inc()
        self._problems.set(problems)

    def received(self, chatbot: str, result: str) -> None:
        """Count a request."""
        counter = self._received.get((chatbot, result))
        if counter is None:
            counter = self._received[chatbot, result] = self._events.labels(chatbot, result)
        counter.inc()

    def attempted(self, destination: str, outcome: Outcome, call: CallTiming, received_at: float) -> None:
        """Count an attempt."""
        reason = "" if isinstance(outcome, Delivered) else outcome.reason.value
        kind = type(outcome)
        counter = self._attempted.get((destination, kind, reason))
        if counter is None:
            counter = self._attempts.labels(destination, kind.__name__.lower(), reason)
            self._attempted[destination, kind, reason] = counter
        counter.inc()
        if isinstance(outcome, Delivered):
            histogram = self._delivered.get(destination)
            if histogram is None:
                histogram = self._delivered[destination] = self._delivery.labels(destination)
            histogram.observe(max(0.0, call.ended_at - received_at))
            if outcome.warning:
                for name in outcome.left_out or ("",):
                    self._warnings.labels(destination, name).inc()

    def committed(self, changes: int, seconds: float) -> None:
        """Count a commit of the store."""
        self._commit_seconds.observe(seconds)
        self._commit_changes.inc(changes)

    def spooled(self, size: int) -> None:
        """Show how many bytes wait in the spool."""
        self._spool.set(size)

    def text(self, rows: Sequence[LaneRow], quotas: Mapping[str, Sequence[Quota]], now: float) -> bytes:
        """Return all metrics in Prometheus's text format.

        Call it in a thread, because a thousand destinations take a quarter of a second. One call waits for another.
        """
        with self._showing:
            self._lanes.show(rows, quotas, now)
            return generate_latest(self._registry)


_REFUSED = "the store cannot commit"
_SPOOLED = "the store cannot commit; events are kept in the spool, up to store.spool_limit, until it can"
_FULL = "the store cannot commit, and the spool is full: new events are refused"
_REFUSING = "the spool is full, and is being moved to the store: new events are refused until that is done"


class Spooling(Protocol):
    """The part of a spool that health checks ask; see `bridge.ingress.spool.Spool`."""

    refusing: str | None


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
        """Count what needs a person although the process is ready, such as files with errors; leave zeros out."""
        config = self._config()
        counts = {
            "files_with_errors": len(config.faults),
            "clock_set_forward_seconds": round(self._lanes.clock_moved()),
        }
        return {name: count for name, count in counts.items() if count}

    async def _show_metrics(self, request: web.Request) -> web.Response:
        try:
            caller = await self._gate.known(request)
        except RequestRefusedError as error:
            return refusal_response(error)
        except StoreUnavailableError as error:
            return error_response(503, str(error), {"Retry-After": "5"})
        if not caller.scope.is_whole:
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
