"""Numbers and times as people read them: on pages, in reports and on the command line. Pure."""

from typing import Final

_SHORT: Final = 10.0
_COMPARABLE: Final = 10
"""A number more than so many times the one before is not compared with it: `+10096 %` says nothing."""
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def since(moment: float, now: float) -> str:
    """Write the time from one moment to a later one in one unit, tenths of seconds included: `1.2 s`."""
    seconds = max(0.0, now - moment)
    return f"{seconds:.1f} s" if seconds < _SHORT else duration(seconds)


def duration(seconds: float) -> str:
    """Write a time in its largest unit: `5 min`."""
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def lasting(seconds: float | None) -> str:
    """Write a time that something took: `1.2 s`."""
    return "-" if seconds is None else since(0.0, seconds)


def percent(share: float | None) -> str:
    """Write a share in whole percent. Only a whole share reads as 100."""
    if share is None:
        return "-"
    return f"{min(round(100 * share), 99) if share < 1 else 100} %"


def change(number: float | None, before: float | None) -> str:
    """Write the change to a number before it: `+12 %`. Empty without one to compare with, or with a tenth of it."""
    if not before or number is None or number > _COMPARABLE * before:
        return ""
    return f"{100 * (number - before) / before:+.0f} %"


def points(share: float | None, before: float | None) -> str:
    """Write the change to a share before it: `+1.5 points`. Empty without one to compare with."""
    return "" if share is None or before is None or share == before else f"{100 * (share - before):+.1f} points"


def plural(count: int, one: str, many: str) -> str:
    """Write a number with its noun: `1 lead`, `12 leads`."""
    return f"{count:,} {one if count == 1 else many}"
