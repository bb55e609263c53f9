"""The events of a span of time with what they hold, of whatever state."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from bridge.store.encryption import keys_of
from bridge.store.schema import events

STEP = 500
"""Events that are read at once."""


@dataclass(frozen=True, slots=True, repr=False)
class ReceivedEvent:
    """An event as it was received."""

    seq: int
    id: str
    payload: bytes


def received_since(connection: Connection, moment: float, after: int) -> list[ReceivedEvent]:
    """Read the next `STEP` events after a `seq` that were received at a time or later; fewer at the end.

    All are looked at: one that was routed again later stands where it was put then, with the time of its receipt.
    """
    asked = (
        select(events.c.seq, events.c.id, events.c.payload)
        .where(events.c.seq > after, events.c.received_at >= moment)
        .order_by(events.c.seq)
        .limit(STEP)
    )
    keys = keys_of(connection)
    return [
        ReceivedEvent(row.seq, row.id.hex(), keys.open(bytes(row.payload), "events.payload", row.id))
        for row in connection.execute(asked)
    ]
