"""The note, meeting or task that goes with a contact. Pure.

Each carries a mark derived from the record's id, as small text at its end. A creation cannot be repeated safely, so
after a lost answer the contact's activities are read, and the mark shows whether this one exists. The mark is visible
text because HubSpot removes everything from a body that it does not know, including comments.

Sources: HubSpot's guides to notes, meetings and tasks; the association types are those of its own Python client.
"""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from connectors.activities import (
    APPOINTMENT,
    ActivityKind,
    AppointmentSettings,
    AppointmentTexts,
    activity_mark,
    activity_reason,
    event_activity,
    event_time,
    refused_text,
)
from connectors.hubspot.requests import OWNER, Lead, association

DEALS = "deals"
BODIES: Mapping[str, str] = {
    "notes": "hs_note_body",
    "meetings": "hs_meeting_body",
    "tasks": "hs_task_body",
    DEALS: "description",
}
"""Property that holds the text, by kind of activity; a deal is created and found in the same way."""
OPTIONAL = frozenset({OWNER, "amount", "hs_task_priority", "hs_meeting_location", "hs_activity_type"})
"""Properties without which an activity is created if HubSpot refuses them."""
_ASSOCIATIONS = {"notes": 202, "meetings": 200, "tasks": 204, DEALS: 3}
_DEAL_TO_COMPANY = 341
_AMOUNT = re.compile(r"-?\d{1,15}(\.\d{1,6})?", re.ASCII)
_LONGEST_TITLE = 200
_LONGEST = 65_536  # characters of a body (guide to notes)
_MARK = re.compile(r"Leadbridge [0-9a-f]{16}")
_CUT_ENTITY = re.compile(r"&[#\w]*$")


@dataclass(frozen=True, slots=True, repr=False)
class HubSpotActivity:
    """A note, meeting or task to create."""

    kind: str
    """`notes`, `meetings`, `tasks` or `deals`."""
    mark: str
    properties: Mapping[str, str]
    is_cut: bool
    """True if its text was too long."""

    def for_contact(self, contact: str, trace_id: str, company: str | None = None) -> dict[str, object]:
        """Return the batch input that creates it at a contact; a deal also at its company."""
        associations = [association(contact, _ASSOCIATIONS[self.kind])]
        if company and self.kind == DEALS:
            associations.append(association(company, _DEAL_TO_COMPANY))
        return {"objectWriteTraceId": trace_id, "properties": self.properties, "associations": associations}

    def owned(self, owner: str) -> "HubSpotActivity":
        """Return the activity with an owner, if there is one."""
        return replace(self, properties={**self.properties, OWNER: owner}) if owner else self

    def reason(self, appointment: AppointmentSettings) -> str:
        """Return the reason for this kind of activity, for people."""
        start = self.properties.get("hs_meeting_start_time")
        moment = datetime.fromisoformat(start) if start else None
        return activity_reason(ActivityKind(self.kind.removesuffix("s")), moment, appointment)

    def without(self, refused: Mapping[str, str]) -> "HubSpotActivity | None":
        """Return the activity without refused optional properties; None if it has none of them."""
        names = OPTIONAL & refused.keys() & self.properties.keys()
        kept = {name: value for name, value in self.properties.items() if name not in names}
        return replace(self, properties=kept) if names else None


def mark_reader(kind: str) -> Callable[[Mapping[str, Any]], str | None]:
    """Return a function that reads the mark in the properties of a note, meeting or task."""

    def mark(properties: Mapping[str, Any]) -> str | None:
        found = _MARK.findall(str(properties.get(BODIES[kind])))
        return found[-1] if found else None  # the text before it may contain another mark

    return mark


