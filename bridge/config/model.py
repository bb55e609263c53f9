"""Values of a checked, merged and compiled configuration; all are frozen.

Durations are in seconds, sizes in bytes. No repr shows a secret.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from bridge.config.diagnostics import ConfigProblem
from bridge.config.yaml_tree import ConfigPath, Position
from bridge.delivery.rate_limit import Pace
from bridge.event import UNSIGNED
from bridge.ingress.signature import key_fingerprint
from bridge.mapping.mapping import FieldMapping
from connectors.base import Connector, DestinationSettings, RouteSettings

Condition = Callable[[Mapping[str, Any]], Any]
"""A compiled `when` or `test_when`. Its result for `bridge.mapping.mapping.variables(event)` is true or false.

Raises `connectors.base.ExpressionError` if the expression fails on the event's values."""


class Ack(StrEnum):
    """Moment at which the sender gets success."""

    QUEUED = "queued"
    """Once the event is stored."""
    RELAYED = "relayed"
    """Once all deliveries of the event are delivered, within `ack_within`."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Host and port of a listener."""

    host: str
    """Name or IP address, without brackets."""
    port: int
    """Port number; 0 lets the system choose."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UserSettings:
    """A person who uses the admin listener."""

    name: str
    token: str = field(repr=False)
    role: str
    """`operator` or `viewer`."""
    chatbots: frozenset[str] | None
    """Chatbots that the person sees; None for all."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of the two listeners."""

    listen: ListenAddress
    """Address of the webhook endpoint."""
    admin: ListenAddress
    """Address for health, metrics, API and dashboard."""
    admin_token: str | None = field(repr=False)
    """Token of operators; None only if the admin listener is bound to loopback."""
    max_body: int
    """Maximum size of a request's body in bytes."""
    read_timeout: float
    """Seconds in which a request's headers and body must arrive."""
    viewer_token: str | None = field(default=None, repr=False)
    """Token for read-only access to the admin listener."""
    users: tuple[UserSettings, ...] = ()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Proxies before the admin listener, whose `X-Forwarded-For` counts."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Location, retention and encryption of events and deliveries."""

    url: str = field(repr=False)
    """`sqlite:///PATH` (a relative PATH starts at the working directory) or `postgresql://…`; may hold a password."""
    retention_delivered: float
    """Seconds that an event is kept after its last delivery succeeded."""
    retention_dead: float
    """Seconds that a dead letter is kept."""
    spool: str = "leadbridge-spool.db"
    """With PostgreSQL: path of the file that keeps events while the database cannot be reached."""
    spool_limit: int = 1024**3
    """Maximum number of payload bytes in the spool."""
    encryption_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """Encryption keys: the first encrypts, all decrypt. Without a key nothing is encrypted."""
    identity_key: bytes | None = field(default=None, repr=False)
    """Key of 32 bytes that event ids are derived with; None if the store creates and keeps its own."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Receivers and limits of alerts."""

    to: tuple[str, ...] = field(default=(), repr=False)
    """Apprise URLs, which are secrets. If empty, no alerts are sent."""
    oldest: float = 900.0
    """Seconds that a lead may wait before an alert is sent."""
    repeat: float = 14_400.0
    """Seconds after which an alert is repeated if its cause persists."""


@dataclass(frozen=True, slots=True)
class WeeklyTime:
    """A moment of each week."""

    weekday: int
    """0 is Monday."""
    hour: int
    minute: int


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """A weekly report: its content, its receivers and its time."""

    name: str
    to: tuple[str, ...] = field(repr=False)
    """Apprise URLs, which are secrets."""
    chatbots: frozenset[str] | None
    """Chatbots that it is about; None for all."""
    every: WeeklyTime
    time_zone: ZoneInfo

    @property
    def receivers(self) -> Mapping[str, str]:
        """Its URLs by labels that are no secrets: the place of each in the configuration, and its kind."""
        return {f"reports.{self.name}.to[{at}] ({url.partition('://')[0]})": url for at, url in enumerate(self.to)}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limit of `requests` requests in any `per` seconds, shared by all chatbots of the destination."""

    requests: int
    per: float


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Waiting times between the attempts of a failed delivery."""

    initial: float
    """Seconds to wait after the first failure."""
    max: float
    """Maximum number of seconds between two attempts."""
    multiplier: float
    """Factor by which each wait exceeds the previous one."""
    jitter: float
    """Share of a wait, 0 to 1, that is cut off at random, so that deliveries that failed together are retried apart."""
    give_up_after: float
    """Seconds from the first failure that is counted against the delivery until it becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A configured connector: one account, its credentials and its limits."""

    name: str
    connector_name: str
    """Name of the connector's entry point, such as `http`."""
    settings: DestinationSettings = field(repr=False)
    """The connector's own settings."""
    connector: Connector = field(compare=False)
    """Two destinations are equal if their settings are equal and their connectors are of the same class. An
    edited plug-in has a new class."""
    rate_limit: RateLimit | None
    pace: Pace | None = field(compare=False, repr=False)
    """Rate limiter for `rate_limit`, used before each request."""
    concurrency: int
    """Maximum number of simultaneous calls."""
    batch_size: int
    """Maximum number of records in one call; 1 if the connector does not batch."""
    batch_linger: float
    """Seconds that a record may wait for others to share its call."""
    timeout: float
    """Maximum duration of one call in seconds."""
    retry: RetrySchedule
    hidden: frozenset[ConfigPath] = frozenset()
    """Paths of the texts with values from variables or secret files, which pages must not show."""
    kind: type[Connector] = field(init=False, repr=False)
    """Class of the connector."""

    def __post_init__(self) -> None:
        """Set the class; a frozen dataclass sets a derived field only this way."""
        object.__setattr__(self, "kind", type(self.connector))


