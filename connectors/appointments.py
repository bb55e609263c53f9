"""When an appointment begins, as far as its free text says so beyond doubt. Pure.

A meeting at a wrong time is worse than none, so nothing is guessed: the text must name one date, with its year, and
right behind it one time of day. Libraries that search text for dates fill in what is missing and choose between
readings, which is what must not happen here.

Read are `2026-11-25T10:00:00Z`, `2026-11-25 10:00`, `November 25, 2026 at 10:00 AM`, `Wed, 25 Nov 2026, 10:00-10:30`,
and `25/11/2026 10:00` where day and month cannot be confused. Months are English. Not read are `8:00` (morning or
evening?), `05/11/2026` (May or November?), a weekday that is not the date's, two dates that both may be meant, and a
time zone that is not known.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_FURTHEST = timedelta(days=730)
_LONGEST = 20_000  # characters that are searched; a start time is not further down
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?"
_TIME = r"(?:[01]?\d|2[0-3])(?::[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?\s*(?:[ap]\.?m\b\.?)?|\s*[ap]\.?m\b\.?)"
_START = re.compile(
    rf"""
    (?:\b(?P<weekday>{_WEEKDAY})\b[.,]?\s+)?
    (?<![\w/.:-])
    (?: (?P<y1>\d{{4}})(?P<sign1>[-/])(?P<m1>\d\d?)(?P=sign1)(?P<d1>\d\d?)
      | (?P<a>\d\d?)(?P<sign2>[-/.])(?P<b>\d\d?)(?P=sign2)(?P<y2>\d{{4}})
      | (?P<month3>{_MONTH})\s*(?P<d3>\d\d?)(?:st|nd|rd|th)?,?\s+(?P<y3>\d{{4}})
      | (?P<d4>\d\d?)(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month4>{_MONTH}),?\s+(?P<y4>\d{{4}})
    )
    (?: (?P<t>T) | \s*(?:,|\bat\b|@|\bfrom\b)\s*(?:at\s+|from\s+)? | \s+ | \s+[-\u2013\u2014]\s+ )
    (?P<time>{_TIME})(?![\d:])
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_PARTS = re.compile(r"(\d+)(?::(\d+))?(:(\d+))?[^ap]*([ap])?", re.IGNORECASE | re.ASCII)
_RANGE = re.compile(
    rf"\s*(?:[-\u2013\u2014]|\bto\b|\buntil\b|\btill\b)\s*(?P<end>{_TIME})(?![\d:])", re.IGNORECASE | re.ASCII
)
_OTHER_TIME = re.compile(rf"\s*(?:[,/]|\bor\b|\band\b)\s*(?:at\s+)?{_TIME}", re.IGNORECASE | re.ASCII)
_LATER_HALF = re.compile(
    r"\s*,?\s*(?:\w+\s+){0,3}(?:afternoon|evening|night|tarde|noche|noite|soir|abends?|sera)\b", re.IGNORECASE
)
_OFFSET = re.compile(
    r"\s*\(?\s*(?P<utc>UTC|GMT)?\s?(?P<sign>[+\N{MINUS SIGN}-])(?P<h>\d\d?)(?::?(?P<m>\d\d))?(?![\d:])"
)
_NAME = re.compile(
    r"\s*[(\[]?\s*(?P<name>[A-Za-z_]+/[\w/+-]*|[A-Z]{2,5}\b"
    r"|(?i:z|utc|gmt|[ecw]et|[ecmp]t|[a-z]{0,3}[sd]t|msk|sgt|hkt)\b)",
    re.ASCII,
)
_WORDS = re.compile(
    r"\s*,?\s*[(\[]?\s*"
    r"(?:(?i:(?:[a-z'.]+\s+){1,3}time|eastern|central|mountain|pacific|atlantic)\b|\(?in\s+[A-Z])",
    re.ASCII,
)
_LETTERS_AT_ONCE = re.compile(r"\s?h(?:rs|ours|r)?\b\.?|\s?uhr\b", re.IGNORECASE)


class _UnclearError(Exception):
    """What looks like a start time and cannot be read beyond doubt."""


def start_of(text: str, created: datetime, zone: tzinfo | None) -> datetime | None:
    """Give the start of the appointment in UTC, or None where the text does not say it beyond doubt.

    Args:
        text: The appointment's content, as the visitor and the chatbot wrote it.
        created: When it was made, with a time zone; the start is after it, by no more than two years.
        zone: Holds where the text names none. An abbreviation in the text (`EST`) is read only where it is what this
            zone calls itself on that day. None: a text without a zone has no start.
    """
    starts = set()
    for found in _START.finditer(text[:_LONGEST]):
        try:
            start = _start(found, text, zone)
        except (_UnclearError, ValueError, OverflowError):  # ValueError: February 30
            return None
        if created < start <= created + _FURTHEST:
            starts.add(start)
    return starts.pop() if len(starts) == 1 else None


