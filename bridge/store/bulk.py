"""Many deliveries at once, chosen by a filter: how many there are, and the next few hundred of them.

Only pending and dead ones, because an index leads to those. Each step is a transaction of its caller's: what is done
stays done after a crash, and starting again goes on with the rest, which still is in the state asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, Select, func, select

from bridge.store import actions, auditing
from bridge.store.base import DeliveryState
from bridge.store.questions import in_state, pending_destinations
from bridge.store.schema import deliveries, events

COUNT_LIMIT = 1_000_000
"""The most deliveries of one run."""


class Act(StrEnum):
    """What is done with them."""

    REPLAY = "replay"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which deliveries. What is None does not choose."""

    state: DeliveryState
    """`PENDING` or `DEAD`."""
    chatbot: str | None = None
    destination: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How many there are, and the id of the last one: what comes later was not counted and is not touched."""

    count: int
    through: int


def extent(connection: Connection, chosen: Chosen, through: int | None = None) -> Extent:
    """Count the deliveries with ids up to `through`, of very many only the oldest `COUNT_LIMIT`."""
    asked = _select(connection, chosen)
    if through is not None:
        asked = asked.where(deliveries.c.id <= through)
    every = asked.limit(COUNT_LIMIT + 1).subquery("every")
    count, last = connection.execute(select(func.count(), func.max(every.c.id))).one()
    if count > COUNT_LIMIT:
        # Which are the oldest matters only now: to put all of them into an order takes far longer than to count them.
        oldest = asked.order_by(deliveries.c.id).limit(COUNT_LIMIT).subquery("oldest")
        count, last = connection.execute(select(func.count(), func.max(oldest.c.id))).one()
    return Extent(count, last or 0)


def step(
    connection: Connection, chosen: Chosen, act: Act, after: int, through: int, now: float, entry: int | None = None
) -> Sequence[int]:
    """Do it for the next `actions.IDS_LIMIT` with ids above `after`, in order of receipt; give their ids.

    So each contact's deliveries stay in order. None are left when it gives none. `entry` is the id of the run's entry
    in the audit log, which counts what is done.
    """
    limit = actions.IDS_LIMIT
    ids: list[int] = []
    for each in _by_destination(connection, chosen):
        asked = _select(connection, each).where(deliveries.c.id > after, deliveries.c.id <= through)
        ids += connection.execute(asked.order_by(deliveries.c.id).limit(limit)).scalars()
    ids = sorted(ids)[:limit]
    if ids:
        (actions.replay if act is Act.REPLAY else actions.discard)(connection, ids, now)
        if entry is not None:
            auditing.add(connection, entry, len(ids))
    return ids


def _by_destination(connection: Connection, chosen: Chosen) -> list[Chosen]:
    """Divide what is chosen as its index does: that of what is pending leads through one destination in order."""
    if chosen.state is DeliveryState.PENDING and chosen.destination is None:
        return [replace(chosen, destination=name) for name in pending_destinations(connection)]
    return [chosen]


def _select(connection: Connection, chosen: Chosen) -> Select[int]:
    asked = select(deliveries.c.id).where(in_state(deliveries.c.state, chosen.state.value))
    if chosen.chatbot is not None:
        asked = asked.select_from(deliveries.join(events)).where(events.c.chatbot == chosen.chatbot)
    if chosen.destination is not None:
        asked = asked.where(deliveries.c.destination == chosen.destination)
    elif chosen.state is DeliveryState.PENDING:
        # Named, they let the index answer; without, the few pending ones would be looked for among all deliveries.
        asked = asked.where(deliveries.c.destination.in_(pending_destinations(connection)))
    if chosen.reason is not None:
        asked = asked.where(deliveries.c.reason == chosen.reason)
    return asked
