"""What became of the leads of a span of time, and which records they became. Reads only.

Its questions read all deliveries of that span, which takes a while where there are millions; nobody waits for them but
whoever asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from bridge.event import EventState
from bridge.store.base import DeliveryState
from bridge.store.questions import in_state
from bridge.store.schema import deliveries, events


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a chatbot's events at one destination."""

    chatbot: str
    destination: str | None
    """None for events that no route took."""
    states: Mapping[DeliveryState, int]
    received: int


@dataclass(frozen=True, slots=True, repr=False)
class Delivered:
    """A delivery that ended well, and the record it became."""

    id: int
    chatbot: str
    route: str
    remote_id: str | None


def tallies(connection: Connection, first: int) -> list[Tally]:
    """Count the deliveries of the events from a `seq` on, by chatbot and destination."""
    asked = (
        select(events.c.chatbot, deliveries.c.destination, deliveries.c.state, func.count())
        .select_from(events.outerjoin(deliveries))
        .where(events.c.seq >= first, in_state(events.c.state, EventState.ACCEPTED.value))
        .group_by(events.c.chatbot, deliveries.c.destination, deliveries.c.state)
    )
    counted: dict[tuple[str, str | None], dict[DeliveryState, int]] = {}
    taken_by_none: dict[tuple[str, str | None], int] = {}
    for chatbot, destination, state, count in connection.execute(asked):
        states = counted.setdefault((chatbot, destination), {})
        if state is None:
            taken_by_none[chatbot, destination] = count
        else:
            states[DeliveryState(state)] = count
    return [
        Tally(*of, states, sum(states.values()) + taken_by_none.get(of, 0))
        for of, states in sorted(counted.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]


def unrecognised(connection: Connection, first: int) -> int:
    """Count the events from a `seq` on of which nobody knows what they are."""
    asked = select(func.count()).where(events.c.seq >= first, in_state(events.c.state, EventState.UNRECOGNISED.value))
    return int(connection.execute(asked).scalar_one())


def delivered(connection: Connection, destination: str, first: int, after: int, limit: int) -> Sequence[Delivered]:
    """Read the next deliveries with ids above `after` that ended well, of the events from a `seq` on."""
    asked = (
        select(deliveries.c.id, events.c.chatbot, deliveries.c.route, deliveries.c.remote_id)
        .select_from(deliveries.join(events))
        .where(
            events.c.seq >= first,
            deliveries.c.id > after,
            deliveries.c.destination == destination,
            in_state(deliveries.c.state, DeliveryState.DELIVERED.value),
        )
        .order_by(deliveries.c.id)
        .limit(limit)
    )
    return [Delivered(*row) for row in connection.execute(asked)]
