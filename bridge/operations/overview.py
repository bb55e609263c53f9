"""Overview of the store: the leads of the last hours, the waiting deliveries, and the requests in quarantine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from bridge.event import Room
from bridge.store import quarantine, statistics
from bridge.store.lane_queries import LaneRow, all_lanes

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class StoreOverview:
    """Counts of the whole store."""

    day: statistics.Day
    accepted_today: int
    """Number of leads and appointments since midnight, UTC."""
    lanes: Sequence[LaneRow]
    causes: Sequence[statistics.DeadLetterCause]
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


def read_overview(connection: Connection, destinations: Sequence[str], now: float) -> StoreOverview:
    """Read the overview; `destinations` are the configured ones."""
    day = statistics.day(connection, now)
    hours_today = int(now % DAY_SECONDS) // statistics.HOUR + 1
    return StoreOverview(
        day,
        sum(day.accepted[-hours_today:]),
        all_lanes(connection, destinations, now),
        statistics.dead_letter_causes(connection),
        quarantined_by_room(connection),
    )


def quarantined_by_room(connection: Connection) -> Counter[Room]:
    """Count the requests in each room of the quarantine."""
    counts = Counter[Room]()
    for each in quarantine.room_counts(connection):
        counts[each.room] += each.count
    return counts
