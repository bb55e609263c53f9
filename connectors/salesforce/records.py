"""Records to rows: keys, fields for new records, remarks, and the limits of Salesforce's texts. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from connectors.activities import AppointmentPlan, appointment_texts, plan_appointment, stated_time
from connectors.base import ExpressionError, Reason, Record, Rejected
from connectors.event_text import Sources
from connectors.ownership import OwnerChoice
from connectors.record import writable_fields
from connectors.salesforce.descriptions import append_texts, as_text, cut, units
from connectors.salesforce.schema import ObjectSchema
from connectors.salesforce.settings import SalesforceRoute

DESCRIPTION = "Description"
"""Field to which remarks are appended; every object for people has it."""
LONGEST_DESCRIPTION = 32_000
"""Maximum characters of `Description` in leads, contacts, events and tasks, unless describe reports another number."""

_DESCRIPTION_KEY = DESCRIPTION.lower()
_WITH_RULES = frozenset({"lead", "case"})  # the objects that assignment rules are for
LEFT_OUT = "left out because {name} has no such field that the user may write"
"""Why an unknown field is left out of a record."""
_MISREAD = "the remark is left out because the description cannot be read; let the user query {name}"
_REFUSED = "refused by Salesforce and left out"
PEOPLE = frozenset({"lead", "contact"})
"""Objects for people."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A record that Salesforce already has."""

    id: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Its values by the names of fields in lower case, as far as they were read."""

    @property
    def description(self) -> str | None:
        """Return its `Description`; None if unknown."""
        return as_text(self.values[_DESCRIPTION_KEY]) if _DESCRIPTION_KEY in self.values else None

    @property
    def contact(self) -> str | None:
        """Return the id of the contact that took its place, if it is a converted lead."""
        found = self.values.get("convertedcontactid") if self.values.get("isconverted") else None
        return str(found) if found else None


UNREAD = "?"
"""Substitute for a value that could not be read."""
UNSEEN = Existing("")
"""Substitute for a record that may exist but cannot be queried: none of its content may be lost."""


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """A record in the form of its object."""

    record: Record
    route: SalesforceRoute
    key: str
    """Value of the external id."""
    fields: Mapping[str, Any]
    """Fields to write in any case, without the external id."""
    when_new: Mapping[str, Any] = field(default_factory=dict)
    """Fields that replace and complete `fields` in a new record; None removes a field."""
    remark: str = ""
    certain: bool = True
    """True if the record is certainly new: its key is its event's own, and it cannot have been written before."""
    is_first: bool = True
    """True if this is certainly the first attempt of the delivery, so that nothing of it can exist."""
    warnings: tuple[str, ...] = ()
    opportunity: str | None = None
    """Record ID of the opportunity of a converted lead, which its activities are about too."""
    appointment: AppointmentPlan | None = None
    """The appointment, if the event is one."""
    subject: str = ""
    """Subject of its follow-up task."""
    owner_texts: tuple[str | None, str | None] = ("", "")
    """Owners of the record and of its follow-up task, by e-mail or id: empty for none, None for somebody's turn."""
    owner: str | None = None
    """Record ID of the owner."""
    task_owner: str | None = None
    """Record ID of the owner of the follow-up task."""

    @property
    def _all(self) -> dict[str, Any]:
        """Return all fields that may be sent."""
        return {**self.fields, **{name: value for name, value in self.when_new.items() if value is not None}}

    @property
    def is_assigned(self) -> bool:
        """Return True if assignment rules may run for its object."""
        return self.route.object.lower() in _WITH_RULES

    @property
    def asks(self) -> bool:
        """Return True if the request depends on whether Salesforce already has the record, which must be queried."""
        depends = bool(self.when_new or self.remark or self.record.create_only or self.record.if_empty)
        return (depends or (self.is_assigned and self.route.assignment == "created")) and not self.certain

    @property
    def wanted(self) -> tuple[str, ...]:
        """Return the fields whose values decide what is written into an existing record."""
        remark = (DESCRIPTION,) if self.route.remark is not None and not self.is_appointment else ()
        return (*remark, *(name for name in self.fields if name in self.record.if_empty))

    @property
    def is_appointment(self) -> bool:
        """Return True if an event or task must be created with it."""
        return is_appointment(self.record)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return the names of the record's fields that are not written."""
        written = {name.lower() for name in (*self.fields, self.route.external_id)}
        return tuple(name for name in self.record.fields if name.lower() not in written)

    def owned(self, owners: tuple[str | None, ...], warnings: tuple[str, ...]) -> "Row":
        """Return the row with its owners. A mapped owner has precedence; an existing record keeps its own."""
        owner, task_owner = owners
        is_mapped = any(name.lower() == "ownerid" for name in self.fields)
        when_new = {**self.when_new, "OwnerId": owner} if owner and not is_mapped else self.when_new
        warnings = (*self.warnings, *warnings)
        return replace(self, when_new=when_new, owner=owner, task_owner=task_owner or owner, warnings=warnings)

    def warned(self, warning: str) -> "Row":
        """Return the row with one more warning for the operator."""
        return replace(self, warnings=(*self.warnings, warning))

    def without(self, names: tuple[str, ...], why: str = _REFUSED) -> "Row":
        """Return the row without fields; their values become part of the remark, if the route has one.

        Args:
            names: The fields, as spelled in the row.
            why: Rest of the sentence "X, Y ...".
        """
        dropped = {name: value for name, value in self._all.items() if name in names}
        lines = (f"{name}: {value}" for name, value in dropped.items())
        has_place = self.route.remark is not None
        kept = "the value is in the remark" if has_place else "the event keeps the value"
        return replace(
            self,
            fields={name: value for name, value in self.fields.items() if name not in dropped},
            when_new={name: value for name, value in self.when_new.items() if name not in dropped},
            remark="\n".join((self.remark, *lines)).strip() if has_place else self.remark,
            warnings=(*self.warnings, f"{', '.join(dropped)} {why}; {kept}"),
        )

    def droppable(self, names: tuple[str, ...], shape: ObjectSchema | None) -> tuple[str, ...]:
        """Return those of the named fields that the record has and can go without.

        Fields that a new record needs are not among them, nor is the field of the remark.
        """
        wanted = {name.lower() for name in names}
        kept = {DESCRIPTION.lower(), "lastname", "company"}
        found = (name for name in self._all if not wanted.isdisjoint((name.lower(), _label(name, shape))))
        return tuple(name for name in found if name.lower() not in kept and not _is_required(name, shape))

    def references(self, shape: ObjectSchema | None) -> tuple[str, ...]:
        """Return its fields that hold ids of other records."""
        known = {name: shape.field(name) if shape else None for name in self._all}
        return tuple(
            name for name, field in known.items() if (field.type == "reference" if field else name.endswith("Id"))
        )

    def has(self, names: tuple[str, ...]) -> bool:
        """Return True if it has one of these fields."""
        return not {name.lower() for name in names}.isdisjoint(name.lower() for name in self._all)

    def unknown(self, shape: ObjectSchema | None) -> tuple[str, ...]:
        """Return its fields that its object does not have, or that the user may not write.

        A value that is an object names a relationship, which describe lists under another name.
        """
        if shape is None:
            return ()
        return tuple(
            name
            for name, value in self.fields.items()
            if not isinstance(value, Mapping) and not _is_writable(name, shape)
        )


