"""What was measured, beside its reference and its mark."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report."""

    name: str
    unit: str
    measured: float
    reference: float | None = None
    ratio: float | None = None
    mark: float | None = None
    """What must be reached; None for a figure that only stands beside others."""
    aim: float | None = None
    judged: Literal["measured", "ratio"] = "measured"
    """Which of the two is held against the mark."""
    better: Literal["lower", "higher"] = "lower"
    note: str = ""

    @property
    def verdict(self) -> Literal["", "aim", "mark", "missed"]:
        """Say whether the aim is reached, or the mark, or neither."""
        if self.mark is None:
            return ""
        value = self.measured if self.judged == "measured" else self.ratio
        if value is None:
            return "missed"
        if self.aim is not None and self._reaches(value, self.aim):
            return "aim"
        return "mark" if self._reaches(value, self.mark) else "missed"

    def _reaches(self, value: float, limit: float) -> bool:
        return value <= limit if self.better == "lower" else value >= limit

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {name: getattr(self, name) for name in (*self.__dataclass_fields__, "verdict")}


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest of the values that is not below so large a share of them."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_percentile(rounds: Sequence[Sequence[float]], share: float) -> float:
    """Give the median of the rounds' percentiles: one round that the machine disturbed does not decide."""
    return statistics.median(percentile(values, share) for values in rounds)


def pooled_percentile(rounds: Sequence[Sequence[float]], share: float) -> float:
    """Give the percentile over all rounds together: every disturbance counts."""
    return percentile([value for values in rounds for value in values], share)
