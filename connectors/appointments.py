"""The times of an appointment, read from its free text only where they are beyond doubt. Pure.

A meeting at a wrong time is worse than none, so nothing is guessed. The text must name one date, with its year, and
directly after it one time of day. Libraries that search text for dates fill in missing parts and choose between
readings, which must not happen here.

Names and words are read in English, Spanish, French, German, Portuguese, Italian, Dutch and Chinese, whatever the
language of the rest. Accepted forms: `2026-11-25T10:00:00Z`, `November 25, 2026 at 10:00 AM`, `Wed, 25 Nov 2026,
10:00-10:30`, `25 de noviembre de 2026 a las 3 de la tarde`, `Mittwoch, den 25. November 2026 um 15 Uhr`, `25 novembre
2026 à 15h30`, `2026年11月25日下午3点`, and `25/11/2026 10:00` where day and month cannot be confused.
Rejected forms: `8:00` (morning or evening?), `05/11/2026` (May or November?), a weekday that does not match the date,
two possible dates, and an unknown time zone.

The names and their abbreviations are those of the Unicode CLDR, without accents and in lower case. Each stands for the
same month or day in all these languages. Abbreviations of two letters are missing because some are words of another
language; the German ones are kept because they begin with a capital. Babel and dateparser have the same names, but need
10 MB of memory or more.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

_MONTHS = (
    "january jan enero ene janvier janv januar janeiro gennaio gen januari",
    "february feb febrero fevrier fevr februar fevereiro fev febbraio februari",
    "march mar marzo mars marz mrz marco maart mrt",
    "april apr abril abr avril avr aprile",
    "may mayo mai maio maggio mag mei",
    "june jun junio juin juni junho giugno giu",
    "july jul julio juillet juil juli julho luglio lug",
    "august aug agosto ago aout augustus",
    "september sept sep septiembre septembre setembro set settembre",
    "october oct octubre octobre oktober okt outubro out ottobre ott",
    "november nov noviembre novembre novembro",
    "december dec diciembre dic decembre dezember dez dezembro dicembre",
)
_WEEKDAYS = (
    "monday mon lunes lun lundi montag segunda-feira segunda seg lunedi maandag 一",
    "tuesday tues tue martes mar mardi dienstag terca-feira terca ter martedi dinsdag 二",
    "wednesday weds wed miercoles mie mercredi mer mittwoch quarta-feira quarta qua mercoledi woensdag 三",
    "thursday thurs thur thu jueves jue jeudi jeu donnerstag quinta-feira quinta qui giovedi gio donderdag 四",
    "friday fri viernes vie vendredi ven freitag sexta-feira sexta sex venerdi vrijdag 五",
    "saturday sat sabado sab samedi sam samstag zaterdag sabato 六",
    "sunday sun domingo dom dimanche dim sonntag domenica zondag 日 天",
)
GERMAN_WEEKDAYS = ("Mo", "Di", "Mi", "Do", "Fr", "Sa", "So")
"""German abbreviations from Monday on; in lower case some are words of other languages."""


def _numbered(names: tuple[str, ...], first: int) -> Mapping[str, int]:
    return MappingProxyType({name: number for number, line in enumerate(names, first) for name in line.split()})


MONTHS: Mapping[str, int] = _numbered(_MONTHS, 1)
"""Number of each month by its names."""
WEEKDAYS: Mapping[str, int] = _numbered(_WEEKDAYS, 0)
"""Number of each weekday by its names, Monday is 0; Chinese ones without the word for week."""


def plain_text(text: str) -> str:
    """Return a text without accents and full-width signs, with single blanks between its words."""
    parts = unicodedata.normalize("NFKD", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join("".join(each for each in parts if not unicodedata.combining(each)).split())


_FURTHEST = timedelta(days=730)
_LONGEST = 4_000  # characters searched; a start time stands near the beginning
_NOON = 12
_EARLY = 7  # from this hour on, `9 Uhr` and `9h` are the morning by the clock of 24 hours
_BEFORE_TIME = (
    "at|from|a las|a la|de las|desde las|a|as|das|a partir das|de|um|ab|von|om|van|vanaf|alle ore|dalle ore|alle|dalle"
    "|ore"
)
_BETWEEN_TIMES = "to|until|till|a las|hasta las?|a|as|ate as|ate|jusqu'a|bis|tot|alle"
_OR = "or|and|o|ou|oder|of|y|e|et|und|en"
_TIME = re.compile(
    r"""
    (?:(?P<half_before>上午|早上|凌晨|中午|下午|晚上)\ ?)?
    (?P<hour>[01]?\d|2[0-3])
    (?: :(?P<minute>[0-5]\d)(?P<seconds>:(?P<second>[0-5]\d)(?:[.,]\d{1,9})?)?
      | \.(?P<minute_dot>[0-5]\d)(?=\ ?(?:uhr|uur|h)\b)
    )?
    (?:\ ?(?P<word>(?:uhr|uur|heures?|horas?|hours|hrs|hs?)(?![a-z])|[点點时時])
       (?:(?P<minute_after>[0-5]\d)(?!\d)分?|\ (?P<minute_apart>[0-5]\d)(?![\d:.])(?!\ ?[a-z])|(?P<half_past>半)|\.)?
    )?
    (?:\ ?(?P<half>[ap])\.?\ ?m\b\.?)?
    (?![\d:])
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_HALF_WORDS = re.compile(
    r",?\ ?(?:(?P<morning>in\ the\ morning|(?:de|por)\ la\ manana|da\ manha|du\ matin|vormittags?|morgens"
    r"|di\ mattina|del(?:la)?\ mattin[ao]|'s\ (?:ochtends|morgens))"
    r"|(?P<afternoon>in\ the\ afternoon|(?:de|por)\ la\ tarde|da\ tarde|de\ l'apres-midi|nachmittags?"
    r"|d[ei]l?\ pomeriggio|'s\ middags)"
    r"|(?P<evening>in\ the\ evening|at\ night|(?:de|por)\ la\ noche|da\ noite|du\ soir|abends?|am\ abend"
    r"|d(?:i|ella)\ sera|'s\ avonds))\b",
    re.IGNORECASE | re.VERBOSE,
)
_LATER_HALF = re.compile(
    r",? ?(?:\w+ ){0,3}(?:afternoon|evening|night|tarde|noche|noite|soir|apres-midi|abends?|nachmittags?|sera"
    r"|pomeriggio|avonds?|middags?)\b",
    re.IGNORECASE,
)
_RANGE = re.compile(rf" ?(?:[-\u2013\u2014~]|\b(?:{_BETWEEN_TIMES})\b|[至到]) ?", re.IGNORECASE | re.ASCII)
_OTHER_TIME = re.compile(rf" ?(?:[,/]|\b(?:{_OR})\b|或) ?(?:(?:{_BEFORE_TIME}) )?", re.IGNORECASE | re.ASCII)
_OFFSET = re.compile(r" ?\(? ?(?P<utc>UTC|GMT)? ?(?P<sign>[+\N{MINUS SIGN}-])(?P<h>\d\d?)(?::?(?P<m>\d\d))?(?![\d:])")
_NAME = re.compile(
    r" ?[(\[]? ?(?P<name>[A-Za-z_]+/[\w/+-]*|[A-Z]{2,5}\b"
    r"|(?i:z|utc|gmt|[ecw]et|[ecmp]t|[a-z]{0,3}[sd]t|msk|sgt|hkt)\b)",
    re.ASCII,
)
_WORDS = re.compile(
    r" ?,? ?[(\[]? ?(?:(?i:(?:[a-z'.]+ ){1,3}time|eastern|central|mountain|pacific|atlantic"
    r"|hora (?:de|del|local|central)|heure (?:de|d'|locale)|ora (?:di|locale)|(?:\w+ )?\w*(?:zeit|tijd))\b"
    r"|\(?in [A-Z])",
    re.ASCII,
)
_MINUTES_NEXT = re.compile(r" (?:\d|(?:y|e|et|und|menos|moins|meno) )", re.IGNORECASE)
_BY_24_HOURS = frozenset({"uhr", "uur", "h", "heure", "heures"})
_HALF_AN_HOUR = 30
_PARTS = {
    "上午": "morning",
    "早上": "morning",
    "凌晨": "morning",
    "中午": "noon",
    "下午": "afternoon",
    "晚上": "evening",
}
_HOURS = {
    "morning": range(1, 12),
    "noon": (12, 1, 2),
    "afternoon": (12, *range(1, 9)),
    "evening": range(5, 12),
}
"""Hours by the clock of 12 hours that are beyond doubt in a part of the day."""
_GERMAN_ZONES = {"MEZ": "CET", "MESZ": "CEST"}


