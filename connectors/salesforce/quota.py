"""What Salesforce says of the calls that are left, in each answer's `Sforce-Limit-Info`. Pure but for what it keeps."""

import re
from collections.abc import Mapping

from connectors.base import Quota
from connectors.salesforce.problems import LONG_PAUSE

# "Limit Info Header" of the REST API Developer Guide: `api-usage=18/5000; per-app-api-usage=17/250(appName=x)`.
_USED = re.compile(r"(?:^|[;,\s])(per-app-api-usage|api-usage)\s*=\s*(\d{1,12})/(\d{1,12})", re.ASCII)
_NAMES = {"api-usage": "daily", "per-app-api-usage": "daily of the app"}
_WHOLE = 100


class Usage:
    """Keeps what the last answers have said.

    Args:
        reserve: Percent of each allowance that retries leave to new leads.
    """

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._known: dict[str, Quota] = {}

    def note(self, headers: Mapping[str, str], now: float) -> None:
        """Take note of an answer's headers. `now` is in seconds since the epoch.

        The 24 hours of a limit roll, so there is no time at which it is renewed as a whole; some of it comes back all
        the time.
        """
        for name, used, limit in _USED.findall(headers.get("Sforce-Limit-Info", "")):
            most = int(limit)
            left = max(most - int(used), 0)
            reserve = most * self._reserve // _WHOLE
            self._known[name] = Quota(_NAMES[name], most, left, now + LONG_PAUSE, reserve)

    def quotas(self) -> tuple[Quota, ...]:
        """Give what is known."""
        return tuple(self._known.values())
