"""Records to documents of Zoho CRM's API. Pure.

Sources: zoho.com/crm/developer/docs/api/v8, "Upsert Records", "Update Records", "Get Records through a COQL Query"; the
samples of Zoho's own Python SDK for activities.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from connectors.activities import APPOINTMENT, Activity, ActivityKind, AppointmentTexts, activity_mark, event_time
from connectors.base import Record
from connectors.phone_numbers import is_same_phone, phone_notations
from connectors.record import writable_fields
from connectors.zoho.settings import ZohoRoute

MAX_BATCH = 100
"""Maximum number of records in one call."""
EMAIL = "Email"
OWNER = "Owner"
SECONDARY_EMAIL = "Secondary_Email"
PHONES = frozenset({"Phone", "Mobile", "Home_Phone", "Other_Phone"})
PERSONS = frozenset({"Leads", "Contacts"})
"""Modules whose records have e-mails, notes and activities of a person."""
ACTIVITIES: Mapping[ActivityKind, str] = {
    ActivityKind.NOTE: "Notes",
    ActivityKind.MEETING: "Events",
    ActivityKind.TASK: "Tasks",
}
"""Module of each kind of activity; also the name of its related list."""
_TEXTS = {"Notes": "Note_Content", "Events": "Description", "Tasks": "Description"}
_LONGEST = 32_000
_PRIORITIES = {"low": "Low", "medium": "Normal", "high": "High"}


@dataclass(frozen=True, slots=True, repr=False)
class ZohoRow:
    """A record in Zoho's form."""

    record: Record
    route: ZohoRoute
    key: tuple[str, str]
    """Field by which it is found, and its value."""
    fields: Mapping[str, Any]
    remark: str
    found: str | None = None
    """Record ID of the existing record, if it was read."""
    dropped: Mapping[str, Any] = field(default_factory=dict)
    """Values that Zoho refused, by field."""
    texts: AppointmentTexts | None = None
    """Texts of an appointment."""
    subject: str = ""
    """Subject of the follow-up task."""
    names: tuple[str | None, str | None] = ("", "")
    """Owners of the record and of its follow-up task, by id or e-mail: empty for none, None for somebody's turn."""
    owner: str = ""
    """Owner of the record and its activities, by id; empty for none."""
    task_owner: str = ""
    """Owner of the follow-up task, if it has its own."""
    warning: str = ""

    @property
    def is_conditional(self) -> bool:
        """True if some fields depend on what Zoho holds."""
        return not (self.record.create_only | self.record.if_empty).isdisjoint(self.fields)

    def beside(self, held: Mapping[str, Any]) -> "ZohoRow":
        """Return the row with the fields that may be written to an existing record. Its e-mail stays."""
        kept = writable_fields(self.fields, held, create_only=self.record.create_only, if_empty=self.record.if_empty)
        held_owner = held.get(OWNER)
        owner = str(held_owner.get("id") or "") if isinstance(held_owner, dict) else ""
        fields = {name: value for name, value in kept.items() if name != EMAIL}
        return replace(self, fields=fields, found=str(held.get("id")), owner=owner or self.owner)

    def without(self, name: str | None) -> "ZohoRow | None":
        """Return the row without a refused field; None if it does not have it, or is found by it."""
        if name is None or name not in self.fields or name == self.key[0]:
            return None
        kept = {each: value for each, value in self.fields.items() if each != name}
        return replace(self, fields=kept, dropped={**self.dropped, name: self.fields[name]})


def zoho_route(record: Record) -> ZohoRoute:
    """Return the settings of the record's route."""
    return record.route if isinstance(record.route, ZohoRoute) else ZohoRoute()


def duplicate_key(record: Record) -> tuple[str, str] | None:
    """Return the field that identifies the record, and its value; None if every write would create another record."""
    fields = ((name, record.fields.get(name)) for name in zoho_route(record).duplicate_check_fields)
    return next(((name, str(value).strip().lower()) for name, value in fields if value not in (None, "")), None)


def batch_group(record: Record) -> Hashable:
    """Return the group of records that share a call: one route's settings, and one identifying field."""
    key = duplicate_key(record)
    return zoho_route(record), key[0] if key else None


def upsert_document(rows: Sequence[ZohoRow]) -> dict[str, Any]:
    """Return the document that upserts rows of one group.

    Only the first identifying field that a record has is named. With all of them Zoho would find another person with
    the same phone, and replace that person's e-mail.
    """
    result = {"data": [dict(row.fields) for row in rows], "duplicate_check_fields": [rows[0].key[0]]}
    return result | _triggers(rows[0].route)


