"""The limits of the org: calls in 24 hours, those of the app among them, and simultaneous long calls. Has no clock.

From the Salesforce Developer Limits and Allocations Quick Reference, API Request Limits and Allocations: calls are
counted over the last 24 hours, not per day; calls that run for 20 seconds or more count as long.

From the REST API Developer Guide, Limit Info Header: an app may have a quota of its own (in the guide of version 43.0),
and an org may exceed its limit for some hours of a month (in the guide of version 48.0; the current one shows
`api-bursts` without explanation). The words of a refusal over the app's quota are not documented; here they are those
for the org's.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from connectors.testing.salesforce.problems import refused

_HOUR = 3600.0
_DAY = 24 * _HOUR
_MONTH = 30 * 24  # hours
_LONG = 20.0

TOTAL = "TotalRequests Limit exceeded."
"""Error of an org whose calls of 24 hours are used up."""
CONCURRENT = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
"""Error of an org with too many long calls under way."""


class Limits:
    """Counter of calls. A test may change the limits at any time, and add calls of others.

    Args:
        daily: Calls in 24 hours.
        concurrent: Long calls at once.
        now: Seconds since the epoch.
    """

    def __init__(self, daily: int, concurrent: int, now: Callable[[], float]) -> None:
        self.daily = daily
        self.concurrent = concurrent
        self.app: tuple[str, int] | None = None
        """Name of the app, and its own limit of calls in 24 hours; None if it has no quota."""
        self.burst_hours = 0
        """Hours of a month in which calls past `daily` are still answered; 0 for none."""
        self._now = now
        self._own: deque[float] = deque()
        self._others: deque[float] = deque()
        self._over: set[int] = set()
        self._under_way: dict[int, float] = {}
        self._number = 0

    @property
    def used(self) -> int:
        """Return the number of calls in the last 24 hours."""
        return self._counted(self._own) + self._counted(self._others)

    @property
    def header(self) -> str:
        """Return the Sforce-Limit-Info header."""
        parts = [f"api-usage={self.used}/{self.daily}"]
        if self.app is not None:
            name, quota = self.app
            parts.append(f"per-app-api-usage={self._counted(self._own)}/{quota}(appName={name})")
        if self.burst_hours:
            parts.append(f"api-bursts={len(self._hours_over())}/{self.burst_hours}")
        return "; ".join(parts)

    def use(self, calls: int) -> None:
        """Count calls that other programs of the org have just made."""
        self._others.extend([self._now()] * calls)

    def begin(self) -> Callable[[], None]:
        """Count a call, and return a function to call when its answer has been sent.

        Raises:
            ProblemError: a limit is reached; the call then does not count.
        """
        at = self._now()
        if self.app is not None and self._counted(self._own) >= self.app[1]:
            raise refused(403, "REQUEST_LIMIT_EXCEEDED", TOTAL)
        if self.used >= self.daily and not self._goes_on(at):
            raise refused(403, "REQUEST_LIMIT_EXCEEDED", TOTAL)
        if sum(at - begun >= _LONG for begun in self._under_way.values()) >= self.concurrent:
            raise refused(403, "REQUEST_LIMIT_EXCEEDED", CONCURRENT)
        self._number += 1
        number = self._number
        self._own.append(at)
        self._under_way[number] = at
        return lambda: self._end(number)

    def document(self) -> dict[str, Any]:
        """Return the answer of the Limits resource."""
        return {"DailyApiRequests": {"Max": self.daily, "Remaining": max(self.daily - self.used, 0)}}

    def _counted(self, calls: deque[float]) -> int:
        while calls and calls[0] <= self._now() - _DAY:
            calls.popleft()
        return len(calls)

    def _hours_over(self) -> set[int]:
        self._over = {each for each in self._over if each > self._now() // _HOUR - _MONTH}
        return self._over

    def _goes_on(self, at: float) -> bool:
        """Return True if a call past the limit is answered; its hour then counts."""
        hours = self._hours_over() | {int(at // _HOUR)}
        if len(hours) > self.burst_hours:
            return False
        self._over = hours
        return True

    def _end(self, number: int) -> None:
        del self._under_way[number]
