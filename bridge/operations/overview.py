"""Overview of the store. Reads only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.event import Room
from bridge.operations.lanes import list_lanes, own_lanes
from bridge.store import chatbot_queries, quarantine, statistics
from bridge.store.lane_queries import LaneRow
from bridge.store.statistics import DeadLetterCause

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class StoreOverview:
    """Counts of the whole store, or of a reader's chatbots."""

    day: statistics.Day
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


def read_overview(
    connection: Connection, config: Config, now: float, only: AbstractSet[str] | None = None
) -> StoreOverview:
    """Read the overview; with `only`, that of these chatbots."""
    day = statistics.day(connection, now, only)
    hours_today = int(now % DAY_SECONDS) // statistics.HOUR + 1
    return StoreOverview(
        day,
        sum(day.accepted[-hours_today:]),
        list_lanes(connection, config, now) if only is None else own_lanes(connection, config, now, only),
        statistics.dead_letter_causes(connection) if only is None else _own_causes(connection, only),
        quarantined_by_room(connection, only),
    )


def quarantined_by_room(connection: Connection, only: AbstractSet[str] | None = None) -> Counter[Room]:
    """Count the requests in each room of the quarantine; with `only`, those of these chatbots."""
    counts = Counter[Room]()
    for each in quarantine.room_counts(connection):
        counts[each.room] += each.count if only is None or each.chatbot in only else 0
    return +counts


def _own_causes(connection: Connection, only: AbstractSet[str]) -> list[DeadLetterCause]:
    counts = Counter[tuple[str, str]]()
    for each in chatbot_queries.dead_groups(connection, only):
        counts[each.destination, each.reason or ""] += each.number
    found = [DeadLetterCause(*cause, count) for cause, count in counts.items()]
    return sorted(found, key=lambda each: (-each.count, each.destination, each.reason))
