"""What may stand in a configuration: the models that its documentation and its JSON Schema are made from as well.

Each model checks one part on its own, so that a mistake in one part does not hide those in another. What concerns
several parts is checked where they come together (`destinations`, `chatbots`, `load`).
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints, field_validator

from bridge.config.model import Ack, Ending
from bridge.config.units import (
    ByteSize,
    Duration,
    ListenSetting,
    PositiveDuration,
    parse_address,
    parse_duration,
    parse_size,
)
from bridge.mapping.mapping import FieldForm

_STORES: Final = ("sqlite:///", "postgresql://")
_THIS_MACHINE: Final = {"localhost", "127.0.0.1", "::1"}


def _listed(value: object) -> object:
    """Take a single text for a list of one."""
    return [value] if isinstance(value, str) else value


def _as_written(value: object) -> object:
    """Take a number for the text that it was written as; numbers are read only where the two are the same."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _setting(default: str, parse: Callable[[str], Any], description: str, example: str) -> Any:  # noqa: ANN401 - a pydantic field
    """Declare a setting whose default is parsed, and shown in the JSON Schema as one would write it."""
    return Field(
        default=parse(default), description=description, examples=[example], json_schema_extra={"default": default}
    )


TextSetting = Annotated[str, BeforeValidator(_as_written, json_schema_input_type=str | int)]
SecretText = Annotated[SecretStr, BeforeValidator(_as_written, json_schema_input_type=str | int)]
EventType = Literal["Lead", "Appointment"]


