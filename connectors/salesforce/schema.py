"""The org's description of an object and its fields: the answer of `describe`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CUT = frozenset({"string", "textarea", "phone", "url"})


@dataclass(frozen=True, slots=True)
class FieldShape:
    """One field, with the names and types of the REST API's describe."""

    name: str
    type: str
    length: int | None
    """Maximum number of characters; None if the type has no length."""
    createable: bool
    updateable: bool
    required: bool
    """True if a new record is refused without it."""
    external_id: bool
    """True if an upsert can find records by it."""
    unique: bool
    label: str
    """Name for people, which some errors use."""
    values: frozenset[str] | None
    """The only values of a restricted picklist; None if other values are accepted."""

    @property
    def is_cut(self) -> bool:
        """Return True if too long a text is cut: a cut e-mail address or picklist value would be another value."""
        return self.type in _CUT


@dataclass(frozen=True, slots=True)
class ObjectSchema:
    """One object, as the connector's user sees it."""

    name: str
    createable: bool
    updateable: bool
    fields: Mapping[str, FieldShape]
    """Fields by name in lower case: Salesforce ignores case."""

    def field(self, name: str) -> FieldShape | None:
        """Return the field of a name in any case; None if the object has none, or the user may not see it."""
        return self.fields.get(name.lower())

    def refuses(self, key: str) -> bool:
        """Return True if nothing can be written by the field of this name: the object or the field is misconfigured."""
        field = self.field(key)
        return not self.createable or field is None or not (field.external_id and field.createable)

    def takes(self, name: str) -> bool:
        """Return True if the field exists and can be written."""
        field = self.field(name)
        return field is not None and field.createable


def read_shape(document: Any) -> ObjectSchema | None:
    """Return the shape in an answer of `describe`; None if it is not one, or names no field."""
    if not isinstance(document, dict) or not isinstance(document.get("fields"), list):
        return None
    fields = [
        _field(each) for each in document["fields"] if isinstance(each, dict) and isinstance(each.get("name"), str)
    ]
    if not fields:  # every object has fields; without them every mapped field would seem wrong
        return None
    return ObjectSchema(
        name=str(document.get("name", "")),
        createable=document.get("createable") is not False,
        updateable=document.get("updateable") is not False,
        fields={field.name.lower(): field for field in fields},
    )


def _field(description: Mapping[str, Any]) -> FieldShape:
    length = description.get("length")
    kind = str(description.get("type", ""))
    createable = description.get("createable") is not False
    # A checkbox is never null and never required: its default is false.
    required = description.get("nillable") is False and not description.get("defaultedOnCreate") and kind != "boolean"
    return FieldShape(
        name=description["name"],
        type=kind,
        length=length if isinstance(length, int) and length > 0 else None,
        createable=createable,
        updateable=description.get("updateable") is not False,
        required=required and createable,
        external_id=bool(description.get("externalId") or description.get("idLookup")),
        unique=bool(description.get("unique")),
        label=str(description.get("label") or description["name"]),
        values=_values(description),
    )


def _values(description: Mapping[str, Any]) -> frozenset[str] | None:
    listed = description.get("picklistValues")
    if not description.get("restrictedPicklist") or not isinstance(listed, list):
        return None
    active = (each for each in listed if isinstance(each, dict) and each.get("active") is not False)
    return frozenset(str(each["value"]) for each in active if "value" in each)
