"""Counts of events and deliveries by day, which retention and erasure leave as they are.

A row counts the events of a chatbot by the day of their receipt, or the ended deliveries of a chatbot to a destination
by the day of their end (UTC). Delivered ones are counted by the time from receipt to delivery, in buckets. The counts
change in the same commit as the rows that they count: `sqlite_queue` and `postgres_queue` when events are accepted and
outcomes settled, `commands` when an operator changes a delivery. So the tally always equals a count over the tables
plus the rows that are gone.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    Row,
    case,
    cast,
    func,
    literal,
    select,
    text,
)

from bridge.store.filter import EVERYTHING, Scope
from bridge.store.interface import DeliveryState
from bridge.store.schema import deliveries, events, tally

DAY: Final = 86_400
SPEED_BANDS: Final = (5.0, 60.0, 3600.0)
"""Limits in seconds of the bands of speed: under 5 s, 1 min, 1 h, later."""
SPEED_BOUNDS: Final = tuple(sorted({*(2.0**power / 1000 for power in range(29)), *SPEED_BANDS}))
"""Limits of the buckets in seconds: powers of two of milliseconds up to three days, and those of the bands."""
WARNED_STATE: Final = "warned"
"""State of a delivery that was delivered with a warning. `delivered` counts those without."""
OPERATOR: Final = "operator"
"""Value of `writer` for changes by operators; see `bridge.store.schema.tally`."""
_COUNT: Final = tally.c["count"]

_ADD: Final = text(
    "INSERT INTO tally (day, chatbot, destination, state, bucket, writer, count) "
    "VALUES (:day, :chatbot, :destination, :state, :bucket, :writer, :count) "
    "ON CONFLICT (day, chatbot, destination, state, bucket, writer) DO UPDATE SET count = tally.count + excluded.count"
)


class TallyKey(NamedTuple):
    """Key of a count."""

    day: int
    """Days since the epoch, UTC."""
    chatbot: str
    """Empty for events of no known chatbot."""
    destination: str
    """Empty for events."""
    state: str
    """State of an event, or of a delivery that has ended, or `WARNED_STATE`."""
    bucket: int = 0
    """For delivered ones: number of `SPEED_BOUNDS` that the time from receipt to delivery has reached."""


def day_of(moment: float) -> int:
    """Return the day of a time, as days since the epoch."""
    return int(moment // DAY)


def bucket_of(received_at: float, settled_at: float) -> int:
    """Return the bucket of a time from receipt to delivery."""
    return bisect_right(SPEED_BOUNDS, settled_at - received_at)


def event_key(received_at: float, chatbot: str | None, state: str) -> TallyKey:
    """Return the key that counts an event."""
    return TallyKey(day_of(received_at), chatbot or "", "", state)


def delivery_key(
    chatbot: str | None, destination: str, state: str, received_at: float, settled_at: float, *, warned: bool
) -> TallyKey:
    """Return the key that counts a delivery that has ended."""
    delivered = state == DeliveryState.DELIVERED.value
    bucket = bucket_of(received_at, settled_at) if delivered else 0
    return TallyKey(
        day_of(settled_at), chatbot or "", destination, WARNED_STATE if warned and delivered else state, bucket
    )


def add_counts(connection: Connection, changes: Mapping[TallyKey, int]) -> None:
    """Add to the counts, in the transaction of an operator's change. Negative numbers take away."""
    # In order, so that two operators' transactions never wait for each other.
    rows = [{**key._asdict(), "writer": OPERATOR, "count": count} for key, count in sorted(changes.items()) if count]
    if rows:
        connection.execute(_ADD, rows)


def ended_keys(connection: Connection, ids: Iterable[int]) -> Counter[TallyKey]:
    """Count the deliveries among these ids that have ended."""
    query = (
        select(*_ENDED)
        .select_from(deliveries.join(events))
        .where(deliveries.c.id.in_([*ids]), deliveries.c.settled_at.is_not(None))
    )
    return Counter(_key(row) for row in connection.execute(query))


def sql_day(moment: Column[float | None] | Column[float], *, floor: bool) -> ColumnElement[int]:
    """Return the day of a time in SQL. A cast rounds in PostgreSQL, and cuts off in SQLite."""
    days = moment / literal(float(DAY))
    return cast(func.floor(days) if floor else days, Integer)


_ENDED: Final = (
    deliveries.c.destination,
    events.c.chatbot,
    deliveries.c.state,
    events.c.received_at,
    deliveries.c.settled_at,
    deliveries.c.warning.is_not(None).label("warned"),
)


def _key(row: Row[*tuple[Any, ...]]) -> TallyKey:
    if row.settled_at is None:
        return event_key(row.received_at, row.chatbot, row.state)
    return delivery_key(
        row.chatbot, row.destination, row.state, row.received_at, row.settled_at, warned=bool(row.warned)
    )


class SpanCount(NamedTuple):
    """Count of a span of days."""

    span: int
    """Index in the spans that were asked for."""
    chatbot: str
    destination: str
    state: str
    bucket: int
    number: int


def span_counts(connection: Connection, spans: Iterable[tuple[int, int]], scope: Scope = EVERYTHING) -> list[SpanCount]:
    """Sum the counts of spans of days, each from its first day to the day before its last one.

    The spans do not overlap, so each row is read once.
    """
    asked = [*spans]
    number = case(
        *((tally.c.day.between(first, end - 1), literal(index)) for index, (first, end) in enumerate(asked)), else_=-1
    )
    query = (
        select(
            number.label("span"),
            tally.c.chatbot,
            tally.c.destination,
            tally.c.state,
            tally.c.bucket,
            cast(func.sum(_COUNT), tally.c.count.type),
        )
        .where(tally.c.day >= min(first for first, _ in asked), tally.c.day < max(end for _, end in asked))
        .group_by("span", tally.c.chatbot, tally.c.destination, tally.c.state, tally.c.bucket)
    )
    query = query.where(scope.of(tally.c.chatbot))
    return [SpanCount(*row) for row in connection.execute(query) if row.span >= 0]


def day_counts(connection: Connection, first: int, end: int, scope: Scope = EVERYTHING) -> list[SpanCount]:
    """Sum the counts of each day from the first one to the day before the last.

    The spans are days after the first one. There are at most as many rows as days, states and buckets.
    """
    query = (
        select(tally.c.day, tally.c.state, tally.c.bucket, cast(func.sum(_COUNT), tally.c.count.type))
        .where(tally.c.day >= first, tally.c.day < end)
        .group_by(tally.c.day, tally.c.state, tally.c.bucket)
    )
    query = query.where(scope.of(tally.c.chatbot))
    return [SpanCount(day - first, "", "", *rest) for day, *rest in connection.execute(query)]
