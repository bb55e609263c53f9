"""How each destination does, as people and metrics ask: what waits, who works it, and why it stands. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, func, select

from bridge.delivery.sharding import lanes_of, shard
from bridge.store.encryption import KeyRing, keys_of
from bridge.store.interface import DeliveryState, Pause
from bridge.store.queries import in_state
from bridge.store.schema import deliveries, events, lanes

_Row: TypeAlias = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One of the lanes of a destination that is split."""

    number: int
    owner: str | None
    pause: Pause | None
    """Its own; an operator's is the destination's."""

    @property
    def state(self) -> str:
        """One word; see `LaneRow.state`."""
        return _state(self.owner, self.pause)


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A destination's lane, or all of them where it is split, and what waits in it."""

    name: str
    """The destination's."""
    owner: str | None
    """The process that works it, or those that share it; None where it, or a part of it, is worked by none, or its
    lease is over."""
    pause: Pause | None
    """Of a split destination: an operator's, or that of the shard that will try first, told in `detail`."""
    pending: int
    oldest_pending_at: float | None
    """When the event of its oldest pending delivery was received."""
    dead: int
    shards: Sequence[ShardRow] = ()
    """Where it is split."""
    dividing: bool = False
    """Whether its deliveries are being given their shards, and nobody works it until they have."""

    @property
    def state(self) -> str:
        """One word: `paused`, else `running` where a process works it, else `unowned`."""
        return _state(self.owner, self.pause)

    def why(self, *, configured: bool) -> str | None:
        """Say why it stands, or may; None where nothing is to be said."""
        if self.pause:
            return self.pause.reason
        if self.dividing:
            return f"being divided into {len(self.shards)} shards"
        return None if configured else "not in the configuration"


def all_lanes(connection: Connection, configured: Sequence[str], now: float) -> list[LaneRow]:
    """Read every destination's by name: the configured ones, and those that once were, where something is left."""
    rows = {row.name: row for row in connection.execute(select(lanes))}
    pending = _pending(connection)
    dead = _dead(connection)
    known = {shard(name).destination for name in rows}
    pauses = {name: pause_of(keys_of(connection), row) for name, row in rows.items() if row.paused_by is not None}
    return [
        _lane(name, rows, pauses, pending.get(name, (0, None)), dead.get(name, 0), now)
        for name in sorted({*configured, *known, *pending, *dead})
    ]


def pause_of(keys: KeyRing, row: _Row) -> Pause:
    """Read the pause of a row of `lanes` that has one."""
    detail = keys.open_text(row.pause_detail, "lanes.pause_detail", row.name)
    # An operator's own words are in it.
    reason = keys.open_text(row.pause_reason, "lanes.pause_reason", row.name)
    return Pause(row.paused_by, reason, detail, row.paused_until)


def _lane(
    name: str,
    rows: Mapping[str, _Row],
    pauses: Mapping[str, Pause],
    pending: tuple[int, float | None],
    dead: int,
    now: float,
) -> LaneRow:
    row = rows.get(name)
    if row is None or row.shards == 1:
        return LaneRow(name, _owner(row, now), pauses.get(name), *pending, dead)
    shards = [
        ShardRow(number, _owner(rows.get(lane), now), pauses.get(lane))
        for number, lane in enumerate(lanes_of(name, row.shards), start=1)
    ]
    owners = {each.owner for each in shards}
    owner = None if None in owners else ", ".join(sorted(filter(None, owners)))
    pause = pauses.get(name) or _first_to_try(shards)
    return LaneRow(name, owner, pause, *pending, dead, shards, row.divided_to is not None)


def _first_to_try(shards: Sequence[ShardRow]) -> Pause | None:
    """Give the pause that ends first, with the numbers of those that have one, where not all of them have."""
    paused = {each.number: each.pause for each in shards if each.pause}
    if not paused:
        return None
    first = min(paused.values(), key=lambda pause: pause.until or 0.0)
    if len(paused) == len(shards):
        return first
    numbers = ", ".join(map(str, paused))
    which = f"shard{'s' if len(paused) > 1 else ''} {numbers} of {len(shards)}"
    return Pause(first.by, first.reason, f"{which}: {first.detail}" if first.detail else which, first.until)


def _owner(row: _Row | None, now: float) -> str | None:
    return row.owner if row is not None and row.owner is not None and row.lease_until > now else None


def _state(owner: str | None, pause: Pause | None) -> str:
    if pause:
        return "paused"
    return "running" if owner else "unowned"


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
