"""Faults of lanes, and when each lane may begin again. Pure: time is passed in.

A lane that has failed once begins anew from the store. If it fails several times in a row, the cause may be this
process, so the lane is left to another one for a while. If there is no other process, this one tries the lane at
growing intervals.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FAULTS_LIMIT = 3
"""Number of faults in a row after which a lane is given up."""
CALM_SECONDS = 60.0
"""Seconds of running after which earlier faults no longer count."""
FIRST_REST = 1.0
LONGEST_REST = 60.0
"""Seconds from a fault until the lane begins again: doubled each time, up to the longest."""
LEFT_SECONDS = 600.0
"""Seconds that a lane which was given up is left to other processes."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Faults in a row of one lane."""

    count: int
    last_at: float

    @property
    def rests_until(self) -> float:
        return self.last_at + min(FIRST_REST * 2.0 ** (self.count - 1), LONGEST_REST)


class Faults:
    """Faults of the lanes of a process."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def add(self, lane: str, began_at: float, now: float) -> None:
        """Note that a lane has ended by a fault now; `began_at` is when it began."""
        before = self._rows.get(lane)
        in_a_row = before.count if before and now - began_at < CALM_SECONDS else 0
        self._rows[lane] = _Row(in_a_row + 1, now)

    def forget_old(self, running: Mapping[str, float], now: float) -> None:
        """Forget the faults of lanes that have run well since, and faults that are long past.

        Args:
            running: By lane that this process works: when it began.
            now: The present time.
        """
        for lane, row in list(self._rows.items()):
            calm = lane in running and now - running[lane] >= CALM_SECONDS
            if calm or (lane not in running and now - row.last_at >= LEFT_SECONDS):
                del self._rows[lane]

    def is_resting(self, lane: str, now: float) -> bool:
        """Return whether a lane may not begin yet."""
        return lane in self._rows and now < self._rows[lane].rests_until

    @property
    def given_up(self) -> frozenset[str]:
        """Lanes that have failed too often in a row."""
        return frozenset(lane for lane, row in self._rows.items() if row.count >= FAULTS_LIMIT)
