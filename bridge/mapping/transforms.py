"""The transforms: small functions from a value to a value, by the names that the configuration uses. Pure.

A transform is asked for in two ways, and is the same in both: as a step of a field (`transform: [{truncate: 500}]`)
and as a filter of a template (`{{ Content | truncate(500) }}`). `BUILTIN` holds those that come with the bridge; a
larger registry is a new mapping that holds more, and is handed to `expressions.JinjaExpressions` and to
`mapping.compile_mapping` in its place.

What all of them keep to:

- An empty value stays empty. Missing values and whole numbers are taken as their text.
- One that changes a spelling (`e164`, `email`, `date`, `epoch_ms`) hands on what it cannot read, for a lead must not
  lose a value because somebody mistyped it. One that takes a part out (`regex_extract`, `url_host`, `query_param`,
  `first_name`, `last_name`, `lookup`) gives `""` where that part is not there.
- Arguments come from the author of the configuration and are checked when it is read. Values come from strangers: the
  work that a value can cause is bounded.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import markupsafe

from bridge.mapping.budget import FIELD_TEXT
from bridge.mapping.pattern import Pattern, PatternError, compile_pattern
from bridge.mapping.transform_api import Parameter, Step, Transform, TransformError, as_text, to_json

URL_INPUT: Final = 4_000
"""Characters of a value that are read as an address of a page."""
NAME_INPUT: Final = 300
"""Characters that a name, an address or a phone number may have to be read as one."""

_WORD: Final = re.compile(r"[^\s(\[{<\-]+")
_BEYOND_BMP: Final = re.compile("[\U00010000-\U0010ffff]")
_NUMBER: Final = re.compile(r"[+-]?\d{1,17}(\.\d{1,9})?", re.ASCII)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MILLISECONDS_FROM: Final = 1e11  # as seconds this is the year 5138, as milliseconds 1973
_QUERY_FIELDS: Final = 200
_builtin: dict[str, Transform] = {}


def _register(
    name: str, description: str, *parameters: Parameter, rate: int = 10, reads: int = FIELD_TEXT
) -> Callable[[Callable[..., Step]], Callable[..., Step]]:
    def keep(make: Callable[..., Step]) -> Callable[..., Step]:
        _builtin[name] = Transform(name, description, make, parameters, rate, reads)
        return make

    return keep


def _register_plain(name: str, description: str, rate: int = 10, reads: int = FIELD_TEXT) -> Callable[[Step], Step]:
    def keep(step: Step) -> Step:
        _builtin[name] = Transform(name, description, lambda: step, (), rate, reads)
        return step

    return keep


@_register_plain("trim", "Takes away white space at both ends.")
def trim(value: object) -> str:
    """Take away white space at both ends."""
    return as_text(value).strip()


@_register_plain("lower", "In lower case.", 60)
def lower(value: object) -> str:
    """Write in lower case."""
    return as_text(value).lower()


@_register_plain("upper", "In upper case.", 60)
def upper(value: object) -> str:
    """Write in upper case."""
    return as_text(value).upper()


@_register_plain("title", "Each word with a capital, the rest of it in lower case.", 500)
def title(value: object) -> str:
    """Give each word a capital; unlike `str.title` it leaves the letter after an apostrophe alone (`John's`)."""
    return _WORD.sub(lambda word: word[0][:1].upper() + word[0][1:].lower(), as_text(value))


@_register("truncate", "At most `n` characters.", Parameter("n", (int,), "how many characters are left at most"))
def truncate(n: int) -> Step:
    """Cut after `n` characters exactly, with no dots added: the limit is the destination's and is not negotiable."""
    if n < 0:
        raise TransformError("transform `truncate`: `n` must not be negative")
    return lambda value: as_text(value)[:n]


