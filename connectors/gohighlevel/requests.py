"""Records to documents of HighLevel's API 2.0. Pure.

Sources: HighLevel's OpenAPI documents (Contacts, Calendars), and the issues of GoHighLevel/highlevel-api-docs.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from connectors.activities import Activity
from connectors.base import Record
from connectors.gohighlevel.settings import GoHighLevelRoute
from connectors.record import writable_fields

EMAIL = "email"
KEYS = (EMAIL, "phone")
"""Fields by which the API finds a contact."""
TAGS = "tags"
OWNER = "assignedTo"
"""Field for the id of the user who owns a contact."""
VERSION = "2021-07-28"
"""Value of the header `Version` that the API requires (marketplace.gohighlevel.com, Contacts, "Upsert Contact")."""
CUSTOM = "custom."
"""Prefix of a mapped field that is a custom field of the location: `custom.budget`."""


def route_of(record: Record) -> GoHighLevelRoute:
    """Return the settings of the record's route."""
    return record.route if isinstance(record.route, GoHighLevelRoute) else GoHighLevelRoute()


def contact(record: Record, location_id: str) -> dict[str, Any] | None:
    """Return the document that upserts a contact; None for a record without e-mail and phone.

    Without either, each attempt would create another contact.
    """
    if not any(record.fields.get(key) for key in KEYS):
        return None
    return {**contact_fields(record.fields), "locationId": location_id}


def contact_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return mapped fields in the API's form."""
    plain = {name: value for name, value in fields.items() if not name.startswith(CUSTOM)}
    custom = [
        {"key": name.removeprefix(CUSTOM), "field_value": value}
        for name, value in fields.items()
        if name.startswith(CUSTOM)
    ]
    if isinstance(tags := plain.get(TAGS), str):
        plain[TAGS] = [tag.strip() for tag in tags.split(",") if tag.strip()]
    return {**plain, **({"customFields": custom} if custom else {})}


def known_contact_fields(record: Record, fields: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapped fields that may be written to an existing contact.

    The API takes a contact's additional e-mail for its key, and then makes it the primary one (issue 337), so an
    existing contact keeps its e-mail; a missing one is added. Tags are added by a call of their own, because
    here they would replace those of the contact.
    """
    values = {**held, **{name: _custom(held, name) for name in fields if name.startswith(CUSTOM)}}
    kept = writable_fields(fields, values, create_only=record.create_only, if_empty=record.if_empty)
    return {name: value for name, value in kept.items() if name != TAGS and not (name == EMAIL and held.get(EMAIL))}


def _custom(held: Mapping[str, Any], name: str) -> object:
    """Return a contact's value of a custom field; True if the answer has values without the fields' keys."""
    key, values = name.removeprefix(CUSTOM), held.get("customFields")
    known = [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []
    for each in known:
        if key in (each.get("id"), each.get("key"), str(each.get("fieldKey")).removeprefix("contact.")):
            return each.get("value")
    return True if any("key" not in each and "fieldKey" not in each for each in known) else None


def note(activity: Activity) -> dict[str, Any]:
    """Return the document of a note."""
    return {"body": activity.marked_text}


def task(activity: Activity, owner: str) -> dict[str, Any]:
    """Return the document of a task: due at the appointment's start, or at once if a person has to read the time."""
    due = _iso(activity.start or activity.created)
    return {"title": activity.title, "body": activity.marked_text, "dueDate": due, "completed": False} | (
        {OWNER: owner} if owner else {}
    )


def event(activity: Activity, calendar: str, contact_id: str, location_id: str) -> dict[str, Any]:
    """Return the document of an appointment in a calendar. It notifies nobody, and the slot may be taken."""
    times = (
        {"startTime": _iso(activity.start), "endTime": _iso(activity.end)} if activity.start and activity.end else {}
    )
    return {
        "calendarId": calendar,
        "locationId": location_id,
        "contactId": contact_id,
        **times,
        **({"address": activity.location} if activity.location else {}),
        "title": activity.title,
        "appointmentStatus": "confirmed",
        "ignoreFreeSlotValidation": True,
        "ignoreDateRange": True,
        "toNotify": False,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
