"""Built-in transforms: functions from a value to a value, by their names in the configuration. Pure.

A transform can be a step of a field (`transform: [{truncate: 500}]`) or a filter of a template (`{{ Content |
truncate(500) }}`); both have the same result. `BUILTIN` contains the built-in transforms. A larger registry is another
mapping, passed to `expressions.JinjaExpressions` and `mapping.compile_mapping` instead.

Rules for all transforms:

- An empty value stays empty. Missing values and whole numbers are used as text.
- Transforms that change the spelling (`e164`, `email`, `date`, `epoch_ms`) return a value unchanged if they cannot read
  it, so that no lead loses a mistyped value. Transforms that extract a part, such as `url_host` and `first_name`,
  return `""` if the part is missing.
- Arguments come from the author of the configuration and are checked when it is loaded. Values come from strangers, so
  the work that a value can cause is limited.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit
from zoneinfo import ZoneInfo, available_timezones

import markupsafe

from bridge.errors import did_you_mean
from bridge.mapping.budget import FIELD_TEXT
from bridge.mapping.pattern import Pattern, PatternError, compile_pattern
from bridge.mapping.person_name import PersonName, split_name
from bridge.mapping.phone_number import country_of, e164_form, known_country
from bridge.mapping.transform_api import Parameter, Transform, TransformError, TransformStep, to_json, value_as_text
from connectors.base import read_appointment_start

URL_INPUT: Final = 4_000
"""Maximum number of characters that are read as the address of a page."""
NAME_INPUT: Final = 300
"""Maximum number of characters of a name, an address or a phone number."""

_WORD: Final = re.compile(r"[^\s(\[{<\-]+")
_BEYOND_BMP: Final = re.compile("[\U00010000-\U0010ffff]")
_NUMBER: Final = re.compile(r"[+-]?\d{1,17}(\.\d{1,9})?", re.ASCII)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MILLISECONDS_FROM: Final = 1e11  # as seconds this is the year 5138, as milliseconds 1973
_CODE: Final = re.compile(r"%[-_0^#:]*[A-Za-z%]")
_LETTERS: Final = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "HH": "%H", "hh": "%H", "mm": "%M", "ss": "%S"}
"""Codes of other programs, with the strftime code of each, the longer ones first."""
_QUERY_FIELDS: Final = 200
_builtin: dict[str, Transform] = {}


def _register(
    name: str, description: str, *parameters: Parameter, rate: int = 10, reads: int = FIELD_TEXT
) -> Callable[[Callable[..., TransformStep]], Callable[..., TransformStep]]:
    def keep(make: Callable[..., TransformStep]) -> Callable[..., TransformStep]:
        _builtin[name] = Transform(name, description, make, parameters, rate, reads)
        return make

    return keep


def _register_text(
    name: str, description: str, convert: Callable[[str], Any], rate: int = 10, reads: int = FIELD_TEXT
) -> None:
    """Register a transform without arguments, which gets any value as text."""
    _builtin[name] = Transform(
        name, description, lambda: lambda value: convert(value_as_text(value)), (), rate=rate, reads=reads
    )


def title(text: str) -> str:
    """Return each word with a capital. Unlike `str.title`, letters after an apostrophe stay small (`John's`)."""
    return _WORD.sub(lambda word: word[0][:1].upper() + word[0][1:].lower(), text)


_register_text("trim", "Removes white space at both ends.", str.strip)
_register_text("lower", "Converts to lower case.", str.lower, 60)
_register_text("upper", "Converts to upper case.", str.upper, 60)
_register_text("title", "Starts each word with a capital letter and continues in lower case.", title, 500)


@_register(
    "truncate", "Cuts the text to at most `n` characters.", Parameter("n", (int,), "maximum number of characters")
)
def truncate(n: int) -> TransformStep:
    """Return the first `n` characters exactly, without dots, because the limit is the destination's."""
    if n < 0:
        raise TransformError("transform `truncate`: `n` must not be negative")
    return lambda value: value_as_text(value)[:n]


@_register(
    "e164",
    "Converts a phone number to the international form `+14155550100`. Other texts stay unchanged.",
    Parameter("region", (str,), "two-letter country for numbers without a country code, such as US"),
    rate=1_000,
    reads=NAME_INPUT,
)
def e164(region: str) -> TransformStep:
    """Return a phone number in E.164. A number whose length no country's plan allows stays as typed."""
    country = _country("e164", region)
    return lambda value: e164_form(text := value_as_text(value), country) or text


@_register(
    "phone_country",
    "Extracts the two-letter country of a phone number; empty for other texts.",
    Parameter("region", (str,), "two-letter country for numbers without a country code, such as US", default=""),
    rate=1_000,
    reads=NAME_INPUT,
)
def phone_country(region: str) -> TransformStep:
    """Return the country of a phone number. Without a region only numbers with a country code have one."""
    country = _country("phone_country", region) if region.strip() else None
    return lambda value: country_of(value_as_text(value), country)


