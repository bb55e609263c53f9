"""The note, meeting or task that goes with a record: its kind, its texts and its times. Pure.

Creating one cannot be repeated safely. Each therefore carries a mark, derived from the record's id, as the last line of
its text. A connector looks for the mark at the person before it creates the activity again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator

from connectors.appointments import times_of
from connectors.event_text import Sources
from connectors.ownership import PositiveTime

APPOINTMENT = "Appointment"
"""Type of an event that is an appointment."""
_LONGEST_TITLE = 200


class AppointmentSettings(BaseModel):
    """Conversion of an appointment into a meeting."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    zone: str | None = Field(
        default=None,
        description="IANA name of the time zone for times that name none. Without it, only a time with its zone in the "
        "text becomes a meeting; others become a task.",
        examples=["Europe/Madrid"],
    )
    minutes: int = Field(default=30, description="Length of a meeting whose text states only the start.", ge=1, le=1440)
    title: str | None = Field(
        default=None,
        description="Title: a text, a field of the event, or a text with `{{ }}`. Default: `Appointment` and the name.",
        examples=["Demo with {{ FirstName }}"],
    )
    type: str | None = Field(
        default=None,
        description="Type of the meeting, one of the list of HubSpot or Salesforce.",
        examples=["Meeting"],
    )
    location: str | None = Field(
        default=None,
        description="Place or link of the meeting: a text, a field of the event, or a text with `{{ }}`.",
        examples=["https://meet.example.com/sales"],
    )
    reminder: PositiveTime | None = Field(
        default=None,
        description="Time before the start at which the owner is reminded, in Salesforce and Zoho.",
        examples=["30m"],
    )

    @field_validator("zone")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (LookupError, OSError, ValueError):
                near = get_close_matches(name, available_timezones(), 1)
                hint = f" (did you mean `{near[0]}`?)" if near else ""
                raise ValueError(f"must be the IANA name of a time zone, such as Europe/Madrid{hint}") from None
        return name


@dataclass(frozen=True, slots=True, repr=False)
class AppointmentTexts:
    """The texts of an appointment that a route makes from its event."""

    title: str = ""
    location: str = ""

    @classmethod
    def on_one_line(cls, title: str, location: str) -> Self:
        """Return the texts with single blanks between their words."""
        return cls(_one_line(title), _one_line(location))


@dataclass(frozen=True, slots=True, repr=False)
class AppointmentPlan:
    """An appointment, ready to be written."""

    title: str
    category: str | None
    """Type of the meeting."""
    location: str
    created: datetime | None
    """Time at which the appointment was made; None if unknown."""
    start: datetime | None
    """Start in UTC; None if the text does not state it beyond doubt."""
    end: datetime | None
    """End in UTC; None with `start`."""
    reminder: datetime | None
    """Time of the owner's reminder, in UTC; None with `start`."""


class ActivityKind(StrEnum):
    """Kind of an activity."""

    NOTE = "note"
    MEETING = "meeting"
    TASK = "task"


@dataclass(frozen=True, slots=True, repr=False)
class Activity:
    """An activity to create."""

    kind: ActivityKind
    mark: str
    title: str
    text: str
    """Plain text without the mark; may be empty."""
    created: datetime
    """Time of the event's creation, in UTC."""
    start: datetime | None = None
    """Start of a meeting, in UTC."""
    end: datetime | None = None
    location: str = ""
    """Place or link of a meeting."""
    category: str | None = None
    """Type of a meeting."""
    reminder: datetime | None = None
    """Time of the reminder for a meeting's owner, in UTC."""

    @property
    def marked_text(self) -> str:
        """Return the text with the mark as its last line."""
        return f"{self.text}\n\n{self.mark}" if self.text else self.mark


def activity_mark(record_id: str) -> str:
    """Return the mark of a record's activity."""
    return f"Leadbridge {hashlib.sha256(record_id.encode()).hexdigest()[:16]}"


def check_appointment(settings: AppointmentSettings, sources: Sources) -> None:
    """Raise `SettingError` for a text that cannot be compiled."""
    sources.check_words(("appointment", "title"), settings.title)
    sources.check_words(("appointment", "location"), settings.location)


def appointment_texts(
    settings: AppointmentSettings, sources: Sources, event: Mapping[str, Any]
) -> AppointmentTexts | None:
    """Return the texts of an appointment, None for another event. Raises `ExpressionError`."""
    if event.get("Type") != APPOINTMENT:
        return None
    title, location = (sources.words(text, event) if text else "" for text in (settings.title, settings.location))
    return AppointmentTexts.on_one_line(title, location)


