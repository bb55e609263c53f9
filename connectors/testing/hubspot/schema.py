"""What the objects of a HubSpot account look like: their properties, keys and rules. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LONGEST = 65_536
"""Characters that a text property holds at most; so does the body of a note (HubSpot's guide to notes)."""
_DEFINED_AT = "2019-08-06T02:41:08.029Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A property of an object, as an administrator defines it."""

    name: str
    type: Literal["string", "number", "bool", "date", "datetime", "enumeration"] = "string"
    field: str = "text"
    """How forms show it (`fieldType`). An enumeration shown as `checkbox` takes several values with `;` between."""
    label: str = ""
    group: str = "contactinformation"
    options: Mapping[str, str] | None = None
    """Labels by internal value, in their order. None for an enumeration: its options are kept elsewhere (owners), and
    any value is taken."""
    unique: bool = False
    """No two records have the same value, and a record is found by it. Can be set only when it is created."""
    read_only: bool = False
    calculated: bool = False
    """HubSpot computes it, so it is read-only too."""
    only_letters: bool = False
    """Whether a rule of the administrator's takes letters only. Such rules hold for the API too since July 2023
    (HubSpot's changelog on property validation rules)."""
    hidden: bool = False
    form: bool = True
    """Whether forms can use it (`formField`)."""
    hubspot: bool = False
    """Whether HubSpot has defined it, and not the account's administrator."""

    def document(self) -> dict[str, Any]:
        """Return it as the properties API does."""
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
    """As it stands in paths: `contacts`."""
    singular: str
    """`contact`; in capitals in HubSpot's messages."""
    type_id: str
    """`0-1`; a custom object's begins with `2-`. Paths take it as well."""
    properties: tuple[Property, ...]
    scope: str = "custom"
    """The scopes are `crm.objects.SCOPE.read` and `.write`."""
    label: str = ""
    """Its part in the name of an association's type, where that is not `singular`."""
    key: str | None = None
    """A property that identifies a record without being defined as unique, and is kept in lower case: `email`."""
    created: str = "hs_createdate"
    """The property that says when a record was created."""
    modified: str = "hs_lastmodifieddate"
    """The property that says when a record was last written."""
    required: tuple[str, ...] = ()
    """A record cannot be created without them."""
    one_of: tuple[str, ...] = ()
    """A record cannot be created without any of them."""
    needs: str | None = None
    """The object that a record must be associated with when it is created."""
    shown: tuple[str, ...] = ()
    """What an answer to a reader shows besides id and times if nothing is asked for."""

    def answers_to(self, name: str) -> bool:
        """Return whether a path may call it so."""
        return name.lower() in (self.name, self.singular, self.type_id)
