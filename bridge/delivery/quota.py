"""What a lane may send under the quotas that its destination has last told. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.base import Quota


@dataclass(frozen=True, slots=True)
class Allowance:
    """Until when which deliveries are held back; times are seconds since the epoch."""

    nothing_until: float = 0.0
    """Nothing at all is sent before."""
    retries_until: float = 0.0
    """Only what has not been tried before is sent before."""

    def after(self, now: float) -> float | None:
        """Give when the next of these times is over, None if both are."""
        return min((each for each in (self.nothing_until, self.retries_until) if each > now), default=None)


def allowance(quotas: Sequence[Quota]) -> Allowance:
    """Say what the quotas allow: the strictest of them counts."""
    return Allowance(
        max((each.until for each in quotas if each.remaining <= 0), default=0.0),
        max((each.until for each in quotas if each.remaining <= each.reserve), default=0.0),
    )