class _UnclearError(Exception):
    """A text that looks like a start time but cannot be read beyond doubt."""


@dataclass(frozen=True, slots=True)
class AppointmentTimes:
    """The times that a text states, in UTC."""

    start: datetime
    end: datetime | None = None
    """None if the text states only the start."""


@dataclass(frozen=True, slots=True)
class _Clock:
    """A time of day as written."""

    hour: int
    minute: int
    second: int
    half: str
    """`a`, `p`, or nothing if the text does not say which half of the day."""
    is_exact: bool
    """True if seconds are written, as programs do."""


def start_of(text: str, created: datetime | None, zone: tzinfo | None) -> datetime | None:
    """Return the start of the appointment in UTC, or None if the text does not state it beyond doubt.

    Args:
        text: Content of the appointment, as the visitor and the chatbot wrote it.
        created: When the appointment was made, with a time zone. The start is later, by at most two years. None:
            any time is accepted.
        zone: Zone of times that name none. An abbreviation in the text (`EST`) is accepted only if this zone uses it on
            that day. None: a text without a zone has no start.
    """
    times = times_of(text, created, zone)
    return times.start if times else None


def times_of(text: str, created: datetime | None, zone: tzinfo | None) -> AppointmentTimes | None:
    """Return start and end of the appointment, or None if the text does not state the start beyond doubt.

    The arguments are those of `start_of`.
    """
    plain = plain_text(text[:_LONGEST])
    found: dict[datetime, AppointmentTimes] = {}
    for match in _start_pattern().finditer(plain):
        try:
            times = _times(match, plain, zone)
        except (_UnclearError, ValueError, OverflowError):  # ValueError: February 30
            return None
        if times and (created is None or created < times.start <= created + _FURTHEST):
            known = found.get(times.start)
            found[times.start] = times if known is None or known.end is None else known
    return next(iter(found.values())) if len(found) == 1 else None


