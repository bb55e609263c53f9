"""What Salesforce says of the calls that are left, in each answer's `Sforce-Limit-Info`. Pure but for what it keeps."""

import re
from collections.abc import Mapping

from connectors.base import Quota
from connectors.salesforce.problems import LONG_PAUSE

# "Limit Info Header" of the REST API Developer Guide: `api-usage=18/5000; per-app-api-usage=17/250(appName=x);
# api-bursts=1/750`. The last one are hours of the month in which the org has been past its daily limit, and in how many
# it may be (the guide of version 48.0; the present one shows it and says nothing of it).
_USED = re.compile(r"(?:^|[;,\s])(per-app-api-usage|api-usage|api-bursts)\s*=\s*(\d{1,12})/(\d{1,12})", re.ASCII)
_BURSTS = "api-bursts"
_OF_THE_ORG = "api-usage"
_NAMES = {_OF_THE_ORG: "daily", "per-app-api-usage": "daily of the app"}
_HEADER = "Sforce-Limit-Info"
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
        the time. An org that may go on past its limit is not taken to have nothing left: it answers new leads, and
        retries wait as they do at the end of any quota.
        """
        said = {name: (int(used), int(limit)) for name, used, limit in _USED.findall(headers.get(_HEADER, ""))}
        over, hours = said.pop(_BURSTS, (0, 0))
        for name, (used, most) in said.items():
            goes_on = name == _OF_THE_ORG and over < hours
            left = max(most - used, 1 if goes_on else 0)
            reserve = most * self._reserve // _WHOLE
            self._known[name] = Quota(_NAMES[name], most, left, now + LONG_PAUSE, reserve)

    def quotas(self) -> tuple[Quota, ...]:
        """Give what is known."""
        return tuple(self._known.values())
