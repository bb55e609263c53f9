"""The objects of the org and their fields, as a new org has them, and one external id. Pure.

People (Lead, Contact), activities (Event, Task), and what they refer to (User, Campaign, CampaignMember, Opportunity).

Names, lengths and required fields are those of the Object Reference for the Salesforce Platform.

The names in a describe are those of the REST API Developer Guide, sObject Describe.
"""

from collections.abc import Mapping, Sequence
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

USER = "0055g00000ABCDEAA5"
"""The integration user, who owns and creates all written records."""

_SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
_STATUSES = ("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted")
_SALUTATIONS = ("Mr.", "Ms.", "Mrs.", "Dr.", "Prof.")
_RATINGS = ("Hot", "Warm", "Cold")
_INTERESTS = ("High", "Medium", "Low")
_TASK_STATUSES = ("Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred")
_PRIORITIES = ("High", "Normal", "Low")
_TYPES = ("Call", "Email", "Meeting", "Other")
_SHOW_AS = ("Busy", "OutOfOffice", "Free")


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


@dataclass(frozen=True, slots=True)
class SObject:
    """One object of the org."""

    name: str
    prefix: str
    """The first three characters of its records' ids."""
    fields: Mapping[str, Field]
    """Fields by name, in the order of describe."""

    def summary(self, version: str) -> dict[str, Any]:
        """Return its entry in the list of all objects."""
        root = f"/services/data/v{version}/sobjects/{self.name}"
        return {
            "name": self.name,
            "label": self.name,
            "labelPlural": f"{self.name}s",
            "keyPrefix": self.prefix,
            "createable": True,
            "updateable": True,
            "deletable": True,
            "queryable": True,
            "retrieveable": True,
            "custom": False,
            "urls": {"sobject": root, "describe": f"{root}/describe", "rowTemplate": f"{root}/{{ID}}"},
        }

    def describe(self, version: str) -> dict[str, Any]:
        """Return its describe."""
        return {**self.summary(version), "fields": [each.describe() for each in self.fields.values()]}


def standard_objects(
    external_id: Field, extra_fields: Mapping[str, Sequence[Field]], *, on_activities: bool
) -> dict[str, SObject]:
    """Return the objects by name.

    Args:
        external_id: Custom field that identifies records; Lead and Contact have it.
        extra_fields: More fields by object; a field of a known name replaces it.
        on_activities: True if Event and Task have the external id too.
    """
    people = [external_id]
    activities = [external_id] if on_activities else []
    made = (
        ("Lead", "00Q", [*_system(), *_person(40), *_lead(), *people]),
        ("Contact", "003", [*_system(), *_person(40), *_contact(), *people]),
        ("Event", "00U", [*_system(), *_activity(), *_event(), *activities]),
        ("Task", "00T", [*_system(), *_activity(), *_task(), *activities]),
    )
    others = (
        ("User", "005", [*_system(), *_user()]),
        ("Campaign", "701", [*_system(), Field(name="Name", length=80, required=True)]),
        ("CampaignMember", "00v", [*_system(), *_member()]),
        ("Opportunity", "006", [*_system(), Field(name="Name", length=120, required=True)]),
    )
    return {
        name: SObject(name, prefix, {each.name: each for each in (*fields, *extra_fields.get(name, ()))})
        for name, prefix, fields in (*made, *others)
    }


def _read_only(name: str, kind: Any, **more: Any) -> Field:
    return Field(name=name, kind=kind, createable=False, updateable=False, **more)


def _picklist(name: str, values: tuple[str, ...], label: str = "", **more: Any) -> Field:
    return Field(name=name, label=label, kind="picklist", length=255, values=values, **more)


def _system() -> list[Field]:
    return [
        _read_only("Id", "id"),
        _read_only("IsDeleted", "boolean", default=False),
        Field(name="OwnerId", label="Owner ID", kind="reference", default=USER, refers_to=("User",)),
        _read_only("CreatedDate", "datetime", required=True),
        _read_only("LastModifiedDate", "datetime", required=True),
        _read_only("SystemModstamp", "datetime", required=True),
    ]


