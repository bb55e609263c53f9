"""Ranges of the keys of events and deliveries that belong to a span of time. Reads only."""

from sqlalchemy import Column, Connection, func, select

from bridge.store.schema import deliveries, events
from bridge.store.transaction import read_once


def seq_at(connection: Connection, moment: float) -> int:
    """Return the `seq` of the first event that was received at a time or later; one beyond the last if there is none.

    Events are in order of receipt, so a binary search finds it. An event that was routed again later has a new `seq`
    and its first time of receipt; such events are few and are ignored here.
    """
    low, high = key_ends(connection, events.c.seq)
    while low < high:
        middle = (low + high) // 2
        query = select(events.c.seq, events.c.received_at).where(events.c.seq >= middle).order_by(events.c.seq).limit(1)
        found = connection.execute(query).first()
        if found is None or found.received_at >= moment:
            high = middle
        else:
            low = found.seq + 1
    return low


def first_delivery(connection: Connection, seq: int) -> int | None:
    """Return the id of the first delivery of the events from a `seq` on; None if they have none."""
    query = select(deliveries.c.id).where(deliveries.c.event_seq >= seq)
    return connection.execute(query.order_by(deliveries.c.event_seq, deliveries.c.id).limit(1)).scalar()


@read_once
def key_ends(connection: Connection, key: Column[int]) -> tuple[int, int]:
    """Return the first key, and the key after the last.

    These are two queries, because SQLite reads the whole index for a query that has both
    (https://www.sqlite.org/optoverview.html#the_min_max_optimization).
    """
    first = connection.execute(select(func.min(key))).scalar()
    last = connection.execute(select(func.max(key))).scalar()
    return first or 1, (last or 0) + 1


def key_range(
    connection: Connection, key: Column[int], since: float | None, until: float | None, before: int | None
) -> tuple[int, int]:
    """Return the first key within the bounds, and the key after the last."""
    low, high = key_ends(connection, key)
    if since is not None:
        low = max(low, seq_at(connection, since))
    if until is not None:
        high = min(high, seq_at(connection, until))
    if before is not None:
        high = min(high, before)
    return low, high
