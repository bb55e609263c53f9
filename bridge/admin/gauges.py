"""How each destination does, as gauges that are set when somebody looks.

They speak of the whole store: where several processes share it, each shows the same, and `max by (destination)` is the
number. Quotas are known only to the process that works the lane.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from bridge.store.lane_rows import LaneRow
from connectors.base import Quota

LANE_STATES: Final = ("running", "paused", "unowned")


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
