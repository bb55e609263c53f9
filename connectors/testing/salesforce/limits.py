"""The limits of the org: calls in 24 hours, and long calls at once. No clock of its own.

From the Salesforce Developer Limits and Allocations Quick Reference, API Request Limits and Allocations: calls are
counted over the last 24 hours, not per day; calls that have been under way for 20 seconds count as long.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from connectors.testing.salesforce.problems import refused

_DAY = 24 * 3600.0
_LONG = 20.0

TOTAL = "TotalRequests Limit exceeded."
"""What an org says when the calls of 24 hours are used up."""
CONCURRENT = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
"""What an org says when too many long calls are under way."""


class Limits:
    """Counts calls. A test may change `daily` and `concurrent` at any time, and add what others have used.

    Args:
        daily: Calls in 24 hours.
        concurrent: Long calls at once.
        now: Seconds since the epoch.
    """

    def __init__(self, daily: int, concurrent: int, now: Callable[[], float]) -> None:
        self.daily = daily
        self.concurrent = concurrent
        self._now = now
        self._calls: deque[float] = deque()
        self._under_way: dict[int, float] = {}
        self._number = 0

    @property
    def used(self) -> int:
        """The calls of the last 24 hours."""
        while self._calls and self._calls[0] <= self._now() - _DAY:
            self._calls.popleft()
        return len(self._calls)

    @property
    def header(self) -> str:
        """The Sforce-Limit-Info header."""
        return f"api-usage={self.used}/{self.daily}"

    def use(self, calls: int) -> None:
        """Count calls that other programs of the org have just made."""
        self._calls.extend([self._now()] * calls)

    def begin(self) -> Callable[[], None]:
        """Count a call; what is returned is to be called when its answer has gone.

        Raises:
            ProblemError: a limit is reached; the call does not count then.
        """
        at = self._now()
        if self.used >= self.daily:
            raise refused(403, "REQUEST_LIMIT_EXCEEDED", TOTAL)
        if sum(at - begun >= _LONG for begun in self._under_way.values()) >= self.concurrent:
            raise refused(403, "REQUEST_LIMIT_EXCEEDED", CONCURRENT)
        self._number += 1
        number = self._number
        self._calls.append(at)
        self._under_way[number] = at
        return lambda: self._end(number)

    def document(self) -> dict[str, Any]:
        """Give the answer of the Limits resource."""
        return {"DailyApiRequests": {"Max": self.daily, "Remaining": max(self.daily - self.used, 0)}}

    def _end(self, number: int) -> None:
        del self._under_way[number]
