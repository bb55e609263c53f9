"""Events and deliveries over time: for dry runs, `leadbridge reconcile` and `leadbridge tail`. Reads only, bounded."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, func, select

from bridge.event import EventState, Room
from bridge.store import queries
from bridge.store.encryption import keys_of, plain_size
from bridge.store.interface import DeliveryState
from bridge.store.key_range import first_delivery, key_ends
from bridge.store.quarantine import room_counts
from bridge.store.queries import DeliveryRow, EventRow, PageRequest, QuarantineRow, in_state
from bridge.store.schema import deliveries, events, quarantine
from bridge.store.search import SPAN

STEP = 500
"""Events that one query reads."""
OPEN_LIMIT = 5_000
"""Most old deliveries whose changes are noticed: the newest."""
AT_ONCE = 100
"""Most delivered records of one page, which become one call to a destination."""
_OPEN = (DeliveryState.PENDING, DeliveryState.DEAD)


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


@dataclass(frozen=True, slots=True, repr=False)
class DeliveredRecord:
    """A delivered delivery and its record."""

    id: int
    event_id: str
    chatbot: str
    route: str
    remote_id: str | None


@dataclass(frozen=True, slots=True)
class DeliveredPage:
    """Delivered deliveries, newest first, at most `AT_ONCE`."""

    rows: Sequence[DeliveredRecord]
    next: int | None
    """Position of the next page; None at the end. A page with few rows, or without rows, may have one."""


@dataclass(frozen=True, slots=True, repr=False)
class ReceivedEvent:
    """The payload of an event, with its number."""

    seq: int
    id: str
    payload: bytes


@dataclass(frozen=True, slots=True, repr=False)
class StoredEvent:
    """The payload of an event, with its time of receipt."""

    id: str
    received_at: float
    payload: bytes


def received_since(connection: Connection, moment: float, after: int) -> list[ReceivedEvent]:
    """Read the next `STEP` events after a `seq` that were received at a time or later; fewer at the end.

    An event that was routed again later has a new `seq` and its first time of receipt, so the time of each is compared.
    """
    query = (
        select(events.c.seq, events.c.id, events.c.payload)
        .where(events.c.seq > after, events.c.received_at >= moment)
        .order_by(events.c.seq)
        .limit(STEP)
    )
    keys = keys_of(connection)
    return [
        ReceivedEvent(row.seq, row.id.hex(), keys.open(bytes(row.payload), "events.payload", row.id))
        for row in connection.execute(query)
    ]


def recent_events(connection: Connection, limit: int, chatbot: str | None = None) -> list[StoredEvent]:
    """Read the last accepted events, of one chatbot or of all, newest first."""
    query = (
        select(events.c.id, events.c.received_at, events.c.payload)
        .where(in_state(events.c.state, EventState.ACCEPTED.value))
        .order_by(events.c.seq.desc())
        .limit(limit)
    )
    if chatbot is not None:
        query = query.where(events.c.chatbot == chatbot)
    keys = keys_of(connection)
    return [
        StoredEvent(row.id.hex(), row.received_at, keys.open(bytes(row.payload), "events.payload", row.id))
        for row in connection.execute(query)
    ]


def last_event(connection: Connection) -> int:
    """Return the `seq` of the newest event; 0 if there is none."""
    return key_ends(connection, events.c.seq)[1] - 1


def count_events(connection: Connection, first: int, last: int, only: AbstractSet[str] | None = None) -> OutcomeCounts:
    """Count the deliveries of the events with numbers from `first` to `last` by state; about 4 µs for each event.

    With `only`, those of these chatbots.
    """
    span: ColumnElement[bool] = events.c.seq.between(first, last)
    if only is not None:
        span = and_(span, events.c.chatbot.in_(only))
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


def count_quarantined(connection: Connection, since: float, only: AbstractSet[str] | None = None) -> OutcomeCounts:
    """Count the quarantined requests since a time that may be leads, without junk; see `count_events`."""
    counted = Counter[str]()
    for each in room_counts(connection, since):
        if only is None or each.chatbot in only:
            counted[each.chatbot] += each.count if each.room is not Room.JUNK else 0
    return OutcomeCounts(quarantined=+counted)


def delivered_page(
    connection: Connection, destination: str, first: int, before: int | None, only: AbstractSet[str] | None = None
) -> DeliveredPage:
    """Read a page of delivered deliveries of the events with numbers from `first` on; see `count_events`.

    A page examines at most `SPAN` deliveries. `before` is the cursor of the page before.
    """
    low = first_delivery(connection, first)
    if low is None:
        return DeliveredPage((), None)
    high = before or (connection.execute(select(func.max(deliveries.c.id))).scalar() or 0) + 1
    bottom = max(low, high - SPAN)
    query = (
        select(deliveries.c.id, events.c.id.label("event_id"), events.c.chatbot)
        .add_columns(deliveries.c.route, deliveries.c.remote_id)
        .select_from(deliveries.join(events))
        .where(
            deliveries.c.id >= bottom,
            deliveries.c.id < high,
            deliveries.c.event_seq >= first,
            deliveries.c.destination == destination,
            in_state(deliveries.c.state, DeliveryState.DELIVERED.value),
        )
        .order_by(deliveries.c.id.desc())
        .limit(AT_ONCE)
    )
    if only is not None:
        query = query.where(events.c.chatbot.in_(only))
    keys = keys_of(connection)
    rows = [
        DeliveredRecord(
            row.id,
            row.event_id.hex(),
            row.chatbot,
            row.route,
            keys.open_text(row.remote_id, "deliveries.remote_id", row.event_id, row.route),
        )
        for row in connection.execute(query)
    ]
    end = rows[-1].id if len(rows) == AT_ONCE else bottom
    return DeliveredPage(rows, end if end > low else None)


@dataclass(frozen=True, slots=True)
class LatestActivity:
    """Events, deliveries and refused requests since the last look, each in order of receipt."""

    events: list[EventRow]
    deliveries: list[DeliveryRow]
    """Deliveries that were tried since the last look. Pending ones have failed and will be retried."""
    refused: list[QuarantineRow]


@dataclass(slots=True)
class Follower:
    """Position of one reader of the activity. Call `begin` first.

    No index leads to the deliveries that were settled last, so the follower remembers the open ones (pending or dead)
    and compares them. A delivered one that is replayed is not noticed.
    """

    _event: int = 0
    _delivery: int = 0
    _refused: int = 0
    _open: dict[int, tuple[str, int]] = field(default_factory=dict)
    """State and number of attempts of each open delivery."""

    def begin(self, connection: Connection, back: int) -> None:
        """Skip everything in the store, except the last `back` events."""
        newest = queries.event_page(connection, PageRequest(limit=back + 1)) if back else []
        last_event = connection.execute(select(func.max(events.c.seq))).scalar() or 0
        self._event = newest[-1].seq if len(newest) > back else 0 if back else last_event
        # Deliveries are in the order of their events, except those of events that were routed again.
        query = select(func.min(deliveries.c.id)).where(deliveries.c.event_seq > self._event)
        first = connection.execute(query).scalar()
        last = connection.execute(select(func.max(deliveries.c.id))).scalar() or 0
        self._delivery = last if first is None else first - 1
        self._refused = connection.execute(select(func.max(quarantine.c.id))).scalar() or 0
        page = PageRequest(before=self._delivery + 1, limit=OPEN_LIMIT // len(_OPEN))
        for state in _OPEN:
            for each in queries.delivery_page(connection, page, state):
                self._open[each.id] = (each.state.value, each.attempts)

    def look(self, connection: Connection) -> LatestActivity:
        """Return the activity since the last look."""
        found = LatestActivity(self._events(connection), list(self._deliveries(connection)), self._refusals(connection))
        for each in sorted(self._open)[:-OPEN_LIMIT]:
            del self._open[each]
        return found

    def _events(self, connection: Connection) -> list[EventRow]:
        query = select(events.c.seq).where(events.c.seq > self._event).order_by(events.c.seq).limit(STEP)
        seqs = list(connection.execute(query).scalars())
        self._event = seqs[-1] if seqs else self._event
        return queries.events_in(connection, seqs)[::-1]

    def _deliveries(self, connection: Connection) -> Iterator[DeliveryRow]:
        query = select(deliveries.c.id).where(deliveries.c.id > self._delivery).order_by(deliveries.c.id).limit(STEP)
        new = list(connection.execute(query).scalars())
        self._delivery = new[-1] if new else self._delivery
        for each in (*queries.deliveries_in(connection, self._moved(connection))[::-1], *_rows(connection, new)):
            tries = self._open.pop(each.id, ("", 0))[1]
            if each.state in _OPEN:
                self._open[each.id] = (each.state.value, each.attempts)
            if each.state is not DeliveryState.PENDING or each.attempts > tries:
                yield each

    def _moved(self, connection: Connection) -> list[int]:
        """Return the remembered deliveries that have changed."""
        moved: list[int] = []
        known = sorted(self._open)
        for start in range(0, len(known), STEP):
            query = select(deliveries.c.id, deliveries.c.state, deliveries.c.attempts).where(
                deliveries.c.id.in_(known[start : start + STEP])
            )
            moved += [each for each, *now in connection.execute(query) if tuple(now) != self._open[each]]
        return moved

    def _refusals(self, connection: Connection) -> list[QuarantineRow]:
        size = plain_size(quarantine.c.body)
        query = (
            select(quarantine.c.id, quarantine.c.chatbot, quarantine.c.received_at, size, quarantine.c.room)
            .where(quarantine.c.id > self._refused)
            .order_by(quarantine.c.id)
            .limit(STEP)
        )
        found = [QuarantineRow(*row[:-1], Room(row.room)) for row in connection.execute(query)]
        self._refused = found[-1].id if found else self._refused
        return found


def _rows(connection: Connection, ids: list[int]) -> list[DeliveryRow]:
    return queries.deliveries_in(connection, ids)[::-1]
