"""What HubSpot's headers tell of the account's allowances. Pure: the time is passed in.

Source: HubSpot's usage guidelines. The daily headers are absent for OAuth apps, and search sends none at all.
"""

from collections.abc import Mapping, Sequence

from connectors.base import Quota

_DAY = ("X-HubSpot-RateLimit-Daily", "X-HubSpot-RateLimit-Daily-Remaining")
_WINDOW = ("X-HubSpot-RateLimit-Max", "X-HubSpot-RateLimit-Remaining")
_WINDOW_LENGTH = "X-HubSpot-RateLimit-Interval-Milliseconds"
_ASK_AGAIN = 1800.0  # seconds; the day ends at midnight of a time zone that the API does not tell
_SHARE_KEPT = 20  # a twentieth of the day is kept for what has not been tried yet


class Allowances:
    """Keeps what the last answers told."""

    def __init__(self) -> None:
        self._known: dict[str, Quota] = {}

    def observe(self, headers: Mapping[str, str], now: float) -> None:
        """Read the headers of an answer that came `now`, in seconds since the epoch."""
        if found := _numbers(headers, *_DAY):
            limit, remaining = found
            self._known["daily"] = Quota("daily", limit, remaining, now + _ASK_AGAIN, limit // _SHARE_KEPT)
        if found := _numbers(headers, *_WINDOW):
            length = headers.get(_WINDOW_LENGTH, "")
            seconds = int(length) / 1000 if length.isdecimal() else 10.0
            self._known["10 s"] = Quota("10 s", *found, now + seconds)

    def quotas(self) -> Sequence[Quota]:
        """Give what is known."""
        return tuple(self._known.values())


def _numbers(headers: Mapping[str, str], *names: str) -> tuple[int, int] | None:
    limit, remaining = (headers.get(name, "") for name in names)
    return (int(limit), int(remaining)) if limit.isdecimal() and remaining.isdecimal() else None
