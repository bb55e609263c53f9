"""Settings of the `gohighlevel` connector."""

from pydantic import Field, SecretStr

from connectors.activities import AppointmentSettings
from connectors.base import RouteSettings
from connectors.http_client.settings import NetworkSettings


class GoHighLevelSettings(NetworkSettings):
    """A location of HighLevel (GoHighLevel)."""

    access_token: SecretStr = Field(
        description="Private integration token of the location, with the scopes `contacts.readonly` and "
        "`contacts.write`; for appointments in a calendar also `calendars/events.write`.",
        examples=["${HIGHLEVEL_TOKEN}"],
    )
    location_id: str = Field(
        description="Id of the location (sub-account) to write contacts to.",
        min_length=1,
        examples=["ve9EPM428h8vShlRW1KT"],
    )
    base_url: str = Field(
        default="https://services.leadconnectorhq.com",
        description="Base URL of the API.",
        examples=["http://127.0.0.1:8090"],
        repr=False,
    )


class GoHighLevelAppointment(AppointmentSettings):
    """Conversion of an appointment into one of a calendar."""

    calendar: str | None = Field(
        default=None,
        description="Id of the calendar for appointments whose time is beyond doubt; without it they become tasks.",
        min_length=1,
        examples=["CVokAlI8fgw4WYWoCtQz"],
    )


class GoHighLevelRoute(RouteSettings):
    """Settings of a route to HighLevel."""

    remark: str | None = Field(
        default=None,
        description="Text of a note at the contact: a field of the event, or a text with `{{ }}`. For an appointment "
        "it goes with the appointment or task. Without it only appointments have one, with their Content as text.",
        examples=["Content"],
    )
    appointment: GoHighLevelAppointment = Field(
        default=GoHighLevelAppointment(), description="Conversion of an appointment into one of a calendar, or a task."
    )
