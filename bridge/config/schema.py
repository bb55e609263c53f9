"""Models of the configuration file, from which the documentation and the JSON Schema are generated too.

Each model checks one part, so that a mistake in one part does not hide mistakes in others. Rules about several parts
are in `destinations`, `chatbots` and `load`.
"""

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from bridge.config.model import Ack, Ending
from bridge.config.setting_types import (
    ByteSize,
    DestinationName,
    Duration,
    EventType,
    ListenSetting,
    NetworkSetting,
    PositiveDuration,
    SecretText,
    SecretTexts,
    SerialNumber,
    StrictModel,
    TextSetting,
    TimeZoneSetting,
    UseSetting,
    WeeklySetting,
    as_list,
    as_serials,
    parse_address,
    parse_time_zone,
    parse_weekly,
    parsed_setting,
    use_setting,
)
from bridge.mapping.field_form import FieldForm
from connectors.base import parse_duration, parse_size

_STORES: Final = ("sqlite:///", "postgresql://")
_THIS_MACHINE: Final = {"localhost", "127.0.0.1", "::1"}


class UserPart(StrictModel):
    """A person who uses the admin listener."""

    name: str = Field(
        description="Name in the audit log: letters, digits, `-`, `_` and `.`.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        examples=["maria"],
    )
    token: SecretText = Field(
        description="The person's own token, with at least 16 characters.", examples=["${MARIA_TOKEN}"]
    )
    role: Literal["operator", "viewer"] = Field(
        default="viewer", description="An operator acts and sees personal data; a viewer looks, with it masked."
    )
    chatbots: tuple[str, ...] | None = Field(
        default=None,
        description="The chatbots whose leads the person sees and acts on. Default: all.",
        min_length=1,
        examples=[["acme-website"]],
    )


class ServerPart(StrictModel):
    """The two listeners: the webhook endpoint and the admin listener."""

    listen: ListenSetting = parsed_setting(
        "0.0.0.0:8080", parse_address, "Address and port of the webhook endpoint.", "127.0.0.1:9000"
    )
    admin: ListenSetting = parsed_setting(
        "127.0.0.1:8081",
        parse_address,
        "Address and port for health, metrics, API and dashboard. An address that other machines can reach needs "
        "`admin_token`.",
        "0.0.0.0:8081",
    )
    admin_token: SecretText | None = Field(
        default=None,
        description="Token of operators for the admin listener, with at least 16 characters.",
        examples=["${LEADBRIDGE_ADMIN_TOKEN}"],
    )
    viewer_token: SecretText | None = Field(
        default=None,
        description="Token for read-only access to the admin listener, with personal data masked. At least 16 "
        "characters.",
        examples=["${LEADBRIDGE_VIEWER_TOKEN}"],
    )
    users: tuple[UserPart, ...] = Field(
        default=(), description="People with tokens of their own, besides those of `admin_token` and `viewer_token`."
    )
    trusted_proxies: tuple[NetworkSetting, ...] = Field(
        default=(),
        description="Addresses or networks of the reverse proxies before the admin listener. Their `X-Forwarded-For` "
        "decides the client's address, for the audit log and for the limit on wrong tokens.",
        examples=[["127.0.0.1", "10.0.0.0/8"]],
    )
    max_body: ByteSize = parsed_setting("1MiB", parse_size, "Maximum size of a request body.", "256KiB")
    read_timeout: PositiveDuration = parsed_setting(
        "10s", parse_duration, "Time in which a request's headers and body must arrive.", "30s"
    )


class RetentionPart(StrictModel):
    """Retention of events."""

    delivered: PositiveDuration = parsed_setting(
        "30d", parse_duration, "Time that an event is kept after its last delivery succeeded.", "90d"
    )
    dead: PositiveDuration = parsed_setting("180d", parse_duration, "Time that a dead letter is kept.", "365d")


