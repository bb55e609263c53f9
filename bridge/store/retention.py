"""Which events are kept no longer: the statement that deletes them, with their deliveries and attempts."""

from sqlalchemy import Connection, case, delete, select

from bridge.event import EventState
from bridge.store.base import DeliveryState
from bridge.store.schema import deliveries, events

STEP = 500
"""Events that one transaction looks at: a few milliseconds."""


def prune(connection: Connection, now: float, delivered: float, dead: float, after: int) -> int | None:
    """Look at the next `STEP` events after a `seq`, and delete those whose time is over.

    An event is kept while a delivery of it is pending; then for `dead` seconds after the last dead letter, and for
    `delivered` seconds after the last delivery that ended otherwise; one without deliveries for `delivered` seconds
    after its receipt, or `dead` if it was not recognised. Gives the `seq` to go on from, None at the end of what is
    old enough.
    """
    oldest = min(delivered, dead)
    seen = connection.execute(
        select(events.c.seq, events.c.received_at).where(events.c.seq > after).order_by(events.c.seq).limit(STEP)
    ).all()
    if not seen or seen[0].received_at > now - oldest:
        return None
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
    connection.execute(
        delete(events).where(events.c.seq > after, events.c.seq <= last, events.c.received_at <= now - shown, ~wanted)
    )
    return last if len(seen) == STEP else None
