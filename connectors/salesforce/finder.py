"""The reading of records before they are written: which exist, what they hold, and which contact takes their place.

A batch is read in one call, and only if something depends on it. Leads that were converted cost two calls more: one for
their contacts' ids, one for the contacts' values where those matter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from connectors.base import Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.phone_numbers import is_same_phone, phone_notations
from connectors.salesforce.answers import Part, read_existing, read_selection
from connectors.salesforce.client import SalesforceClient, Shapes
from connectors.salesforce.descriptions import as_text
from connectors.salesforce.errors import is_refusal, outcome, read_salesforce_problem
from connectors.salesforce.records import DESCRIPTION, LEFT_OUT, Existing, Row, takes_remark
from connectors.salesforce.requests import SalesforceRequests, Selection, keys_per_query
from connectors.salesforce.schema import ObjectSchema

CONVERSION = ("IsConverted", "ConvertedContactId", "ConvertedOpportunityId")
"""Fields of a lead that tell whether it was converted, and into which records."""
_OF_LEADS_ONLY = frozenset({"company", "status"})
"""Fields of a lead that mean nothing for a contact: it belongs to an account, and has no status."""
_OF_CONTACTS = {
    "street": "MailingStreet",
    "city": "MailingCity",
    "state": "MailingState",
    "postalcode": "MailingPostalCode",
    "country": "MailingCountry",
}
"""Names in contacts of a lead's fields, in lower case."""
_CONVERTED = "the lead {lead} was converted; written into its contact {contact}"
_NOT_SEARCHED = "contacts were not searched; let the user query Contact"
_SEVERAL = "written into {contact}, the newest of {count} contacts with this {what}"
_PHONES = ("Phone", "MobilePhone")


def contact_row(
    row: Row, schema: ObjectSchema | None, warning: str | None = None, opportunity: str | None = None
) -> Row:
    """Return the row as an update of a contact: fields that contacts lack go into the remark.

    Args:
        row: The row of a lead.
        schema: Schema of contacts.
        warning: Warning for the operator.
        opportunity: Record ID of the lead's opportunity.
    """
    route = row.route.model_copy(update={"object": "Contact"})
    fields, mapped = (
        {
            _OF_CONTACTS.get(name.lower(), name): value
            for name, value in named.items()
            if name.lower() not in _OF_LEADS_ONLY
        }
        for named in (row.fields, row.record.fields)
    )
    create_only, if_empty = (
        frozenset(_OF_CONTACTS.get(name.lower(), name) for name in names)
        for names in (row.record.create_only, row.record.if_empty)
    )
    record = replace(row.record, fields=mapped, create_only=create_only, if_empty=if_empty)
    moved = replace(row, record=record, route=route, fields=fields, when_new={}, opportunity=opportunity)
    unknown = moved.unknown(schema)
    moved = moved.without(unknown, LEFT_OUT.format(name="Contact")) if unknown else moved
    return moved.warned(warning) if warning else moved


@dataclass(frozen=True, slots=True)
class ContactTarget:
    """A contact that a record is written into."""

    contact: Existing
    warning: str | None = None
    opportunity: str | None = None
    """Record ID of the opportunity that the lead was converted into."""


@dataclass(frozen=True, slots=True)
class RecordFindings:
    """The records that a batch concerns."""

    known: Mapping[str, Existing] | None
    """Existing records, by their key in lower case; None if they cannot be queried."""
    targets: Mapping[str, ContactTarget] = field(default_factory=dict)
    """Contacts that take the place of the record, by the ids of the bridge's records."""
    warning: str | None = None
    """Warning for the operator about all records."""