class StorePart(StrictModel):
    """Storage of events and deliveries."""

    url: SecretStr = Field(
        default=SecretStr("sqlite:///leadbridge.db"),
        json_schema_extra={"default": "sqlite:///leadbridge.db"},
        examples=["postgresql://leadbridge:${DB_PASSWORD}@db/leads"],
        description="`sqlite:///PATH` or `postgresql://user:password@host/database`. A relative path starts at the "
        "working directory.",
    )
    encryption_keys: SecretTexts = Field(
        default=[],
        description="Encryption keys of the store and the spool: the first encrypts, all decrypt. Each is 32 random "
        "bytes in base64; `openssl rand -base64 32` makes one. Without a key nothing is encrypted. To change the "
        "key, put the new one first, restart, and run `leadbridge db rekey`.",
        examples=[["${LEADBRIDGE_STORE_KEY}"]],
    )
    retention: RetentionPart = Field(
        default_factory=RetentionPart,
        description="Retention of events. The audit log is kept for the longer of the two times.",
    )
    spool: str = Field(
        default="leadbridge-spool.db",
        min_length=1,
        examples=["/data/spool.db"],
        description="With PostgreSQL: local file that keeps new events while the database cannot be reached. A "
        "relative path starts at the working directory. Each process needs its own file.",
    )
    spool_limit: ByteSize = parsed_setting(
        "1GiB",
        parse_size,
        "Maximum number of payload bytes in the spool. When it is full, the sender gets 503 and tries again.",
        "256MiB",
    )

    identity_key: SecretText | None = Field(
        default=None,
        examples=["${LEADBRIDGE_IDENTITY_KEY}"],
        description="Key from which event ids are derived: 32 random bytes in base64 (`openssl rand -base64 32`). By "
        "default the store creates and keeps a key. A key that is set here is not in the store or its backups, "
        "so keep it safe too. It cannot be changed later.",
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
    """Alerts to people."""

    to: SecretTexts = Field(
        default=[],
        description="Apprise URLs of the receivers (mail, Slack, Teams, Telegram, ntfy and many more); without "
        "one no alerts are sent. Such a URL is a secret. Test it with `leadbridge alerts test`.",
        examples=[["${ALERT_URL}"]],
    )
    oldest: PositiveDuration = parsed_setting(
        "15m", parse_duration, "Time that a lead may wait before an alert is sent.", "5m"
    )
    repeat: PositiveDuration = parsed_setting(
        "4h", parse_duration, "Time after which an alert is repeated if its cause persists.", "1d"
    )


class ReportPart(StrictModel):
    """A weekly report about leads, by e-mail or to a chat."""

    to: SecretTexts = Field(
        min_length=1,
        description="Apprise URLs of the receivers, as in `alerts.to`. Such a URL is a secret. Send the report now "
        "with `leadbridge report NAME --send`.",
        examples=[["${ACME_REPORT_URL}"]],
    )
    chatbots: tuple[str, ...] | None = Field(
        default=None,
        description="The chatbots that it is about, such as those of one client. Default: all.",
        min_length=1,
        examples=[["acme-website"]],
    )
    every: WeeklySetting = parsed_setting(
        "monday 08:00",
        parse_weekly,
        "Day and time at which it is sent. It covers the seven whole days before, UTC.",
        "friday 17:00",
    )
    time_zone: TimeZoneSetting = parsed_setting("UTC", parse_time_zone, "Time zone of `every`.", "Europe/Berlin")


class RateLimitPart(StrictModel):
    """Limit on calls, shared by all chatbots that use the destination."""

    requests: int = Field(ge=1, le=1_000_000, description="Maximum number of calls …", examples=[100])
    per: PositiveDuration = Field(description="… in any period of this length.", examples=["10s"])


class BatchPart(StrictModel):
    """Batching of records, if the connector supports it."""

    size: int | None = Field(
        default=None,
        ge=1,
        examples=[50],
        description="Maximum number of records in one call. Default: the limit of the API.",
    )
    linger: Duration = parsed_setting(
        "0s", parse_duration, "Time that a record may wait for others to share its call.", "250ms"
    )


class RetryPart(StrictModel):
    """Retries of failed deliveries."""

    initial: PositiveDuration = parsed_setting("10s", parse_duration, "Wait after the first failure.", "1m")
    max: PositiveDuration = parsed_setting("1h", parse_duration, "Maximum wait between two attempts.", "30m")
    multiplier: float = Field(
        default=2.0, ge=1, le=10, description="Factor by which each wait is longer than the one before.", examples=[3]
    )
    jitter: float = Field(
        default=0.2, ge=0, le=1, description="Share of a wait that may be cut off at random.", examples=[0.5]
    )
    give_up_after: PositiveDuration = parsed_setting(
        "3d",
        parse_duration,
        "Time after which a delivery that still fails becomes a dead letter, if it has had at least ten attempts. No "
        "wait is longer than a tenth of it, so that these fit in, unless `initial` is longer or the destination asks "
        "for more.",
        "7d",
    )

    @field_validator("max")
    @classmethod
    def _check_max(cls, longest: float, info: Any) -> float:
        if longest < info.data.get("initial", 0):
            raise ValueError("must not be shorter than `initial`")
        return longest


class DestinationPart(StrictModel):
    """One account to deliver to. Its map also has the settings of its connector."""

    use: UseSetting = use_setting("destinations", "hubspot")
    connector: TextSetting = Field(description="Name of the connector, such as `http`.", examples=["http"])
    rate_limit: RateLimitPart | None = Field(
        default=None,
        description="Limit on the number of calls in a period. It holds across restarts: a new lane starts as if the "
        "limit were used up, so with 100 calls in 10 s its first call waits 0.1 s. Default: the limit of the "
        "API, if it is known (`hubspot`: 100 calls in 10 seconds).",
    )
    concurrency: int = Field(
        default=10, ge=1, le=1_000, description="Maximum number of simultaneous calls.", examples=[4]
    )
    batch: BatchPart = Field(default_factory=BatchPart, description="Batching of records.")
    timeout: PositiveDuration = parsed_setting("30s", parse_duration, "Maximum duration of one call.", "60s")
    retry: RetryPart = Field(default_factory=RetryPart, description="Retries of failed deliveries.")


class RoutePart(StrictModel):
    """A destination for some of a chatbot's events. Its map also has the route settings of the connector."""

    use: UseSetting = use_setting("routes", "leads")
    to: DestinationName = Field(description="Name of the destination.", examples=["crm"])
    events: Annotated[list[EventType], BeforeValidator(as_list, json_schema_input_type=list[EventType] | EventType)] = (
        Field(
            default=["Lead", "Appointment"],
            min_length=1,
            examples=[["Lead"]],
            description="Types of the events that take this route.",
        )
    )
    when: str | None = Field(
        default=None,
        description="Expression; only events for which it is true take this route.",
        examples=["Email or PhoneNumber"],
    )
    fields: dict[str, FieldForm] = Field(
        default={}, description="Fields of the record, by the names of the destination. Empty fields are left out."
    )


def _expected(value: object) -> object:
    """Return the expected fields or ending of one destination."""
    if value is None:
        return Ending.NOT_SENT
    if isinstance(value, dict) or value in list(Ending):
        return value
    raise ValueError("must be a map of expected fields, `not_sent`, or `dead` for a dead letter")


Expected = Annotated[
    dict[str, Any] | Ending,
    BeforeValidator(_expected, json_schema_input_type=dict[str, Any] | Literal["not_sent", "dead"]),
]


class TestPart(StrictModel):
    """One test of a chatbot's routes."""

    __test__ = False  # pytest collects every class with such a name

    name: str = Field(
        default="", description="Description for the report.", examples=["a phone number becomes international"]
    )
    event: dict[str, Any] = Field(
        description="Fields of the event, by the sender's names.",
        examples=[{"FirstName": "Ada", "Email": "Ada@Example.com"}],
    )
    expect: dict[str, Expected] = Field(
        description="Expected fields for each destination, or `not_sent`, or `dead`.",
        examples=[{"crm": {"email": "ada@example.com"}}],
    )
    exact: bool = Field(
        default=False, description="If true, a destination must get no other fields than the expected ones."
    )


class PullPart(StrictModel):
    """Access to the vendor's API, from which `leadbridge backfill` gets missed leads."""

    url: str = Field(
        description="URL of the API without the path `/chat/Chatbot/LeadList`.",
        examples=["https://api.example.com"],
    )
    key: SecretText = Field(description="Secret key for the vendor's API.", examples=["${ACME_API_KEY}"])

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("must be https://HOST, optionally with a path")
        if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
            raise ValueError("must begin with https://, otherwise the key is sent unencrypted")
        return url.rstrip("/")

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: SecretStr) -> SecretStr:
        if not re.fullmatch("[!-~]+", key.get_secret_value()):
            raise ValueError("must be printable ASCII characters without spaces, since it is sent in a header")
        return key


