"""How many of what there is: what the overview and the metrics show. Reads only, bounded.

Integer division and the rounding of a cast differ between the engines by half a second at the edge of an hour, which a
picture of hours does not show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, cast, func, select

from bridge.event import EventState
from bridge.store.base import DeliveryState
from bridge.store.questions import in_state
from bridge.store.schema import deliveries, events
from bridge.store.search import SPAN, first_delivery, seq_at

HOUR = 3600
HOURS = 24


@dataclass(frozen=True, slots=True)
class Day:
    """The last hours: this one, which has only begun, and those before it."""

    since: float
    """When the first hour begins."""
    accepted: Sequence[int]
    """Leads and appointments that were received in each hour, `HOURS` of them."""
    deliveries: Mapping[DeliveryState, int]
    """What has become of their deliveries so far."""
    complete: bool
    """Whether all events were counted; else only the newest ones."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Dead letters of one destination for one reason."""

    destination: str
    reason: str
    count: int


def day(connection: Connection, now: float) -> Day:
    """Count what the last hours have brought; of very much only the newest `SPAN` events."""
    since = (int(now) // HOUR - HOURS + 1) * HOUR
    first = seq_at(connection, since)
    last = connection.execute(select(func.max(events.c.seq))).scalar() or 0
    low = max(first, last + 1 - SPAN)
    hour = (cast(events.c.received_at, BigInteger) - since) // HOUR
    asked = (
        select(hour.label("hour"), func.count().label("events"))
        .where(events.c.seq >= low, events.c.received_at >= since, in_state(events.c.state, EventState.ACCEPTED.value))
        .group_by("hour")
    )
    accepted = [0] * HOURS
    for at, count in connection.execute(asked):
        accepted[min(max(int(at), 0), HOURS - 1)] += count
    return Day(float(since), accepted, _states(connection, first_delivery(connection, low)), low == first)


def causes(connection: Connection) -> list[Cause]:
    """Group the dead letters by destination and reason, the largest group first; an index holds no others."""
    asked = (
        select(deliveries.c.destination, deliveries.c.reason, func.count().label("dead"))
        .where(in_state(deliveries.c.state, DeliveryState.DEAD.value))
        .group_by(deliveries.c.destination, deliveries.c.reason)
    )
    found = [Cause(*row) for row in connection.execute(asked)]
    return sorted(found, key=lambda each: (-each.count, each.destination, each.reason))


def _states(connection: Connection, first: int | None) -> dict[DeliveryState, int]:
    if first is None:
        return {}
    asked = select(deliveries.c.state, func.count()).where(deliveries.c.id >= first).group_by(deliveries.c.state)
    return {DeliveryState(state): count for state, count in connection.execute(asked)}
