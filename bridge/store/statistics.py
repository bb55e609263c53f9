"""Counts for the overview and for alerts: leads by hour, dead letters by cause, backlogs, unrecognised events.

Reads only. Every query is bounded, so that it may run every few seconds on a store of any size.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import BigInteger, Connection, cast, func, select

from bridge.event import EventState
from bridge.store.interface import DeliveryState
from bridge.store.key_range import first_delivery, key_ends, seq_at
from bridge.store.quarantine import RoomCount, proven_keys, room_counts
from bridge.store.queries import in_state
from bridge.store.schema import attempts, deliveries, events
from bridge.store.search import SPAN
from bridge.store.transaction import read_once

HOUR = 3600
HOURS = 24
WARNED_SECONDS = 86_400.0
COUNT_LIMIT = 10_000
"""Most rows that are counted: the newest dead letters and unrecognised events, and each destination's oldest waiting
leads."""

NEWEST: Final = 500
"""Most deliveries whose attempts are counted: the newest ones."""


@dataclass(frozen=True, slots=True)
class Day:
    """Counts of the last hours, including the current one."""

    since: float
    """Beginning of the first hour."""
    accepted: Sequence[int]
    """Leads and appointments received in each of the `HOURS` hours."""
    deliveries: Mapping[DeliveryState, int]
    """Number of their deliveries in each state."""
    complete: bool
    """True if all events were counted, otherwise only the newest."""


@dataclass(frozen=True, slots=True)
class DeadLetterCause:
    """Dead letters of one destination for one reason."""

    destination: str
    reason: str
    count: int


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


def day(connection: Connection, now: float, only: AbstractSet[str] | None = None) -> Day:
    """Count the events of the last hours, at most the newest `SPAN`; with `only`, those of these chatbots."""
    since = (int(now) // HOUR - HOURS + 1) * HOUR
    first = seq_at(connection, since)
    low = max(first, key_ends(connection, events.c.seq)[1] - SPAN)
    hour = (cast(events.c.received_at, BigInteger) - since) // HOUR
    query = (
        select(hour.label("hour"), func.count().label("events"))
        .where(events.c.seq >= low, events.c.received_at >= since, in_state(events.c.state, EventState.ACCEPTED.value))
        .group_by("hour")
    )
    if only is not None:
        query = query.where(events.c.chatbot.in_(only))
    accepted = [0] * HOURS
    for at, count in connection.execute(query):
        accepted[min(max(int(at), 0), HOURS - 1)] += count
    return Day(float(since), accepted, _states(connection, low, only), low == first)


@read_once
def dead_letter_causes(connection: Connection) -> list[DeadLetterCause]:
    """Group the dead letters by destination and reason, the largest group first. Their index holds nothing else."""
    query = (
        select(deliveries.c.destination, deliveries.c.reason, func.count().label("dead"))
        .where(in_state(deliveries.c.state, DeliveryState.DEAD.value))
        .group_by(deliveries.c.destination, deliveries.c.reason)
    )
    found = [DeadLetterCause(*row) for row in connection.execute(query)]
    return sorted(found, key=lambda each: (-each.count, each.destination, each.reason))


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


def _states(connection: Connection, low: int, only: AbstractSet[str] | None) -> dict[DeliveryState, int]:
    """Count the deliveries of the events from a number on, by state."""
    first = first_delivery(connection, low)
    if first is None:
        return {}
    # Without GROUP BY, for which the engines would put all rows into the order of their states.
    counts = [func.count().filter(deliveries.c.state == state.value) for state in DeliveryState]
    query = select(*counts).select_from(deliveries).where(deliveries.c.id >= first)
    if only is not None:
        # With a bound for each table: an engine does not know that later deliveries are of later events.
        query = query.join(events).where(events.c.seq >= low, events.c.chatbot.in_(only))
    return {state: count for state, count in zip(DeliveryState, connection.execute(query).one(), strict=True) if count}


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


@dataclass(frozen=True, slots=True)
class AttemptStatistics:
    """The attempts of the newest deliveries to a destination."""

    count: int = 0
    failed: int = 0
    typical: float | None = None
    """Seconds that half of them took at most; None without any."""
    slow: float | None = None
    """Seconds that 95 of 100 took at most."""
    since: float | None = None
    """Beginning of the first of them."""

    @property
    def error_rate(self) -> float | None:
        """Part of them that failed; None without any."""
        return self.failed / self.count if self.count else None


def attempt_statistics(
    connection: Connection, destination: str, only: AbstractSet[str] | None = None
) -> AttemptStatistics:
    """Read the attempts of the newest deliveries to a destination; with `only`, of those of these chatbots."""
    low = key_ends(connection, deliveries.c.id)[1] - SPAN
    newest = select(deliveries.c.id).where(deliveries.c.destination == destination, deliveries.c.id >= low)
    if only is not None:
        newest = newest.join(events, events.c.seq == deliveries.c.event_seq).where(events.c.chatbot.in_(only))
    chosen = newest.order_by(deliveries.c.id.desc()).limit(NEWEST).subquery("chosen")
    query = select(attempts.c.started_at, attempts.c.duration, attempts.c.outcome).join(
        chosen, chosen.c.id == attempts.c.delivery_id
    )
    rows = connection.execute(query).all()
    if not rows:
        return AttemptStatistics()
    times = sorted(row.duration for row in rows)
    return AttemptStatistics(
        len(rows),
        sum(row.outcome != "delivered" for row in rows),
        times[(len(times) - 1) // 2],
        times[(len(times) * 95 + 99) // 100 - 1],
        min(row.started_at for row in rows),
    )