def hubspot_activity(lead: Lead, now: float) -> HubSpotActivity | None:
    """Return the activity of a lead: None, a note, or for an appointment a meeting; a task if its time is unclear.

    An appointment always gets a meeting or task. Without a remark its text is the event's Content, and if that is empty
    too, only a title.

    Args:
        lead: With the text of its remark, and the values that HubSpot refused.
        now: Seconds since the epoch, for an event without a time.
    """
    refused = refused_text("HubSpot", lead.dropped)
    texts = AppointmentTexts.on_one_line(lead.texts.get("meeting", ""), lead.texts.get("location", ""))
    settings = lead.route.appointment
    planned = event_activity(lead.record.id, lead.record.event, lead.remark, refused, settings, now, texts)
    if planned is None:
        return None
    body, is_cut = _body(planned.text, planned.mark)
    if planned.kind is ActivityKind.NOTE:
        properties = {"hs_timestamp": iso(planned.created), "hs_note_body": body}
        return HubSpotActivity("notes", planned.mark, properties, is_cut)
    if planned.start is None or planned.end is None:
        return HubSpotActivity("tasks", planned.mark, _task(planned.created, planned.title, body), is_cut)
    meeting = _meeting(planned.start, planned.end, planned.title, body)
    if planned.location:
        meeting["hs_meeting_location"] = planned.location
    if planned.category:
        meeting["hs_activity_type"] = planned.category
    return HubSpotActivity("meetings", planned.mark, meeting, is_cut)


def follow_up_task(lead: Lead, now: float) -> HubSpotActivity | None:
    """Return the follow-up task of a lead; None if its route has none, and for an appointment, which has its own."""
    settings = lead.route.follow_up
    if settings is None or lead.record.event.get("Type") == APPOINTMENT:
        return None
    due = event_time(lead.record.event, now) + timedelta(seconds=settings.due)
    mark = activity_mark(f"{lead.record.id}-follow-up")
    content = str(lead.record.event.get("Content") or "").strip()
    body, is_cut = _body(content, mark)
    priority = {"hs_task_priority": settings.priority.upper()} if settings.priority else {}
    title = " ".join(lead.texts.get("subject", "").split()) or "Follow up"
    properties = {**_task(due, title[:_LONGEST_TITLE], body), **priority}
    return HubSpotActivity("tasks", mark, properties, is_cut)


def planned_deal(lead: Lead) -> HubSpotActivity | None:
    """Return the deal of a lead; None if its route has none.

    The mark is that of the chat, so that an appointment finds the deal of the lead that came before it. A deal stays
    as it was created, because it belongs to the salesperson then.
    """
    settings = lead.route.deal
    if settings is None:
        return None
    event = lead.record.event
    chat = f"{event.get('SerialNumber')}/{event.get('SessionID')}/{settings.pipeline}/{settings.stage}"
    mark = activity_mark(chat if event.get("SessionID") else f"{lead.record.id}-deal")
    name = " ".join(lead.texts.get("deal", "").split()) or "Chatbot"
    properties = {
        "dealname": name[:_LONGEST_TITLE],
        "pipeline": settings.pipeline,
        "dealstage": settings.stage,
        "description": mark,
    }
    amount = lead.texts.get("amount", "").strip()
    if is_amount(amount):
        properties["amount"] = amount
    return HubSpotActivity(DEALS, mark, properties, is_cut=False)


def is_amount(text: str) -> bool:
    """Return True for a number as HubSpot takes it."""
    return _AMOUNT.fullmatch(text) is not None


def _task(created: datetime, title: str, body: str) -> dict[str, str]:
    """Return an appointment whose time a person has to read: due at once."""
    return {
        "hs_timestamp": iso(created),
        "hs_task_subject": title,
        "hs_task_body": body,
        "hs_task_status": "NOT_STARTED",
        "hs_task_type": "TODO",
    }


def _meeting(start: datetime, end: datetime, title: str, body: str) -> dict[str, str]:
    return {
        "hs_timestamp": iso(start),
        "hs_meeting_title": title,
        "hs_meeting_body": body,
        "hs_meeting_start_time": iso(start),
        "hs_meeting_end_time": iso(end),
        "hs_meeting_outcome": "SCHEDULED",
    }


def _body(text: str, mark: str) -> tuple[str, bool]:
    """Return the text as HTML, the format of bodies, with the mark; and whether it was cut."""
    end = f"{'<br><br>' if text else ''}<small>{mark}</small>"
    whole = html.escape(text.replace("\r\n", "\n"), quote=False).replace("\n", "<br>")
    room = _LONGEST - len(end)
    if len(whole) <= room:
        return whole + end, False
    kept = whole[: room - 1]
    # Do not cut an entity or a line break in the middle. Escaped text has `&` and `<` nowhere else.
    kept = _CUT_ENTITY.sub("", kept[: kept.rindex("<")] if kept.rfind("<") > kept.rfind(">") else kept)
    return f"{kept}…{end}", True


def iso(moment: datetime) -> str:
    """Return a moment as HubSpot writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
