"""The note, meeting or task that goes with a contact. Pure.

Each carries a mark derived from the record's id, as small text at its end. A creation cannot be repeated safely, so
after a lost answer the contact's activities are read, and the mark shows whether this one exists. The mark is visible
text because HubSpot removes everything from a body that it does not know, including comments.

Sources: HubSpot's guides to notes, meetings and tasks; the association types are those of its own Python client.
"""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.activities import ActivityKind, event_activity, refused_text
from connectors.hubspot.requests import Lead, association

BODIES: Mapping[str, str] = {"notes": "hs_note_body", "meetings": "hs_meeting_body", "tasks": "hs_task_body"}
"""Property that holds the text, by kind of activity."""
_ASSOCIATIONS = {"notes": 202, "meetings": 200, "tasks": 204}
_LONGEST = 65_536  # characters of a body (guide to notes)
_MARK = re.compile(r"Leadbridge [0-9a-f]{16}")
_CUT_ENTITY = re.compile(r"&[#\w]*$")


@dataclass(frozen=True, slots=True, repr=False)
class HubSpotActivity:
    """A note, meeting or task to create."""

    kind: str
    """`notes`, `meetings` or `tasks`."""
    mark: str
    properties: Mapping[str, str]
    is_cut: bool
    """True if its text was too long."""

    def for_contact(self, contact: str, trace_id: str) -> dict[str, object]:
        """Return the batch input that creates it at a contact."""
        return {
            "objectWriteTraceId": trace_id,
            "properties": self.properties,
            "associations": [association(contact, _ASSOCIATIONS[self.kind])],
        }


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
    planned = event_activity(lead.record.id, lead.record.event, lead.remark, refused, lead.route.appointment, now)
    if planned is None:
        return None
    body, is_cut = _body(planned.text, planned.mark)
    if planned.kind is ActivityKind.NOTE:
        properties = {"hs_timestamp": iso(planned.created), "hs_note_body": body}
        return HubSpotActivity("notes", planned.mark, properties, is_cut)
    if planned.start is None or planned.end is None:
        return HubSpotActivity("tasks", planned.mark, _task(planned.created, planned.title, body), is_cut)
    return HubSpotActivity("meetings", planned.mark, _meeting(planned.start, planned.end, planned.title, body), is_cut)


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
    sendable = text.encode("utf-8", "replace").decode()
    whole = html.escape(sendable.replace("\r\n", "\n"), quote=False).replace("\n", "<br>")
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
