"""The objects of a HubSpot account: their properties, keys, rules and values. Pure.

The codes `READ_ONLY_VALUE` and `INVALID_LONG` are those of recorded answers. The codes for a number, a wrong date and
too long a text are not confirmed: a caller must classify by category and not by a closed list of codes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from email_validator import EmailNotValidError, validate_email

from connectors.testing.hubspot.errors import Invalid

LONGEST = 65_536
"""Maximum number of characters of a text property, and of the body of a note (HubSpot's guide to notes)."""
_DEFINED_AT = "2019-08-06T02:41:08.029Z"

_DAY = 86_400_000  # milliseconds
_SECONDS_DIGITS = 10  # an epoch in seconds; HubSpot wants milliseconds
_SHORTEST_TLD = 2
_INTEGER = re.compile(r"-?[0-9]{1,14}")
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_BOOLS = {"true": "True", "false": "False"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A property of an object, as an administrator defines it."""

    name: str
    type: Literal["string", "number", "bool", "date", "datetime", "enumeration"] = "string"
    field: str = "text"
    """Form field (`fieldType`). An enumeration shown as `checkbox` takes several values, separated by `;`."""
    label: str = ""
    group: str = "contactinformation"
    options: Mapping[str, str] | None = None
    """Labels by internal value, in their order. None for an enumeration whose options are kept elsewhere (owners); it
    accepts any value."""
    unique: bool = False
    """True if no two records have the same value, and it identifies a record. Can be set only at its creation."""
    read_only: bool = False
    calculated: bool = False
    """True if HubSpot computes it, so that it is read-only too."""
    only_letters: bool = False
    """True if a rule of the administrator permits letters only. Such rules apply to the API too since July 2023
    (HubSpot's changelog on property validation rules)."""
    hidden: bool = False
    form: bool = True
    """True if forms can use it (`formField`)."""
    hubspot: bool = False
    """True if HubSpot has defined it, not the account's administrator."""

    def document(self) -> dict[str, Any]:
        """Return the property in the form of the properties API."""
        options = [
            {"label": label, "value": value, "displayOrder": position, "hidden": False}
            for position, (value, label) in enumerate((self.options or {}).items())
        ]
        return {
            "updatedAt": _DEFINED_AT,
            "createdAt": _DEFINED_AT,
            "name": self.name,
            "label": self.label or self.name,
            "type": self.type,
            "fieldType": self.field,
            "description": "",
            "groupName": self.group,
            "options": options,
            "displayOrder": -1,
            "calculated": self.calculated,
            "externalOptions": self.type == "enumeration" and self.options is None,
            "archived": False,
            "hasUniqueValue": self.unique,
            "hidden": self.hidden,
            "hubspotDefined": self.hubspot,
            "modificationMetadata": {
                "archivable": not self.hubspot,
                "readOnlyDefinition": self.hubspot,
                "readOnlyOptions": self.hubspot,
                "readOnlyValue": self.read_only or self.calculated,
            },
            "formField": self.form and not (self.read_only or self.calculated),
            "dataSensitivity": "non_sensitive",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectType:
    """An object of the account: contacts, notes, or a custom one."""

    name: str
    """Name in paths: `contacts`."""
    singular: str
    """`contact`; in capitals in HubSpot's messages."""
    type_id: str
    """`0-1`; the id of a custom object begins with `2-`. Paths accept it as well."""
    properties: tuple[Property, ...]
    scope: str = "custom"
    """Part of the scopes `crm.objects.SCOPE.read` and `.write`."""
    label: str = ""
    """Part of the names of its association types, if it differs from `singular`."""
    key: str | None = None
    """Property that identifies a record without being defined as unique, kept in lower case: `email`."""
    created: str = "hs_createdate"
    """Property with the creation time of a record."""
    modified: str = "hs_lastmodifieddate"
    """Property with the time of the last write."""
    required: tuple[str, ...] = ()
    """Properties that a new record must have."""
    one_of: tuple[str, ...] = ()
    """Properties of which a new record must have at least one."""
    needs: str | None = None
    """Object that a new record must be associated with."""
    shown: tuple[str, ...] = ()
    """Properties in an answer besides id and times if none are requested."""

    def answers_to(self, name: str) -> bool:
        """Return True if a path may name it so."""
        return name.lower() in (self.name, self.singular, self.type_id)


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