def is_appointment(record: Record) -> bool:
    """Return True if the event of a record is an appointment, by the sender's `Type`."""
    return bool(record.event.get("Type") == "Appointment")


def person_of(record: Record) -> str:
    """Return the person of a record, as the sender identifies people."""
    said = (as_text(record.event.get(name)).strip().casefold() for name in ("Email", "PhoneNumber"))
    return next(filter(None, said), record.id)


class Rows:
    """Converter of records to rows.

    Args:
        sources: Produces the remarks.
        owners: Chooses owners; by default one without turns.
    """

    def __init__(self, sources: Sources, owners: OwnerChoice | None = None) -> None:
        self._sources = sources
        self._owners = owners or OwnerChoice(sources)

    def row(self, record: Record, shape: ObjectSchema | None, since: float = 0.0) -> Row | Rejected:
        """Return the row of a record, or the rejection of a record that cannot become one.

        Args:
            record: The record.
            shape: Schema of its object.
            since: Start of this process's work, in seconds since the epoch. A record that was received before may have
                been written by a process that was killed before it could report it.
        """
        route: SalesforceRoute = record.route  # type: ignore[assignment]  # the bridge passes the connector's own model
        try:
            texts = self._texts(route, record)
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, error.message)
        key = external_key(record)
        held = shape.field(route.external_id) if shape else None
        if held is not None and held.length is not None and units(key) > held.length:
            return Rejected(
                Reason.MAPPING, f"{route.external_id} takes {held.length} characters, its value has {units(key)}"
            )
        fields, warnings = _once(record.fields, route)
        try:
            orjson.dumps(fields)
        except TypeError:
            return Rejected(Reason.MAPPING, "JSON cannot hold the value of a field, or it is a number of over 64 bits")
        own = str(record.event.get("event", {}).get("id") or record.id) in key or key == record.id
        is_first = not record.is_repeat and _received(record) >= since
        row = Row(
            record,
            route,
            key,
            fields,
            certain=own and is_first,
            is_first=is_first,
            warnings=warnings,
            **texts,
        )
        unknown = row.unknown(shape)
        row = row.without(unknown, LEFT_OUT.format(name=route.object)) if unknown else row
        return replace(row, when_new=fallbacks(route, row.fields, record.event))

    def _texts(self, route: SalesforceRoute, record: Record) -> dict[str, Any]:
        """Return the texts of a row that are made from its event. Raises `ExpressionError`."""
        event, task = record.event, route.follow_up
        said = appointment_texts(route.appointment, self._sources, event)
        plan = plan_appointment(route.appointment, said, event, stated_time(event)) if said else None
        owners = {"owner": route.owner, "task_owner": task.owner if task else None}
        try:
            remark = self._sources.text(route.remark, event)
        except ExpressionError as error:
            raise ExpressionError(f"remark: {error.message}") from error
        first, second = (
            self._owners.text(setting, record, name) if setting else "" for name, setting in owners.items()
        )
        return {
            "remark": remark,
            "appointment": plan,
            "subject": self._sources.words(task.subject, event) if task else "",
            "owner_texts": (first, second),
        }


