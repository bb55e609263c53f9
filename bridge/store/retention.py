"""Retention: deletion of expired events with their deliveries and attempts."""

from sqlalchemy import Connection, case, delete, func, select

from bridge.event import EventState
from bridge.store.interface import DeliveryState, PruneResult
from bridge.store.schema import deliveries, events

STEP = 500
"""Events that one transaction examines. It takes a few milliseconds."""
NEWEST_LOOKED_AT = 500
"""Number of last events among which the newest receipt is searched."""


def newest(connection: Connection, now: float) -> float | None:
    """Return the receipt of the newest event that is not in the future; None if there is none."""
    last = select(events.c.received_at).order_by(events.c.seq.desc()).limit(NEWEST_LOOKED_AT).subquery()
    query = select(func.max(last.c.received_at)).where(last.c.received_at <= now)
    found: float | None = connection.execute(query).scalar_one()
    return found


def prune_events(connection: Connection, now: float, delivered: float, dead: float, after: int) -> PruneResult:
    """Examine the next `STEP` events after a `seq`, and delete the expired ones.

    An event is kept while a delivery is pending, then for `dead` seconds after its last dead letter, and for
    `delivered` seconds after its last other delivery. An event without deliveries is kept for `delivered` seconds after
    its receipt, or `dead` seconds if it is unrecognised. Events from the future, received under a wrong clock, are
    skipped.
    """
    oldest = min(delivered, dead)
    seen = connection.execute(
        select(events.c.seq, events.c.received_at).where(events.c.seq > after).order_by(events.c.seq).limit(STEP)
    ).all()
    past = [row.received_at for row in seen if row.received_at <= now]
    if not seen or (past and past[0] > now - oldest):
        return PruneResult(None, 0)
    last = seen[-1].seq
    kept = case((deliveries.c.state == DeliveryState.DEAD.value, dead), else_=delivered)
    wanted = (
        select(deliveries.c.id)
        .where(
            deliveries.c.event_seq == events.c.seq,
            (deliveries.c.settled_at.is_(None)) | (deliveries.c.settled_at > now - kept),
        )
        .exists()
    )
    shown = case((events.c.state == EventState.UNRECOGNISED.value, dead), else_=delivered)
    deleted = connection.execute(
        delete(events).where(events.c.seq > after, events.c.seq <= last, events.c.received_at <= now - shown, ~wanted)
    )
    return PruneResult(last if len(seen) == STEP else None, deleted.rowcount)
