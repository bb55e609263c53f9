"""Rows of events and deliveries by their ids, and one of them in full. Reads only; `search` finds the ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import orjson
from sqlalchemy import Connection, Row, Select, func, select

from bridge.event import EventState, Form
from bridge.store.encryption import KeyRing, keys_of
from bridge.store.exchanges import exchanges_of
from bridge.store.filter import EventFilter
from bridge.store.interface import DeliveryState
from bridge.store.key_range import key_ends
from bridge.store.schema import attempts, deliveries, events, tombstones
from connectors.base import Exchange

ATTEMPTS_LIMIT = 1_000
"""Most attempts that are shown of one delivery: the latest."""
ID_DIGITS = 32
"""Number of hexadecimal digits in an event's id."""
STEP = 500
"""Events that `received_since` reads."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event without its payload."""

    seq: int
    id: str
    received_at: float
    chatbot: str | None
    state: EventState
    type: str | None
    form: Form
    verified_by: tuple[str, ...]
    deliveries: Mapping[DeliveryState, int] = field(default_factory=dict)
    """Number of its deliveries in each state."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery without any text of its event or destination."""

    id: int
    event_id: str
    chatbot: str | None
    route: str
    destination: str
    state: DeliveryState
    received_at: float
    due_at: float | None
    settled_at: float | None
    attempts: int
    failures: int
    reason: str | None
    warned: bool
    """True if it was delivered with a warning."""


@dataclass(frozen=True, slots=True, repr=False)
class AttemptRow:
    """One try of a delivery."""

    number: int
    started_at: float
    duration: float
    outcome: str
    reason: str | None
    status: int | None
    detail: str | None
    exchanges: Sequence[Exchange] = ()
    """Requests and answers; read for a person who may see personal data, and only as long as they are kept."""


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryDetails:
    """All about a delivery, except the payload of its event."""

    row: DeliveryRow
    failing_since: float | None
    detail: str | None
    warning: str | None
    remote_id: str | None
    remote_url: str | None
    memo: Mapping[str, str]
    tries: Sequence[AttemptRow]
    """In order; at most the latest `ATTEMPTS_LIMIT`."""


_Row: TypeAlias = Row[*tuple[Any, ...]]

_EVENT = tuple(column for column in events.c if column is not events.c.payload)
_DELIVERY = (
    deliveries.c.id,
    events.c.id.label("event_id"),
    events.c.chatbot,
    deliveries.c.route,
    deliveries.c.destination,
    deliveries.c.state,
    events.c.received_at,
    deliveries.c.due_at,
    deliveries.c.settled_at,
    deliveries.c.attempts,
    deliveries.c.failures,
    deliveries.c.reason,
    deliveries.c.warning.is_not(None).label("warned"),
)


# -- events


def events_like(connection: Connection, beginning: str) -> list[EventRow]:
    """Read at most two events whose id begins with 1 to `ID_DIGITS` hexadecimal digits.

    Two events mean that the beginning is ambiguous.
    """
    low = bytes.fromhex(beginning.ljust(ID_DIGITS, "0"))
    high = bytes.fromhex(beginning.ljust(ID_DIGITS, "f"))
    query = select(*_EVENT).where(events.c.id.between(low, high)).order_by(events.c.id).limit(2)
    return _counted(connection, connection.execute(query).all())


def events_in(connection: Connection, seqs: Sequence[int]) -> list[EventRow]:
    """Read the events with these numbers, newest first."""
    if not seqs:
        return []
    query = select(*_EVENT).where(events.c.seq.in_(seqs)).order_by(events.c.seq.desc())
    return _counted(connection, connection.execute(query).all())


def last_event(connection: Connection) -> int:
    """Return the `seq` of the newest event; 0 if there is none."""
    return key_ends(connection, events.c.seq)[1] - 1


def payload(connection: Connection, seq: int) -> bytes:
    """Read the payload of an event."""
    row = connection.execute(select(events.c.id, events.c.payload).where(events.c.seq == seq)).one()
    return keys_of(connection).open(bytes(row.payload), "events.payload", row.id)


def payloads(connection: Connection, seqs: Sequence[int]) -> dict[int, bytes]:
    """Read the payloads of events by their numbers. Read no more than a page: a payload can be a megabyte."""
    keys = keys_of(connection)
    query = select(events.c.seq, events.c.id, events.c.payload).where(events.c.seq.in_(seqs))
    rows = connection.execute(query) if seqs else ()
    return {row.seq: keys.open(bytes(row.payload), "events.payload", row.id) for row in rows}


@dataclass(frozen=True, slots=True, repr=False)
class StoredEvent:
    """The payload of an event, with its number and its time of receipt."""

    seq: int
    id: str
    received_at: float
    payload: bytes


_PAYLOAD = (events.c.seq, events.c.id, events.c.received_at, events.c.payload)


def received_since(connection: Connection, moment: float, after: int) -> list[StoredEvent]:
    """Read the next `STEP` events after a `seq` that were received at a time or later; fewer at the end.

    An event that was routed again later has a new `seq` and its first time of receipt, so the time of each is compared.
    """
    query = select(*_PAYLOAD).where(events.c.seq > after, events.c.received_at >= moment)
    return _stored(connection, query.order_by(events.c.seq).limit(STEP))


def recent_events(connection: Connection, limit: int, chatbot: str | None = None) -> list[StoredEvent]:
    """Read the last accepted events, of one chatbot or of all, newest first."""
    query = EventFilter(chatbot, EventState.ACCEPTED).narrow(select(*_PAYLOAD))
    return _stored(connection, query.order_by(events.c.seq.desc()).limit(limit))