@_register(
    "e164",
    "A phone number in the international form `+14155550100`; left as it is where it cannot be one.",
    Parameter("region", (str,), "the two-letter country of numbers without a country code, such as US"),
    rate=1_000,
    reads=NAME_INPUT,
)
def e164(region: str) -> Step:
    """Write a phone number in E.164. A number that no country's plan allows by its length stays as it was typed.

    An extension is left out, because the form has no place for it.
    """
    import phonenumbers  # noqa: PLC0415 - 20 ms and some memory that only those who use it should pay

    country = region.strip().upper()
    if country not in phonenumbers.SUPPORTED_REGIONS:
        hint = "; Britain is GB" if country == "UK" else ""
        raise TransformError(f"transform `e164`: `region` is a two-letter country code such as US{hint}")

    def write(value: object) -> str:
        text = as_text(value)
        if not text.strip() or len(text) > NAME_INPUT:
            return text
        try:
            number = phonenumbers.parse(text, country)
        except phonenumbers.NumberParseException:
            return text
        if not phonenumbers.is_possible_number(number):
            return text
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    return write


@_register(
    "email",
    "An e-mail address in its usual form, lower case; left as it is where it cannot be one.",
    rate=4_000,
    reads=NAME_INPUT,
)
def email() -> Step:
    """Write an e-mail address trimmed, without `mailto:`, in lower case as a whole.

    The part before the `@` is lowered too, although a mail server may tell cases apart: none that matters does, while
    CRMs match addresses without regard to case, and one person must not become two records.

    What is no address (by syntax; nothing is looked up) is only trimmed, not emptied: the destination then refuses
    that one field, and the connector sends the record without it and keeps the value in a remark. Emptied here, the
    only trace of how to reach this person would be gone from the CRM without a word.
    """
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415 - 20 ms, only for those who use it

    def write(value: object) -> str:
        text = as_text(value).strip()
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
    "A time in another form and time zone; left as it is where it cannot be read.",
    Parameter("format", (str,), "strftime codes, such as %Y-%m-%d %H:%M"),
    Parameter("tz", (str,), "a time zone such as Europe/London", default="UTC"),
)
def date(format: str, tz: str) -> Step:  # noqa: A002 - the name that the configuration uses
    """Write a time with strftime codes in a time zone. Reads what `moment` reads."""
    try:
        zone = ZoneInfo(tz)
        datetime(2026, 11, 24, tzinfo=zone).strftime(format)
    except (ValueError, OSError, KeyError):
        raise TransformError(
            "transform `date`: `format` is made of strftime codes (%Y-%m-%d) and `tz` is a zone such as Europe/London"
        ) from None

    def write(value: object) -> str:
        time = moment(value)
        try:
            return as_text(value) if time is None else time.astimezone(zone).strftime(format)
        except (ValueError, OverflowError):  # a time so near the year 1 or 9999 that the zone moves it over the edge
            return as_text(value)

    return write


@_register_plain("epoch_ms", "A time as milliseconds since 1970; left as it is where it cannot be read.")
def epoch_ms(value: object) -> object:
    """Write a time as a whole number of milliseconds since the epoch. Reads what `moment` reads."""
    time = moment(value)
    if time is None:
        return value
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def moment(value: object) -> datetime | None:
    """Read a time, or None where it is none.

    Text is ISO 8601 as the sender writes it: any number of fraction digits, and UTC where it names no zone. Numbers,
    also in text, are seconds since the epoch, or milliseconds where seconds would lie beyond the year 5000.
    """
    text = as_text(value).strip()
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


_PATTERN: Final = (
    r"a regular expression in RE2's syntax; `\d`, `\w`, `\s` and `\b` know ASCII only: write `\pL` for a letter of any "
    "language"
)


@_register(
    "regex_extract",
    "The part of a text that a regular expression finds first.",
    Parameter("pattern", (str,), _PATTERN, constant=True),
    Parameter("group", (int, str), "number or name of the group to give", default=None),
)
def regex_extract(pattern: str, group: int | str | None) -> Step:
    """Give what a pattern finds: its first group, the whole where it has none, or the group asked for."""
    compiled = _pattern("regex_extract", pattern)
    wanted: int | str = min(compiled.groups, 1) if group is None else group
    known = wanted in compiled.names if isinstance(wanted, str) else 0 <= wanted <= compiled.groups
    if not known:
        raise TransformError("transform `regex_extract`: the pattern has no such `group`")
    return lambda value: compiled.extract(as_text(value), wanted)