class RecordFinder:
    """Reader of records. May run in parallel."""

    def __init__(self, client: SalesforceClient, requests: SalesforceRequests, shapes: Shapes) -> None:
        self._client = client
        self._requests = requests
        self._shapes = shapes

    async def look(self, rows: Sequence[Row], schema: ObjectSchema | None) -> RecordFindings | Retry | Rejected:
        """Read what the writing of the rows depends on, in one call, or in none.

        Args:
            rows: Of one object, under one route's settings.
            schema: Schema of the object.
        """
        route, asking = rows[0].route, [row for row in rows if row.asks]
        people: list[Selection] = []
        if route.prefer_contact:
            contacts = await self._shapes.of("Contact")
            if isinstance(contacts, Retry):
                return contacts
            people = list(_people(rows, contacts))
        names = [] if not asking else _readable(_wanted(asking), route.object, schema)
        if schema is not None and route.object.lower() == "lead":
            names += [name for name in CONVERSION if schema.field(name)]
        leads = [Selection(route.object, route.external_id, [row.key for row in asking], names)] if asking else []
        found = await self._select([*leads, *people])
        if isinstance(found, Retry | Rejected):
            return found
        parts, refused = found
        known = read_existing(parts[0], route.external_id) if leads else {}
        if known is None and (trouble := self._passing(parts[0])):
            return trouble
        held = [read_selection(each) for each in parts[len(leads) :]]
        if any(each is None for each in held) and (trouble := self._passing(part for each in parts for part in each)):
            return trouble
        targets = dict(_matches(rows, people, held))
        warning = _NOT_SEARCHED if people and (refused or None in held) else None
        pairs = ((row, (known or {}).get(row.key.casefold())) for row in asking if row.record.id not in targets)
        converted = [(row, lead) for row, lead in pairs if lead is not None and lead.contact]
        if converted:
            followed = await self._follow(converted)
            if isinstance(followed, Retry | Rejected):
                return followed
            targets |= followed
        return RecordFindings(known, targets, warning)

    async def conversions(
        self, rows: Sequence[tuple[Row, str | None]]
    ) -> Mapping[str, ContactTarget] | Retry | Rejected:
        """Return the contacts of converted leads, by the ids of the bridge's records, as far as they can be read.

        Args:
            rows: Rows of converted leads, each with the id of its lead if that is not the lead of its key.
        """
        route = rows[0][0].route
        selections = [
            Selection(route.object, name, keys, CONVERSION)
            for name, keys in (
                (route.external_id, [row.key for row, target in rows if target is None]),
                ("Id", [target for _, target in rows if target is not None]),
            )
            if keys
        ]
        found = await self._select(selections)
        if isinstance(found, Retry | Rejected):
            return found
        leads: dict[str, Existing] = {}
        for selection, parts in zip(selections, found[0], strict=True):
            known = read_existing(parts, selection.field)
            if known is None and (trouble := self._passing(parts)):
                return trouble
            leads |= known or {}
        pairs = [(row, leads.get((target or row.key).casefold())) for row, target in rows]
        return await self._follow([(row, lead) for row, lead in pairs if lead is not None and lead.contact])

    async def values(
        self, name: str, ids: Sequence[str], names: Iterable[str], schema: ObjectSchema | None
    ) -> Mapping[str, Existing] | Retry | Rejected:
        """Return records with the values of fields, by their ids in lower case, as far as they can be read."""
        readable = _readable(names, name, schema)
        if not readable or not ids:
            return {}
        found = await self._select([Selection(name, "Id", ids, readable)])
        if isinstance(found, Retry | Rejected):
            return found
        known = read_existing(found[0][0], "Id")
        return known if known is not None else self._passing(found[0][0]) or {}

    async def held(self, name: str, ids: Sequence[str]) -> frozenset[str] | None:
        """Return the ids of those records of an object that exist, in lower case; None if it is unknown."""
        found = await self._select([Selection(name, "Id", ids)])
        known = None if isinstance(found, Retry | Rejected) else read_existing(found[0][0], "Id")
        return None if known is None else frozenset(known)

    async def contact_schema(self) -> ObjectSchema | None:
        """Return the schema of contacts; None if it cannot be read."""
        schema = await self._shapes.of("Contact")
        return schema if isinstance(schema, ObjectSchema) else None

    async def _follow(self, leads: Sequence[tuple[Row, Existing]]) -> dict[str, ContactTarget] | Retry | Rejected:
        """Return the contacts of converted leads with the values that decide what is written."""
        contacts = await self._shapes.of("Contact")
        if isinstance(contacts, Retry):
            return contacts
        wanted = _wanted([contact_row(row, contacts) for row, _ in leads])
        ids = list(dict.fromkeys(lead.contact for _, lead in leads if lead.contact))
        known = await self.values("Contact", ids, wanted, contacts)
        if isinstance(known, Retry | Rejected):
            return known
        targets = {}
        for row, lead in leads:
            if lead.contact:
                contact = known.get(lead.contact.casefold()) or Existing(lead.contact)
                warning = _CONVERTED.format(lead=lead.id, contact=lead.contact)
                opportunity = lead.values.get("convertedopportunityid")
                targets[row.record.id] = ContactTarget(contact, warning, as_text(opportunity) or None)
        return targets

    async def _select(self, selections: Sequence[Selection]) -> tuple[list[list[Part | None]], bool] | Retry | Rejected:
        """Return the answers to the queries of each selection, and True if the whole call was refused."""
        if not selections:
            return [], False
        answer = await self._client.call(self._requests.select(selections))
        if isinstance(answer, Retry) and not is_refusal(answer):
            return answer
        parts = await self._client.parts(answer) if isinstance(answer, Answer) else {}
        if isinstance(parts, Retry | Rejected):
            return parts
        size = keys_per_query(selections)
        found = [[parts.get(name) for name in each.parts(at, size)] for at, each in enumerate(selections)]
        return found, not isinstance(answer, Answer)

    def _passing(self, parts: Iterable[Part | None]) -> Retry | None:
        """Return the temporary failure of a query; None if it is refused for good."""
        for part in parts:
            problem = (
                read_salesforce_problem(part.body, part.status, self._client.secrets)
                if part and not part.is_good
                else None
            )
            meant = outcome(problem) if problem else None
            if isinstance(meant, Retry) and not is_refusal(meant):
                return meant
        return None