class ChatbotPart(StrictModel):
    """One chatbot: a source of events."""

    use: UseSetting = use_setting("chatbots", "workspace")
    serial_number: Annotated[
        list[SerialNumber], BeforeValidator(as_serials, json_schema_input_type=list[str | int] | str | int)
    ] = Field(
        min_length=1,
        description="Id of the chatbot, `SerialNumber` in its events. A list if several of the vendor's chatbots are "
        "one here.",
        examples=["59001dd73709417321c58b11693183a2"],
    )
    signing_keys: SecretTexts = Field(
        default=[],
        description="Sign Key from the vendor. While a key is being changed, a list with the current key first.",
        examples=[["${ACME_SIGN_KEY}"]],
    )
    signature_tolerance: Duration = parsed_setting(
        "15m", parse_duration, "Maximum difference between a signature's time and now; 0s turns this check off.", "0s"
    )
    ack: Ack = Field(
        default=Ack.QUEUED,
        description="Moment of success for the sender: once the event is stored (`queued`), or once all its "
        "deliveries are delivered (`relayed`).",
    )
    ack_within: PositiveDuration = parsed_setting(
        "10s", parse_duration, "Time that `ack: relayed` waits for the deliveries.", "5s"
    )
    test_when: str | None = Field(
        default=None,
        description="Expression; events for which it is true are tests: stored, answered as a test, and not delivered.",
        examples=['Email.endswith("@example.org")'],
    )
    insecure_skip_verify: bool = Field(
        default=False, description="If true, events are accepted without a signature, so anybody can send leads."
    )
    pull: PullPart | None = Field(
        default=None, description="Access to the vendor's API, for missed leads: see `leadbridge backfill`."
    )
    routes: list[RoutePart] = Field(default=[], description="Routes of its events to destinations.")
    tests: list[TestPart] = Field(default=[], description="Tests of its routes; see `leadbridge test`.")


