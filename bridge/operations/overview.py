"""Overview of the store. Reads only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.event import Room
from bridge.operations.lanes import list_lanes, own_lanes
from bridge.store import figures, quarantine
from bridge.store.figures import DeadLetterCause
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.lane_queries import LaneRow

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class StoreOverview:
    """Counts of the whole store, or of a reader's chatbots."""

    day: figures.Day
    accepted_today: int
    """Number of leads and appointments since midnight, UTC."""
    lanes: Sequence[LaneRow]
    causes: Sequence[DeadLetterCause]
    """Dead letters by destination and reason, the largest group first."""
    quarantined: Mapping[Room, int]
    """Number of requests in each room of the quarantine; empty rooms are left out."""

    @property
    def pending(self) -> int:
        """Number of pending deliveries."""
        return sum(each.pending for each in self.lanes)

    @property
    def dead(self) -> int:
        """Number of dead letters."""
        return sum(each.dead for each in self.lanes)

    @property
    def oldest_pending_at(self) -> float | None:
        """Receipt of the oldest event with a pending delivery; None if nothing is pending."""
        times = [each.oldest_pending_at for each in self.lanes if each.oldest_pending_at is not None]
        return min(times, default=None)


def read_overview(connection: Connection, config: Config, now: float, scope: Scope = EVERYTHING) -> StoreOverview:
    """Read the overview of the chatbots in a scope."""
    day = figures.last_day(connection, now, scope)
    hours_today = int(now % DAY_SECONDS) // figures.HOUR + 1
    return StoreOverview(
        day,
        sum(day.accepted[-hours_today:]),
        list_lanes(connection, config, now) if scope.is_whole else own_lanes(connection, config, now, scope),
        figures.dead_letter_causes(connection) if scope.is_whole else _own_causes(connection, scope),
        quarantined_by_room(connection, scope),
    )


def quarantined_by_room(connection: Connection, scope: Scope = EVERYTHING) -> Counter[Room]:
    """Count the requests in each room of the quarantine."""
    counts = Counter[Room]()
    for each in quarantine.room_counts(connection):
        counts[each.room] += each.count if scope.sees(each.chatbot) else 0
    return +counts


def _own_causes(connection: Connection, scope: Scope) -> list[DeadLetterCause]:
    counts = Counter[tuple[str, str]]()
    for each in figures.dead_groups(connection, scope):
        counts[each.destination, each.reason or ""] += each.number
    found = [DeadLetterCause(*cause, count) for cause, count in counts.items()]
    return sorted(found, key=lambda each: (-each.count, each.destination, each.reason))
