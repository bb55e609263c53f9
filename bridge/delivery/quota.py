"""Deliveries that a lane may send under the quotas of its destination. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from connectors.base import Quota


class QuotaHold(NamedTuple):
    """Times until which deliveries are held back, in seconds since the epoch."""

    nothing_until: float = 0.0
    """Nothing is sent before."""
    retries_until: float = 0.0
    """Only deliveries that were never tried are sent before."""

    def after(self, now: float) -> float | None:
        """Return the next of these times; None if both are past."""
        return min((each for each in (self.nothing_until, self.retries_until) if each > now), default=None)


NO_HOLD = QuotaHold()
"""Nothing is held back."""


def quota_hold(quotas: Sequence[Quota]) -> QuotaHold:
    """Return what the quotas allow: the strictest of them counts."""
    if not quotas:
        return NO_HOLD
    return QuotaHold(
        max((each.until for each in quotas if each.remaining <= 0), default=0.0),
        max((each.until for each in quotas if each.remaining <= each.reserve), default=0.0),
    )
