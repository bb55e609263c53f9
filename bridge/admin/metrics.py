"""What is counted, for Prometheus.

Labels are names from the configuration and closed lists, so that their number is bounded.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bridge.delivery.retry import CallTiming
from bridge.store.lane_queries import LaneRow
from connectors.base import Delivered, Outcome, Quota

LANE_STATES: Final = ("running", "paused", "unowned", "removed")


class Gauges:
    """Those of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(name, says, ["destination", *labels], registry=registry)

        self._oldest = gauge(
            "leadbridge_oldest_pending_seconds", "Since when the oldest delivery waits; 0 where none does."
        )
        self._pending = gauge("leadbridge_pending", "Deliveries that wait.")
        self._dead = gauge("leadbridge_dead", "Dead letters.")
        self._state = gauge("leadbridge_lane_state", "1 for the state that the lane is in.", "state")
        self._remaining = gauge(
            "leadbridge_quota_remaining", "What the destination has last said is left of an allowance.", "quota"
        )
        self._limit = gauge("leadbridge_quota_limit", "The whole of the allowance.", "quota")

    def show(self, rows: Sequence[LaneRow], quotas: Mapping[str, Sequence[Quota]], now: float) -> None:
        """Set all of them; a destination that has gone is not shown any more."""
        for gauge in (self._oldest, self._pending, self._dead, self._state, self._remaining, self._limit):
            gauge.clear()
        for row in rows:
            waits = 0.0 if row.oldest_pending_at is None else max(0.0, now - row.oldest_pending_at)
            self._oldest.labels(row.name).set(waits)
            self._pending.labels(row.name).set(row.pending)
            self._dead.labels(row.name).set(row.dead)
            for state in LANE_STATES:
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
        self._received: dict[tuple[str, str], Counter] = {}
        """Those of `_events` that were needed so far: looking one up by its labels costs more than counting."""
        self._attempts = Counter(
            "leadbridge_attempts",
            "Attempts to deliver by outcome; the reason is empty where it was delivered.",
            ["destination", "outcome", "reason"],
            registry=self._registry,
        )
        self._delivery = Histogram(
            "leadbridge_delivery_seconds",
            "From receipt to the destination's answer, of delivered leads.",
            ["destination"],
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600, 3600, 86400),
            registry=self._registry,
        )
        self._commit_seconds = Histogram(
            "leadbridge_store_commit_seconds",
            "A commit of the store.",
            buckets=(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
            registry=self._registry,
        )
        self._commit_changes = Counter(
            "leadbridge_store_changes", "Changes that the commits carried.", registry=self._registry
        )

        self._reloads = Counter(
            "leadbridge_config_reloads", "Reloads of the configuration by result.", ["result"], registry=self._registry
        )
        self._problems = Gauge(
            "leadbridge_config_problems",
            "Problems of the configuration on disk at the last reload; while there are any, files are in use as they "
            "were before.",
            registry=self._registry,
        )
        self._spool = Gauge(
            "leadbridge_spool_bytes",
            "Payloads that wait on this machine because the database could not be reached.",
            registry=self._registry,
        )
        self._lanes = Gauges(self._registry)
        self._showing = threading.Lock()

    def reloaded(self, result: str, problems: int) -> None:
        """Count a reload: `complete`, or `partly` where files with problems stay as they were."""
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
        self._attempts.labels(destination, type(outcome).__name__.lower(), reason).inc()
        if isinstance(outcome, Delivered):
            self._delivery.labels(destination).observe(max(0.0, call.ended_at - received_at))

    def committed(self, changes: int, seconds: float) -> None:
        """Count a commit of the store."""
        self._commit_seconds.observe(seconds)
        self._commit_changes.inc(changes)

    def spooled(self, size: int) -> None:
        """Show how many bytes wait in the spool."""
        self._spool.set(size)

    def text(self, rows: Sequence[LaneRow], quotas: Mapping[str, Sequence[Quota]], now: float) -> bytes:
        """Give all of it in Prometheus's text format, with how each destination does.

        Takes a quarter of a second for a thousand destinations, so call it in a thread; one call waits for another.
        """
        with self._showing:
            self._lanes.show(rows, quotas, now)
            return generate_latest(self._registry)
