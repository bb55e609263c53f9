"""The writing of HubSpot's lead objects, each of which belongs to a contact: the calls, and their order.

Source: HubSpot's guide to leads. A new lead needs a name, and an association with an existing contact. An upsert cannot
name associations, so a lead is searched by its key first, and created at its contact if it does not exist. The key has
unique values, so HubSpot refuses a second one if it was created meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from connectors.base import Reason, Record, Rejected, Retry
from connectors.hubspot.answers import Stored, read_known
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.contacts import Contacts, Written
from connectors.hubspot.held_values import ADDITIONAL, Refusal
from connectors.hubspot.requests import EMAIL, Lead, property_text
from connectors.hubspot.settings import CONTACTS, LEADS, HubSpotRoute

NAME = "hs_lead_name"
"""Property without which no lead can be created."""
_NAMES = (("firstname", "FirstName"), ("lastname", "LastName"))
_NOBODY = "HubSpot creates a lead at a contact, which is found by e-mail, but the event has no e-mail"


class LeadObjects:
    """Writer of lead objects in an account. `write` may run in parallel, never for the same contact.

    An existing contact stays unchanged. If there is none with the event's e-mail, one is created with the names in the
    event. A hundred leads cost two lookups, and one call each for missing contacts, new leads and existing leads. A
    crash in between leaves contacts without their leads; they are found when the records are delivered again.

    Args:
        client: Sends the requests.
        contacts: Writes the records themselves.
    """

    def __init__(self, client: HubSpotClient, contacts: Contacts) -> None:
        self._client = client
        self._contacts = contacts

    async def write(self, leads: Sequence[Lead]) -> list[Written]:
        """Write leads that share their key property, and return them with their contacts, in the order given."""
        results: dict[str, Written] = {}
        owned: list[Lead] = []
        contacts = await self._contacts_of([lead.record for lead in leads])
        for lead in leads:
            contact = contacts[lead.record.id]
            if isinstance(contact, str):
                owned.append(replace(lead, contact=contact))
            else:
                results[lead.record.id] = (lead, contact)
        keys = {lead.record.id: lead.key[1] for lead in owned if lead.key}
        known = await self._known(LEADS, owned[0].route.match, list(keys.values())) if owned else {}
        if isinstance(known, Retry):
            results |= {lead.record.id: (lead, known) for lead in owned}
        else:
            there = [lead for lead in owned if keys[lead.record.id].lower() in known]
            results |= await self._written(there, [replace(lead, contact=None) for lead in there])
            new = [lead for lead in owned if keys[lead.record.id].lower() not in known]
            results |= await self._written(new, new)
        return [results[lead.record.id] for lead in leads]

    async def _written(self, leads: Sequence[Lead], sent: Sequence[Lead]) -> dict[str, Written]:
        """Write leads in the form to send, and return them with their contacts."""
        written = await self._contacts.write(sent) if sent else []
        return {
            lead.record.id: (replace(done, contact=lead.contact), stored)
            for lead, (done, stored) in zip(leads, written, strict=True)
        }

    async def _contacts_of(self, records: Sequence[Record]) -> Mapping[str, str | Refusal]:
        """Return the contact of each record, or the reason why there is none, by the record's id."""
        emails = {record.id: property_text(record.event.get("Email")).strip().lower() for record in records}
        wanted = list(dict.fromkeys(filter(None, emails.values())))
        known = await self._known(CONTACTS, EMAIL, wanted, ADDITIONAL) if wanted else {}
        found: dict[str, str | Refusal] = {"": Rejected(Reason.MAPPING, _NOBODY)}
        if isinstance(known, Retry):
            found |= dict.fromkeys(wanted, known)
        else:
            found |= known
            found |= await self._created(
                {email: record for record in records if (email := emails[record.id]) not in found}
            )
        return {record.id: found[emails[record.id]] for record in records}

    async def _created(self, records: Mapping[str, Record]) -> dict[str, str | Refusal]:
        """Create contacts, by their e-mails, with an upsert that does no harm if one exists by now."""
        if not records:
            return {}
        written = await self._contacts.write([_contact(email, record) for email, record in records.items()])
        return {
            email: stored.id if isinstance(stored, Stored) else replace(stored, detail=f"its contact: {stored.detail}")
            for email, (_, stored) in zip(records, written, strict=True)
        }

    async def _known(self, name: str, by: str, values: Sequence[str], *more: str) -> dict[str, str] | Retry:
        """Return the ids of existing records, by the values of the property `by`, and of `more`."""
        request = self._client.requests.find(name, by, values, (by, *more))
        answer = await self._client.result(request)
        return answer if isinstance(answer, Retry) else read_known(answer, (by, *more))


def _contact(email: str, record: Record) -> Lead:
    """Return the contact of a record, with the names in its event."""
    names = {name: property_text(record.event.get(of)).strip() for name, of in _NAMES}
    properties = {EMAIL: email, **{name: value for name, value in names.items() if value}}
    return Lead(record, HubSpotRoute(), (EMAIL, email), properties, "")