def _start(found: re.Match[str], text: str, zone: tzinfo | None) -> datetime:
    """Give what one place of the text says. Raises `_UnclearError`, or ValueError for what no calendar has."""
    year, month, day = _date(found)
    hour, minute, second, half = _time(found["time"])
    local = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - its zone comes next
    weekday = found["weekday"]
    if weekday and _WEEKDAYS[local.weekday()] != weekday[:3].lower():
        raise _UnclearError
    is_exact = bool(found["t"]) or found["time"].count(":") > 1
    rest = text[found.end() : found.end() + 80]
    hours = _LETTERS_AT_ONCE.match(rest)
    named = _zone(rest[hours.end() if hours else 0 :], local, zone, is_exact=is_exact, half=half)
    # In the hour that summer time leaves out or doubles, a local time is none, or two.
    if local.replace(tzinfo=named).utcoffset() != local.replace(tzinfo=named, fold=1).utcoffset():
        raise _UnclearError
    return local.replace(tzinfo=named).astimezone(UTC)


def _date(found: re.Match[str]) -> tuple[int, int, int]:
    if found["y1"]:
        return int(found["y1"]), int(found["m1"]), int(found["d1"])
    if found["y2"]:
        day, month = int(found["a"]), int(found["b"])
        if day != month and max(day, month) <= len(_MONTHS):
            raise _UnclearError
        return int(found["y2"]), min(day, month), max(day, month)
    name = found["month3"] or found["month4"]
    month = _MONTHS.index(name[:3].lower()) + 1
    return int(found["y3"] or found["y4"]), month, int(found["d3"] or found["d4"])


def _time(written: str) -> tuple[int, int, int, str]:
    """Give hour, minute, second and `a`, `p` or nothing."""
    parts = _PARTS.match(written)
    if parts is None:
        raise _UnclearError
    hour, half = int(parts[1]), (parts[5] or "").lower()
    if half and not 1 <= hour <= 12:  # noqa: PLR2004 - a clock's face
        raise _UnclearError
    if not half and len(parts[1]) == 1:
        raise _UnclearError
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return hour, int(parts[2] or 0), int(parts[4] or 0), half


def _zone(rest: str, local: datetime, zone: tzinfo | None, *, is_exact: bool, half: str) -> tzinfo:
    """Read the zone from what follows the time; an end time may stand in between.

    `10:00-11:00` is a range, `2026-11-25T10:00:00-05:00` an offset (RFC 3339), and `10:00-05:00` may be either.
    """
    if not is_exact and (end := _RANGE.match(rest)):
        if _is_odd_range(end["end"], local, half):
            raise _UnclearError
        rest = rest[end.end() :]
    elif not is_exact and rest.lstrip().startswith("-") and _OFFSET.match(rest):
        raise _UnclearError
    if _OTHER_TIME.match(rest) or (not half and _LATER_HALF.match(rest)):
        raise _UnclearError
    for each in _zones(rest, local, zone):
        return each
    if zone is None or _WORDS.match(rest):
        raise _UnclearError
    return zone


def _is_odd_range(end: str, local: datetime, half: str) -> bool:
    """Tell whether a range may be read in two ways: `10:00 - 1:00 PM`, `10:00-05:00`."""
    hour, minute, _, end_half = _time(end)
    return (bool(end_half) and not half) or (hour, minute) <= (local.hour, local.minute)


def _zones(rest: str, local: datetime, zone: tzinfo | None) -> Iterator[tzinfo]:
    """Give the zone that stands at the beginning of a text, if one does. Raises `_UnclearError` for an unknown one."""
    if (offset := _OFFSET.match(rest)) and offset["utc"]:
        yield _offset(offset)
    elif found := _NAME.match(rest):
        yield _named(found["name"], local, zone)
    elif offset:
        yield _offset(offset)


def _offset(found: re.Match[str]) -> tzinfo:
    size = timedelta(hours=int(found["h"]), minutes=int(found["m"] or 0))
    return timezone(size if found["sign"] == "+" else -size)


def _named(name: str, local: datetime, zone: tzinfo | None) -> tzinfo:
    if name.upper() in ("Z", "UTC", "GMT"):
        return UTC
    if "/" in name:
        try:
            return ZoneInfo(name)
        except (LookupError, OSError, ValueError):
            raise _UnclearError from None
    if zone is not None and zone.tzname(local) == name.upper():
        return zone
    raise _UnclearError
