"""The HighLevel connector: each contact, then its note, task or appointment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from yarl import URL

from connectors.activities import (
    ActivityKind,
    AppointmentTexts,
    activity_reason,
    appointment_texts,
    check_appointment,
    event_activity,
    refused_text,
)
from connectors.base import (
    Connector,
    Context,
    Delivered,
    ExpressionError,
    Finding,
    MappedRoute,
    Outcome,
    Preview,
    Quota,
    Reason,
    Record,
    Rejected,
    Retry,
)
from connectors.event_text import Sources
from connectors.gohighlevel import answers, requests
from connectors.gohighlevel.activities import GoHighLevelActivities
from connectors.gohighlevel.client import GoHighLevelClient
from connectors.gohighlevel.requests import KEYS, OWNER, TAGS
from connectors.gohighlevel.settings import GoHighLevelRoute, GoHighLevelSettings
from connectors.http_client.json_api import JsonApi, Reply
from connectors.http_client.masking import MASK
from connectors.phone_numbers import e164_notation, is_same_phone
from connectors.record import is_other_person

_CONTACT = "(the contact)"
"""Id in a preview."""
_MEMO = ("note", "meeting", "task")
_ABSENT = (400, 404, 410, 422)  # answers to an id that does not exist; which of them is not documented


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

    A contact with the phone but another e-mail is another person (`is_other_person`). The lead becomes a new contact,
    by a creation, because an upsert would change that person. If the location allows no second contact with the
    phone, the whole lead goes into a note on the contact that has it.

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
        found = await self._found(record)
        if isinstance(found, Retry | Rejected):
            return WrittenContact(found, {})
        held, other = found
        fields, dropped = dict(record.fields), dict[str, Any]()
        if held is not None:
            fields = requests.known_contact_fields(record, fields, held)
        while True:
            reply = await self._send(fields, held, is_creation=other is not None)
            if held is None and other is not None and isinstance(reply, Reply) and answers.is_duplicate(reply):
                return _in_a_note(record, other)
            refused = (
                [] if not isinstance(reply, Reply) else answers.refused_fields(reply, fields, is_known=held is not None)
            )
            if not refused:
                break
            dropped |= {name: fields.pop(name) for name in refused}
        outcome, is_new = self._outcome(reply, fields)
        is_new = is_new or (held is None and other is not None)
        tags = requests.contact_fields(record.fields).get(TAGS)
        if isinstance(outcome, Delivered) and outcome.remote_id and held is not None and tags and TAGS not in dropped:
            added = await self._api.call("POST", self._contacts / outcome.remote_id / "tags", {"tags": tags})
            if not isinstance(added, Reply):
                return WrittenContact(added, dropped)
        owner = str(fields.get(OWNER) or (held or {}).get(OWNER) or "")
        return WrittenContact(outcome, dropped, is_new, owner)

    async def _found(
        self, record: Record
    ) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None] | Retry | Rejected:
        """Return the existing contact of a record, and another person's contact that has its phone, as far as they are.

        A phone is searched in E.164, the form that the API documents, and as the lead has it. Whether the search finds
        a new contact at once is not documented, so that of the contact's last delivery is read first.
        """
        email, phone = (str(record.fields.get(key) or "") for key in KEYS)
        written = await self._written(record, email, phone)
        if written is not None:
            return written if isinstance(written, Retry | Rejected) else (written, None)
        wanted = [("email", email)] if email else []
        wanted += [("number", notation) for notation in (e164_notation(phone), phone) if notation]
        other = None
        for parameter, value in dict.fromkeys(wanted):
            query = {"locationId": self._location_id, parameter: value}
            reply = await self._api.call("GET", (self._contacts / "search" / "duplicate").with_query(query))
            if not isinstance(reply, Reply):
                return reply
            if reply.status not in answers.SUCCESSES:
                return self._api.refused(reply)
            found = reply.get("contact")
            if isinstance(found, dict) and found.get("id"):
                if parameter == "email" or not is_other_person(email, answers.emails_of(found)):
                    return found, None
                other = other or found
            elif "contact" not in (reply.document if isinstance(reply.document, dict) else {}):
                return self._api.unclear(reply.status, "does not say whether the contact exists")
        return None, other

    async def _written(self, record: Record, email: str, phone: str) -> Mapping[str, Any] | Retry | Rejected | None:
        """Return the contact of the last delivery, None if it is gone or no longer has the lead's e-mail or phone."""
        contact = record.written.remote_id if record.written else None
        if not contact or not contact.isalnum():
            return None
        reply = await self._api.call("GET", self._contacts / contact)
        if reply.status in _ABSENT:
            return None
        if not isinstance(reply, Reply):
            return reply
        held = reply.get("contact")
        if not isinstance(held, dict) or not held.get("id"):
            return None
        emails = [str(each).strip().casefold() for each in answers.emails_of(held) if each]
        if email and emails:
            return held if email.strip().casefold() in emails else None
        return held if is_same_phone(phone, str(held.get("phone") or "")) else None

    async def _send(
        self, fields: Mapping[str, Any], held: Mapping[str, Any] | None, *, is_creation: bool
    ) -> Reply | Retry | Rejected:
        document = requests.contact_fields(fields)
        if held is not None:
            return await self._api.call("PUT", self._contacts / str(held["id"]), document)
        url = self._contacts / ("" if is_creation else "upsert")
        return await self._api.call("POST", url, {**document, "locationId": self._location_id})

    def _outcome(self, reply: Reply | Retry | Rejected, fields: Mapping[str, Any]) -> tuple[Outcome, bool]:
        if not isinstance(reply, Reply):
            return reply, False
        if reply.status not in answers.SUCCESSES:
            return self._api.refused(reply), False
        delivered = answers.delivered_contact(reply, fields)
        unclear = self._api.unclear(reply.status, "it names no id of the contact")
        return delivered or unclear, reply.get("new") is True


