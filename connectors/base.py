"""The contract between the bridge and a connector: what a connector is given, and what it answers.

A connector only classifies. It says of each record what came of it (`Delivered`, `Retry`, `Rejected`) and whose
trouble a failure is (`Blame`); when to try again, when to pause and when to give up is decided in one place of the
bridge, for all connectors alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

MadeT = TypeVar("MadeT")


class Blame(StrEnum):
    """Whose trouble a failure is. The bridge reacts to this alone, never to a status code.

    `RECORD`: this record only; the others of the same destination go on.
    `BATCH`: the call was refused as a whole because of a record that the answer does not name; the bridge splits the
    batch until that record stands alone. For a call of one record it means `RECORD`.
    `UNCLEAR`: a fault that may lie on either side (a 5xx, a time-out). Several in a row pause the lane.
    `DESTINATION`: the account, its credentials, its quota or its network. The lane pauses and no delivery spends an
    attempt on it.
    """

    RECORD = "record"
    BATCH = "batch"
    UNCLEAR = "unclear"
    DESTINATION = "destination"


class Reason(StrEnum):
    """Why a record was not delivered: a closed list, because it is also the label of a metric."""

    BAD_ANSWER = "bad_answer"
    """The answer could not be read, or does not say what became of the record."""
    CONFLICT = "conflict"
    """Another write is in progress, or the record exists and could not be updated."""
    CONNECTOR_ERROR = "connector_error"
    """The connector itself failed: an exception, or an answer of the wrong shape."""
    FORBIDDEN = "forbidden"
    """The credentials are good but do not allow this."""
    GONE = "gone"
    """The address has been retired (410)."""
    MAPPING = "mapping"
    """The mapping could not make a record of the event: a required field is empty, or a template failed."""
    NOT_FOUND = "not_found"
    """The address, or the thing the record refers to, does not exist."""
    RATE_LIMITED = "rate_limited"
    """Too many requests for now, or the quota is used up."""
    REDIRECT = "redirect"
    """The destination points elsewhere; redirects are never followed, for they turn a POST into a GET."""
    REFUSED = "refused"
    """The destination refused the record itself (a wrong or missing value)."""
    SERVER_ERROR = "server_error"
    """The destination failed (5xx)."""
    TIMEOUT = "timeout"
    """No complete answer in time: the record may or may not have been written."""
    TOO_LARGE = "too_large"
    """The request, or the answer, is larger than what is allowed."""
    UNAUTHORIZED = "unauthorized"
    """The credentials were refused."""
    UNREACHABLE = "unreachable"
    """No connection: name, network, TLS, or an address that is not allowed."""
    UNROUTED = "unrouted"
    """The route or destination of the delivery is not in the configuration any more."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination has the record: said only when its answer accounts for this very record."""

    remote_id: str | None = None
    """The id that the destination gave the record."""
    remote_url: str | None = None
    """Where a person can look at it."""
    warning: str | None = None
    """What the operator should know although it went well (an optional field was left out)."""
    status: int | None = None
    """The HTTP status of the call."""
    memo: Mapping[str, str] = field(default_factory=dict)
    """What a later attempt or replay must know; see `Record.memo`."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not delivered, or not known to be: the same record is to be tried again later."""

    reason: Reason
    detail: str
    """One line for the operator, free of secrets and of the record's values unless the destination's own words."""
    blame: Blame = Blame.UNCLEAR
    after: float | None = None
    """Seconds that the destination asked to wait, not capped; None where it said nothing."""
    status: int | None = None
    memo: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good: trying the same record again cannot help until somebody changes something."""

    reason: Reason
    detail: str
    blame: Blame = Blame.RECORD
    """`RECORD` or `BATCH`."""
    status: int | None = None
    memo: Mapping[str, str] = field(default_factory=dict)


Outcome = Delivered | Retry | Rejected


class DestinationSettings(BaseModel):
    """A connector's own keys of a destination. Secrets are `SecretStr`; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RouteSettings(BaseModel):
    """A connector's own keys of a route."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """What a connector is asked to write: one event under one route's mapping."""

    id: str
    """The same on every attempt of this delivery and of no other: the idempotency key."""
    fields: Mapping[str, Any]
    """The mapped fields by the destination's names, in the order of the configuration; empty ones are left out."""
    event: Mapping[str, Any]
    """The event's fields by the sender's names (`Email`, ...), plus `event` (`id`, `received_at`) and `chatbot`."""
    payload: bytes
    """The event as JSON, as it was received."""
    route: RouteSettings
    """The connector's own settings of the route, an instance of its `route_settings`."""
    memo: Mapping[str, str] = field(default_factory=dict)
    """What the outcomes of earlier attempts asked to keep: ids of things created along the way, so that an attempt
    after a crash or a lost answer does not create them twice."""
    again: bool = False
    """Whether an attempt of this delivery has ended before: this is a retry, or a replay by an operator. False proves
    nothing of the destination: the process may have been killed after it had written the record."""

    def __repr__(self) -> str:
        """Name the record without a value of it: a repr ends up in logs."""
        return f"Record(id={self.id!r})"


