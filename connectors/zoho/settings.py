"""Settings of the `zoho` connector."""

from typing import Literal

from pydantic import Field, SecretStr

from connectors.base import RouteSettings
from connectors.http_client.settings import NetworkSettings


class ZohoSettings(NetworkSettings):
    """An account of Zoho CRM."""

    client_id: str = Field(description="Client id of a self client or server application.", examples=["1000.ABC"])
    client_secret: SecretStr = Field(description="Client secret.", examples=["${ZOHO_CLIENT_SECRET}"])
    refresh_token: SecretStr = Field(
        description="Refresh token with the scopes `ZohoCRM.modules.ALL`, and `ZohoCRM.settings.fields.READ` for "
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
        default=("Email",),
        min_length=1,
        description="Fields that identify an existing record, the first that matches; a record needs "
        "one of them. Zoho also checks the module's own unique fields.",
        examples=[["Email", "Phone"]],
    )
    trigger: tuple[Literal["workflow", "approval", "blueprint"], ...] | None = Field(
        default=None,
        description="Automations of the account to start; default: all, `[]` starts none.",
        examples=[["workflow"]],
    )