@cache
def _start_pattern() -> re.Pattern[str]:
    """Return the pattern of a date up to its time of day, compiled when the first appointment arrives."""
    months = "|".join(sorted(MONTHS, key=len, reverse=True))
    weekdays = "|".join(sorted((name for name in WEEKDAYS if name.isascii()), key=len, reverse=True))
    before = _BEFORE_TIME.replace(" ", r"\ ")  # blanks count in this pattern only if they are escaped
    return re.compile(
        rf"""
        (?:\b(?:(?P<weekday>{weekdays})|(?P<german>(?-i:{"|".join(GERMAN_WEEKDAYS)})))\b[.,]?\ ?
           (?:(?:the|den|dem|le|el|il|dia|op)\ )?)?
        (?<![\w/.:-])
        (?: (?P<y1>\d{{4}})(?P<sign1>[-/.])(?P<m1>\d\d?)(?P=sign1)(?P<d1>\d\d?)
          | (?P<a>\d\d?)(?P<sign2>[-/.])\ ?(?P<b>\d\d?)(?P=sign2)\ ?(?P<y2>\d{{4}})
          | (?P<month3>{months})\.?\ ?(?P<d3>\d\d?)(?:st|nd|rd|th)?,?\ (?:de\ |del\ )?(?P<y3>\d{{4}})
          | (?P<d4>\d\d?)(?:st|nd|rd|th|er|o|\.)?\ ?(?:(?:of|de|do|di)\ )?
            (?P<month4>{months})\.?,?\ ?(?:(?:de|del|do|di)\ )?(?P<y4>\d{{4}})
          | (?P<y5>\d{{4}})\ ?年\ ?(?P<m5>\d\d?)\ ?月\ ?(?P<d5>\d\d?)\ ?[日号號]
            (?:\ ?\(?(?:星期|周|週|礼拜)(?P<weekday5>[一二三四五六日天])\)?)?
        )
        (?: (?P<t>T) | \ ?[,;@]\ ? | \ [-\u2013\u2014]\ | \  | (?<=[日号號)一二三四五六天]) )
        (?P<before>(?:(?:{before})\ )?)
        (?=\d|上|早|凌|中|下|晚)
        """,
        re.IGNORECASE | re.VERBOSE | re.ASCII,
    )


