"""Settings of the `hubspot` connector. The configuration's documentation and JSON Schema are generated from them."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connectors.activities import AppointmentSettings
from connectors.base import RouteSettings
from connectors.http_client.settings import NetworkSettings, Size
from connectors.ownership import FollowUp, IdText, OwnerSettings

CONTACTS = "contacts"
LEADS = "leads"
_NAMES = {"contact": CONTACTS, "0-1": CONTACTS, "lead": LEADS, "0-136": LEADS}
"""Other names in HubSpot's paths for contacts and leads."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class OAuth(_Part):
    """An OAuth app that is installed in the account."""

    client_id: str = Field(description="Client id of the app.")
    client_secret: SecretStr = Field(description="Client secret of the app.")
    refresh_token: SecretStr = Field(
        description="Refresh token of the account. If HubSpot replaces it, the new token is kept in the "
        "store and used until this setting changes."
    )


class HubSpotSettings(NetworkSettings):
    """A HubSpot account."""

    access_token: SecretStr | None = Field(
        default=None, description="Access token of a private app, or a service key.", examples=["${HUBSPOT_TOKEN}"]
    )
    oauth: OAuth | None = Field(default=None, description="An OAuth app, in place of `access_token`.")
    base_url: str = Field(
        default="https://api.hubapi.com",
        description="Base URL of the API: scheme and host. https, unless allow_private.",
    )
    api_version: str = Field(
        default="2026-09",
        description="Version of the API. HubSpot supports each dated one for 18 months, and v3 until September 2027; "
        "the associations v4 that v3 uses for notes, until 30 March 2027.",
        pattern=r"^(v3|20\d\d-\d\d)$",
        examples=["2026-09", "v3"],
    )

    max_answer: Size = Field(
        default=16 * 1024**2,
        gt=0,
        description="Maximum size of an answer, decompressed; the definitions of properties are large.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.access_token is None) == (self.oauth is None):
            raise ValueError("must have exactly one of access_token, oauth")
        return self


class HubSpotDeal(_Part):
    """A deal at the contact, created once for each chat."""

    pipeline: IdText = Field(default="default", description="Id of the pipeline.", min_length=1)
    stage: IdText = Field(description="Id of the stage, in that pipeline.", min_length=1, examples=["qualifiedtobuy"])
    name: str = Field(
        default="{{ FirstName }} {{ LastName }} {{ Email }}",
        description="Name of the deal: a text, a field of the event, or a text with `{{ }}`.",
        examples=["Chat with {{ FirstName }}"],
    )
    amount: IdText | None = Field(
        default=None,
        description="Amount: a number, a field of the event, or a text with `{{ }}`. Other text is left out.",
        examples=["1200"],
    )


class HubSpotCompany(_Part):
    """The company of the contact, found by its domain and created if it is missing."""

    domain: str = Field(
        default="Email",
        description="Domain: a field of the event, or a text with `{{ }}`; of an e-mail or URL its domain counts. "
        "Without one, or with that of a mail provider such as gmail.com, the contact gets no company.",
    )
    name: str | None = Field(
        default=None,
        description="Name of a new company: a text, a field of the event, or a text with `{{ }}`; default: the domain.",
        examples=["{{ URI | url_host }}"],
    )


class HubSpotRoute(RouteSettings):
    """Settings of a route to HubSpot."""

    object: str = Field(
        default=CONTACTS,
        description="The object, as HubSpot's paths name it: contacts, companies, a custom object's `2-123`. With "
        "`leads` (Sales Hub Professional) each lead is created at the contact with the event's e-mail, and that "
        "contact too if it is missing; an event without an e-mail is a dead letter (`when: Email` skips it).",
        pattern=r"^[A-Za-z0-9_-]+$",
        examples=["contacts"],
    )
    match: str = Field(
        default="email",
        description="The property that identifies a record: email, or one with unique values, which must be "
        "among the fields. A contact without a value for it is found by e-mail, else by phone (search, which lags "
        "some seconds behind), else created.",
        pattern=r"^[a-z0-9_]+$",
        examples=["email", "leadbridge_key"],
    )
    remark: str | None = Field(
        default=None,
        description="Text of a note at the contact, and its lead: a field of the event, or a text with `{{ }}`. "
        "For an appointment it becomes a meeting if its Content states the time beyond doubt, else a task. Without "
        "it only appointments have one, with their Content as text.",
        examples=["Content", "{{ Content }} ({{ URI }})"],
    )
    appointment: AppointmentSettings = Field(
        default=AppointmentSettings(), description="Conversion of an appointment into a meeting."
    )

    owner: OwnerSettings | None = Field(
        default=None,
        description="Owner of the record, its note, meeting, task and deal, by id or e-mail. It is written to a new "
        "record, or one without an owner; what goes with a record gets the owner that it has.",
    )
    follow_up: FollowUp | None = Field(
        default=None,
        description="A task for each lead, once; an appointment has its own. Needs object: contacts, or leads.",
    )
    deal: HubSpotDeal | None = Field(
        default=None, description="A deal at the contact, once for each chat. Needs object: contacts, or leads."
    )
    company: HubSpotCompany | None = Field(
        default=None,
        description="The contact's company. Leave it out if the account creates companies from e-mail domains itself: "
        "both at once make two. Needs object: contacts, or leads.",
    )
    static_list: IdText | None = Field(
        default=None,
        alias="list",
        description="Id of a static list (segment) to which contacts are added. Needs object: contacts.",
        examples=["42"],
    )

    @field_validator("object")
    @classmethod
    def _named(cls, name: str) -> str:
        return _NAMES.get(name.lower(), name)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.remark is not None and self.object not in (CONTACTS, LEADS):
            raise ValueError("remark needs object: contacts, or leads")
        for name, is_set in (("follow_up", self.follow_up), ("deal", self.deal), ("company", self.company)):
            if is_set is not None and self.object not in (CONTACTS, LEADS):
                raise ValueError(f"{name} needs object: contacts, or leads")
        if self.static_list is not None and self.object != CONTACTS:
            raise ValueError("list needs object: contacts")
        if self.match == "email" and self.object != CONTACTS:
            raise ValueError("match must be a property with unique values where object is not contacts")
        return self