class ExpressionError(ValueError):
    """A template or expression that cannot be compiled, or that failed on the values it was given."""

    def __init__(self, message: str, line: int = 1, column: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        """Line inside the expression's own text, from 1."""
        self.column = column
        """Column in that line, from 1, where known."""


class Expressions(Protocol):
    """Compiles the text of the configuration's expressions, all in one language (Jinja, sandboxed, strict).

    `names` are the variables that the text may use; any other is an error. None allows all, for text over an answer
    whose shape is the destination's.
    """

    def template(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], str]:
        """Compile a text with `{{ }}` in it. Raises `ExpressionError`; so does the returned function."""
        ...

    def expression(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], Any]:
        """Compile a bare expression. A name that the values lack is empty. Raises as `template` does."""
        ...


class SettingError(Exception):
    """A setting that the connector cannot work with."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(path, message)
        self.path = path
        """Leads to the setting from the destination, as keys and list indexes."""
        self.message = message
        """What is wrong with it and what would be right, without a secret."""


class Aside(Protocol):
    """Makes something of a lead's values without holding up other leads: in a thread, if it takes long."""

    async def __call__(self, make: Callable[[], MadeT]) -> MadeT:
        """Return what `make` returns, or raise what it raises. It may be called twice, so it changes nothing."""
        ...


async def at_once(make: Callable[[], MadeT]) -> MadeT:
    """Make it in the event loop, for connectors that are tried alone."""
    return make()


@dataclass(frozen=True, slots=True)
class Context:
    """What a connector is given besides its settings."""

    destination: str
    """The destination's name, for logs."""
    expressions: Expressions
    event_names: frozenset[str]
    """The names that a template over an event may use: the keys of `Record.event`."""
    timeout: float
    """Seconds that one `deliver` may take; the bridge cuts it off then."""
    concurrency: int
    """How many `deliver` calls run at once at the most: how many connections are worth keeping. Fewer in this process
    where others work parts of a destination that is split."""
    now: Callable[[], float]
    """Seconds since the epoch."""
    pace: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """Entered before a request, and left when it has been answered: `async with context.pace():`. What is raised within
    tells that it has not been. Waits until the rate limit of the destination (the lane's part of it, where the
    destination is split) lets another request go. The lane has waited for the first request of each `deliver` already,
    which is known here. `http_client.session.Session` does this with every request; a connector that brings its own
    client does so itself."""
    aside: Aside = at_once
    """Runs what depends on a lead's values and may take long, such as a template: `await context.aside(make)`."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An HTTP request of a connector that has ended, and no more of it than anybody may see.

    Not its path either: that may be made of ids and of a lead's values.
    """

    method: str
    scheme: str
    host: str
    port: int | None
    duration: float
    """Seconds until the whole answer had been read, or until there was none to be had."""
    status: int | None = None
    """None where no head of an answer came."""
    reason: Reason | None = None
    """Why there is no whole answer. With `status` None as well the request was cut off."""