def _times(found: re.Match[str], text: str, zone: tzinfo | None) -> AppointmentTimes | None:
    """Return the times at one place of the text; None if no time of day follows the date.

    Raises `_UnclearError`, or ValueError for an impossible date.
    """
    written = _TIME.match(text, found.end())
    if written is None or not (_is_time(written, found["before"]) or _is_range(written, text)):
        return None
    day = _day(found)
    rest = text[written.end() : written.end() + 120]
    if not _minutes(written) and not written["half"] and _MINUTES_NEXT.match(rest):  # `a las 10 y media`
        raise _UnclearError
    half_words = None if written["half"] or written["half_before"] else _HALF_WORDS.match(rest)
    rest = rest[half_words.end() :] if half_words else rest
    clock = _clock(written, half_words)
    local = datetime(day.year, day.month, day.day, clock.hour, clock.minute, clock.second)  # noqa: DTZ001 - the zone is read next
    end, rest = (None, rest) if found["t"] or clock.is_exact else _end(rest, local, clock)
    if _is_time_next(_OTHER_TIME, rest) or (not clock.half and _LATER_HALF.match(rest)):
        raise _UnclearError
    named = _zone(rest, local, zone)
    return AppointmentTimes(_moment(local, named), _moment(end, named) if end else None)


def _moment(local: datetime, zone: tzinfo) -> datetime:
    # A local time in the hour that summer time skips or repeats has no meaning, or two.
    if local.replace(tzinfo=zone).utcoffset() != local.replace(tzinfo=zone, fold=1).utcoffset():
        raise _UnclearError
    return local.replace(tzinfo=zone).astimezone(UTC)


def _day(found: re.Match[str]) -> date:
    """Return the date of a match, if its weekday agrees."""
    name = found["weekday"]
    weekday = WEEKDAYS[name.lower()] if name else None
    if found["german"]:
        weekday = GERMAN_WEEKDAYS.index(found["german"])
    if found["weekday5"]:
        weekday = WEEKDAYS[found["weekday5"]]
    days = list(_days(found))
    fitting = [each for each in days if weekday is None or each.weekday() == weekday]
    if len(fitting) != 1:
        raise _UnclearError
    return fitting[0]


def _days(found: re.Match[str]) -> Iterator[date]:
    """Yield the dates that a match may mean: two if day and month can be confused."""
    if found["y2"]:
        year, first, second = int(found["y2"]), int(found["a"]), int(found["b"])
        if first > _NOON or second > _NOON:
            yield date(year, min(first, second), max(first, second))
        else:
            yield from (date(year, month, day) for month, day in {(first, second), (second, first)})
        return
    name = found["month3"] or found["month4"]
    if name:
        yield date(int(found["y3"] or found["y4"]), MONTHS[name.lower()], int(found["d3"] or found["d4"]))
    else:
        yield date(*(int(found[f"{part}1"] or found[f"{part}5"]) for part in "ymd"))


