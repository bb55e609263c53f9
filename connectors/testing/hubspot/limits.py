"""The call limits of the HubSpot sandbox. Pure: the time is passed in.

Source: HubSpot's usage guidelines. A private app or service key has 100 calls in ten seconds on the smaller plans (190
on Professional and Enterprise, 250 with the add-on for more), an OAuth app 110 on every plan; each counts its own, in a
rolling window. Search has a separate limit of 5 a second and does not count towards those. All calls count towards the
account's day: 250,000 calls on the smaller plans, 625,000 on Professional, a million on Enterprise, and another million
with the add-on.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from connectors.testing.hubspot.errors import RefusedError

_DAY = 86_400.0
_WINDOW = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of an account."""

    ten_secondly: int = 100
    """Calls of a private app or service key in any ten seconds, without searches."""
    oauth_ten_secondly: int = 110
    """Calls of an OAuth app in any ten seconds, without searches."""
    secondly: int = 5
    """Searches in any second."""
    daily: int = 250_000
    """Calls in a day, which begins at midnight UTC."""


class LimitedError(RefusedError):
    """A call over a limit. Its body has `errorType` in place of `category`, and there is no `Retry-After`.

    Args:
        policy: `TEN_SECONDLY_ROLLING`, `SECONDLY` or `DAILY`.
        portal: The account, which names a group of private apps. None: an OAuth app, whose group is not shown.
    """

    def __init__(self, policy: str, portal: int | None) -> None:
        super().__init__(429, f"You have reached your {policy.lower()} limit.", None)
        self._policy = policy
        self._portal = portal

    def document(self, correlation_id: str) -> dict[str, Any]:
        """Return the body of the answer."""
        body = {
            "status": "error",
            "message": self.message,
            "errorType": "RATE_LIMIT",
            "correlationId": correlation_id,
            "policyName": self._policy,
        }
        if self._policy == "TEN_SECONDLY_ROLLING" and self._portal is not None:
            return body | {"groupName": f"publicapi:private-apps:{self._portal}"}
        return body | {"requestId": correlation_id}


class Meter:
    """Counter of calls.

    Args:
        limits: Limits of the account.
        portal: The account.
    """

    def __init__(self, limits: Limits, portal: int) -> None:
        self.limits = limits
        """Limits; tests may change them at any time."""
        self._portal = portal
        self._private: deque[float] = deque()
        self._oauth: deque[float] = deque()
        self._searches: deque[float] = deque()
        self._day = 0
        self._today = 0

    def count(self, now: float, *, search: bool, oauth: bool) -> None:
        """Count a call. Raises `LimitedError`; the call then does not count."""
        if int(now // _DAY) != self._day:
            self._day, self._today = int(now // _DAY), 0
        if self._today >= self.limits.daily:
            raise LimitedError("DAILY", self._portal)
        _forget(self._searches, now - 1.0)
        calls, most = (self._searches, self.limits.secondly) if search else self._rolling(now, oauth=oauth)
        if len(calls) >= most:
            raise LimitedError("SECONDLY" if search else "TEN_SECONDLY_ROLLING", None if oauth else self._portal)
        calls.append(now)
        self._today += 1

    def headers(self, now: float, *, oauth: bool) -> dict[str, str]:
        """Return the headers with the remaining calls; those of the day are absent for OAuth apps."""
        calls, most = self._rolling(now, oauth=oauth)
        left = {
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(_WINDOW * 1000)),
            "X-HubSpot-RateLimit-Max": str(most),
            "X-HubSpot-RateLimit-Remaining": str(max(most - len(calls), 0)),
        }
        if oauth:
            return left
        return left | {
            "X-HubSpot-RateLimit-Daily": str(self.limits.daily),
            "X-HubSpot-RateLimit-Daily-Remaining": str(max(self.limits.daily - self._today, 0)),
        }

    def _rolling(self, now: float, *, oauth: bool) -> tuple[deque[float], int]:
        """Return the number of calls in the last ten seconds, and the limit."""
        calls = self._oauth if oauth else self._private
        _forget(calls, now - _WINDOW)
        return calls, self.limits.oauth_ten_secondly if oauth else self.limits.ten_secondly


def _forget(calls: deque[float], until: float) -> None:
    while calls and calls[0] <= until:
        calls.popleft()
