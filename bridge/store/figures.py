"""Figures: how many rows there are of a kind, and since when. Nothing else in the program counts rows of the store.

Reads only. Each query examines a bounded number of rows, an index of what is open, or the tally, so its cost does not
grow with the store.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Connection, Subquery, and_, case, cast, func, select

from bridge.event import EventState, Form, Room
from bridge.store.filter import EVERYTHING, Scope, in_state
from bridge.store.interface import DeliveryState
from bridge.store.key_range import first_delivery, key_ends, seq_at
from bridge.store.quarantine import room_counts
from bridge.store.schema import attempts, deliveries, events, proofs, tally
from bridge.store.search import SPAN, newest_of_each, pending_destinations
from bridge.store.tally import sql_day
from bridge.store.transaction import read_once

HOUR = 3600
HOURS = 24
NEWEST: Final = 3_000
"""Most events, dead letters and warnings that are examined: the newest of each. A row takes up to 40 µs."""
NEWEST_OWN: Final = 10_000
"""Most dead letters, warnings and unrecognised events among which those of some chatbots are found."""
NEWEST_WAITING: Final = 10_000
"""Most waiting deliveries that are examined, in equal shares of the destinations."""
NEWEST_TRIED: Final = 500
"""Most deliveries whose attempts are counted: the newest ones."""


# -- what is open


@dataclass(frozen=True, slots=True)
class Group:
    """Deliveries of one chatbot to one destination that have the same trouble, or events that were not recognised."""

    chatbot: str | None
    number: int
    first_at: float
    last_at: float
    last_seq: int
    """Number of the newest event."""
    destination: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterCause:
    """Dead letters of one destination for one reason."""

    destination: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The pending deliveries of one destination."""

    count: int = 0
    oldest_at: float | None = None
    """Receipt of the event of the oldest."""


@dataclass(frozen=True, slots=True)
class WaitingDay:
    """Waiting deliveries of one chatbot whose leads were received on one day."""

    day: int
    """Days since the epoch, UTC."""
    chatbot: str | None
    number: int


@read_once
def dead_letter_causes(connection: Connection, scope: Scope = EVERYTHING) -> list[DeadLetterCause]:
    """Count the dead letters by destination and reason, the largest group first.

    All of them for a reader who sees everything, because their index holds nothing else; the newest of some chatbots.
    """
    counts = Counter[tuple[str, str]]()
    if scope.is_whole:
        query = (
            select(deliveries.c.destination, deliveries.c.reason, func.count())
            .where(in_state(deliveries.c.state, DeliveryState.DEAD.value))
            .group_by(deliveries.c.destination, deliveries.c.reason)
        )
        counts.update({(destination, reason): count for destination, reason, count in connection.execute(query)})
    else:
        for each in dead_groups(connection, scope):
            counts[each.destination, each.reason or ""] += each.number
    found = [DeadLetterCause(*cause, count) for cause, count in counts.items()]
    return sorted(found, key=lambda each: (-each.count, each.destination, each.reason))


@read_once
def backlogs(connection: Connection) -> dict[str, Backlog]:
    """Count the pending deliveries of each destination. Their index holds nothing else."""
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
    return {name: Backlog(count, received_at) for name, count, received_at in connection.execute(query)}


@read_once
def dead_groups(connection: Connection, scope: Scope = EVERYTHING) -> list[Group]:
    """Group the newest dead letters by destination, reason and chatbot."""
    return _settled(connection, in_state(deliveries.c.state, DeliveryState.DEAD.value), scope, reason=True)


def warned_groups(connection: Connection, since: float, scope: Scope = EVERYTHING) -> list[Group]:
    """Group the newest deliveries that had a warning since a time by destination and chatbot."""
    return _settled(connection, deliveries.c.warning.is_not(None), scope, since)


@read_once
def waiting_groups(connection: Connection, scope: Scope = EVERYTHING) -> list[Group]:
    """Group the newest waiting deliveries by destination and chatbot; the times are those of their receipt."""
    newest = _newest_waiting(connection)
    if newest is None:
        return []
    at = events.c.received_at
    figures = (func.count(), func.min(at), func.max(at), func.max(newest.c.event_seq))
    query = (
        select(events.c.chatbot, *figures, newest.c.destination)
        .select_from(newest.join(events, events.c.seq == newest.c.event_seq))
        .where(scope.of(events.c.chatbot))
        .group_by(newest.c.destination, events.c.chatbot)
    )
    return [Group(*row) for row in connection.execute(query)]


def waiting_days(connection: Connection, scope: Scope = EVERYTHING) -> list[WaitingDay]:
    """Count the newest waiting deliveries by the day of their receipt and by chatbot."""
    newest = _newest_waiting(connection)
    if newest is None:
        return []
    day = sql_day(events.c.received_at, floor=connection.dialect.name == "postgresql").label("day")
    query = (
        select(day, events.c.chatbot, func.count())
        .select_from(newest.join(events, events.c.seq == newest.c.event_seq))
        .where(scope.of(events.c.chatbot))
        .group_by("day", events.c.chatbot)
    )
    return [WaitingDay(*row) for row in connection.execute(query)]


