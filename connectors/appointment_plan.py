"""An appointment as a connector writes it: settings that all connectors share, and the values for one event. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field

from connectors.activities import AppointmentSettings
from connectors.appointments import times_of
from connectors.base import SettingError
from connectors.event_text import Sources
from connectors.owners import TimeSpan


class AppointmentDetails(AppointmentSettings):
    """Conversion of an appointment into an event of the CRM, or into a task if its time is not beyond doubt."""

    title: str = Field(
        default="Appointment",
        description="Title: a text, or a template.",
        examples=["Demo with {{ FirstName }} {{ LastName }}"],
        min_length=1,
    )
    type: str | None = Field(
        default=None, description="Type of the event, one of the CRM's own list.", examples=["Meeting"]
    )
    location: str | None = Field(
        default=None,
        description="Place or link of the meeting: a text, or a template.",
        examples=["https://meet.example.com/sales"],
    )
    reminder: TimeSpan | None = Field(
        default=None, description="Time before the start at which the owner is reminded.", examples=["30m"]
    )


@dataclass(frozen=True, slots=True, repr=False)
class AppointmentPlan:
    """An appointment, ready to be written."""

    title: str
    kind: str | None
    location: str
    created: datetime | None
    """When the appointment was made; None if unknown."""
    start: datetime | None
    """Start in UTC; None if the text does not state it beyond doubt."""
    end: datetime | None
    """End in UTC; None with `start`."""
    reminder: datetime | None
    """When the owner is reminded, in UTC."""


def check_appointment(settings: AppointmentDetails, sources: Sources) -> None:
    """Raise `SettingError` for a template that cannot be compiled."""
    for name, text in (("title", settings.title), ("location", settings.location)):
        if text is not None and is_template(text):
            try:
                sources.check(name, text)
            except SettingError as error:
                raise SettingError(("appointment", name), error.message) from error


def is_template(text: str) -> bool:
    """Return True if a text has expressions in it."""
    return "{{" in text or "{%" in text


def plan_appointment(settings: AppointmentDetails, sources: Sources, event: Mapping[str, Any]) -> AppointmentPlan:
    """Return the appointment of an event. Raises `ExpressionError`."""
    created = stated_time(event)
    zone = ZoneInfo(settings.zone) if settings.zone else None
    times = times_of(str(event.get("Content") or ""), created, zone) if created else None
    start = times.start if times else None
    end = (times.end if times else None) or (start + timedelta(minutes=settings.minutes) if start else None)
    reminder = start - timedelta(seconds=settings.reminder) if start and settings.reminder else None
    return AppointmentPlan(
        title=fixed_text(settings.title, sources, event) or "Appointment",
        kind=settings.type,
        location=fixed_text(settings.location, sources, event),
        created=created,
        start=start,
        end=end,
        reminder=reminder,
    )


def fixed_text(text: str | None, sources: Sources, event: Mapping[str, Any]) -> str:
    """Return a setting's text for an event: itself, unless it is a template. Raises `ExpressionError`."""
    return sources.text(text, event) if text is not None and is_template(text) else text or ""


def stated_time(event: Mapping[str, Any]) -> datetime | None:
    """Return when an event was created, as the sender says, else when it was received; None if neither can be read.

    A time without a zone is UTC, as the sender's times are.
    """
    said = str(event.get("CreateTime") or "").strip() or str(event.get("event", {}).get("received_at") or "")
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