def plan_appointment(
    settings: AppointmentSettings, texts: AppointmentTexts | None, event: Mapping[str, Any], created: datetime | None
) -> AppointmentPlan:
    """Return the appointment of an event.

    Args:
        settings: Settings of the route.
        texts: Texts of the route for this event.
        event: Fields of the event.
        created: When the appointment was made; None if unknown, then it has no start.
    """
    texts = texts or AppointmentTexts()
    zone = ZoneInfo(settings.zone) if settings.zone else None
    times = times_of(str(event.get("Content") or ""), created, zone) if created else None
    start = times.start if times else None
    return AppointmentPlan(
        title=texts.title[:_LONGEST_TITLE] or appointment_title(event),
        category=settings.type,
        location=texts.location,
        created=created,
        start=start,
        end=(times.end if times else None) or (start + timedelta(minutes=settings.minutes) if start else None),
        reminder=start - timedelta(seconds=settings.reminder) if start and settings.reminder else None,
    )


def event_activity(
    record_id: str,
    event: Mapping[str, Any],
    said: str,
    refused: str,
    appointment: AppointmentSettings,
    now: float,
    texts: AppointmentTexts | None = None,
) -> Activity | None:
    """Return the activity of a record: None, a note, or for an appointment a meeting; a task if its time is unclear.

    An appointment always gets a meeting or task. Without a remark its text is the event's Content, and if that is empty
    too, only a title.

    Args:
        record_id: Id of the record.
        event: Fields of the event.
        said: Text of the remark; empty for none.
        refused: Text about the values that the CRM refused; empty for none.
        appointment: Settings of the route.
        now: Seconds since the epoch, for an event without a time.
        texts: Texts of the route for an appointment.
    """
    is_appointment = event.get("Type") == APPOINTMENT
    content = str(event.get("Content") or "")
    text = "\n\n".join(filter(None, (said or (content.strip() if is_appointment else ""), refused)))
    if not text and not is_appointment:
        return None
    created, mark = event_time(event, now), activity_mark(record_id)
    if not is_appointment:
        return Activity(ActivityKind.NOTE, mark, "Chatbot", text, created)
    plan = plan_appointment(appointment, texts, event, created)
    kind = ActivityKind.TASK if plan.start is None else ActivityKind.MEETING
    details = (plan.start, plan.end, plan.location, plan.category, plan.reminder)
    return Activity(kind, mark, plan.title, text, created, *details)


def activity_reason(kind: ActivityKind, start: datetime | None, appointment: AppointmentSettings) -> str:
    """Return the reason why an event has this activity, for people."""
    if kind is ActivityKind.NOTE:
        return "a note, because the route has a `remark`"
    if kind is ActivityKind.MEETING and start:
        return f"a meeting, because the text states its start: {start:%Y-%m-%d %H:%M} UTC"
    hint = "" if appointment.zone else "; for a time without a zone set `appointment: {zone: …}`"
    return f"a task, because the text does not state the start of the appointment beyond doubt{hint}"


def person_name(event: Mapping[str, Any]) -> str:
    """Return the name in an event; empty if it has none."""
    return " ".join(filter(None, (str(event.get(part) or "").strip() for part in ("FirstName", "LastName"))))


def appointment_title(event: Mapping[str, Any]) -> str:
    """Return the title of an appointment."""
    name = person_name(event)
    title = f"Appointment: {name}" if name else "Appointment"
    return _one_line(title)[:_LONGEST_TITLE]


def _one_line(text: str) -> str:
    """Return a text with single blanks between its words."""
    return " ".join(text.split())


def event_time(event: Mapping[str, Any], now: float) -> datetime:
    """Return when the event was created in UTC; `now` if it does not say so."""
    stated = stated_time(event)
    return stated.astimezone(UTC) if stated else datetime.fromtimestamp(now, UTC)


def stated_time(event: Mapping[str, Any]) -> datetime | None:
    """Return when the event was created, as the sender says, else when it was received; None if neither can be read.

    A time without a zone is UTC, as the sender's times are.
    """
    received = event.get("event")
    for value in (event.get("CreateTime"), received.get("received_at") if isinstance(received, Mapping) else None):
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            continue
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return None


def refused_text(crm: str, dropped: Mapping[str, object]) -> str:
    """Return the text about values that a CRM refused; empty for none."""
    return "\n".join(
        [f"Not accepted by {crm}:", *(f"{name}: {value}" for name, value in dropped.items())] if dropped else []
    )
