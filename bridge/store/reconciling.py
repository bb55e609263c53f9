"""What became of the events of a span of time, and which records they became. Reads only, bounded by what is asked.

A span is given by the number (`seq`) of its first event; see `search.seq_at`.
"""

from collections import Counter

from sqlalchemy import Connection, and_, func, select

from bridge.event import EventState, Room
from bridge.reconciliation import AT_ONCE, Counted, Delivered, DeliveredPage, Where
from bridge.store.base import DeliveryState
from bridge.store.encryption import keys_of
from bridge.store.quarantine import held
from bridge.store.questions import in_state
from bridge.store.schema import deliveries, events
from bridge.store.search import SPAN, first_delivery


def last_event(connection: Connection) -> int:
    """Give the number of the newest event; 0 if there is none."""
    return connection.execute(select(func.max(events.c.seq))).scalar() or 0


def count(connection: Connection, first: int, last: int) -> Counted:
    """Count what became of the events with numbers from `first` to `last`; some 4 µs for each of them."""
    span = events.c.seq.between(first, last)
    # Said of both tables: PostgreSQL would read all deliveries to join those of a part of the events.
    theirs = and_(deliveries.c.event_seq == events.c.seq, deliveries.c.event_seq.between(first, last))
    asked = (
        select(events.c.chatbot, deliveries.c.destination, deliveries.c.state, func.count())
        .select_from(events.outerjoin(deliveries, theirs))
        .where(span, in_state(events.c.state, EventState.ACCEPTED.value))
        .group_by(events.c.chatbot, deliveries.c.destination, deliveries.c.state)
    )
    states: dict[Where, dict[DeliveryState, int]] = {}
    untaken: dict[Where, int] = {}
    for chatbot, destination, state, number in connection.execute(asked):
        if state is None:
            untaken[chatbot, destination] = number
        else:
            states.setdefault((chatbot, destination), {})[DeliveryState(state)] = number
    strange = select(func.count()).where(span, in_state(events.c.state, EventState.UNRECOGNISED.value))
    return Counted(states, untaken, connection.execute(strange).scalar_one())


def quarantined(connection: Connection, since: float) -> Counted:
    """Count the refused requests of a span of time that may be leads; junk is none."""
    counted = Counter[str]()
    for each in held(connection, since):
        counted[each.chatbot] += each.count if each.room is not Room.JUNK else 0
    return Counted(quarantined=+counted)


def delivered(connection: Connection, destination: str, first: int, before: int | None) -> DeliveredPage:
    """Read the next deliveries that have ended well, of the events with numbers from `first` on.

    A page looks at no more than `SPAN` deliveries; `before` is where the page before it said to read on.
    """
    low = first_delivery(connection, first)
    if low is None:
        return DeliveredPage((), None)
    high = before or (connection.execute(select(func.max(deliveries.c.id))).scalar() or 0) + 1
    bottom = max(low, high - SPAN)
    asked = (
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
    keys = keys_of(connection)
    rows = [
        Delivered(
            row.id,
            row.event_id.hex(),
            row.chatbot,
            row.route,
            keys.open_text(row.remote_id, "deliveries.remote_id", row.event_id, row.route),
        )
        for row in connection.execute(asked)
    ]
    end = rows[-1].id if len(rows) == AT_ONCE else bottom
    return DeliveredPage(rows, end if end > low else None)
