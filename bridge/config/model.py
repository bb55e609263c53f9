"""The configuration as the program uses it: checked, merged, compiled, frozen.

Durations are seconds, sizes are bytes. Nothing here shows a secret in its repr.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from bridge.config.diagnostics import ConfigPath, ConfigProblem, Position
from bridge.delivery.rate_limit import Pace
from bridge.event import UNSIGNED
from bridge.ingress.signature import key_fingerprint
from bridge.mapping.mapping import Mapping as FieldMapping
from connectors.base import Connector, DestinationSettings, RouteSettings

Condition = Callable[[Mapping[str, Any]], Any]
"""A compiled `when` or `test_when`: given `bridge.mapping.mapping.variables(event)`, its truth is the answer.

Raises `connectors.base.ExpressionError` where the event's values do not suit the expression.
"""


class Ack(StrEnum):
    """When the sender is told that an event has been taken."""

    QUEUED = "queued"
    """As soon as the event is stored."""
    RELAYED = "relayed"
    """Only when all its deliveries have been delivered within `ack_within`."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a listener listens."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    """0 lets the system choose."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The two listeners."""

    listen: ListenAddress
    """The webhook endpoint."""
    admin: ListenAddress
    """Health, metrics, API, dashboard."""
    admin_token: str | None = field(repr=False)
    """What an admin request must show; None only where the admin listener is bound to loopback."""
    max_body: int
    """Bytes of a request's body, at most."""
    read_timeout: float
    """Seconds in which a request's headers and body must have arrived."""
    viewer_token: str | None = field(default=None, repr=False)
    """What an admin request shows that may look and change nothing."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where events and deliveries are kept, and for how long."""

    url: str = field(repr=False)
    """`sqlite:///PATH` (a relative PATH starts at the working directory) or `postgresql://…`; may hold a password."""
    retention_delivered: float
    """Seconds that an event is kept after its last delivery has ended well."""
    retention_dead: float
    """Seconds that a dead letter is kept."""
    spool: str = "leadbridge-spool.db"
    """With PostgreSQL: the file that keeps what comes while the database cannot be reached."""
    spool_limit: int = 1024**3
    """The most bytes of payloads in it."""
    encryption_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """What the store is encrypted with: the first encrypts, all decrypt; without any nothing is encrypted."""
    identity_key: bytes | None = field(default=None, repr=False)
    """32 bytes that ids are made with; None where the store keeps a key of its own."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Who is told when something needs a person."""

    to: tuple[str, ...] = field(default=(), repr=False)
    """Apprise URLs, which are secrets; nobody is told where there are none."""
    oldest: float = 900.0
    """Seconds that a lead may wait before somebody is told."""
    repeat: float = 14_400.0
    """Seconds after which a trouble that is still there is told again."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `requests` requests in any `per` seconds, all chatbots of the destination together."""

    requests: int
    per: float


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """When a delivery that failed is due again."""

    initial: float
    """Seconds after the first failure."""
    max: float
    """Seconds between two attempts, at most."""
    multiplier: float
    """Each wait is that many times the one before."""
    jitter: float
    """The share of a wait, 0 to 1, by which chance may shorten it, so that what failed together comes apart."""
    give_up_after: float
    """Seconds from a delivery's first failure of its own after which it becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A configured connector: one account, its credentials and its limits."""

    name: str
    connector_name: str
    """The entry point's name, such as `http`."""
    settings: DestinationSettings = field(repr=False)
    """The connector's own settings."""
    connector: Connector = field(compare=False)
    """Made of the settings. Two destinations that are configured alike, and whose connectors are of the same class, are
    equal. A plugin's class is another one after an edit."""
    rate_limit: RateLimit | None
    pace: Pace | None = field(compare=False, repr=False)
    """Keeps to `rate_limit`: what the connector asks before each request."""
    concurrency: int
    """Calls under way at once, at most."""
    batch_size: int
    """Records in one call, at most; 1 where the connector does not batch."""
    batch_linger: float
    """Seconds that a record may wait for others to share its call."""
    timeout: float
    """Seconds that one call may take."""
    retry: RetrySchedule
    hidden: frozenset[ConfigPath] = frozenset()
    """The paths of its texts that variables or secret files were filled into: a page does not show them."""
    kind: type[Connector] = field(init=False, repr=False)
    """The connector's class."""

    def __post_init__(self) -> None:
        """Set the class; a frozen dataclass sets a derived field only this way."""
        object.__setattr__(self, "kind", type(self.connector))


@dataclass(frozen=True, slots=True)
class Route:
    """Which events of a chatbot go to which destination, under which mapping."""

    name: str
    """Stored with each delivery: the destination's name, and `NAME#2`, `NAME#3`, … for further routes of the same
    chatbot to the same destination, in the order of the file."""
    destination: str
    events: frozenset[str]
    """Those of `bridge.event.EVENT_TYPES` that the route takes."""
    when: Condition | None
    """None takes all."""
    mapping: FieldMapping
    settings: RouteSettings
    """The connector's own settings, an instance of its `route_settings`."""
    when_source: str | None = None
    """The text that `when` was compiled of, to show to a person."""
    hidden: frozenset[ConfigPath] = frozenset()
    """The same as `Destination.hidden`."""


