"""The values of properties: validation, and the stored form. Pure.

The codes `READ_ONLY_VALUE` and `INVALID_LONG` are those of recorded answers. The codes for a number, a wrong date and
too long a text are not confirmed: a caller must classify by category and not by a closed list of codes.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from email_validator import EmailNotValidError, validate_email

from connectors.testing.hubspot.errors import Invalid
from connectors.testing.hubspot.schema import LONGEST, Property

_DAY = 86_400_000  # milliseconds
_SECONDS_DIGITS = 10  # an epoch in seconds; HubSpot wants milliseconds
_SHORTEST_TLD = 2
_INTEGER = re.compile(r"-?[0-9]{1,14}")
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_BOOLS = {"true": "True", "false": "False"}


def read_value(definition: Property, value: str, key: str | None) -> str | Invalid:
    """Return a value in its stored form, or its refusal. An empty value, which clears the property, is accepted.

    Args:
        definition: Definition of the property.
        value: The value as sent.
        key: Property that identifies a record by its e-mail; None if there is none.
    """
    name = definition.name
    if definition.calculated or definition.read_only:
        kind = "calculated" if definition.calculated else "read only"
        return Invalid(name, "READ_ONLY_VALUE", f'"{name}" is a {kind} property; its value cannot be set.')
    if not value:
        return ""
    if definition.only_letters and not value.isalpha():
        return Invalid(name, "INVALID_ALPHA", "Enter only letters")
    if definition.type == "enumeration":
        return _options(definition, value)
    return (_email if name == key else _READERS[definition.type])(name, value)


def moment(seconds: float) -> str:
    """Return a time in HubSpot's form: UTC, with milliseconds unless they are zero."""
    at = datetime.fromtimestamp(round(seconds, 3), UTC)
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds").replace("+00:00", "Z")


def _email(name: str, value: str) -> str | Invalid:
    """Check form and top-level domain, as HubSpot does; reserved domains such as `.test` are refused."""
    try:
        domain = validate_email(value, check_deliverability=False).ascii_domain
    except EmailNotValidError:
        domain = ""
    if len(domain.rpartition(".")[2]) < _SHORTEST_TLD:
        return Invalid(name, "INVALID_EMAIL", f"Email address {value} is invalid")
    return value.strip().lower()


def _number(name: str, value: str) -> str | Invalid:
    if _NUMBER.fullmatch(value):
        return value
    return Invalid(name, "INVALID_DECIMAL", f"{value} was not a valid number.")


def _datetime(name: str, value: str) -> str | Invalid:
    """Read ISO 8601 with a zone, or milliseconds. Seconds may be refused since 2026-08-11 (HubSpot's changelog)."""
    if _INTEGER.fullmatch(value):
        if len(value) <= _SECONDS_DIGITS:
            return Invalid(name, "INVALID_DATE", f"{value} was not a valid date.")
        return moment(int(value) / 1000)
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return Invalid(name, "INVALID_LONG", f"{value} was not a valid long.")
    if at.tzinfo is None:
        return Invalid(name, "INVALID_LONG", f"{value} was not a valid long.")
    return moment(at.timestamp())


def _date(name: str, value: str) -> str | Invalid:
    """Read `YYYY-MM-DD`, or the milliseconds of a midnight in UTC."""
    if _INTEGER.fullmatch(value):
        at = datetime.fromtimestamp(int(value) / 1000, UTC)
        if int(value) % _DAY:
            clock = f"{at.hour}:{at.minute}:{at.second}.{at.microsecond // 1000}"
            return Invalid(name, "INVALID_DATE", f"{value} is at {clock} UTC, not midnight!")
        return at.date().isoformat()
    try:
        day = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        return Invalid(name, "INVALID_DATE", f"{value} was not a valid date.")
    return day.isoformat()


def _bool(name: str, value: str) -> str | Invalid:
    return value if value in _BOOLS else _no_option(name, value, _BOOLS)


def _options(definition: Property, value: str) -> str | Invalid:
    options = definition.options
    if options is None:
        return value
    for each in value.split(";") if definition.field == "checkbox" else [value]:
        if each not in options:
            return _no_option(definition.name, each, options)
    return value


def _no_option(name: str, value: str, options: Mapping[str, str]) -> Invalid:
    allowed = ", ".join(f'label: "{label}"\nvalue: "{option}"\n' for option, label in options.items())
    return Invalid(name, "INVALID_OPTION", f"{value} was not one of the allowed options: [{allowed}]")


def _text(name: str, value: str) -> str | Invalid:
    if len(value) <= LONGEST:
        return value
    return Invalid(name, "INVALID_STRING_LENGTH", f'"{name}" takes at most {LONGEST} characters.')


_READERS: Mapping[str, Callable[[str, str], str | Invalid]] = {
    "string": _text,
    "number": _number,
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
}
