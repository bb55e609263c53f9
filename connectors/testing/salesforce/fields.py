"""The fields of an object, and their part of describe. Pure.

The names in a describe are those of the REST API Developer Guide, sObject Describe.
"""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "boolean",
    "currency",
    "date",
    "datetime",
    "double",
    "email",
    "id",
    "int",
    "phone",
    "picklist",
    "reference",
    "string",
    "textarea",
    "url",
]

_TEXT = ("email", "phone", "picklist", "string", "textarea", "url")
_LONG_TEXT = 255  # a text area above this length cannot stand in a WHERE (SOQL and SOSL Reference, Field Types)
_SOAP_TYPES = {
    "boolean": "xsd:boolean",
    "currency": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "double": "xsd:double",
    "id": "tns:ID",
    "int": "xsd:int",
    "reference": "tns:ID",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an object."""

    name: str
    label: str = ""
    """Name for people and in error messages; if empty, the name itself."""
    kind: Kind = "string"
    length: int = 0
    """Maximum number of characters of a text."""
    required: bool = False
    """True if a record must have it."""
    createable: bool = True
    updateable: bool = True
    default: Any = None
    """Value in a new record that does not set it. Such a field is `defaultedOnCreate`."""
    external_id: bool = False
    id_lookup: bool = False
    """True if it identifies records as an external id does, without being one (such as Email)."""
    unique: bool = False
    values: tuple[str, ...] = ()
    """The values of a picklist."""
    restricted: bool = False
    """True if the picklist accepts no other value."""
    refers_to: tuple[str, ...] = ()
    """Objects whose ids it holds."""

    @property
    def is_text(self) -> bool:
        """Return True if its values are text of a bounded length."""
        return self.kind in _TEXT

    @property
    def filterable(self) -> bool:
        """Return True if a query can filter by it."""
        return not (self.kind == "textarea" and self.length > _LONG_TEXT)

    @property
    def finds_records(self) -> bool:
        """Return True if it can be in the address of an upsert."""
        return self.external_id or self.id_lookup

    @property
    def title(self) -> str:
        """Return its name in error messages."""
        return self.label or self.name

    def describe(self) -> dict[str, Any]:
        """Return its part of describe."""
        defaulted = self.default is not None
        return {
            "name": self.name,
            "label": self.title,
            "type": self.kind,
            "length": self.length if self.is_text else 18 if self.kind in ("id", "reference") else 0,
            "createable": self.createable,
            "updateable": self.updateable,
            "nillable": not (self.required or defaulted or self.kind in ("id", "boolean")),
            "defaultedOnCreate": defaulted or self.kind == "id",
            "defaultValue": self.default if self.kind == "boolean" else None,
            "externalId": self.external_id,
            "idLookup": self.finds_records or self.kind == "id",
            "unique": self.unique,
            "caseSensitive": False,
            "custom": self.name.endswith("__c"),
            "calculated": False,
            "filterable": self.filterable,
            "sortable": self.filterable,
            "permissionable": self.name.endswith("__c"),
            "picklistValues": [self._value(each) for each in self.values],
            "restrictedPicklist": self.restricted,
            "dependentPicklist": False,
            "referenceTo": list(self.refers_to),
            "soapType": _SOAP_TYPES.get(self.kind, "xsd:string"),
            "deprecatedAndHidden": False,
            "inlineHelpText": None,
        }

    def _value(self, value: str) -> dict[str, Any]:
        return {
            "active": True,
            "defaultValue": value == self.default,
            "label": value,
            "validFor": None,
            "value": value,
        }