class Ending(StrEnum):
    """What a test can expect of a destination besides a record."""

    NOT_SENT = "not_sent"
    """No route takes the event there."""
    DEAD = "dead"
    """The delivery becomes a dead letter before anything is sent: no record can be made of the event."""


@dataclass(frozen=True, slots=True)
class RouteTest:
    """An event, and what is expected of a chatbot's routes for it."""

    name: str
    """What it shows, in its author's words; may be empty."""
    place: Position
    event: Mapping[str, Any] = field(repr=False)
    """Fields by the sender's names; the others have a default."""
    expect: Mapping[str, Mapping[str, Any] | Ending] = field(repr=False)
    """By destination, or by one of several routes to it (`NAME#1`, `NAME#2`): the fields of the record, of which None
    says that it goes without; or how it ends otherwise."""
    exact: bool
    """Whether the records have no other fields than those that are expected."""


@dataclass(frozen=True, slots=True)
class Pull:
    """The vendor's API for leads that were missed."""

    url: str
    """Without the path of the call, and without a `/` at its end."""
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Chatbot:
    """A source of events."""

    name: str
    serial_number: str
    signing_keys: tuple[bytes, ...] = field(repr=False)
    """The keys as UTF-8, the first is the current one; empty only with `insecure_skip_verify`."""
    signature_tolerance: float
    """Seconds that a signature's time may be off; 0 does not look at it."""
    ack: Ack
    ack_within: float
    """Seconds to wait for the deliveries under `Ack.RELAYED`."""
    test_when: Condition | None
    """True for an event that is only a test; None where no event is."""
    insecure_skip_verify: bool
    """Whether events are taken without looking at their signature."""
    routes: tuple[Route, ...]
    tests: tuple[RouteTest, ...] = field(repr=False)
    pull: Pull | None = None
    left_out: str = ""
    """The file, if it has errors and is left out: its events are verified and kept, and get no deliveries."""
    fingerprints: frozenset[str] = field(init=False, repr=False, compare=False)
    """Those of its signing keys, and `UNSIGNED` where it skips verification."""

    def __post_init__(self) -> None:
        """Derive the fingerprints; a frozen dataclass sets a derived field only this way."""
        made = {key_fingerprint(key) for key in self.signing_keys}
        if self.insecure_skip_verify:
            made.add(UNSIGNED)
        object.__setattr__(self, "fingerprints", frozenset(made))

    def admits(self, verified_by: Iterable[str]) -> bool:
        """Whether an event may be this chatbot's, by what verified it (`Verified.verified_by`)."""
        return not self.fingerprints.isdisjoint(verified_by)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not in use because of its errors, and was never in use since the start."""

    file: str
    problems: tuple[ConfigProblem, ...]
    chatbots: tuple[Chatbot, ...] = ()
    """Those whose serial number can be read; without routes."""
    readable: bool = True
    """Whether the names of all its chatbots are known."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration without errors."""

    server: ServerSettings
    store: StoreSettings
    destinations: Mapping[str, Destination]
    chatbots: Mapping[str, Chatbot]
    warnings: tuple[ConfigProblem, ...] = ()
    """What works but is likely not meant, in the order of the files."""
    alerts: AlertSettings = AlertSettings()
    plugins: tuple[FilePath, ...] = ()
    """The folders that transforms were taken from: a change in one of them is a change of the configuration."""
    left_out: tuple[LeftOut, ...] = ()
    """Files that are not in use because of their errors."""
    held: tuple[ConfigProblem, ...] = ()
    """Changes of files that wait for a confirmation; these files stay in use as they were."""
    chatbot_by_serial: Mapping[str, Chatbot] = field(init=False, repr=False)
    """The same chatbots by serial number, and those of files that are left out."""
    signing_keys: Mapping[bytes, tuple[Chatbot, ...]] = field(init=False, repr=False)
    """Every key with the chatbots that have it."""

    def __post_init__(self) -> None:
        """Index the chatbots; a frozen dataclass sets a derived field only this way."""
        waiting = [chatbot for file in self.left_out for chatbot in file.chatbots if chatbot.name not in self.chatbots]
        by_serial = {chatbot.serial_number: chatbot for chatbot in (*waiting, *self.chatbots.values())}
        object.__setattr__(self, "chatbot_by_serial", MappingProxyType(by_serial))
        by_key: dict[bytes, tuple[Chatbot, ...]] = {}
        for chatbot in (*self.chatbots.values(), *waiting):
            for key in chatbot.signing_keys:
                by_key[key] = (*by_key.get(key, ()), chatbot)
        object.__setattr__(self, "signing_keys", MappingProxyType(by_key))

    def chatbot(self, name: str | None) -> Chatbot | None:
        """Return the chatbot of a name, also if its file is left out."""
        if name is None or name in self.chatbots or not self.left_out:
            return self.chatbots.get(name or "")
        return next((each for file in self.left_out for each in file.chatbots if each.name == name), None)

    @property
    def unreadable(self) -> str | None:
        """The first file that is left out and may hold chatbots whose names are not known."""
        return next((each.file for each in self.left_out if not each.readable), None)

    def may_be_left_out(self, name: str) -> bool:
        """Whether a chatbot is not in use only because its file is left out, as far as that can be known."""
        return name not in self.chatbots and (self.unreadable is not None or self.chatbot(name) is not None)