def unrecognised_groups(connection: Connection, scope: Scope = EVERYTHING) -> list[Group]:
    """Group the newest unrecognised events by chatbot."""
    newest = (
        select(events.c.seq, events.c.chatbot, events.c.received_at)
        .where(in_state(events.c.state, EventState.UNRECOGNISED.value))
        .order_by(events.c.seq.desc())
        .limit(_most(scope))
        .subquery("newest")
    )
    at = newest.c.received_at
    query = select(newest.c.chatbot, func.count(), func.min(at), func.max(at), func.max(newest.c.seq))
    query = query.where(scope.of(newest.c.chatbot)).group_by(newest.c.chatbot)
    return [Group(*row) for row in connection.execute(query)]


def _newest_waiting(connection: Connection) -> Subquery | None:
    """Return the newest waiting deliveries of each destination; None if nothing waits."""
    names = len(pending_destinations(connection))
    beyond = key_ends(connection, deliveries.c.id)[1]
    return newest_of_each(connection, max(1, NEWEST_WAITING // names), beyond).subquery("newest") if names else None


def _settled(
    connection: Connection, chosen: ColumnElement[bool], scope: Scope, since: float = 0.0, *, reason: bool = False
) -> list[Group]:
    """Group the newest settled deliveries that a condition selects."""
    # An index holds these columns, so the rows of other chatbots' deliveries are not read.
    newest = (
        select(deliveries.c.id, deliveries.c.event_seq)
        .where(chosen)
        .order_by(deliveries.c.id.desc())
        .limit(_most(scope))
        .subquery("newest")
    )
    at = deliveries.c.settled_at
    cause = (deliveries.c.destination, deliveries.c.reason) if reason else (deliveries.c.destination,)
    figures = (func.count(), func.min(at), func.max(at), func.max(newest.c.event_seq))
    joined = newest.join(events, events.c.seq == newest.c.event_seq).join(deliveries, deliveries.c.id == newest.c.id)
    query = select(events.c.chatbot, *figures, *cause).select_from(joined)
    query = query.where(scope.of(events.c.chatbot), at >= since).group_by(*cause, events.c.chatbot)
    return [Group(*row) for row in connection.execute(query)]


def _most(scope: Scope) -> int:
    return NEWEST if scope.is_whole else NEWEST_OWN


# -- chatbots


@dataclass(frozen=True, slots=True)
class LastEvents:
    """Times of a chatbot's last events among the newest."""

    lead_at: float | None = None
    signed_at: float | None = None
    """Receipt of the last event whose signature held."""


def last_events(connection: Connection) -> dict[str, LastEvents]:
    """Return the times of the last events of each chatbot with any among the newest."""
    low = key_ends(connection, events.c.seq)[1] - NEWEST
    lead_at = func.max(case((events.c.state == EventState.ACCEPTED.value, events.c.received_at)))
    signed_at = func.max(case((events.c.form != Form.UNSIGNED.value, events.c.received_at)))
    query = select(events.c.chatbot, lead_at, signed_at).where(events.c.seq >= low, events.c.chatbot.is_not(None))
    return {row[0]: LastEvents(row[1], row[2]) for row in connection.execute(query.group_by(events.c.chatbot))}


def proof_times(connection: Connection) -> dict[str, float]:
    """Return when the keys that verified a chatbot's last event did so for the first time, by chatbot."""
    return {row.chatbot: row.proved_at for row in connection.execute(select(proofs.c.chatbot, proofs.c.proved_at))}


@read_once
def lead_days(connection: Connection, since: int) -> dict[str, dict[int, int]]:
    """Return the numbers of leads of the days with any from a day on, by chatbot and by days since the epoch."""
    counted = tally.c.destination == "", tally.c.state == EventState.ACCEPTED.value
    leads = cast(func.sum(tally.c["count"]), tally.c["count"].type)
    query = (
        select(tally.c.chatbot, tally.c.day, leads)
        .where(tally.c.day >= since, *counted)
        .group_by(tally.c.chatbot, tally.c.day)
        .having(func.sum(tally.c["count"]) > 0)
        .order_by(tally.c.chatbot, tally.c.day)
    )
    found: dict[str, dict[int, int]] = {}
    for chatbot, day, count in connection.execute(query):
        found.setdefault(chatbot, {})[day] = count
    return found


# -- the last hours, and attempts


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


def last_day(connection: Connection, now: float, scope: Scope = EVERYTHING) -> Day:
    """Count the events of the last hours, at most the newest `SPAN`."""
    since = (int(now) // HOUR - HOURS + 1) * HOUR
    first = seq_at(connection, since)
    low = max(first, key_ends(connection, events.c.seq)[1] - SPAN)
    hour = (cast(events.c.received_at, BigInteger) - since) // HOUR
    query = (
        select(hour.label("hour"), func.count())
        .where(events.c.seq >= low, events.c.received_at >= since, in_state(events.c.state, EventState.ACCEPTED.value))
        .where(scope.of(events.c.chatbot))
        .group_by("hour")
    )
    accepted = [0] * HOURS
    for at, count in connection.execute(query):
        accepted[min(max(int(at), 0), HOURS - 1)] += count
    return Day(float(since), accepted, _states(connection, low, scope), low == first)


def _states(connection: Connection, low: int, scope: Scope) -> dict[DeliveryState, int]:
    """Count the deliveries of the events from a number on, by state."""
    first = first_delivery(connection, low)
    if first is None:
        return {}
    # Without GROUP BY, for which the engines would put all rows into the order of their states.
    counts = [func.count().filter(deliveries.c.state == state.value) for state in DeliveryState]
    query = select(*counts).select_from(deliveries).where(deliveries.c.id >= first)
    if not scope.is_whole:
        # With a bound for each table: an engine does not know that later deliveries are of later events.
        query = query.join(events).where(events.c.seq >= low, scope.of(events.c.chatbot))
    return {state: count for state, count in zip(DeliveryState, connection.execute(query).one(), strict=True) if count}


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


def attempt_statistics(connection: Connection, destination: str, scope: Scope = EVERYTHING) -> AttemptStatistics:
    """Read the attempts of the newest deliveries to a destination."""
    low = key_ends(connection, deliveries.c.id)[1] - SPAN
    newest = select(deliveries.c.id).where(deliveries.c.destination == destination, deliveries.c.id >= low)
    if not scope.is_whole:
        newest = newest.join(events, events.c.seq == deliveries.c.event_seq).where(scope.of(events.c.chatbot))
    chosen = newest.order_by(deliveries.c.id.desc()).limit(NEWEST_TRIED).subquery("chosen")
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


# -- outcomes of a span of events


RouteEnds: TypeAlias = tuple[str, str | None]
"""A chatbot and a destination; None for events that no route took."""


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Outcomes of events: of some of them, or of all."""

    states: Mapping[RouteEnds, Mapping[DeliveryState, int]] = field(default_factory=dict)
    """Number of deliveries in each state."""
    untaken: Mapping[RouteEnds, int] = field(default_factory=dict)
    """Number of events that no route took."""
    unrecognised: int = 0
    """Number of unrecognised events."""
    quarantined: Mapping[str, int] = field(default_factory=dict)
    """Number of refused requests that may be leads, by chatbot."""

    def __add__(self, other: "OutcomeCounts") -> "OutcomeCounts":
        """Return the sum of both."""
        states = {
            where: dict(Counter(self.states.get(where, {})) + Counter(other.states.get(where, {})))
            for where in self.states.keys() | other.states.keys()
        }
        untaken = dict(Counter(self.untaken) + Counter(other.untaken))
        quarantined = dict(Counter(self.quarantined) + Counter(other.quarantined))
        return OutcomeCounts(states, untaken, self.unrecognised + other.unrecognised, quarantined)

    def delivered(self, destination: str) -> int:
        """Return the number of delivered deliveries to a destination."""
        return sum(
            states.get(DeliveryState.DELIVERED, 0) for (_, name), states in self.states.items() if name == destination
        )


def count_events(connection: Connection, first: int, last: int, scope: Scope = EVERYTHING) -> OutcomeCounts:
    """Count the deliveries of the events with numbers from `first` to `last` by state; about 4 µs for each event."""
    span = and_(events.c.seq.between(first, last), scope.of(events.c.chatbot))
    # The bound is on both tables, because PostgreSQL would read all deliveries to join those of some events.
    theirs = and_(deliveries.c.event_seq == events.c.seq, deliveries.c.event_seq.between(first, last))
    query = (
        select(events.c.chatbot, deliveries.c.destination, deliveries.c.state, func.count())
        .select_from(events.outerjoin(deliveries, theirs))
        .where(span, in_state(events.c.state, EventState.ACCEPTED.value))
        .group_by(events.c.chatbot, deliveries.c.destination, deliveries.c.state)
    )
    states: dict[RouteEnds, dict[DeliveryState, int]] = {}
    untaken: dict[RouteEnds, int] = {}
    for chatbot, destination, state, number in connection.execute(query):
        if state is None:
            untaken[chatbot, destination] = number
        else:
            states.setdefault((chatbot, destination), {})[DeliveryState(state)] = number
    strange = select(func.count()).where(span, in_state(events.c.state, EventState.UNRECOGNISED.value))
    return OutcomeCounts(states, untaken, connection.execute(strange).scalar_one())


def count_quarantined(connection: Connection, since: float, scope: Scope = EVERYTHING) -> OutcomeCounts:
    """Count the quarantined requests since a time that may be leads, without junk; see `count_events`."""
    counted = Counter[str]()
    for each in room_counts(connection, since):
        if scope.sees(each.chatbot):
            counted[each.chatbot] += each.count if each.room is not Room.JUNK else 0
    return OutcomeCounts(quarantined=+counted)
