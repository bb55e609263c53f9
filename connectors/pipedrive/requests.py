"""Records to documents of Pipedrive: persons, leads, deals, notes, activities. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from html import escape
from typing import Any

from connectors.activities import Activity, ActivityKind
from connectors.base import Record
from connectors.phone_numbers import is_same_phone, phone_notations
from connectors.pipedrive.settings import PipedriveRoute
from connectors.record import writable_fields

LISTS: Mapping[str, str] = {"email": "emails", "phone": "phones"}
"""Fields that identify a person, and the lists that hold them."""
_CUSTOM = re.compile(r"[0-9a-f]{40}")
_LONGEST_TITLE = 255
_LONGEST_TEXT = 60_000
_MINUTE = 60


def pipedrive_route(record: Record) -> PipedriveRoute:
    """Return the route settings of a record."""
    route = record.route
    assert isinstance(route, PipedriveRoute)  # noqa: S101 - the bridge passes `route_settings`
    return route


def search_terms(record: Record) -> list[tuple[str, str]]:
    """Return what a person is searched by, as fields and texts: the e-mail, else the phone in its usual notations.

    A person with another e-mail is never taken because of the phone: several people may share one.
    """
    email, phone = (str(record.fields.get(name) or "").strip() for name in LISTS)
    if email:
        return [("email", email)]
    digits = [each for each in phone_notations(phone) if each] if phone else []
    return [("phone", each) for each in digits]


def person_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a new person."""
    document, custom = _sorted(fields)
    lists = {LISTS[name]: [{"value": fields[name], "primary": True}] for name in LISTS if fields.get(name)}
    return document | lists | ({"custom_fields": custom} if custom else {})


def person_changes(record: Record, held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document that changes an existing person; empty if nothing is new.

    E-mails and phones are added to those of the person, and never replace one.

    Args:
        record: The record.
        held: The person as the API shows it.
    """
    fields = writable_fields(
        record.fields, _held_fields(held), create_only=record.create_only, if_empty=record.if_empty
    )
    document, custom = _sorted(fields)
    held_custom = held.get("custom_fields") or {}
    changes = {name: value for name, value in document.items() if held.get(name) != value}
    changed = {name: value for name, value in custom.items() if held_custom.get(name) != value}
    for name, many in LISTS.items():
        entries = [each for each in held.get(many) or () if isinstance(each, dict)]
        if fields.get(name) and not holds_value(name, str(fields[name]), entries):
            changes[many] = [*entries, {"value": fields[name], "primary": not entries}]
    return changes | ({"custom_fields": changed} if changed else {})


def holds_value(name: str, value: str, entries: Sequence[Any]) -> bool:
    """Return True if a list of e-mails or phones has the value, in any notation."""
    texts = [str(each.get("value") if isinstance(each, dict) else each) for each in entries]
    if name == "phone":
        return any(is_same_phone(value, each) for each in texts)
    return value.strip().lower() in [each.strip().lower() for each in texts]


def lead_document(record: Record, title: str, person: str) -> dict[str, Any]:
    """Return the document of a lead, which carries the id of the delivery."""
    return {"title": _title(title, record), "person_id": _number(person), "origin_id": record.id}


def deal_document(record: Record, title: str, person: str) -> dict[str, Any]:
    """Return the document of a deal."""
    route = pipedrive_route(record)
    ids = {"pipeline_id": route.pipeline_id, "stage_id": route.stage_id}
    chosen = {name: value for name, value in ids.items() if value is not None}
    return {"title": _title(title, record), "person_id": _number(person), **chosen}


def note_document(activity: Activity, parent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a note."""
    return {"content": _html(activity), **parent}


def activity_document(activity: Activity, parent: Mapping[str, Any], person: str) -> dict[str, Any]:
    """Return the document of an appointment: with a time, or as a task without one. Times are in UTC."""
    day = activity.start or activity.created
    document: dict[str, Any] = {
        "subject": activity.title,
        "type": activity.category or ("meeting" if activity.kind is ActivityKind.MEETING else "task"),
        "due_date": day.astimezone(UTC).date().isoformat(),
        "participants": [{"person_id": _number(person), "primary": True}],
        "note": _html(activity),
        "done": False,
        **{name: value for name, value in parent.items() if name != "person_id"},
    }
    if activity.start and activity.end:
        minutes = round((activity.end - activity.start).total_seconds() / _MINUTE)
        document["due_time"] = f"{activity.start.astimezone(UTC):%H:%M}"
        document["duration"] = f"{minutes // _MINUTE:02}:{minutes % _MINUTE:02}"
    if activity.location:
        document["location"] = {"value": activity.location}
    return document


def parent_of(record: Record, person: str, created: str) -> dict[str, Any]:
    """Return the reference of a note or an activity to its lead, deal or person."""
    match pipedrive_route(record).object:
        case "lead":
            return {"lead_id": created}
        case "deal":
            return {"deal_id": _number(created)}
    return {"person_id": _number(person)}


def _number(text: str) -> int | str:
    """Return an id as a number; a preview has a text in its place."""
    return int(text) if text.isdecimal() else text


def _sorted(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a person apart from e-mail and phone, and the account's own fields."""
    document = {name: value for name, value in fields.items() if name not in LISTS and not _CUSTOM.fullmatch(name)}
    return document, {name: value for name, value in fields.items() if _CUSTOM.fullmatch(name)}


def _held_fields(held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a person by the names of a mapping."""
    custom = held.get("custom_fields") or {}
    return {**held, **custom, **{name: held.get(many) for name, many in LISTS.items()}}


def _title(title: str, record: Record) -> str:
    text = " ".join(title.split()) or str(record.fields.get("name") or "Chat")
    return text[:_LONGEST_TITLE]


def _html(activity: Activity) -> str:
    """Return the text with its mark as HTML."""
    text = activity.text[:_LONGEST_TEXT]
    return "<br>".join(escape(each) for each in (*text.splitlines(), activity.mark))