def _country(transform: str, region: str) -> str:
    if country := known_country(region):
        return country
    hint = "; Britain is GB" if region.strip().upper() == "UK" else ""
    raise TransformError(f"transform `{transform}`: `region` is a two-letter country code such as US{hint}")


@_register(
    "email",
    "Converts an e-mail address to its usual form in lower case. Other texts stay unchanged.",
    rate=4_000,
    reads=NAME_INPUT,
)
def email() -> TransformStep:
    """Return an e-mail address trimmed, without `mailto:`, in lower case.

    The part before the `@` is converted too. A mail server may distinguish case, but no important one does, while CRMs
    compare addresses without case, and one person must not become two records.

    Texts that are no valid address (by syntax, without a lookup) are only trimmed. The destination then refuses that
    one field, and the connector sends the record without it and keeps the value in a remark. If the text were removed
    here, the CRM would contain no trace of how to reach this person.
    """
    from email_validator import EmailNotValidError, validate_email  # 20 ms, only for those who use it

    def write(value: object) -> str:
        text = value_as_text(value).strip()
        address = text[7:].strip() if text[:7].lower() == "mailto:" else text
        if not address or len(address) > NAME_INPUT:
            return text
        try:
            checked = validate_email(
                address, check_deliverability=False, globally_deliverable=False, test_environment=True
            )
        except EmailNotValidError:
            return text
        return checked.normalized.lower()

    return write