class StrictModel(BaseModel):
    """A part of the configuration. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ServerPart(StrictModel):
    """The two listeners: the webhook endpoint, and the one for operators."""

    listen: ListenSetting = _setting(
        "0.0.0.0:8080", parse_address, "Address and port of the webhook endpoint.", "127.0.0.1:9000"
    )
    admin: ListenSetting = _setting(
        "127.0.0.1:8081",
        parse_address,
        "Address and port for health, metrics, API and dashboard; on any but a loopback address it needs "
        "`admin_token`.",
        "0.0.0.0:8081",
    )
    admin_token: SecretText | None = Field(
        default=None,
        description="What an operator shows to the admin listener; at least 16 characters.",
        examples=["${LEADBRIDGE_ADMIN_TOKEN}"],
    )
    viewer_token: SecretText | None = Field(
        default=None,
        description="What somebody shows who may look at the admin listener but change nothing, and sees personal data "
        "masked; at least 16 characters.",
        examples=["${LEADBRIDGE_VIEWER_TOKEN}"],
    )
    max_body: ByteSize = _setting("1MiB", parse_size, "The largest request body that is taken.", "256KiB")
    read_timeout: PositiveDuration = _setting(
        "10s", parse_duration, "In what time a request's headers and body must have arrived.", "30s"
    )


class RetentionPart(StrictModel):
    """How long events are kept."""

    delivered: PositiveDuration = _setting(
        "30d", parse_duration, "How long after its last delivery an event is kept.", "90d"
    )
    dead: PositiveDuration = _setting("180d", parse_duration, "How long a dead letter is kept.", "365d")


class StorePart(StrictModel):
    """Where events and deliveries are kept."""

    url: SecretStr = Field(
        default=SecretStr("sqlite:///leadbridge.db"),
        json_schema_extra={"default": "sqlite:///leadbridge.db"},
        examples=["postgresql://leadbridge:${DB_PASSWORD}@db/leads"],
        description="`sqlite:///PATH`, a relative path starting at the working directory, or "
        "`postgresql://user:password@host/database`.",
    )
    encryption_keys: Annotated[
        list[SecretText], BeforeValidator(_listed, json_schema_input_type=list[str | int] | str | int)
    ] = Field(
        default=[],
        description="Keys that the store and the spool are encrypted with: the first encrypts, all decrypt. Each is 32 "
        "random bytes in base64, as `openssl rand -base64 32` makes them. Without a key nothing is encrypted. To "
        "change the key, put the new one first, restart, and run `leadbridge db rekey`.",
        examples=[["${LEADBRIDGE_STORE_KEY}"]],
    )
    retention: RetentionPart = Field(
        default_factory=RetentionPart,
        description="How long events are kept; the audit log is kept for the longer time of the two.",
    )
    spool: str = Field(
        default="leadbridge-spool.db",
        min_length=1,
        examples=["/data/spool.db"],
        description="With PostgreSQL: the file on this machine that keeps what comes while the database cannot be "
        "reached; a relative path starts at the working directory. Each process needs one of its own.",
    )
    spool_limit: ByteSize = _setting(
        "1GiB",
        parse_size,
        "The most that the spool keeps, in bytes of payloads; beyond it the sender is told to come again.",
        "256MiB",
    )

    identity_key: SecretText | None = Field(
        default=None,
        examples=["${LEADBRIDGE_IDENTITY_KEY}"],
        description="32 random bytes in base64 (`openssl rand -base64 32`) that the ids of events are made with. By "
        "default the store makes a key and keeps it. A key given here is not in the store nor in its backups, so keep "
        "it beside them. It cannot be changed later.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text.startswith("postgres://"):
            raise ValueError("must begin with postgresql:// (not postgres://)")
        if not text.startswith(_STORES) or text in _STORES:
            raise ValueError("must be sqlite:///PATH or postgresql://user:password@host/database")
        return url


class AlertsPart(StrictModel):
    """Who is told when something needs a person."""

    to: Annotated[list[SecretText], BeforeValidator(_listed, json_schema_input_type=list[str | int] | str | int)] = (
        Field(
            default=[],
            description="Where messages go, as Apprise writes it (mail, Slack, Teams, Telegram, ntfy and many more); "
            "nothing is sent where there is none. Such an address is a secret. Try it with `leadbridge alerts test`.",
            examples=[["${ALERT_URL}"]],
        )
    )
    oldest: PositiveDuration = _setting(
        "15m", parse_duration, "How long a lead may wait before somebody is told.", "5m"
    )
    repeat: PositiveDuration = _setting(
        "4h", parse_duration, "After how long a trouble that is still there is told again.", "1d"
    )


class RateLimitPart(StrictModel):
    """A limit on calls, shared by all chatbots that use the destination."""

    requests: int = Field(ge=1, le=1_000_000, description="How many calls are made at most …", examples=[100])
    per: PositiveDuration = Field(description="… in any span of this length.", examples=["10s"])


class BatchPart(StrictModel):
    """How records share a call, where the connector can do that."""

    size: int | None = Field(
        default=None,
        ge=1,
        examples=[50],
        description="How many records share a call at most; by default as many as the API takes.",
    )
    linger: Duration = _setting(
        "0s", parse_duration, "How long a record may wait for others to share its call.", "250ms"
    )


class RetryPart(StrictModel):
    """When a delivery that failed is tried again."""

    initial: PositiveDuration = _setting("10s", parse_duration, "The wait after the first failure.", "1m")
    max: PositiveDuration = _setting("1h", parse_duration, "The longest wait between two attempts.", "30m")
    multiplier: float = Field(
        default=2.0, ge=1, le=10, description="By what each wait is longer than the one before.", examples=[3]
    )
    jitter: float = Field(
        default=0.2, ge=0, le=1, description="The share of a wait by which chance may shorten it.", examples=[0.5]
    )
    give_up_after: PositiveDuration = _setting(
        "3d", parse_duration, "When a delivery that still fails becomes a dead letter.", "7d"
    )

    @field_validator("max")
    @classmethod
    def _check_max(cls, longest: float, info: Any) -> float:  # noqa: ANN401 - pydantic's own
        if longest < info.data.get("initial", 0):
            raise ValueError("must not be shorter than `initial`")
        return longest


class DestinationPart(StrictModel):
    """One account to deliver to. The settings of its connector stand beside these keys."""

    connector: TextSetting = Field(description="Which connector speaks to it, such as `http`.", examples=["http"])
    rate_limit: RateLimitPart | None = Field(
        default=None,
        description="At most so many calls in a span of time, restarts included: a lane that begins anew takes it for "
        "used up, and begins with one part of the span, such as 0.1 s of 100 in 10 s. Default: what the API allows "
        "every account, where that is known (`hubspot`: 100 in 10 seconds).",
    )
    concurrency: int = Field(
        default=10, ge=1, le=1_000, description="How many calls are under way at once at most.", examples=[4]
    )
    batch: BatchPart = Field(default_factory=BatchPart, description="How records share a call.")
    timeout: PositiveDuration = _setting("30s", parse_duration, "How long one call may take.", "60s")
    retry: RetryPart = Field(default_factory=RetryPart, description="When a delivery that failed is tried again.")


class RoutePart(StrictModel):
    """Which events go to which destination, as what. The route settings of its connector stand beside these keys."""

    to: TextSetting = Field(description="The name of a destination.", examples=["crm"])
    events: Annotated[list[EventType], BeforeValidator(_listed, json_schema_input_type=list[EventType] | EventType)] = (
        Field(
            default=["Lead", "Appointment"],
            min_length=1,
            examples=[["Lead"]],
            description="Which types of events take this route.",
        )
    )
    when: str | None = Field(
        default=None,
        description="An expression; only events for which it is true take this route.",
        examples=["Email or PhoneNumber"],
    )
    fields: dict[str, FieldForm] = Field(
        default={}, description="The fields of the record, by the destination's names; empty ones are left out."
    )


def _expected(value: object) -> object:
    """Read what is expected of one destination."""
    if value is None:
        return Ending.NOT_SENT
    if isinstance(value, dict) or value in list(Ending):
        return value
    raise ValueError("must be a map of the fields that are expected, `not_sent`, or `dead` for a dead letter")


Expected = Annotated[
    dict[str, Any] | Ending,
    BeforeValidator(_expected, json_schema_input_type=dict[str, Any] | Literal["not_sent", "dead"]),
]


class TestPart(StrictModel):
    """One test of a chatbot's routes."""

    __test__ = False  # pytest takes any class of such a name for its own

    name: str = Field(
        default="", description="What it shows, for the report.", examples=["a phone number becomes international"]
    )
    event: dict[str, Any] = Field(
        description="An event's fields by the sender's names.",
        examples=[{"FirstName": "Ada", "Email": "Ada@Example.com"}],
    )
    expect: dict[str, Expected] = Field(
        description="Of each destination, the fields that it is to get, or `not_sent`, or `dead`.",
        examples=[{"crm": {"email": "ada@example.com"}}],
    )
    exact: bool = Field(
        default=False, description="Whether a destination is to get no other fields than those that are expected."
    )