def _in_a_note(record: Record, other: Mapping[str, Any]) -> WrittenContact:
    """Return the result for a lead that cannot have a contact of its own: its fields go into a note on the other."""
    warning = f"the location allows no second contact with this phone, so the lead is in a note on {other['id']}"
    owner = str(other.get(OWNER) or "")
    return WrittenContact(Delivered(str(other["id"]), warning=warning), dict(record.fields), owner=owner)


class GoHighLevelConnector(Connector):
    """Writes contacts into a location of HighLevel (GoHighLevel). E-mail or phone identifies a contact.

    Fields have the names of the API (`firstName`, `email`, `phone`, `tags`); a custom field of the location is written
    `custom.KEY`. Tags are added to those of the contact. A repeated write changes the same contact, so a crash or a
    lost answer does no harm.

    A remark becomes a note; an appointment becomes one in a calendar, or a task. Their ids are kept in the memo, and at
    a known contact they are looked up before they are created.
    """

    destination_settings = GoHighLevelSettings
    route_settings = GoHighLevelRoute
    conditional_writes = True
    uses_written = True

    def __init__(self, settings: GoHighLevelSettings, context: Context) -> None:
        self._client = GoHighLevelClient(settings, context)
        self._location_id = settings.location_id
        self._contacts = GoHighLevelContacts(self._client, self._client.base, settings.location_id)
        self._activities = GoHighLevelActivities(self._client, self._client.base, settings.location_id)
        self._sources = Sources(context)
        self._offload = context.offload
        self._now = context.now

    def check_route(self, settings: GoHighLevelRoute, fields: Sequence[str]) -> None:
        """Compile the remark. Raises `SettingError`."""
        self._sources.check("remark", settings.remark)
        check_appointment(settings.appointment, self._sources)

    def quotas(self) -> Sequence[Quota]:
        """Return the day's and the burst's allowances, as the last successful answer reported them."""
        return self._client.quotas

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records, one after the other."""
        return [await self._deliver_one(record) for record in records]

    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request that writes the first record as a new contact."""
        headers = {"Authorization": f"Bearer {MASK}", "Version": requests.VERSION, "Content-Type": "application/json"}
        body = orjson.dumps(requests.contact(records[0], self._location_id), option=orjson.OPT_INDENT_2).decode()
        return Preview("POST", str(self._client.base / "contacts" / "upsert"), headers, body)

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the requests for the note, task or appointment."""
        said, texts = self._texts(record)
        settings = requests.route_of(record).appointment
        activity = event_activity(record.id, record.event, said, "", settings, self._now(), texts)
        if activity is None:
            return ()
        headers = {"Authorization": f"Bearer {MASK}", "Version": requests.VERSION, "Content-Type": "application/json"}
        why = activity_reason(activity.kind, activity.start, settings)
        if activity.kind is ActivityKind.MEETING and settings.calendar is None:
            why = "a task, because the route has no `appointment: {calendar: …}`"
        calls = self._activities.planned(
            activity, settings.calendar, _CONTACT, str(record.fields.get(requests.OWNER) or "")
        )
        return [
            Preview("POST", str(url), headers, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), why)
            for _, url, document in calls
        ]

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Read the location, which cannot write."""
        return (answers.finding(await self._client.call("GET", self._client.base / "locations" / self._location_id)),)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _deliver_one(self, record: Record) -> Outcome:
        if requests.contact(record, self._location_id) is None:
            return Rejected(Reason.MAPPING, "a contact needs an email or a phone; map one of them")
        try:
            said, texts = await self._offload(partial(self._texts, record))
        except ExpressionError as error:
            return Rejected(Reason.MAPPING, self._client.masked(error.message), memo=record.memo)
        written = await self._contacts.write(record)
        if not isinstance(written.outcome, Delivered) or written.outcome.remote_id is None:
            return replace(written.outcome, memo=record.memo)
        return await self._with_activity(record, written, written.outcome, (said, texts))

    def _texts(self, record: Record) -> tuple[str, AppointmentTexts | None]:
        """Return the remark of a record, and the texts of its appointment. Raises `ExpressionError`."""
        route = requests.route_of(record)
        texts = appointment_texts(route.appointment, self._sources, record.event)
        return self._sources.text(route.remark, record.event), texts

    async def _with_activity(
        self, record: Record, written: WrittenContact, contact: Delivered, texts: tuple[str, AppointmentTexts | None]
    ) -> Outcome:
        """Write the activity of a contact, and return the outcome of both."""
        appointment = requests.route_of(record).appointment
        refused = refused_text("HighLevel", written.dropped)
        activity = event_activity(record.id, record.event, texts[0], refused, appointment, self._now(), texts[1])
        memo = dict(record.memo)
        if activity is not None and memo.keys().isdisjoint(_MEMO):
            done = await self._activities.write(
                activity, appointment.calendar, str(contact.remote_id), written.owner, is_new=written.is_new
            )
            for name, found in done.items():
                if not isinstance(found, str):
                    detail = f"the contact is written, but not its note, task or appointment: {found.detail}"
                    return replace(found, detail=detail, memo=record.memo)
                memo[name] = found
        left_out = f"left out: {', '.join(written.dropped)}; its value is in the remark" if written.dropped else None
        warning = "; ".join(filter(None, (contact.warning, left_out)))
        return replace(contact, warning=warning or None, memo=memo, left_out=tuple(written.dropped))
