"""Counts for the overview and for alerts: leads by hour, dead letters by cause, backlogs, unrecognised events.

Reads only. Every query is bounded, so that it may run every few seconds on a store of any size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, func, select

from bridge.event import EventState
from bridge.store.filter import in_state
from bridge.store.interface import DeliveryState
from bridge.store.quarantine import RoomCount, proven_keys, room_counts
from bridge.store.schema import deliveries, events

HOUR = 3600
HOURS = 24
WARNED_SECONDS = 86_400.0
COUNT_LIMIT = 10_000
"""Most rows that are counted: the newest dead letters and unrecognised events, and each destination's oldest waiting
leads."""

NEWEST: Final = 500
"""Most deliveries whose attempts are counted: the newest ones."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters of one destination for one reason."""

    destination: str
    reason: str
    count: int
    latest_at: float
    """Time of the latest."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The pending deliveries of one destination."""

    destination: str
    oldest_at: float
    """Receipt of the event of the oldest."""
    count: int


@dataclass(frozen=True, slots=True)
class WarnedDeliveries:
    """The deliveries of one destination that had a warning within the last `WARNED_SECONDS`."""

    destination: str
    count: int
    latest_at: float
    """Time of the latest."""


@dataclass(frozen=True, slots=True)
class AlertStatistics:
    """Contents of the store that alerts are about."""

    dead: Sequence[DeadLetters]
    backlogs: Sequence[Backlog]
    unrecognised: int
    unrecognised_at: float | None
    """Receipt of the latest unrecognised event."""
    quarantined: Sequence[RoomCount] = ()
    proven_keys: Mapping[str, bytes] = field(default_factory=dict)
    """Fingerprint of the keys that verified last, by chatbot; see `bridge.ingress.signature.fingerprint`."""
    warned: Sequence[WarnedDeliveries] = ()


def alert_statistics(
    connection: Connection, destinations: Sequence[str], now: float, *, whole: bool
) -> AlertStatistics:
    """Read the statistics of these destinations; with `whole`, also those that are reported for all together."""
    backlogs = [found for name in destinations if (found := _backlog(connection, name))]
    count, latest_at = _unrecognised(connection) if whole else (0, None)
    return AlertStatistics(
        _dead(connection, destinations),
        backlogs,
        count,
        latest_at,
        tuple(room_counts(connection)) if whole else (),
        proven_keys(connection) if whole else {},
        warned_deliveries(connection, now - WARNED_SECONDS) if whole else (),
    )


def warned_deliveries(connection: Connection, since: float) -> tuple[WarnedDeliveries, ...]:
    """Count the deliveries with a warning since a time, among the newest `COUNT_LIMIT`, by destination."""
    newest = (
        select(deliveries.c.destination, deliveries.c.settled_at)
        .where(deliveries.c.warning.is_not(None))
        .order_by(deliveries.c.id.desc())
        .limit(COUNT_LIMIT)
        .subquery("newest")
    )
    query = (
        select(newest.c.destination, func.count(), func.max(newest.c.settled_at))
        .where(newest.c.settled_at >= since)
        .group_by(newest.c.destination)
        .order_by(newest.c.destination)
    )
    return tuple(WarnedDeliveries(*row) for row in connection.execute(query))


def _dead(connection: Connection, destinations: Sequence[str]) -> list[DeadLetters]:
    newest = (
        select(deliveries.c.destination, deliveries.c.reason, deliveries.c.settled_at)
        .where(in_state(deliveries.c.state, DeliveryState.DEAD.value))
        .order_by(deliveries.c.id.desc())
        .limit(COUNT_LIMIT)
        .subquery("newest")
    )
    query = select(newest.c.destination, newest.c.reason, func.count(), func.max(newest.c.settled_at)).group_by(
        newest.c.destination, newest.c.reason
    )
    wanted = frozenset(destinations)
    return sorted(
        (DeadLetters(*row) for row in connection.execute(query) if row[0] in wanted),
        key=lambda each: (each.destination, each.reason),
    )


def _backlog(connection: Connection, name: str) -> Backlog | None:
    waiting = select(deliveries.c.id).where(
        deliveries.c.destination == name, in_state(deliveries.c.state, DeliveryState.PENDING.value)
    )
    oldest = waiting.order_by(deliveries.c.id).limit(1).scalar_subquery()
    received_at = connection.execute(
        select(events.c.received_at).select_from(deliveries.join(events)).where(deliveries.c.id == oldest)
    ).scalar()
    if received_at is None:
        return None
    count = connection.execute(select(func.count()).select_from(waiting.limit(COUNT_LIMIT).subquery())).scalar_one()
    return Backlog(name, received_at, count)


def _unrecognised(connection: Connection) -> tuple[int, float | None]:
    newest = (
        select(events.c.received_at)
        .where(in_state(events.c.state, EventState.UNRECOGNISED.value))
        .order_by(events.c.seq.desc())
        .limit(COUNT_LIMIT)
        .subquery("newest")
    )
    count, latest_at = connection.execute(select(func.count(), func.max(newest.c.received_at))).one()
    return count, latest_at