class PullPart(StrictModel):
    """The vendor's API for leads, which `leadbridge backfill` asks for those that were missed."""

    url: str = Field(
        description="Where the API is, without its path `/chat/Chatbot/LeadList`.",
        examples=["https://api.example.com"],
    )
    key: SecretText = Field(description="The vendor's secret key for its API.", examples=["${ACME_API_KEY}"])

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("must be https://HOST, with no more than a path")
        if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
            raise ValueError("must begin with https://: the key would be sent in clear")
        return url.rstrip("/")

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: SecretStr) -> SecretStr:
        if not re.fullmatch("[!-~]+", key.get_secret_value()):
            raise ValueError("must be one word of printable characters, since it is sent in a header")
        return key


class ChatbotPart(StrictModel):
    """One chatbot: a source of events."""

    serial_number: Annotated[TextSetting, StringConstraints(strip_whitespace=True, min_length=1)] = Field(
        description="The chatbot's id, `SerialNumber` in its events.", examples=["59001dd73709417321c58b11693183a2"]
    )
    signing_keys: Annotated[
        list[SecretText], BeforeValidator(_listed, json_schema_input_type=list[str | int] | str | int)
    ] = Field(
        default=[],
        description="The vendor's Sign Key; several while a key is being changed, the current one first.",
        examples=[["${ACME_SIGN_KEY}"]],
    )
    signature_tolerance: Duration = _setting(
        "15m", parse_duration, "How far a signature's time may be off; 0s does not look at it.", "0s"
    )
    ack: Ack = Field(
        default=Ack.QUEUED,
        description="Whether the sender is told success when an event is stored (`queued`), or when all its "
        "deliveries have arrived (`relayed`).",
    )
    ack_within: PositiveDuration = _setting(
        "10s", parse_duration, "How long `ack: relayed` waits for the deliveries.", "5s"
    )
    test_when: str | None = Field(
        default=None,
        description="An expression; an event for which it is true is stored, answered as a test, and not delivered.",
        examples=['Email.endswith("@example.org")'],
    )
    insecure_skip_verify: bool = Field(
        default=False, description="Whether events are taken without a signature: anybody can then send leads."
    )
    pull: PullPart | None = Field(
        default=None, description="Where `leadbridge backfill` asks for leads that were missed."
    )
    routes: list[RoutePart] = Field(default=[], description="Where its events go.")
    tests: list[TestPart] = Field(default=[], description="What is expected of its routes; see `leadbridge test`.")


class ConfigPart(StrictModel):
    """The whole configuration. With a folder of files, each section is merged by name."""

    server: ServerPart = Field(default_factory=ServerPart, description="The two listeners.")
    store: StorePart = Field(default_factory=StorePart, description="Where events and deliveries are kept.")
    alerts: AlertsPart = Field(default_factory=AlertsPart, description="Who is told when something needs a person.")
    plugins: Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=list[str] | str)] = Field(
        default=[],
        description="Folders whose `*.py` files bring transforms and connectors of your own, relative to this file; a "
        "file whose name begins with `_` is left to the others to import, and one with `test_` to pytest.",
        examples=[["./plugins"]],
    )
    destinations: dict[str, DestinationPart] = Field(default={}, description="The accounts to deliver to, by name.")
    chatbots: dict[str, ChatbotPart] = Field(default={}, description="The sources of events, by name.")
