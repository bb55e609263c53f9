"""From records to what is sent of them: keys, fallbacks, remarks, lengths. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from connectors.base import ExpressionError, Reason, Record, Rejected
from connectors.salesforce.settings import SalesforceRoute
from connectors.salesforce.shape import Shape
from connectors.sources import Sources

DESCRIPTION = "Description"
"""The field that remarks are added to; it is in every object that people are kept in."""
LONGEST_DESCRIPTION = 32_000
"""Characters that `Description` of leads, contacts, events and tasks takes, where describe has not said otherwise."""

_WITH_RULES = frozenset({"lead", "case"})  # the objects that assignment rules are for
_PEOPLE = frozenset({"lead", "contact"})


@dataclass(frozen=True, slots=True)
class Existing:
    """A record that Salesforce has already."""

    id: str
    description: str = ""
    """What its `Description` says, where it was asked for."""


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """A record on its way into an object."""

    record: Record
    route: SalesforceRoute
    key: str
    """The value of the external id."""
    fields: Mapping[str, Any]
    """What is written in any case, without the external id."""
    when_new: Mapping[str, Any] = field(default_factory=dict)
    """What replaces and completes `fields` in a record that is created; None takes a field away."""
    remark: str = ""
    certain: bool = True
    """Whether it can be taken to be new: its key is its event's own, and it has not been tried before."""
    warnings: tuple[str, ...] = ()

    @property
    def is_assigned(self) -> bool:
        """Whether assignment rules may run for its object."""
        return self.route.object.lower() in _WITH_RULES

    @property
    def asks(self) -> bool:
        """Whether what is sent depends on whether Salesforce has the record already, which has to be asked for."""
        depends = bool(self.when_new or self.remark) or (self.is_assigned and self.route.assignment == "created")
        return depends and not self.certain

    @property
    def is_appointment(self) -> bool:
        """Whether an event or task is to be created with it."""
        return is_appointment(self.record)

    def warned(self, warning: str) -> "Row":
        """Give the row with one more thing that the operator should know."""
        return replace(self, warnings=(*self.warnings, warning))

    def without(self, names: tuple[str, ...]) -> "Row":
        """Give the row without fields that Salesforce refuses; what was in them becomes part of the remark."""
        dropped = {name: value for name, value in self.fields.items() if name in names}
        kept = "\n".join((self.remark, *(f"{name}: {value}" for name, value in dropped.items()))).strip()
        told = f"{', '.join(dropped)} refused by Salesforce and left out; the value is in the remark"
        return replace(
            self,
            fields={name: value for name, value in self.fields.items() if name not in dropped},
            remark=kept,
            warnings=(*self.warnings, told),
        )

    def droppable(self, names: tuple[str, ...], shape: Shape | None) -> tuple[str, ...]:
        """Give those of the named fields that the record can go without; nothing where there is no remark to keep them.

        What a new record needs is not among them, nor what is written into the remark.
        """
        if self.route.remark is None:
            return ()
        wanted = {name.lower() for name in names} - {DESCRIPTION.lower(), "lastname", "company"}
        found = (name for name in self.fields if name.lower() in wanted)
        return tuple(name for name in found if not _is_required(name, shape))


def is_appointment(record: Record) -> bool:
    """Tell whether the event of a record is an appointment, as the sender's `Type` says."""
    return bool(record.event.get("Type") == "Appointment")