def update_document(rows: Sequence[ZohoRow]) -> dict[str, Any]:
    """Return the document that updates rows by their ids."""
    return {"data": [{"id": row.found, **row.fields} for row in rows]} | _triggers(rows[0].route)


def held_names(rows: Sequence[ZohoRow]) -> list[str]:
    """Return the fields to read of the existing records of rows of one group."""
    route, by = rows[0].route, rows[0].key[0]
    has_secondary = by == EMAIL and route.module in PERSONS
    conditional = {name for row in rows for name in row.record.create_only | row.record.if_empty if name in row.fields}
    return list(dict.fromkeys(["id", by, *([SECONDARY_EMAIL] if has_secondary else []), *sorted(conditional)]))


def written_id(row: ZohoRow) -> str | None:
    """Return the id of the record that the contact's last delivery wrote; ids of Zoho are numbers."""
    found = row.record.written.remote_id if row.record.written else None
    return found if found and found.isdecimal() else None


def held_query(rows: Sequence[ZohoRow]) -> dict[str, str]:
    """Return the query for the existing records of rows of one group, by at most fifty values."""
    route, by = rows[0].route, rows[0].key[0]
    names = held_names(rows)
    wanted = dict.fromkeys(notation for row in rows for notation in key_notations(row))
    values = ", ".join("'" + each.replace("\\", "\\\\").replace("'", "\\'") + "'" for each in wanted)
    where = " or ".join(f"{name} in ({values})" for name in (by, SECONDARY_EMAIL) if name in names)
    return {"select_query": f"select {', '.join(names)} from {route.module} where {where} limit 0, 200"}  # noqa: S608


def key_notations(row: ZohoRow) -> tuple[str, ...]:
    """Return the values by which a row is found: a phone in all its usual notations."""
    return phone_notations(row.key[1]) if row.key[0] in PHONES else (row.key[1],)


def is_held(row: ZohoRow, value: str) -> bool:
    """Return True if the value of a record's field is the row's key."""
    return is_same_phone(row.key[1], value) if row.key[0] in PHONES else row.key[1] == value.strip().lower()


def activity_fields(activity: Activity, module: str, remote_id: str) -> dict[str, Any]:
    """Return the document of an activity of a record. A contact is its person, any other record its subject."""
    text = activity.marked_text
    if len(text) > _LONGEST:
        text = f"{activity.text[: _LONGEST - len(activity.mark) - 4]}…\n\n{activity.mark}"
    if activity.kind is ActivityKind.NOTE:
        parent = {"id": remote_id, "module": {"api_name": module}}
        return {"Note_Title": activity.title, "Note_Content": text, "Parent_Id": parent}
    person = {"Who_Id": {"id": remote_id}}
    whose: dict[str, Any] = person if module == "Contacts" else {"What_Id": {"id": remote_id}, "$se_module": module}
    if activity.kind is ActivityKind.MEETING and activity.start and activity.end:
        times = {"Start_DateTime": _iso(activity.start), "End_DateTime": _iso(activity.end)}
        details = {"Venue": activity.location} if activity.location else {}
        details |= {"Remind_At": _iso(activity.reminder)} if activity.reminder else {}
        common = {"Event_Title": activity.title, "Description": text, "$send_notification": False}
        return {**common, **times, **details, **whose}
    due = activity.created.date().isoformat()
    return {"Subject": activity.title, "Due_Date": due, "Status": "Not Started", "Description": text, **whose}


def follow_up(row: ZohoRow, now: float) -> Activity | None:
    """Return the follow-up task of a row; None if its route has none, and for an appointment, which has its own."""
    settings, event = row.route.follow_up, row.record.event
    if settings is None or event.get("Type") == APPOINTMENT:
        return None
    mark, content = activity_mark(f"{row.record.id}-follow-up"), str(event.get("Content") or "").strip()
    due = event_time(event, now) + timedelta(seconds=settings.due)
    return Activity(ActivityKind.TASK, mark, " ".join(row.subject.split())[:255] or "Follow up", content, due)


def task_details(row: ZohoRow) -> dict[str, Any]:
    """Return priority and owner of the follow-up task of a row."""
    settings = row.route.follow_up
    priority = _PRIORITIES.get(settings.priority or "") if settings else None
    return {**({"Priority": priority} if priority else {}), **owner_field(row.task_owner or row.owner)}


def owner_field(owner: str) -> dict[str, Any]:
    """Return the field for an owner, nothing for none."""
    return {OWNER: {"id": owner}} if owner else {}


def activity_text(kind: ActivityKind) -> str:
    """Return the field that holds the text of an activity."""
    return _TEXTS[ACTIVITIES[kind]]


def _triggers(route: ZohoRoute) -> dict[str, Any]:
    return {} if route.trigger is None else {"trigger": list(route.trigger)}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