on_exchange: ContextVar[Callable[[Exchange], None] | None] = ContextVar("on_exchange", default=None)
"""Told of each request as it ends, where somebody wants to know of those of a call (tracing); mostly nobody does.

`connectors.http_client.session.Session` tells it; a connector that brings its own client may do so itself."""


class VaultError(Exception):
    """What was to be kept could not be kept, or not be read: the store is in trouble. The message is for people."""


class Vault(Protocol):
    """Keeps a destination's secrets that change while it is in use and cannot be had again: a rotated refresh token.

    In the store, beside the queue; one destination does not see another's. May be called in parallel.
    """

    async def read(self, name: str) -> str | None:
        """Give what was last written under the name. Raises `VaultError`."""
        ...

    async def write(self, name: str, value: str) -> None:
        """Keep a value; it is on disk when this returns. Raises `VaultError`: then the old value is still kept."""
        ...


@dataclass(frozen=True, slots=True)
class Quota:
    """What a destination has last said is left of one of its allowances.

    While nothing remains, the lane sends nothing before `until`; while no more than `reserve` remains, it sends only
    what has not been tried before, so that retries cannot eat what new leads need.
    """

    name: str
    """Which allowance: a few fixed words, for it is also the label of a metric (`daily`, `10 s`)."""
    limit: int
    remaining: int
    until: float
    """Seconds since the epoch when it is renewed; where that is not known, when it is worth asking again."""
    reserve: int = 0


@dataclass(frozen=True, slots=True)
class Preview:
    """The request that `deliver` would send, with secrets masked."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str


class Severity(StrEnum):
    """How much a finding of a probe matters."""

    ERROR = "error"
    """Leads will not arrive, all of them or some, until somebody changes something."""
    WARNING = "warning"
    """It may work, and is likely not meant; or it does not work for now."""
    NOTE = "note"
    """Nothing is wrong; what the operator should know all the same."""


@dataclass(frozen=True, slots=True, repr=False)
class WantedField:
    """What is known of one mapped field before there is an event."""

    name: str
    """As the destination calls it."""
    always: bool = False
    """Whether no record goes without it: it is required, or has a constant or a default."""
    text: bool = False
    """Whether it is text in every record that has it."""
    longest: int | None = None
    """Characters of its text at most, where the mapping sees to that (a `truncate`, a constant)."""
    values: tuple[Any, ...] = ()
    """Values that it is known to take: its constant, what its lookup gives, its default."""
    closed: bool = False
    """Whether it takes no others than `values`."""


@dataclass(frozen=True, slots=True, repr=False)
class Wanted:
    """What one route is going to ask of the destination."""

    settings: RouteSettings
    """The connector's own settings of the route, an instance of its `route_settings`."""
    fields: tuple[WantedField, ...]
    """The mapped fields, in the order of the configuration."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a probe has found, and what in the configuration it is about."""

    severity: Severity
    message: str
    """What is wrong and what to do about it, in one line without a secret; `no such field (did you mean `phone`?)`."""
    route: int | None = None
    """Index in the `wanted` that the probe was given; None for the destination itself."""
    field: str | None = None
    """With `route`: the field. One that the route does not map may be named too: it is what is missing."""
    setting: tuple[str | int, ...] = ()
    """The setting that is to blame, as keys and list indexes, of the route if there is one, else of the destination."""


@dataclass(frozen=True, slots=True)
class Filed:
    """A record that the destination has been given, as it is asked for again."""

    remote_id: str
    """The id that the destination gave it (`Delivered.remote_id`)."""
    route: RouteSettings
    """The connector's own settings of the route, an instance of its `route_settings`."""


