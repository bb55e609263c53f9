"""The start time of an appointment, read from its free text only where it is beyond doubt. Pure.

A meeting at a wrong time is worse than none, so nothing is guessed. The text must name one date, with its year, and
directly after it one time of day. Libraries that search text for dates fill in missing parts and choose between
readings, which must not happen here.

Accepted forms: `2026-11-25T10:00:00Z`, `2026-11-25 10:00`, `November 25, 2026 at 10:00 AM`, `Wed, 25 Nov 2026,
10:00-10:30`, and `25/11/2026 10:00` where day and month cannot be confused. Months are English. Rejected forms: `8:00`
(morning or evening?), `05/11/2026` (May or November?), a weekday that does not match the date, two possible dates, and
an unknown time zone.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_FURTHEST = timedelta(days=730)
_LONGEST = 20_000  # characters searched; a start time stands near the beginning
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
    """A text that looks like a start time but cannot be read beyond doubt."""


def start_of(text: str, created: datetime, zone: tzinfo | None) -> datetime | None:
    """Return the start of the appointment in UTC, or None if the text does not state it beyond doubt.

    Args:
        text: Content of the appointment, as the visitor and the chatbot wrote it.
        created: When the appointment was made, with a time zone. The start is later, by at most two years.
        zone: Zone of times that name none. An abbreviation in the text (`EST`) is accepted only if this zone uses it on
            that day. None: a text without a zone has no start.
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
    """Return the start at one place of the text. Raises `_UnclearError`, or ValueError for an impossible date."""
    year, month, day = _date(found)
    hour, minute, second, half = _time(found["time"])
    local = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the zone is read next
    weekday = found["weekday"]
    if weekday and _WEEKDAYS[local.weekday()] != weekday[:3].lower():
        raise _UnclearError
    is_exact = bool(found["t"]) or found["time"].count(":") > 1
    rest = text[found.end() : found.end() + 80]
    hours = _LETTERS_AT_ONCE.match(rest)
    named = _zone(rest[hours.end() if hours else 0 :], local, zone, is_exact=is_exact, half=half)
    # A local time in the hour that summer time skips or repeats has no meaning, or two.
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
    """Return hour, minute, second and `a`, `p` or nothing."""
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
    """Return the zone named after the time; an end time may stand in between.

    `10:00-11:00` is a range, `2026-11-25T10:00:00-05:00` has an offset (RFC 3339), and `10:00-05:00` may be either.
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
    """Return True if a range may be read in two ways: `10:00 - 1:00 PM`, `10:00-05:00`."""
    hour, minute, _, end_half = _time(end)
    return (bool(end_half) and not half) or (hour, minute) <= (local.hour, local.minute)


def _zones(rest: str, local: datetime, zone: tzinfo | None) -> Iterator[tzinfo]:
    """Yield the zone at the beginning of a text, if there is one. Raises `_UnclearError` for an unknown one."""
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
