"""Which lanes fail by a fault of their own, again and again, and when each may be begun again. Pure: time is passed in.

A lane that has failed once begins anew from the store. If it fails several times in a row the cause may be this
process, so the lane is left to another one for a while. Where there is no other one it is tried at growing intervals.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FAULTS_LIMIT = 3
"""So many faults in a row, and the lane is given up."""
CALM_SECONDS = 60.0
"""A lane that has run for so long does not fail in a row any more."""
FIRST_REST = 1.0
LONGEST_REST = 60.0
"""Seconds after a fault until the lane begins again: doubled each time."""
LEFT_SECONDS = 600.0
"""How long a lane that was given up is left to others."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The faults in a row of one lane."""

    count: int
    last_at: float

    @property
    def rests_until(self) -> float:
        return self.last_at + min(FIRST_REST * 2.0 ** (self.count - 1), LONGEST_REST)


class Faults:
    """Remembers the faults of a process's lanes."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def add(self, lane: str, began_at: float, now: float) -> None:
        """Note that a lane has ended by a fault now; `began_at` is when it had begun."""
        before = self._rows.get(lane)
        in_a_row = before.count if before and now - began_at < CALM_SECONDS else 0
        self._rows[lane] = _Row(in_a_row + 1, now)

    def look(self, running: Mapping[str, float], now: float) -> None:
        """Forget the faults of lanes that have run well since, and those that are long past.

        Args:
            running: When each lane that is being worked was begun.
            now: The present time.
        """
        for lane, row in list(self._rows.items()):
            calm = lane in running and now - running[lane] >= CALM_SECONDS
            if calm or (lane not in running and now - row.last_at >= LEFT_SECONDS):
                del self._rows[lane]

    def rests(self, lane: str, now: float) -> bool:
        """Tell whether a lane is not to be begun yet."""
        return lane in self._rows and now < self._rows[lane].rests_until

    @property
    def given_up(self) -> frozenset[str]:
        """The lanes that have failed too often in a row."""
        return frozenset(lane for lane, row in self._rows.items() if row.count >= FAULTS_LIMIT)