class Connector(ABC):
    """Speaks one API for one destination.

    Made once per destination when the configuration goes live, used by its lane, closed once when it goes away. Of a
    destination that is split into shards, all lanes that a process works use it, and other processes have theirs.
    The constructor does no I/O and raises `SettingError` for what the settings' own types cannot check, so that a
    configuration is checked by making its connectors. Several of them go in an `ExceptionGroup`, and all are shown.
    """

    destination_settings: ClassVar[type[DestinationSettings]]
    route_settings: ClassVar[type[RouteSettings]] = RouteSettings
    max_batch: ClassVar[int] = 1
    """The most records that the API takes in one call; the configuration may ask for less."""
    rate_limit: ClassVar[tuple[int, float] | None] = None
    """Requests, and the seconds in which so many are allowed: what every account of this API has, unless the
    configuration says otherwise. None where there is no such limit, or none that is known."""

    @abstractmethod
    def __init__(self, settings: Any, context: Context) -> None:  # noqa: ANN401 - each connector names its own model
        ...

    def open(self, vault: Vault) -> None:  # noqa: B027 - most connectors keep nothing
        """Take the place where changing secrets are kept.

        Called before the first `deliver` or `probe`, and again when a lane begins, perhaps while others deliver.
        """

    def quotas(self) -> Sequence[Quota]:
        """Give what the destination has last said is left of its allowances; nothing where it says nothing.

        Called after each `deliver` and by whoever shows the destination, so it only tells what is known.
        """
        return ()

    def check_route(self, settings: Any, fields: Sequence[str]) -> None:  # noqa: ANN401, B027 - its own route model
        """Raise `SettingError` for what the types of a route's settings cannot check, such as a template in them.

        `fields` are the names that the route maps, in order. A path that begins with `fields` leads to one of them.

        Called for each route to the destination when a configuration is checked, and before the first record of the
        route. Like the constructor it does no I/O, and may raise several in an `ExceptionGroup`.
        """

    def batches(self) -> bool:
        """Whether `deliver` may be given more than one record, under these settings."""
        return self.max_batch > 1

    def batch_group(self, record: Record) -> Hashable:  # noqa: ARG002 - most connectors have one group
        """Only records of an equal group share a call (the object they are bound for)."""
        return None

    def batch_key(self, record: Record) -> Hashable:
        """Two records with an equal key never share a call (they would write the same thing)."""
        return record.id

    @abstractmethod
    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records in one call, and say of each, in the order given, what came of it.

        Called up to `concurrency` times in parallel, never twice at once with the same record or the same contact.
        May be cancelled at any await (time-out, stop): the records then count as of unknown outcome and come again,
        so what cannot be written twice must be looked up first, or remembered through `memo`.
        Failures are outcomes, not exceptions; an exception that escapes is taken as `Retry` with
        `Reason.CONNECTOR_ERROR`, and so is an answer of another length.
        """

    @abstractmethod
    def preview(self, records: Sequence[Record]) -> Preview:
        """Show the request that `deliver` would send, without sending it. Secrets are masked."""

    async def probe(self, wanted: Sequence[Wanted]) -> Sequence[Finding]:  # noqa: ARG002 - nobody is asked here
        """Ask the destination whether it would take what its routes are going to send.

        That is whether it is there and takes the credentials, and whether it knows the fields: their names, types,
        lengths and allowed values, whether they can be written, and which others it requires. No finding at all says
        that all of this is well; a probe that cannot tell some of it says so in a `Severity.NOTE`.

        Called for `leadbridge check --online` only, once and before anything else, in a process that delivers
        nothing. It must not write: only requests that cannot change anything may be sent, in no way that leads are.
        It is cut off after `Context.timeout` seconds, all its calls together. What goes wrong on the way is a
        finding, not an exception; of one that escapes only the type is shown.

        Args:
            wanted: What each route to this destination is going to send, those of all chatbots.
        """
        return (Finding(Severity.NOTE, "not asked: its connector has no probe"),)

    async def holds(self, filed: Sequence[Filed]) -> Sequence[bool | None]:
        """Ask the destination whether it still has records, and say so of each, in the order given.

        False only where its answer says that there is no such record; None where it cannot be told.

        Called for `leadbridge reconcile --online` and for the same question on the dashboard, one call at a time with
        at most 100 records; there beside `deliver`, and perhaps while `close` is called. It must not write. It is cut
        off after `Context.timeout` seconds; an exception counts as None for all of them.
        """
        return [None] * len(filed)

    @abstractmethod
    async def close(self) -> None:
        """Give back connections. A second time does nothing.

        Called once, after the last other call has ended, but for a `holds` that may be under way: it may fail then.
        """
