"""The note, meeting or task that goes with a record: its kind, its texts and its times. Pure.

Creating one cannot be repeated safely. Each therefore carries a mark, derived from the record's id, as the last line of
its text. A connector looks for the mark at the person before it creates the activity again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

from connectors.appointments import start_of

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
    minutes: int = Field(default=30, description="Length of a meeting.", ge=1, le=1440)

    @field_validator("zone")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (LookupError, OSError, ValueError):
                raise ValueError("must be the IANA name of a time zone, such as Europe/Madrid") from None
        return name


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
    """When the event was created, in UTC."""
    start: datetime | None = None
    """Start of a meeting, in UTC."""
    end: datetime | None = None

    @property
    def marked_text(self) -> str:
        """Return the text with the mark as its last line."""
        return f"{self.text}\n\n{self.mark}" if self.text else self.mark


def activity_mark(record_id: str) -> str:
    """Return the mark of a record's activity."""
    return f"Leadbridge {hashlib.sha256(record_id.encode()).hexdigest()[:16]}"


def event_activity(
    record_id: str, event: Mapping[str, Any], said: str, refused: str, appointment: AppointmentSettings, now: float
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
    """
    is_appointment = event.get("Type") == APPOINTMENT
    content = str(event.get("Content") or "")
    text = "\n\n".join(filter(None, (said or (content.strip() if is_appointment else ""), refused)))
    if not text and not is_appointment:
        return None
    created, mark = event_time(event, now), activity_mark(record_id)
    if not is_appointment:
        return Activity(ActivityKind.NOTE, mark, "Chatbot", text, created)
    start = start_of(content, created, ZoneInfo(appointment.zone) if appointment.zone else None)
    title = appointment_title(event)
    if start is None:
        return Activity(ActivityKind.TASK, mark, title, text, created)
    return Activity(
        ActivityKind.MEETING, mark, title, text, created, start, start + timedelta(minutes=appointment.minutes)
    )


def person_name(event: Mapping[str, Any]) -> str:
    """Return the name in an event; empty if it has none."""
    return " ".join(filter(None, (str(event.get(part) or "").strip() for part in ("FirstName", "LastName"))))


def appointment_title(event: Mapping[str, Any]) -> str:
    """Return the title of an appointment."""
    name = person_name(event)
    title = f"Appointment: {name}" if name else "Appointment"
    return title.encode("utf-8", "replace").decode()[:_LONGEST_TITLE]


def event_time(event: Mapping[str, Any], now: float) -> datetime:
    """Return when the event was created; the sender's times are UTC, whether or not they say so."""
    received = event.get("event")
    for value in (event.get("CreateTime"), received.get("received_at") if isinstance(received, Mapping) else None):
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            continue
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return datetime.fromtimestamp(now, UTC)


def refused_text(crm: str, dropped: Mapping[str, object]) -> str:
    """Return the text about values that a CRM refused; empty for none."""
    return "\n".join(
        [f"Not accepted by {crm}:", *(f"{name}: {value}" for name, value in dropped.items())] if dropped else []
    )