def _stored(connection: Connection, query: Select[Any]) -> list[StoredEvent]:
    keys = keys_of(connection)
    return [
        StoredEvent(row.seq, row.id.hex(), row.received_at, keys.open(bytes(row.payload), "events.payload", row.id))
        for row in connection.execute(query)
    ]


def _counted(connection: Connection, rows: Sequence[_Row]) -> list[EventRow]:
    """Build the events with the states of their deliveries, found by the unique index over event and route."""
    states = (
        select(deliveries.c.event_seq, deliveries.c.state, func.count())
        .where(deliveries.c.event_seq.in_([row.seq for row in rows]))
        .group_by(deliveries.c.event_seq, deliveries.c.state)
    )
    counts: dict[int, dict[DeliveryState, int]] = {}
    for seq, state, count in connection.execute(states) if rows else ():
        counts.setdefault(seq, {})[DeliveryState(state)] = count
    return [
        EventRow(
            row.seq,
            row.id.hex(),
            row.received_at,
            row.chatbot,
            EventState(row.state),
            row.type,
            Form(row.form),
            tuple(row.verified_by.split()),
            counts.get(row.seq, {}),
        )
        for row in rows
    ]


# -- deliveries


def deliveries_in(connection: Connection, ids: Sequence[int]) -> list[DeliveryRow]:
    """Read the deliveries with these ids, newest first."""
    if not ids:
        return []
    query = select(*_DELIVERY).select_from(deliveries.join(events)).where(deliveries.c.id.in_(ids))
    return [_delivery(row) for row in connection.execute(query.order_by(deliveries.c.id.desc()))]


def deliveries_of(connection: Connection, seq: int) -> list[DeliveryRow]:
    """Read the deliveries of an event, in the order of its routes."""
    query = select(*_DELIVERY).select_from(deliveries.join(events)).where(deliveries.c.event_seq == seq)
    return [_delivery(row) for row in connection.execute(query.order_by(deliveries.c.id))]


def deliveries_of_events(connection: Connection, seqs: Sequence[int]) -> dict[int, list[DeliveryRow]]:
    """Read the deliveries of events by the events' numbers, each in the order of its routes."""
    query = select(deliveries.c.event_seq, *_DELIVERY).select_from(deliveries.join(events))
    rows = connection.execute(query.where(deliveries.c.event_seq.in_(seqs)).order_by(deliveries.c.id)) if seqs else ()
    found: dict[int, list[DeliveryRow]] = {}
    for row in rows:
        found.setdefault(row.event_seq, []).append(_delivery(row))
    return found


def event_seqs(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Read the numbers of the events of deliveries, each once, newest first."""
    query = select(deliveries.c.event_seq).where(deliveries.c.id.in_(ids)).distinct()
    return sorted(connection.execute(query).scalars(), reverse=True) if ids else []


def delivery_details(connection: Connection, delivery: int, *, exchanges: bool = False) -> DeliveryDetails | None:
    """Read all about one delivery, with the requests and answers if asked for; None if there is none with this id."""
    query = (
        select(
            *_DELIVERY,
            deliveries.c.failing_since,
            deliveries.c.detail,
            deliveries.c.warning,
            deliveries.c.remote_id,
            deliveries.c.remote_url,
            deliveries.c.memo,
        )
        .select_from(deliveries.join(events))
        .where(deliveries.c.id == delivery)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    keys, name = keys_of(connection), (row.event_id, row.route)
    memo = keys.open_text(row.memo, "deliveries.memo", *name)
    return DeliveryDetails(
        _delivery(row),
        row.failing_since,
        keys.open_text(row.detail, "deliveries.detail", *name),
        keys.open_text(row.warning, "deliveries.warning", *name),
        keys.open_text(row.remote_id, "deliveries.remote_id", *name),
        keys.open_text(row.remote_url, "deliveries.remote_url", *name),
        orjson.loads(memo) if memo else {},
        _tries(connection, keys, row.event_id, delivery, exchanges_of(connection, delivery) if exchanges else {}),
    )


def undelivered(connection: Connection, ids: Sequence[bytes]) -> int:
    """Count the deliveries of these events that are not delivered, and the events that are not known.

    An event that waits in a spool is not known: it is not delivered either, perhaps under another id. An event that was
    erased leaves nothing to deliver; until its rows are gone it may be in both tables.
    """
    mine = events.c.id.in_(ids)
    erased = select(tombstones.c.id).where(tombstones.c.id.in_(ids))
    known = select(func.count()).select_from(select(events.c.id).where(mine).union(erased).subquery())
    open_ = (
        select(func.count())
        .select_from(deliveries.join(events))
        .where(mine, deliveries.c.state != DeliveryState.DELIVERED.value)
    )
    there, waiting = (int(connection.execute(each).scalar_one()) for each in (known, open_))
    return len(set(ids)) - there + waiting


def _delivery(row: _Row) -> DeliveryRow:
    return DeliveryRow(
        row.id,
        row.event_id.hex(),
        row.chatbot,
        row.route,
        row.destination,
        DeliveryState(row.state),
        row.received_at,
        row.due_at,
        row.settled_at,
        row.attempts,
        row.failures,
        row.reason,
        row.warned,
    )


def _tries(
    connection: Connection, keys: KeyRing, event_id: bytes, delivery: int, exchanged: Mapping[int, Sequence[Exchange]]
) -> list[AttemptRow]:
    query = select(*(column for column in attempts.c if column is not attempts.c.delivery_id))
    query = query.where(attempts.c.delivery_id == delivery).order_by(attempts.c.number.desc()).limit(ATTEMPTS_LIMIT)
    return [
        replace(
            AttemptRow(*row),
            detail=keys.open_text(row.detail, "attempts.detail", event_id, row.number, row.started_at),
            exchanges=exchanged.get(row.number, ()),
        )
        for row in reversed(connection.execute(query).all())
    ]
