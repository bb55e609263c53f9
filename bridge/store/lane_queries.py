"""How each destination does, as people and metrics ask: what waits, who works it, and why it stands. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, func, select

from bridge.store.encryption import KeyRing, keys_of
from bridge.store.interface import DeliveryState, Pause
from bridge.store.queries import in_state
from bridge.store.schema import deliveries, events, lanes

_Row: TypeAlias = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A destination's lane, and what waits in it."""

    name: str
    """The destination's."""
    owner: str | None
    """The process that works it; None where no process does, or its lease is over."""
    pause: Pause | None
    pending: int
    oldest_pending_at: float | None
    """When the event of its oldest pending delivery was received."""
    dead: int

    @property
    def state(self) -> str:
        """One word: `paused`, else `running` where a process works it, else `unowned`."""
        if self.pause:
            return "paused"
        return "running" if self.owner else "unowned"

    def why(self, *, configured: bool) -> str | None:
        """Say why it stands, or may; None where nothing is to be said."""
        if self.pause:
            return self.pause.reason
        return None if configured else "not in the configuration"


def all_lanes(connection: Connection, configured: Sequence[str], now: float) -> list[LaneRow]:
    """Read every destination's by name: the configured ones, and those that once were, where something is left."""
    rows = {row.name: row for row in connection.execute(select(lanes))}
    pending = _pending(connection)
    dead = _dead(connection)
    pauses = {name: pause_of(keys_of(connection), row) for name, row in rows.items() if row.paused_by is not None}
    return [
        LaneRow(name, _owner(rows.get(name), now), pauses.get(name), *pending.get(name, (0, None)), dead.get(name, 0))
        for name in sorted({*configured, *rows, *pending, *dead})
    ]


def pause_of(keys: KeyRing, row: _Row) -> Pause:
    """Read the pause of a row of `lanes` that has one."""
    detail = keys.open_text(row.pause_detail, "lanes.pause_detail", row.name)
    # An operator's own words are in it.
    reason = keys.open_text(row.pause_reason, "lanes.pause_reason", row.name)
    return Pause(row.paused_by, reason, detail, row.paused_until)


def _owner(row: _Row | None, now: float) -> str | None:
    return row.owner if row is not None and row.owner is not None and row.lease_until > now else None


def _pending(connection: Connection) -> dict[str, tuple[int, float | None]]:
    """Give how many deliveries wait for each destination, and since when the oldest does."""
    waiting = (
        select(deliveries.c.destination, func.count().label("count"), func.min(deliveries.c.id).label("oldest"))
        .where(in_state(deliveries.c.state, DeliveryState.PENDING.value))
        .group_by(deliveries.c.destination)
        .subquery("waiting")
    )
    oldest = deliveries.alias("oldest")
    query = (
        select(waiting.c.destination, waiting.c.count, events.c.received_at)
        .join(oldest, oldest.c.id == waiting.c.oldest)
        .join(events, events.c.seq == oldest.c.event_seq)
    )
    return {name: (count, received_at) for name, count, received_at in connection.execute(query)}


def _dead(connection: Connection) -> dict[str, int]:
    query = (
        select(deliveries.c.destination, func.count().label("dead"))
        .where(in_state(deliveries.c.state, DeliveryState.DEAD.value))
        .group_by(deliveries.c.destination)
    )
    return {row.destination: row.dead for row in connection.execute(query)}
