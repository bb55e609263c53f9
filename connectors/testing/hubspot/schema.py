"""The objects of a HubSpot account: their properties, keys and rules. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LONGEST = 65_536
"""Maximum number of characters of a text property, and of the body of a note (HubSpot's guide to notes)."""
_DEFINED_AT = "2019-08-06T02:41:08.029Z"


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
