"""Settings of the `pipedrive` connector."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from connectors.activities import AppointmentSettings
from connectors.base import RouteSettings
from connectors.http_client.settings import NetworkSettings


class PipedriveSettings(NetworkSettings):
    """A company account of Pipedrive."""

    api_token: SecretStr = Field(description="API token of a user.", examples=["${PIPEDRIVE_TOKEN}"])
    base_url: str = Field(
        description="Address of the company.", examples=["https://acme.pipedrive.com"], repr=False, min_length=1
    )


class PipedriveRoute(RouteSettings):
    """Settings of a route to Pipedrive. Fields are those of the person."""

    object: Literal["person", "lead", "deal"] = Field(
        default="lead", description="Object to create besides the person; `person` for none.", examples=["deal"]
    )
    title: str = Field(
        default="{{ FirstName }} {{ LastName }}",
        description="Title of the lead or deal: a text, a field of the event, or a text with `{{ }}`. "
        "Default: the name.",
        examples=["Chat of {{ FirstName }}"],
        min_length=1,
    )
    pipeline_id: int | None = Field(
        default=None, description="With `object: deal`: id of the pipeline; default: the account's first.", ge=1
    )
    stage_id: int | None = Field(
        default=None, description="With `object: deal`: id of the stage; default: the first of the pipeline.", ge=1
    )
    remark: str | None = Field(
        default=None,
        description="Text of a note: a field of the event, or a text with `{{ }}`. For an appointment it goes into the "
        "activity. Without it only appointments have one, with their Content as text.",
        examples=["Content"],
    )
    appointment: AppointmentSettings = Field(
        default=AppointmentSettings(),
        description="Conversion of an appointment into an activity. `type` is the key of an activity type of the "
        "account, by default `meeting`.",
    )

    @model_validator(mode="after")
    def _of_a_deal(self) -> Self:
        if self.object != "deal" and (self.pipeline_id is not None or self.stage_id is not None):
            raise ValueError("pipeline_id and stage_id need object: deal")
        return self