@_register(
    "regex_replace",
    "Replaces all that a regular expression finds.",
    Parameter("pattern", (str,), _PATTERN, constant=True),
    Parameter("with", (str,), "what comes in its place; \\1 is what the first group found", constant=True),
)
def regex_replace(pattern: str, replacement: str) -> Step:
    """Replace all that a pattern finds."""
    compiled = _pattern("regex_replace", pattern)
    try:
        pieces = compiled.replacement(replacement)
    except PatternError as error:
        raise TransformError(f"transform `regex_replace`: `with` {error}") from None
    return lambda value: compiled.replace(as_text(value), pieces)


def _pattern(transform: str, pattern: str) -> Pattern:
    try:
        return compile_pattern(pattern)
    except PatternError as error:
        raise TransformError(f"transform `{transform}`: `pattern` {error}") from None


@_register_plain("first_name", "The first name in a full name.", 30_000, NAME_INPUT)
def first_name(value: object) -> str:
    """Give the first name in a full name, `""` where it has none."""
    return _name_part(value, "first")


@_register_plain("last_name", "The last name in a full name.", 30_000, NAME_INPUT)
def last_name(value: object) -> str:
    """Give the last name in a full name, `""` where it has none."""
    return _name_part(value, "last")


def _name_part(value: object, part: str) -> str:
    from nameparser import HumanName  # noqa: PLC0415 - 30 ms and 2 MB that only those who use it should pay

    text = as_text(value)
    return str(getattr(HumanName(text), part)) if len(text) <= NAME_INPUT else ""


@_register(
    "lookup",
    "The value that a table holds for this one.",
    Parameter("table", (dict,), "values by the text they stand for", constant=True),
    rate=25,
)
def lookup(table: Mapping[str, Any]) -> Step:
    """Give the table's value for a text, compared without white space at its ends; `""` where it holds none."""
    by_text = {as_text(key).strip(): found for key, found in table.items()}
    return lambda value: by_text.get(as_text(value).strip(), "")


@_register_plain("hash", "The SHA-256 of the text, in hexadecimal digits.", 15)
def sha256(value: object) -> str:
    """Give the SHA-256 of the text as UTF-8 in 64 hexadecimal digits; `""` for an empty text."""
    text = as_text(value)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest() if text else ""


@_register_plain("url_host", "The host name in an address such as https://example.com/page.", 1_000, URL_INPUT)
def url_host(value: object) -> str:
    """Give the host name of a URL in lower case, without a port; the sender's `www.example.com` is one as well."""
    parts = _url(value)
    try:
        return (parts.hostname or "") if parts else ""
    except ValueError:
        return ""


@_register(
    "query_param",
    "The value of a parameter in an address such as https://example.com/?utm_source=x.",
    Parameter("name", (str,), "the parameter's name, such as utm_source"),
    rate=1_000,
    reads=URL_INPUT,
)
def query_param(name: str) -> Step:
    """Give the first value of a parameter in a URL's query, decoded."""

    def find(value: object) -> str:
        parts = _url(value)
        try:
            pairs = parse_qsl(parts.query, max_num_fields=_QUERY_FIELDS) if parts else []
        except ValueError:
            return ""
        return next((found for key, found in pairs if key == name), "")

    return find


def _url(value: object) -> SplitResult | None:
    text = as_text(value).strip()[:URL_INPUT]
    try:
        return urlsplit(text if _SCHEME.match(text) else f"//{text.removeprefix('//')}")
    except ValueError:
        return None


@_register_plain("html_escape", "For destinations that show a text as HTML: < > & and quotes written as entities.", 40)
def html_escape(value: object) -> str:
    """Escape what HTML would take as markup. The result is plain text: escaping twice shows."""
    return str(markupsafe.escape(as_text(value)))


@_register_plain("bmp", "Without characters above U+FFFF (emoji), which some CRMs' databases refuse.", 150)
def bmp(value: object) -> str:
    """Leave out the characters that take four bytes in UTF-8."""
    return _BEYOND_BMP.sub("", as_text(value))


_register_plain("json", "As JSON, quotes included: for a template that builds a JSON body.", 25)(to_json)

BUILTIN: Final[Mapping[str, Transform]] = MappingProxyType(_builtin)
"""The transforms that come with the bridge, by name."""
