"""Settings of the `zoho` connector."""

from typing import Literal

from pydantic import Field, SecretStr

from connectors.activities import AppointmentSettings
from connectors.base import RouteSettings
from connectors.http_client.settings import NetworkSettings
from connectors.ownership import FollowUp, OwnerSettings


class ZohoSettings(NetworkSettings):
    """An account of Zoho CRM."""

    client_id: str = Field(description="Client id of a self client or server application.", examples=["1000.ABC"])
    client_secret: SecretStr = Field(description="Client secret.", examples=["${ZOHO_CLIENT_SECRET}"])
    refresh_token: SecretStr = Field(
        description="Refresh token with the scopes `ZohoCRM.modules.ALL`, `ZohoCRM.coql.READ` for `write: create`, "
        "`if_empty` and `owner`, `ZohoCRM.users.READ` for `owner`, and `ZohoCRM.settings.fields.READ` for "
        "`check --online`.",
        examples=["${ZOHO_REFRESH_TOKEN}"],
    )
    accounts_url: str = Field(
        default="https://accounts.zoho.com",
        description="Token server of the account's data centre.",
        examples=["https://accounts.zoho.eu"],
    )
    api_url: str = Field(
        default="https://www.zohoapis.com",
        description="API of the account's data centre.",
        examples=["https://www.zohoapis.eu"],
    )
    api_version: str = Field(default="v8", description="Version of the API.", pattern=r"^v\d+$", examples=["v7"])


class ZohoRoute(RouteSettings):
    """Settings of a route to Zoho CRM."""

    module: str = Field(
        default="Leads",
        description="API name of the module to write to.",
        pattern=r"^\w+$",
        examples=["Contacts"],
    )
    duplicate_check_fields: tuple[str, ...] = Field(
        default=("Email", "Phone"),
        min_length=1,
        description="Fields that identify a record: the first of them that it has; a record needs one. Zoho also "
        "checks the module's own unique fields.",
        examples=[["Email", "Phone", "Mobile"]],
    )
    trigger: tuple[Literal["workflow", "approval", "blueprint"], ...] | None = Field(
        default=None,
        description="Automations of the account to start; default: all, `[]` starts none.",
        examples=[["workflow"]],
    )
    remark: str | None = Field(
        default=None,
        description="Text of a note at the record: a field of the event, or a text with `{{ }}`. For an appointment it "
        "becomes an event if its Content states the time beyond doubt, else a task. Without it only appointments have "
        "one, with their Content as text.",
        examples=["Content"],
    )
    appointment: AppointmentSettings = Field(
        default=AppointmentSettings(), description="Conversion of an appointment into an event."
    )
    owner: OwnerSettings | None = Field(
        default=None,
        description="Owner of a new record, its event or task, by id or e-mail; what goes with an existing record gets "
        "the owner that it has.",
    )
    follow_up: FollowUp | None = Field(
        default=None, description="A task for each lead, once; an appointment has its own."
    )