def _person(phone: int) -> list[Field]:
    return [
        Field(name="LastName", label="Last Name", length=80, required=True),
        Field(name="FirstName", label="First Name", length=40),
        _picklist("Salutation", _SALUTATIONS),
        _read_only("Name", "string", length=121, label="Full Name"),
        Field(name="Title", length=128),
        Field(name="Phone", kind="phone", length=phone),
        Field(name="MobilePhone", label="Mobile Phone", kind="phone", length=phone),
        Field(name="Email", kind="email", length=80, id_lookup=True),
        Field(name="Description", kind="textarea", length=32000),
        _picklist("LeadSource", _SOURCES, "Lead Source"),
        Field(name="HasOptedOutOfEmail", label="Email Opt Out", kind="boolean", default=False),
    ]


def _lead() -> list[Field]:
    return [
        Field(name="Company", length=255, required=True),
        Field(name="Street", kind="textarea", length=255),
        Field(name="City", length=40),
        Field(name="State", label="State/Province", length=80),
        Field(name="PostalCode", label="Zip/Postal Code", length=20),
        Field(name="Country", length=80),
        Field(name="Website", kind="url", length=255),
        _picklist("Status", _STATUSES, default=_STATUSES[0]),
        _picklist("Rating", _RATINGS),
        _picklist("Interest__c", _INTERESTS, "Interest", restricted=True),
        Field(name="NumberOfEmployees", label="Employees", kind="int"),
        Field(name="AnnualRevenue", label="Annual Revenue", kind="currency"),
        _read_only("IsConverted", "boolean", default=False),
        _read_only("ConvertedDate", "date"),
        _read_only("ConvertedContactId", "reference", refers_to=("Contact",)),
        _read_only("ConvertedAccountId", "reference", refers_to=("Account",)),
        _read_only("ConvertedOpportunityId", "reference", refers_to=("Opportunity",)),
    ]


def _contact() -> list[Field]:
    return [
        Field(name="MailingStreet", label="Mailing Street", kind="textarea", length=255),
        Field(name="MailingCity", label="Mailing City", length=40),
        Field(name="MailingCountry", label="Mailing Country", length=80),
        Field(name="Birthdate", kind="date"),
    ]


def _activity() -> list[Field]:
    return [
        Field(name="WhoId", label="Name ID", kind="reference", refers_to=("Contact", "Lead")),
        Field(name="WhatId", label="Related To ID", kind="reference", refers_to=("Opportunity", "Campaign")),
        Field(name="IsReminderSet", label="Reminder Set", kind="boolean", default=False),
        Field(name="ReminderDateTime", label="Reminder Date/Time", kind="datetime"),
        Field(name="Subject", length=255),
        Field(name="Description", kind="textarea", length=32000),
        Field(name="ActivityDate", label="Due Date Only", kind="date"),
    ]


def _event() -> list[Field]:
    return [
        Field(name="Location", length=255),
        _picklist("Type", _TYPES),
        Field(name="IsAllDayEvent", label="All-Day Event", kind="boolean", default=False),
        Field(name="ActivityDateTime", label="Due Date Time", kind="datetime"),
        Field(name="StartDateTime", label="Start Date Time", kind="datetime"),
        Field(name="EndDateTime", label="End Date Time", kind="datetime"),
        Field(name="DurationInMinutes", label="Duration", kind="int"),
        _picklist("ShowAs", _SHOW_AS, "Show Time As", default="Busy", restricted=True),
    ]


def _user() -> list[Field]:
    return [
        Field(name="Username", length=80, required=True),
        Field(name="Email", kind="email", length=128, required=True),
        Field(name="IsActive", label="Active", kind="boolean", default=True),
    ]


def _member() -> list[Field]:
    return [
        Field(name="CampaignId", label="Campaign ID", kind="reference", refers_to=("Campaign",), required=True),
        Field(name="LeadId", label="Lead ID", kind="reference", refers_to=("Lead",), updateable=False),
        Field(name="ContactId", label="Contact ID", kind="reference", refers_to=("Contact",), updateable=False),
        _picklist("Status", ("Sent", "Responded"), default="Sent", restricted=True),
    ]


def _task() -> list[Field]:
    return [
        _picklist("Status", _TASK_STATUSES, default="Not Started"),
        _picklist("Priority", _PRIORITIES, default="Normal"),
        _read_only("IsClosed", "boolean", default=False),
    ]