def _is_time(written: re.Match[str], before: str) -> bool:
    """Return True if a number is a time of day: with minutes, half or a word for the hour, or after one."""
    parts = ("minute", "minute_dot", "word", "half", "half_before")
    is_after_word = before.strip().lower() in {"a las", "as", "alle", "alle ore", "ore"}
    return any(written[part] for part in parts) or (is_after_word and len(written["hour"]) > 1)


def _is_range(written: re.Match[str], text: str) -> bool:
    """Return True if a number begins a range that ends with a time: `10 bis 11 Uhr`."""
    return len(written["hour"]) > 1 and _is_time_next(_RANGE, text[written.end() : written.end() + 120])


def _is_time_next(before: re.Pattern[str], rest: str) -> bool:
    start = before.match(rest)
    written = _TIME.match(rest, start.end()) if start else None
    return written is not None and _is_time(written, "")


def _minutes(written: re.Match[str]) -> str:
    """Return the written minutes, or nothing."""
    return next(filter(None, (written[f"minute{end}"] for end in ("", "_dot", "_after", "_apart"))), "")


def _clock(written: re.Match[str], half_words: re.Match[str] | None = None) -> _Clock:
    """Return a written time of day. Raises `_UnclearError` if it may be morning or evening."""
    hour, half = int(written["hour"]), (written["half"] or "").lower()
    if half:
        if not 1 <= hour <= _NOON:
            raise _UnclearError
        hour = hour % _NOON + (_NOON if half == "p" else 0)
    elif written["half_before"] or half_words:
        part = _PARTS.get(written["half_before"] or "") or next(
            name for name in ("morning", "afternoon", "evening") if half_words and half_words[name]
        )
        half = "a" if part == "morning" else "p"
        hour = _hour_of(part, hour, is_padded=written["hour"].startswith("0"))
    elif len(written["hour"]) == 1 and not (hour >= _EARLY and (written["word"] or "").lower() in _BY_24_HOURS):
        raise _UnclearError
    minute = _HALF_AN_HOUR if written["half_past"] else int(_minutes(written) or 0)
    return _Clock(hour, minute, int(written["second"] or 0), half, bool(written["seconds"]))


def _hour_of(part: str, hour: int, *, is_padded: bool) -> int:
    """Return the hour by the clock of 24 hours, in a part of the day; `08:00 in the evening` contradicts itself."""
    if part != "morning" and hour > _NOON:
        return hour
    if hour not in _HOURS[part] or (is_padded and part != "morning"):
        raise _UnclearError
    return hour if part == "morning" or hour == _NOON else hour + _NOON


def _end(rest: str, local: datetime, clock: _Clock) -> tuple[datetime | None, str]:
    """Return the end time that follows a start time, if there is one, and the text behind it.

    `10:00-11:00` is a range, `2026-11-25T10:00:00-05:00` has an offset (RFC 3339), and `10:00-05:00` may be either.
    """
    start = _RANGE.match(rest)
    written = _TIME.match(rest, start.end()) if start else None
    if start is not None and written is not None and _is_time(written, start[0]):
        half_words = None if written["half"] else _HALF_WORDS.match(rest[written.end() :])
        end = _clock(written, half_words)
        if (end.half and not clock.half) or (end.hour, end.minute) <= (clock.hour, clock.minute):
            raise _UnclearError
        behind = written.end() + (half_words.end() if half_words else 0)
        return local.replace(hour=end.hour, minute=end.minute, second=end.second), rest[behind:]
    if rest.lstrip().startswith("-") and _OFFSET.match(rest):
        raise _UnclearError
    return None, rest


def _zone(rest: str, local: datetime, zone: tzinfo | None) -> tzinfo:
    """Return the zone named after the time, or the one of the settings."""
    for each in _zones(rest, local, zone):
        return each
    if zone is None or _WORDS.match(rest):
        raise _UnclearError
    return zone


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
    if zone is not None and zone.tzname(local) == _GERMAN_ZONES.get(name.upper(), name.upper()):
        return zone
    raise _UnclearError