class Rows:
    """Makes rows of records.

    Args:
        sources: Makes the remarks.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def row(self, record: Record, shape: Shape | None) -> Row | Rejected:
        """Make the row of a record, or say why none can be made: trying again cannot help."""
        route: SalesforceRoute = record.route  # type: ignore[assignment]  # the bridge gives the connector's own model
        try:
            remark = self._sources.text(route.remark, record.event)
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, f"remark: {error.message}")
        key = key_of(record)
        held = shape.field(route.external_id) if shape else None
        if held is not None and held.length is not None and _units(key) > held.length:
            return Rejected(
                Reason.MAPPING, f"{route.external_id} takes {held.length} characters, its value has {_units(key)}"
            )
        fields = {name: _sendable(value) for name, value in record.fields.items() if not _is_key(name, route)}
        try:
            orjson.dumps(fields)
        except TypeError:
            return Rejected(Reason.MAPPING, "a field's value has no form in JSON, or is a number of over 64 bits")
        own = str(record.event.get("event", {}).get("id") or record.id) in key or key == record.id
        return Row(
            record,
            route,
            key,
            fields,
            when_new=_when_new(route, fields, record.event),
            remark=_clean(remark),
            certain=own and not record.again,
        )


def key_of(record: Record) -> str:
    """Give the value by which a record is found again: what the mapping gives for the external id, else its own id.

    Without blanks at the ends, which Salesforce takes away too.
    """
    route: SalesforceRoute = record.route  # type: ignore[assignment]  # the bridge gives the connector's own model
    mapped = next((value for name, value in record.fields.items() if _is_key(name, route)), None)
    return _clean(_text(mapped)).strip() or record.id


def body(row: Row, existing: Existing | None, shape: Shape | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Give the fields to send, without the external id, and what the operator should know of them.

    Args:
        row: The record.
        existing: What Salesforce has of it already; None for a record that is new, or may be.
        shape: What is known of the object; None where the user may not ask for it.
    """
    fields = dict(row.fields) if existing else {**row.fields, **row.when_new}
    fields = {name: value for name, value in fields.items() if value is not None}
    warnings = list(row.warnings)
    if row.remark and not row.is_appointment:
        if takes_remark(row.route.object, shape):
            fields[DESCRIPTION] = _added(row, existing)
        else:
            warnings.append(f"the remark is left out, for {row.route.object} has no {DESCRIPTION} that can be written")
    for name, value in fields.items():
        longest = _longest(name, shape)
        if longest is not None and isinstance(value, str) and _units(value) > longest:
            fields[name] = cut(value, longest)
            warnings.append(f"{name} was cut to {longest} characters")
    return fields, tuple(warnings)


def takes_remark(name: str, shape: Shape | None) -> bool:
    """Whether an object has a `Description` to write a remark into."""
    return shape.takes(DESCRIPTION) if shape else name.lower() in _PEOPLE


def created_at(record: Record) -> str:
    """Give when the event came to be, in ISO form: as the sender says, else when it was received."""
    said = record.event.get("CreateTime")
    return _text(said).strip() or _text(record.event.get("event", {}).get("received_at"))


def cut(text: str, longest: int) -> str:
    """Shorten a text to so many characters as Salesforce counts them: an emoji is two (UTF-16)."""
    return text.encode("utf-16-le")[: 2 * longest].decode("utf-16-le", "ignore")


def _when_new(route: SalesforceRoute, fields: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a new record cannot be without, and that the mapping did not give: Salesforce requires it.

    A record that exists keeps what it has, which is better than any of this.
    """
    kind = route.object.lower()
    given = {name.lower() for name, value in fields.items() if value not in (None, "")}
    found: dict[str, Any] = {}
    if kind in _PEOPLE and "lastname" not in given:
        first = _text(event.get("FirstName")).strip()
        last = _text(event.get("LastName")).strip()
        local = _text(event.get("Email")).partition("@")[0].strip()
        phone = _text(event.get("PhoneNumber")).strip()
        found["LastName"] = cut(_clean(last or first or local or phone or route.last_name), 80)
        if not last and first:  # else the lead would be called David David
            found |= {name: None for name in fields if name.lower() == "firstname"}
    if kind == "lead" and "company" not in given:
        found["Company"] = route.company
    # An empty value under another spelling would be the same field twice.
    return {**{name: None for name in fields if name.lower() in {each.lower() for each in found}}, **found}


def _added(row: Row, existing: Existing | None) -> str:
    """Give the description with the remark at its end, where it is not in it already."""
    mapped = next((_text(value) for name, value in row.fields.items() if name.lower() == DESCRIPTION.lower()), "")
    text = existing.description if existing else ""
    for part in (mapped, row.remark):
        if part and part not in text:
            text = f"{text}\n\n{part}" if text else part
    return text


def _longest(name: str, shape: Shape | None) -> int | None:
    if shape is None:
        return LONGEST_DESCRIPTION if name == DESCRIPTION else None
    known = shape.field(name)
    return known.length if known is not None and known.is_cut else None


def _is_required(name: str, shape: Shape | None) -> bool:
    known = shape.field(name) if shape else None
    return known is not None and known.required


def _is_key(name: str, route: SalesforceRoute) -> bool:
    return name.lower() == route.external_id.lower()


def _sendable(value: Any) -> Any:  # noqa: ANN401 - any value of a mapping
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    """Replace half an emoji, which has no form in UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