@_register(
    "date",
    "Converts a time to another format and time zone. Texts that are no time stay unchanged.",
    Parameter("format", (str,), "strftime codes, such as %Y-%m-%d %H:%M"),
    Parameter("tz", (str,), "time zone such as Europe/London", default="UTC"),
)
def date(format: str, tz: str) -> TransformStep:  # noqa: A002 - the name that the configuration uses
    """Return a time in a format of strftime codes and a time zone; see `read_time` for accepted values."""
    zone = _zone(tz)
    if not _CODE.search(format):
        codes = re.sub("|".join(_LETTERS), lambda letters: _LETTERS[letters[0]], format)
        hint = f": write `{codes}`" if codes != format else ", such as `%Y-%m-%d`"
        raise TransformError(f"transform `date`: `format` needs strftime codes{hint}")
    try:
        datetime(2026, 11, 24, tzinfo=zone).strftime(format)
    except ValueError:
        raise TransformError("transform `date`: `format` needs strftime codes, such as `%Y-%m-%d`") from None

    def write(value: object) -> str:
        time = read_time(value)
        if time is None:
            return value_as_text(value)
        seconds = str(int(time.timestamp() // 1))  # strftime would count them from this machine's time zone
        codes = _CODE.sub(lambda code: seconds if code[0] == "%s" else code[0], format)
        try:
            return time.astimezone(zone).strftime(codes)
        except (ValueError, OverflowError):  # near the year 1 or 9999 the zone can move a time out of range
            return value_as_text(value)

    return write


def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (ValueError, OSError, KeyError):
        hint = did_you_mean(tz, available_timezones())
        raise TransformError(f"transform `date`: `tz` needs a zone such as Europe/London{hint}") from None


@_register("epoch_ms", "Converts a time to milliseconds since 1970. Texts that are no time stay unchanged.")
def epoch_ms() -> TransformStep:
    """Return a time as a whole number of milliseconds since the epoch; see `read_time` for accepted values."""
    return _milliseconds


def _milliseconds(value: object) -> object:
    time = read_time(value)
    if time is None:
        return value
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def read_time(value: object) -> datetime | None:
    """Return the time in a value; None if it is no time.

    Text is ISO 8601 as the sender writes it, with any number of fraction digits, and in UTC if it has no zone. Numbers,
    also as text, are seconds since the epoch, or milliseconds if as seconds they were beyond the year 5000.
    """
    text = value_as_text(value).strip()
    if len(text) > NAME_INPUT:
        return None
    try:
        if _NUMBER.fullmatch(text) and len(text) > len("20261124"):
            number = float(text)
            return datetime.fromtimestamp(number / 1_000 if abs(number) >= _MILLISECONDS_FROM else number, UTC)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


@_register(
    "appointment_start",
    "Extracts the start of an appointment from its text, in UTC; empty if the text does not state it beyond doubt.",
    Parameter(
        "tz", (str,), "time zone of texts that name none, such as Europe/London; without it they have no start", ""
    ),
    Parameter("created", (str,), "when the appointment was made (in a template: CreateTime); the start is later", ""),
    rate=2_500,
    reads=4_000,
)
def appointment_start(tz: str, created: str) -> TransformStep:
    """Return the start in ISO 8601, such as `2026-11-25T09:00:00Z`, for the transforms `date` and `epoch_ms`.

    The connectors read the time of a meeting in the same way.
    """
    try:
        zone = ZoneInfo(tz) if tz else None
    except (ValueError, OSError, KeyError):
        raise TransformError("transform `appointment_start`: `tz` needs a time zone such as Europe/London") from None
    made = read_time(created)

    def find(value: object) -> str:
        start = read_appointment_start(value_as_text(value), made, zone)
        return f"{start:%Y-%m-%dT%H:%M:%SZ}" if start else ""

    return find


_PATTERN: Final = (
    r"a regular expression in RE2's syntax; `\d`, `\w`, `\s` and `\b` know ASCII only: write `\pL` for a letter of any "
    "language"
)


@_register(
    "regex_extract",
    "Extracts the first match of a regular expression.",
    Parameter("pattern", (str,), _PATTERN, constant=True),
    Parameter("group", (int, str), "number or name of the group to return", default=None),
)
def regex_extract(pattern: str, group: int | str | None) -> TransformStep:
    """Return the requested group of the first match. Default: the first group, or the whole match without groups."""
    compiled = _pattern("regex_extract", pattern)
    selected: int | str = min(compiled.groups, 1) if group is None else group
    known = selected in compiled.names if isinstance(selected, str) else 0 <= selected <= compiled.groups
    if not known:
        raise TransformError("transform `regex_extract`: the pattern has no such `group`")
    return lambda value: compiled.extract(value_as_text(value), selected)


@_register(
    "regex_replace",
    "Replaces all matches of a regular expression.",
    Parameter("pattern", (str,), _PATTERN, constant=True),
    Parameter("with", (str,), "replacement; \\1 is the text of the first group", constant=True),
)
def regex_replace(pattern: str, replacement: str) -> TransformStep:
    """Return the text with all matches of a pattern replaced."""
    compiled = _pattern("regex_replace", pattern)
    try:
        pieces = compiled.replacement(replacement)
    except PatternError as error:
        raise TransformError(f"transform `regex_replace`: `with` {error}") from None
    return lambda value: compiled.replace(value_as_text(value), pieces)


def _pattern(transform: str, pattern: str) -> Pattern:
    try:
        return compile_pattern(pattern)
    except PatternError as error:
        raise TransformError(f"transform `{transform}`: `pattern` {error}") from None


def _name_part(part: Callable[[PersonName], str]) -> TransformStep:
    split_name("")  # loads the library now, and not with the first lead
    return lambda value: part(split_name(value_as_text(value)))


for _name, _get, _description in (
    ("first_name", attrgetter("first"), "Extracts the first name from a full name."),
    (
        "rest_of_name",
        attrgetter("rest"),
        "Extracts everything but the first name from a full name: with `first_name` it is the whole name.",
    ),
    ("last_name", attrgetter("last"), "Extracts the last name alone from a full name."),
):
    _register(_name, _description, rate=30_000, reads=NAME_INPUT)(partial(_name_part, _get))


@_register(
    "lookup",
    "Replaces a text by its value in a table; empty if it is not in the table.",
    Parameter("table", (dict,), "values by text", constant=True),
    rate=25,
)
def lookup(table: Mapping[str, Any]) -> TransformStep:
    """Return the table's value for a text, compared without white space at the ends; `""` if there is none."""
    by_text = {value_as_text(key).strip(): result for key, result in table.items()}
    return lambda value: by_text.get(value_as_text(value).strip(), "")


def sha256(text: str) -> str:
    """Return the SHA-256 of the text in UTF-8 as 64 hexadecimal digits; `""` for an empty text."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest() if text else ""


def url_host(text: str) -> str:
    """Return the host name of a URL in lower case, without the port. The scheme may be missing: `www.example.com`."""
    parts = _url(text)
    try:
        return (parts.hostname or "") if parts else ""
    except ValueError:
        return ""


@_register(
    "query_param",
    "Extracts the value of a parameter from an address such as https://example.com/?utm_source=x.",
    Parameter("name", (str,), "name of the parameter, such as utm_source"),
    rate=1_000,
    reads=URL_INPUT,
)
def query_param(name: str) -> TransformStep:
    """Return the first value of a parameter in a URL's query, decoded."""

    def find(value: object) -> str:
        parts = _url(value_as_text(value))
        try:
            pairs = parse_qsl(parts.query, max_num_fields=_QUERY_FIELDS) if parts else []
        except ValueError:
            return ""
        return next((result for key, result in pairs if key == name), "")

    return find


def _url(text: str) -> SplitResult | None:
    start = text.strip()[:URL_INPUT]
    try:
        return urlsplit(start if _SCHEME.match(start) else f"//{start.removeprefix('//')}")
    except ValueError:
        return None


_register_text("hash", "Converts to the SHA-256 hash in hexadecimal digits.", sha256, 15)
_register_text(
    "url_host", "Extracts the host name from an address such as https://example.com/page.", url_host, 1_000, URL_INPUT
)
_register_text(
    "html_escape",
    "Escapes < > & and quotes, for destinations that show the text as HTML.",
    lambda text: str(markupsafe.escape(text)),
    40,
)
_register_text(
    "bmp", "Removes characters above U+FFFF (emoji), which some CRMs refuse.", partial(_BEYOND_BMP.sub, ""), 150
)
_register("json", "Converts to JSON including quotes, for a template that builds a JSON body.", rate=25)(
    lambda: to_json
)

BUILTIN: Final[Mapping[str, Transform]] = MappingProxyType(_builtin)
"""Built-in transforms by name."""