@dataclass(frozen=True, slots=True)
class Route:
    """Selection of a chatbot's events, their destination and their mapping."""

    name: str
    """Stored with each delivery: the destination's name, and `NAME#2`, `NAME#3`, … for further routes of the same
    chatbot to the same destination, in the order of the file."""
    destination: str
    events: frozenset[str]
    """Event types that the route takes, of `bridge.event.EVENT_TYPES`."""
    when: Condition | None
    """Condition for an event to take the route; None takes all."""
    mapping: FieldMapping
    settings: RouteSettings
    """The connector's own settings, an instance of its `route_settings`."""
    when_source: str | None = None
    """Source text of `when`, for display."""
    hidden: frozenset[ConfigPath] = frozenset()
    """Paths of hidden texts, as in `Destination.hidden`."""


class Ending(StrEnum):
    """Expected result of a test other than a record."""

    NOT_SENT = "not_sent"
    """No route takes the event to the destination."""
    DEAD = "dead"
    """The delivery becomes a dead letter before anything is sent, because its record cannot be built."""


@dataclass(frozen=True, slots=True)
class RouteTest:
    """An event and the expected result of a chatbot's routes."""

    name: str
    """Description by the author of the test; may be empty."""
    place: Position
    event: Mapping[str, Any] = field(repr=False)
    """Fields by the sender's names; missing ones have a default."""
    expect: Mapping[str, Mapping[str, Any] | Ending] = field(repr=False)
    """Expected fields or ending, by destination or by one of several routes to it (`NAME#1`, `NAME#2`). A field with
    None must be missing from the record."""
    exact: bool
    """True if the records may have no other fields than the expected ones."""


@dataclass(frozen=True, slots=True)
class Pull:
    """Access to the vendor's API for missed leads."""

    url: str
    """URL without the path of the call and without a trailing `/`."""
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Chatbot:
    """A source of events."""

    name: str
    serial_numbers: tuple[str, ...]
    """Values of `SerialNumber` in its events; a request that is made here has the first."""
    signing_keys: tuple[bytes, ...] = field(repr=False)
    """Keys in UTF-8, the current one first; empty only with `insecure_skip_verify`."""
    signature_tolerance: float
    """Seconds that a signature's time may differ from now; 0 turns this check off."""
    ack: Ack
    ack_within: float
    """Seconds to wait for the deliveries with `Ack.RELAYED`."""
    test_when: Condition | None
    """Condition for an event to be a test; None if there are no tests."""
    insecure_skip_verify: bool
    """True if events are accepted without a signature."""
    routes: tuple[Route, ...]
    tests: tuple[RouteTest, ...] = field(repr=False)
    pull: Pull | None = None
    fingerprints: frozenset[str] = field(init=False, repr=False, compare=False)
    """Fingerprints of its signing keys, and `UNSIGNED` if it skips verification."""

    def __post_init__(self) -> None:
        """Compute the fingerprints; a frozen dataclass sets a derived field only this way."""
        made = {key_fingerprint(key) for key in self.signing_keys}
        if self.insecure_skip_verify:
            made.add(UNSIGNED)
        object.__setattr__(self, "fingerprints", frozenset(made))

    def admits(self, verified_by: Iterable[str]) -> bool:
        """Return True if one of the keys that verified an event (`Verified.verified_by`) belongs to this chatbot."""
        return not self.fingerprints.isdisjoint(verified_by)


@dataclass(frozen=True, slots=True)
class FileFault:
    """A file with errors on disk."""

    file: str
    problems: tuple[ConfigProblem, ...]
    in_use: bool
    """True if its last good text is in use; False if the file is left out."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration without errors."""

    server: ServerSettings
    store: StoreSettings
    destinations: Mapping[str, Destination]
    chatbots: Mapping[str, Chatbot]
    warnings: tuple[ConfigProblem, ...] = ()
    """Warnings in the order of the files."""
    alerts: AlertSettings = AlertSettings()
    reports: Mapping[str, ReportSettings] = field(default_factory=dict)
    plugins: tuple[FilePath, ...] = ()
    """Folders of plug-ins; a change in one of them changes the configuration."""
    faults: tuple[FileFault, ...] = ()
    """Files that are not in use as they are on disk, because of their errors."""
    chatbot_by_serial: Mapping[str, Chatbot] = field(init=False, repr=False)
    """Chatbots by serial number."""
    signing_keys: Mapping[bytes, tuple[Chatbot, ...]] = field(init=False, repr=False)
    """Chatbots by signing key."""

    def __post_init__(self) -> None:
        """Index the chatbots; a frozen dataclass sets a derived field only this way."""
        by_serial = {serial: chatbot for chatbot in self.chatbots.values() for serial in chatbot.serial_numbers}
        object.__setattr__(self, "chatbot_by_serial", MappingProxyType(by_serial))
        by_key: dict[bytes, tuple[Chatbot, ...]] = {}
        for chatbot in self.chatbots.values():
            for key in chatbot.signing_keys:
                by_key[key] = (*by_key.get(key, ()), chatbot)
        object.__setattr__(self, "signing_keys", MappingProxyType(by_key))