def _wanted(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.wanted))


def _readable(names: Iterable[str], name: str, schema: ObjectSchema | None) -> list[str]:
    """Return the fields of an object that can be queried, as far as its schema tells."""
    return [
        each
        for each in names
        if (takes_remark(name, schema) if each == DESCRIPTION else schema is None or schema.field(each))
    ]


def _mapped(row: Row, *names: str) -> str:
    """Return the first value of the row in one of these fields, empty if it has none."""
    found = (as_text(value).strip() for name in names for key, value in row.fields.items() if key.lower() == name)
    return next(filter(None, found), "")


def _people(rows: Sequence[Row], contacts: ObjectSchema | None) -> Iterator[Selection]:
    """Yield the selections of contacts with the rows' e-mails, or phones where there is no e-mail."""
    names = _readable(_wanted(contact_row(row, contacts) for row in rows), "Contact", contacts)
    emails = dict.fromkeys(email for row in rows if (email := _mapped(row, "email")))
    if emails:
        yield Selection("Contact", "Email", list(emails), names, newest_first=True)
    phones = dict.fromkeys(
        notation
        for row in rows
        if not _mapped(row, "email")
        for notation in phone_notations(_mapped(row, "phone", "mobilephone"))
    )
    for name in _PHONES if phones else ():
        yield Selection("Contact", name, list(phones), names, newest_first=True)


def _matches(
    rows: Sequence[Row], people: Sequence[Selection], held: Sequence[Sequence[Existing] | None]
) -> Iterator[tuple[str, ContactTarget]]:
    """Yield the contact of each row that has one, by the id of the bridge's record."""
    for row in rows if people else ():
        email, phone = _mapped(row, "email").casefold(), _mapped(row, "phone", "mobilephone")
        found = {
            each.id: each
            for selection, records in zip(people, held, strict=True)
            for each in records or ()
            if _fits(as_text(each.values.get(selection.field.lower())), selection.field, email, phone)
        }
        if found:
            what, contact = ("e-mail" if email else "phone"), next(iter(found.values()))
            warning = _SEVERAL.format(contact=contact.id, count=len(found), what=what) if len(found) > 1 else None
            yield row.record.id, ContactTarget(contact, warning)


def _fits(value: str, name: str, email: str, phone: str) -> bool:
    """Return True if a value of a contact is the e-mail of a row, or its phone if it has no e-mail."""
    if name == "Email" or email:
        return name == "Email" and bool(email) and value.casefold() == email
    return bool(phone) and is_same_phone(value, phone)