class PresetsPart(StrictModel):
    """Presets: each has keys of its kind, and an entry takes them with `use: NAME`."""

    destinations: dict[str, Any] = Field(default={}, description="Presets of destinations, by name.")
    routes: dict[str, Any] = Field(default={}, description="Presets of routes, by name.")
    chatbots: dict[str, Any] = Field(default={}, description="Presets of chatbots, by name.")


class ConfigPart(StrictModel):
    """The whole configuration. With a folder of files, each section is merged by name."""

    server: ServerPart = Field(default_factory=ServerPart, description="Settings of the two listeners.")
    store: StorePart = Field(default_factory=StorePart, description="Storage of events and deliveries.")
    alerts: AlertsPart = Field(default_factory=AlertsPart, description="Alerts to people.")
    reports: dict[str, ReportPart] = Field(default={}, description="Weekly reports to people, by name.")
    plugins: Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=list[str] | str)] = Field(
        default=[],
        description="Folders with your own transforms and connectors in `*.py` files. A relative path starts at the "
        "folder of this file. Files whose names begin with `_` or `test_` are not loaded as plug-ins.",
        examples=[["./plugins"]],
    )
    presets: PresetsPart = Field(
        default_factory=PresetsPart, description="Pieces of configuration that many chatbots share, by name."
    )
    destinations: dict[str, DestinationPart] = Field(default={}, description="Accounts to deliver to, by name.")
    chatbots: dict[str, ChatbotPart] = Field(default={}, description="Sources of events, by name.")
