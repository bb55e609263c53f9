"""Settings of the `salesforce` connector. The configuration's documentation and JSON Schema are generated from them."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from connectors.activities import AppointmentSettings
from connectors.base import RouteSettings
from connectors.http_client.settings import NetworkSettings, Size
from connectors.ownership import FollowUp, OwnerSettings

_OLDEST_VERSION = 46.0  # the first whose upsert returns the id of an updated record, which an appointment needs
_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"


def _recent(version: str) -> str:
    if float(version) < _OLDEST_VERSION:
        raise ValueError("must be 46.0 or later")
    return version


class SalesforceSettings(NetworkSettings):
    """A Salesforce org, accessed through an External Client App of its own.

    One of three flows: client credentials (`client_secret`), JWT bearer (`private_key` and `username`), or a refresh
    token (`refresh_token`, with `client_secret` if the app requires it).
    """

    login_url: str = Field(
        description="Address of the token endpoint: the org's My Domain; the JWT and refresh flows also work with "
        "`https://login.salesforce.com` and `https://test.salesforce.com`.",
        examples=["https://acme.my.salesforce.com"],
    )
    client_id: str = Field(description="Consumer key of the app.")
    client_secret: SecretStr | None = Field(
        default=None, description="Consumer secret of the app; alone it selects the client credentials flow."
    )
    private_key: SecretStr | None = Field(
        default=None,
        description="RSA key in PEM form whose certificate the app has; it selects the JWT bearer flow.",
        examples=["${file:/run/secrets/salesforce.key}"],
    )
    username: str | None = Field(default=None, description="With `private_key`: user to act as.")
    refresh_token: SecretStr | None = Field(
        default=None,
        description="Refresh token of the user to act as; if Salesforce replaces it, the new one is kept in the store.",
    )
    api_version: Annotated[str, AfterValidator(_recent)] = Field(
        default="68.0", description="Version of the REST API.", pattern=r"^\d{2,3}\.0$", examples=["68.0"]
    )
    quota_reserve: int = Field(
        default=10,
        description="Percent of the org's daily API calls that are reserved for new leads.",
        ge=0,
        le=100,
    )
    max_answer: Size = Field(
        default=16 * 1024**2,
        gt=0,
        description="Maximum size of an answer, decompressed; an object with many fields has a large description.",
    )

    @model_validator(mode="after")
    def _one_flow(self) -> Self:
        if self.private_key is not None and (self.client_secret is not None or self.refresh_token is not None):
            raise ValueError("private_key goes without client_secret and refresh_token")
        if (self.private_key is None) != (self.username is None):
            raise ValueError("private_key and username need each other")
        if self.private_key is None and self.client_secret is None and self.refresh_token is None:
            raise ValueError("needs client_secret, or private_key and username, or refresh_token")
        return self


class SalesforceCampaign(BaseModel):
    """Campaign whose member the lead or contact becomes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(description="Record ID of the campaign.", pattern=r"^701[A-Za-z0-9]{12}([A-Za-z0-9]{3})?$")
    status: str | None = Field(
        default=None, description="Status of the member, one of the campaign's own.", examples=["Responded"]
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, document: object) -> object:
        return {"id": document} if isinstance(document, str) else document


class SalesforceRoute(RouteSettings):
    """Settings of a route to Salesforce."""

    object: str = Field(default="Lead", description="API name of the object to write.", pattern=_NAME)
    external_id: str = Field(
        description="API name of the External ID field (marked unique) that identifies a record. Its value comes from "
        "`fields`, or else is different for each event. A value per chat or contact, such "
        'as `"{{ SerialNumber }}-{{ SessionID }}"`, lets an appointment find the lead of the same chat; it costs one '
        "more call for each batch, to query which records exist.",
        pattern=_NAME,
        examples=["Leadbridge_Id__c"],
    )
    remark: str | None = Field(
        default=None,
        description="Text besides the fields: the name of a field of the event, or a template. It is appended to "
        "`Description`, for an appointment that of its event or task (whose default is its `Content`). An optional "
        "field that Salesforce refuses is left out with a warning; where a remark is set, its value is kept there.",
        examples=["Content", "{{ Content }} ({{ URI }})"],
    )
    duplicates: Literal["update", "allow", "dead_letter"] = Field(
        default="update",
        description="What to do when a duplicate rule or a unique field finds another record: write into that record, "
        "save all the same (where the rule allows it), or make a dead letter.",
    )
    assignment: Literal["created", "always", "never"] = Field(
        default="created",
        description="When assignment rules run: for records that are created, for updates too, or not at all. With "
        "`created`, a query checks whether a record exists if it may have been written before: when it is tried "
        "again, shares its key with others, or was waiting when the process started.",
    )
    last_name: str = Field(
        default="Unknown",
        description="`LastName` of a new lead or contact without last name, first name, e-mail and phone.",
        min_length=1,
        max_length=80,
    )
    company: str = Field(
        default="[not provided]", description="`Company` of a new lead that has none.", min_length=1, max_length=255
    )
    appointment: AppointmentSettings = Field(
        default=AppointmentSettings(), description="Conversion of an appointment into an event or task."
    )
    prefer_contact: bool = Field(
        default=False,
        description="Write into the contact that has the lead's e-mail, or its phone if it has no e-mail; else into a "
        "lead. Fields that contacts lack go into the remark.",
    )
    owner: OwnerSettings | None = Field(
        default=None,
        description="Owner of a record that is created, and of its event or tasks: the e-mail or user name of an "
        "active user, the id of a user or queue, or a choice of several (`from` with `lookup`, or `round_robin`). "
        "Assignment rules then do not run. Events are never a queue's.",
        examples=["anna@acme.com"],
    )
    follow_up: FollowUp | None = Field(
        default=None,
        description="A task for the owner, once for each lead (not for appointments).",
        examples=[{"subject": "Call {{ FirstName }}", "due": "1d"}],
    )
    campaign: SalesforceCampaign | None = Field(
        default=None,
        description="Campaign whose member the lead or contact becomes: its id, or `id` with `status`.",
        examples=["7015g000000abcdAAA"],
    )

    @model_validator(mode="after")
    def _for_people(self) -> Self:
        if self.prefer_contact and self.object != "Lead":
            raise ValueError("prefer_contact needs object: Lead")
        if self.campaign is not None and self.object not in ("Lead", "Contact"):
            raise ValueError("campaign needs object: Lead, or Contact")
        return self
