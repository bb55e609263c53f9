"""The HighLevel connector: each contact, then its note, task or appointment."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import orjson

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
)
from connectors.event_text import Sources
from connectors.gohighlevel import answers, requests
from connectors.gohighlevel.activities import GoHighLevelActivities
from connectors.gohighlevel.client import GoHighLevelClient
from connectors.gohighlevel.contacts import GoHighLevelContacts, WrittenContact
from connectors.gohighlevel.settings import GoHighLevelRoute, GoHighLevelSettings
from connectors.http_client.masking import MASK

_CONTACT = "(the contact)"
"""Id in a preview."""
_MEMO = ("note", "meeting", "task")


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
