"""The writing of contacts: the lookup of an existing one, the write, and repairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from connectors.base import Delivered, Outcome, Record, Rejected, Retry
from connectors.gohighlevel import answers, requests
from connectors.gohighlevel.requests import EMAIL, KEYS, OWNER, TAGS
from connectors.http_client.json_api import JsonApi, Reply
from connectors.phone_numbers import e164_notation


@dataclass(frozen=True, slots=True, repr=False)
class WrittenContact:
    """Outcome of the write of a contact."""

    outcome: Outcome
    dropped: Mapping[str, Any]
    """Values that the API refused or that would replace others, by field."""
    is_new: bool = False
    owner: str = ""
    """Id of the user who owns the contact."""


class GoHighLevelContacts:
    """Writer of the contacts of a location. `write` may run in parallel, never for the same contact.

    The contact is looked up by e-mail, then by phone, and updated by its id if it exists, so that it keeps its primary
    e-mail; otherwise it is upserted. That is two or three calls, and one more to add tags to an existing contact. The
    API has no batches. A field that it refuses is left out, until none is left to drop.

    Args:
        api: Sends the requests.
        base: Base URL of the API.
        location_id: The location.
    """

    def __init__(self, api: JsonApi, base: URL, location_id: str) -> None:
        self._api = api
        self._contacts = base / "contacts"
        self._location_id = location_id

    async def write(self, record: Record) -> WrittenContact:
        """Write the contact of a record that has an e-mail or a phone."""
        held = await self._held(record)
        if isinstance(held, Retry | Rejected):
            return WrittenContact(held, {})
        fields, dropped = dict(record.fields), dict[str, Any]()
        if held is not None:
            email = fields.get(EMAIL)
            dropped = {EMAIL: email} if email and held.get(EMAIL) and not answers.has_email(held, email) else {}
            fields = requests.known_contact_fields(record, fields, held)
        while True:
            reply = await self._send(fields, held)
            refused = (
                [] if not isinstance(reply, Reply) else answers.refused_fields(reply, fields, is_known=held is not None)
            )
            if not refused:
                break
            dropped |= {name: fields.pop(name) for name in refused}
        outcome, is_new = self._outcome(reply, fields)
        tags = requests.contact_fields(record.fields).get(TAGS)
        if isinstance(outcome, Delivered) and outcome.remote_id and held is not None and tags and TAGS not in dropped:
            added = await self._api.call("POST", self._contacts / outcome.remote_id / "tags", {"tags": tags})
            if not isinstance(added, Reply):
                return WrittenContact(added, dropped)
        owner = str(fields.get(OWNER) or (held or {}).get(OWNER) or "")
        return WrittenContact(outcome, dropped, is_new, owner)

    async def _held(self, record: Record) -> Mapping[str, Any] | Retry | Rejected | None:
        """Return the existing contact of a record, None if there is none.

        A phone is searched in E.164, the form that the API documents, and as the lead has it.
        """
        email, phone = (str(record.fields.get(key) or "") for key in KEYS)
        wanted = [("email", email)] if email else []
        wanted += [("number", notation) for notation in (e164_notation(phone), phone) if notation]
        for parameter, value in dict.fromkeys(wanted):
            query = {"locationId": self._location_id, parameter: value}
            reply = await self._api.call("GET", (self._contacts / "search" / "duplicate").with_query(query))
            if not isinstance(reply, Reply):
                return reply
            if reply.status not in answers.SUCCESSES:
                return self._api.refused(reply)
            found = reply.get("contact")
            if isinstance(found, dict) and found.get("id"):
                return found
            if "contact" not in (reply.document if isinstance(reply.document, dict) else {}):
                return self._api.unclear(reply.status, "does not say whether the contact exists")
        return None

    async def _send(self, fields: Mapping[str, Any], held: Mapping[str, Any] | None) -> Reply | Retry | Rejected:
        document = requests.contact_fields(fields)
        if held is not None:
            return await self._api.call("PUT", self._contacts / str(held["id"]), document)
        return await self._api.call("POST", self._contacts / "upsert", {**document, "locationId": self._location_id})

    def _outcome(self, reply: Reply | Retry | Rejected, fields: Mapping[str, Any]) -> tuple[Outcome, bool]:
        if not isinstance(reply, Reply):
            return reply, False
        if reply.status not in answers.SUCCESSES:
            return self._api.refused(reply), False
        delivered = answers.delivered_contact(reply, fields)
        unclear = self._api.unclear(reply.status, "it names no id of the contact")
        return delivered or unclear, reply.get("new") is True
