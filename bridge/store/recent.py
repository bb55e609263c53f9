"""The last events with what they hold, to see again what becomes of them."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from bridge.event import EventState
from bridge.store.encryption import keys_of
from bridge.store.questions import in_state
from bridge.store.schema import events


@dataclass(frozen=True, slots=True, repr=False)
class StoredEvent:
    """An event as it was received."""

    id: str
    received_at: float
    payload: bytes


def recent_events(connection: Connection, limit: int, chatbot: str | None = None) -> list[StoredEvent]:
    """Read the last accepted events, of one chatbot or of all, newest first."""
    asked = (
        select(events.c.id, events.c.received_at, events.c.payload)
        .where(in_state(events.c.state, EventState.ACCEPTED.value))
        .order_by(events.c.seq.desc())
        .limit(limit)
    )
    if chatbot is not None:
        asked = asked.where(events.c.chatbot == chatbot)
    keys = keys_of(connection)
    return [
        StoredEvent(row.id.hex(), row.received_at, keys.open(bytes(row.payload), "events.payload", row.id))
        for row in connection.execute(asked)
    ]
