"""State of each destination: pending and dead deliveries, the owner and the pauses of its lane.

A row is written in the transaction that ends the pause.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Row, delete, insert, select

from bridge.store.encryption import KeyRing, keys_of
from bridge.store.figures import Backlog, backlogs, dead_letter_causes
from bridge.store.filter import EVERYTHING, Scope, in_state
from bridge.store.interface import DeliveryState, Pause
from bridge.store.schema import deliveries, events, lanes, pauses

BEHIND_LOOKED_AT = 1_000
"""Number of pending deliveries that are searched for an earlier one of the same person."""
REMOVED = "no longer configured"
"""Reason why nothing is delivered to a destination that the configuration does not have."""

_Row: TypeAlias = Row[*tuple[Any, ...]]

KEPT: Final = 50
"""Most pauses of a lane that are kept: the newest ones."""


class LaneStatus(StrEnum):
    """Status of a lane for an operator."""

    RUNNING = "running"
    PAUSED = "paused"
    UNOWNED = "unowned"
    REMOVED = "removed"
    """The configuration has no such destination."""


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A destination's lane and its deliveries."""

    name: str
    """Name of the destination."""
    owner: str | None
    """The process that works the lane; None if no process has a valid lease."""
    pause: Pause | None
    pending: int
    oldest_pending_at: float | None
    """Receipt of the event of the oldest pending delivery."""
    dead: int
    configured: bool = True
    """False if the configuration has no such destination, so that nothing is delivered."""

    @property
    def state(self) -> LaneStatus:
        """Status of the lane: removed without a destination, else paused, else running if a process works it."""
        if not self.configured:
            return LaneStatus.REMOVED
        if self.pause:
            return LaneStatus.PAUSED
        return LaneStatus.RUNNING if self.owner else LaneStatus.UNOWNED

    def why(self) -> str | None:
        """Return the reason why the lane does not deliver; None if it does."""
        if self.configured:
            return self.pause.reason if self.pause else None
        if not self.pending:
            return REMOVED
        waiting = (
            "1 delivery waits; move or discard it"
            if self.pending == 1
            else (f"{self.pending:,} deliveries wait; move or discard them")
        )
        return f"{REMOVED}: {waiting}"


def all_lanes(connection: Connection, configured: Sequence[str], now: float) -> list[LaneRow]:
    """Read the lanes of all destinations by name: configured ones, and former ones that have rows in the store."""
    rows = {row.name: row for row in connection.execute(select(lanes))}
    known = frozenset(configured)
    pending, dead = backlogs(connection), Counter[str]()
    for each in dead_letter_causes(connection):
        dead[each.destination] += each.count
    pauses = {name: pause_of(keys_of(connection), row) for name, row in rows.items() if row.paused_by is not None}
    return [
        LaneRow(
            name,
            _owner(rows.get(name), now),
            pauses.get(name),
            pending.get(name, Backlog()).count,
            pending.get(name, Backlog()).oldest_at,
            dead[name],
            name in known,
        )
        for name in sorted({*configured, *rows, *pending, *dead})
    ]


def waiting_behind(connection: Connection, ids: Sequence[int], scope: Scope = EVERYTHING) -> frozenset[int]:
    """Return those of some pending deliveries that wait for an earlier one of the same person to the same destination.

    Looks at the `BEHIND_LOOKED_AT` deliveries before each that the reader sees: a client does not learn that another
    client knows the person.
    """
    found = set()
    mine = select(deliveries.c.id, deliveries.c.destination, deliveries.c.contact).where(deliveries.c.id.in_(ids))
    for row in connection.execute(mine).all() if ids else ():
        before = (
            select(deliveries.c.contact, deliveries.c.event_seq)
            .where(
                deliveries.c.destination == row.destination,
                in_state(deliveries.c.state, DeliveryState.PENDING.value),
                deliveries.c.id < row.id,
            )
            .order_by(deliveries.c.id.desc())
            .limit(BEHIND_LOOKED_AT)
            .subquery()
        )
        same = select(before.c.contact).where(before.c.contact == row.contact).limit(1)
        if not scope.is_whole:
            same = same.join(events, events.c.seq == before.c.event_seq).where(scope.of(events.c.chatbot))
        if connection.execute(same).first():
            found.add(row.id)
    return frozenset(found)


def pause_of(keys: KeyRing, row: _Row) -> Pause:
    """Read the pause of a row of `lanes` that has one."""
    detail = keys.open_text(row.pause_detail, "lanes.pause_detail", row.name)
    # The reason can contain text that an operator wrote.
    reason = keys.open_text(row.pause_reason, "lanes.pause_reason", row.name)
    return Pause(row.paused_by, reason, detail, row.paused_until, row.paused_since)


def _owner(row: _Row | None, now: float) -> str | None:
    return row.owner if row is not None and row.owner is not None and row.lease_until > now else None


@dataclass(frozen=True, slots=True)
class PastPause:
    """A pause that is over."""

    since: float
    ended_at: float
    by: str
    """`operator` or `lane`."""
    reason: str | None
    """A word of `connectors.base.Reason`; None for an operator's pause."""


def keep_pause(connection: Connection, name: str, now: float, *, by: str | None = None) -> None:
    """Keep the current pause of a lane as a past one.

    Args:
        connection: In the transaction that ends or replaces the pause.
        name: Name of the lane.
        now: End of the pause.
        by: The only author whose pause is kept; None for every author.
    """
    row = connection.execute(select(lanes).where(lanes.c.name == name).with_for_update()).one_or_none()
    if row is None or row.paused_by is None or row.paused_since is None or by not in {None, row.paused_by}:
        return
    own = pauses.c.lane == name
    connection.execute(delete(pauses).where(own, pauses.c.since == row.paused_since))
    reason = keys_of(connection).open_text(row.pause_reason, "lanes.pause_reason", name)
    connection.execute(
        insert(pauses).values(
            lane=name,
            since=row.paused_since,
            ended_at=max(now, row.paused_since),
            paused_by=row.paused_by,
            reason=None if row.paused_by == "operator" else reason,
        )
    )
    # A lane that stops and goes on all day must not fill the table.
    newest = select(pauses.c.since).where(own).order_by(pauses.c.since.desc()).limit(KEPT)
    connection.execute(delete(pauses).where(own, pauses.c.since.not_in(newest.scalar_subquery())))


def past_pauses(connection: Connection, name: str, limit: int = KEPT) -> Sequence[PastPause]:
    """Return the pauses of a lane that are over, newest first."""
    query = select(pauses).where(pauses.c.lane == name).order_by(pauses.c.since.desc()).limit(limit)
    return [PastPause(row.since, row.ended_at, row.paused_by, row.reason) for row in connection.execute(query)]