def external_key(record: Record) -> str:
    """Return the value that identifies a record: the mapped external id, else the record's own id.

    Blanks at the ends are removed, as Salesforce does too.
    """
    route: SalesforceRoute = record.route  # type: ignore[assignment]  # the bridge passes the connector's own model
    mapped = next((value for name, value in record.fields.items() if _is_key(name, route)), None)
    return as_text(mapped).strip() or record.id


def body(row: Row, existing: Existing | None, shape: ObjectSchema | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields to send, without the external id, and warnings for the operator.

    Args:
        row: The record.
        existing: The existing record; None for a record that is new, or may be.
        shape: Schema of the object; None if the user may not read it.
    """
    fields = _kept(row, existing) if existing else {**row.fields, **row.when_new}
    fields = {name: value for name, value in fields.items() if value is not None}
    warnings = list(row.warnings)
    if row.remark and not row.is_appointment:
        mapped = [name for name in fields if name.lower() == DESCRIPTION.lower()]
        said = "" if existing is None else existing.description
        if not takes_remark(row.route.object, shape):
            warnings.append(
                f"the remark is left out because {row.route.object} has no {DESCRIPTION} that can be written"
            )
        elif said is None:
            fields = {name: value for name, value in fields.items() if name not in mapped}
            warnings.append(_MISREAD.format(name=row.route.object))
        else:
            parts = [*(as_text(fields.pop(name)) for name in mapped), row.remark]
            fields[DESCRIPTION], text_warnings = append_texts(said, parts, _longest(DESCRIPTION, shape))
            warnings += text_warnings
    for name, value in fields.items():
        longest = _longest(name, shape)
        if longest is not None and isinstance(value, str) and units(value) > longest:
            fields[name] = cut(value, longest)
            warnings.append(f"{name} was cut to {longest} characters")
    return fields, tuple(warnings)


def _kept(row: Row, existing: Existing) -> dict[str, Any]:
    """Return the fields that may be written into an existing record. A value that was not read is kept."""
    held = {name: existing.values.get(name.lower(), UNREAD) for name in row.fields}
    return writable_fields(row.fields, held, create_only=row.record.create_only, if_empty=row.record.if_empty)


def takes_remark(name: str, shape: ObjectSchema | None) -> bool:
    """Return True if an object has a `Description` for a remark."""
    return shape.takes(DESCRIPTION) if shape else name.lower() in PEOPLE


def _longest(name: str, shape: ObjectSchema | None) -> int | None:
    if shape is None:
        return LONGEST_DESCRIPTION if name == DESCRIPTION else None
    known = shape.field(name)
    return known.length if known is not None and known.is_cut else None


def _label(name: str, shape: ObjectSchema | None) -> str:
    known = shape.field(name) if shape else None
    return known.label.lower() if known is not None else ""


def _is_required(name: str, shape: ObjectSchema | None) -> bool:
    known = shape.field(name) if shape else None
    return known is not None and known.required


def _is_writable(name: str, shape: ObjectSchema) -> bool:
    known = shape.field(name)
    return known is not None and (known.createable or known.updateable)


def _once(mapped: Mapping[str, Any], route: SalesforceRoute) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields except the external id, each in one spelling: Salesforce refuses a call with one field twice.

    `Id` is left out: Salesforce assigns it and refuses a call that has it.
    """
    fields: dict[str, Any] = {}
    warnings = []
    for name, value in mapped.items():
        if _is_key(name, route):
            continue
        if name.lower() == "id":
            warnings.append("Salesforce assigns Id, so it is left out; remove it from fields")
        elif name.lower() in (each.lower() for each in fields):
            warnings.append(f"{name} is also mapped in another spelling and left out; remove one from fields")
        else:
            fields[name] = value
    return fields, tuple(warnings)


def _received(record: Record) -> float:
    """Return when the event was received, in seconds since the epoch; 0 if unknown."""
    try:
        return datetime.fromisoformat(as_text(record.event.get("event", {}).get("received_at"))).timestamp()
    except ValueError:
        return 0.0


def _is_key(name: str, route: SalesforceRoute) -> bool:
    return name.lower() == route.external_id.lower()


def fallbacks(route: SalesforceRoute, fields: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields that Salesforce requires of a new record and that the mapping did not fill.

    An existing record keeps its values, which are better than these.
    """
    kind = route.object.lower()
    given = {name.lower() for name, value in fields.items() if value not in (None, "")}
    found: dict[str, Any] = {}
    if kind in PEOPLE and "lastname" not in given:
        first = as_text(event.get("FirstName")).strip()
        last = as_text(event.get("LastName")).strip()
        local = as_text(event.get("Email")).partition("@")[0].strip()
        phone = as_text(event.get("PhoneNumber")).strip()
        found["LastName"] = cut(last or first or local or phone or route.last_name, 80)
        if not last and first:  # otherwise the lead would be called David David
            found |= {name: None for name in fields if name.lower() == "firstname"}
    if kind == "lead" and "company" not in given:
        found["Company"] = route.company
    # An empty value under another spelling would be the same field twice.
    return {**{name: None for name in fields if name.lower() in {each.lower() for each in found}}, **found}
