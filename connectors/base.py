"""The contract between the bridge and a connector.

A connector only classifies. For each record it returns an outcome (`Delivered`, `Retry`, `Rejected`), and for a failure
it names who is to blame (`Blame`). The bridge alone decides when to retry, when to pause and when to give up, in the
same way for all connectors.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum
from inspect import getfile
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from opentelemetry.trace import NoOpTracer, Tracer
from pydantic import BaseModel, ConfigDict

from connectors.exchange import Exchange, ExchangeItems, ExchangeLog, ExchangeRecorder, exchange_items, exchange_log
from connectors.record import (
    Blame,
    Delivered,
    Outcome,
    Reason,
    Record,
    Rejected,
    RemoteRecord,
    Retry,
    RouteSettings,
    WrittenRecord,
)

ResultT = TypeVar("ResultT")
STAND_IN = "not-set-see-"
"""Beginning of the text that `leadbridge init` writes in place of a variable that is not set yet. A connector that
checks the form of a setting takes it, so that a new configuration passes `check`."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?(ms|s|m|h|d)", re.ASCII)
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

__all__ = [
    "STAND_IN",
    "Blame",
    "Connector",
    "Context",
    "Delivered",
    "DestinationSettings",
    "Exchange",
    "ExchangeItems",
    "ExchangeLog",
    "ExchangeRecorder",
    "ExpressionError",
    "Expressions",
    "Finding",
    "MappedField",
    "MappedRoute",
    "Offload",
    "Outcome",
    "Preview",
    "Quota",
    "Reason",
    "Record",
    "Rejected",
    "RemoteRecord",
    "Retry",
    "RouteSettings",
    "SettingError",
    "Severity",
    "Vault",
    "VaultError",
    "WrittenRecord",
    "exchange_items",
    "exchange_log",
    "parse_duration",
    "parse_size",
    "read_appointment_start",
    "request_tracer",
    "run_inline",
]


def parse_duration(text: object) -> float:
    """Return a duration such as `500ms`, `30s`, `5m`, `12h`, `30d` in seconds. 0 needs no unit. Raises ValueError."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match:
        return float(match[1]) * _SECONDS[match[2]]
    if text == 0 and not isinstance(text, bool):
        return 0.0
    raise ValueError("must be a duration such as 30s, 5m, 12h or 30d")


def parse_size(text: object) -> int:
    """Return a size such as `512B`, `256KiB`, `1MiB`, `1GiB` in bytes. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9}) ?(B|KiB|MiB|GiB)", text) if isinstance(text, str) else None
    if not match or not int(match[1]):
        raise ValueError("must be a size such as 256KiB or 1MiB")
    return int(match[1]) * _BYTES[match[2]]


class DestinationSettings(BaseModel):
    """Settings of a connector for a destination. Secrets are `SecretStr`; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ExpressionError(ValueError):
    """A template or expression that cannot be compiled, or that failed on its values."""

    def __init__(self, message: str, line: int = 1, column: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        """Line inside the text of the expression, from 1."""
        self.column = column
        """Column in that line, from 1; None if unknown."""


class Expressions(Protocol):
    """Compiler of the configuration's expressions, all in one language (Jinja, sandboxed, strict).

    `names` are the variables that the text may use; any other name is an error. None allows every name, for expressions
    over an answer whose shape only the destination knows.
    """

    def template(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], str]:
        """Compile a text with `{{ }}`. Both this method and the returned function raise `ExpressionError`."""
        ...

    def expression(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], Any]:
        """Compile a bare expression. A name without a value is empty. Raises as `template` does."""
        ...


class SettingError(Exception):
    """A setting that the connector cannot use."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(path, message)
        self.path = path
        """Path from the destination to the setting, as keys and list indexes."""
        self.message = message
        """The problem and how to correct it, without secrets."""


class Offload(Protocol):
    """Runner of work on a lead's values that must not delay other leads: in a thread, if it takes long."""

    async def __call__(self, make: Callable[[], ResultT]) -> ResultT:
        """Return the result of `make`, or raise its error. `make` may run twice, so it must not change anything."""
        ...


def read_appointment_start(text: str, created: datetime | None, zone: tzinfo | None) -> datetime | None:
    """Return the start that an appointment's text states beyond doubt, in UTC, else None.

    See `connectors.appointments.start_of`. The bridge's transform `appointment_start` uses it too, so that a field and
    an event in the CRM never have different times.
    """
    from connectors.appointments import start_of  # noqa: PLC0415 - its patterns take 20 ms that few need

    return start_of(text, created, zone)


async def run_inline(make: Callable[[], ResultT]) -> ResultT:
    """Run the work in the event loop, for a connector outside the bridge."""
    return make()


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a connector receives besides its settings."""

    destination: str
    """Name of the destination, for logs."""
    expressions: Expressions
    event_names: frozenset[str]
    """Names that a template over an event may use: the keys of `Record.event`."""
    timeout: float
    """Seconds that one `deliver` may take. After that the bridge cancels it."""
    concurrency: int
    """Maximum number of parallel `deliver` calls, and so of connections worth keeping."""
    now: Callable[[], float]
    """Seconds since the epoch."""
    pace: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """Context manager to enter before each request and to leave after its answer: `async with context.pace():`. An
    exception raised inside means that the request was not answered. Entering waits until the rate limit of the
    destination permits another request. The lane has already waited for the first request of each `deliver`, and
    `pace` takes that into account. `http_client.session.HttpSession` does this for every request; a connector with its
    own client must do it itself."""
    offload: Offload = run_inline
    """Runs work on a lead's values that may take long, such as a template: `await context.offload(make)`."""


_NO_TRACER = NoOpTracer()

request_tracer: ContextVar[Tracer] = ContextVar("request_tracer", default=_NO_TRACER)
"""Tracer for the requests of the attempt under way, whose span is the current one of OpenTelemetry's context. Without
tracing its spans do nothing. `connectors.http_client.session.HttpSession` uses it; a connector with its own client may
use it too. No attribute may hold a value of a lead, such as an id in a path."""


class VaultError(Exception):
    """A secret could not be stored or read because the store is in trouble. The message is for people."""


class Vault(Protocol):
    """Storage for secrets that change in use and cannot be obtained again, such as a rotated refresh token.

    Secrets are kept in the store beside the queue. A destination cannot see those of another. Calls may run in
    parallel.
    """

    async def read(self, name: str) -> str | None:
        """Return the value last written under the name. Raises `VaultError`."""
        ...

    async def write(self, name: str, value: str) -> None:
        """Store a value, and return once it is on disk. If it raises `VaultError`, the old value is still stored."""
        ...


@dataclass(frozen=True, slots=True)
class Quota:
    """The state of one allowance, as the destination last reported it.

    While nothing remains, the lane sends nothing before `until`. While no more than `reserve` remains, it sends only
    first attempts, so that retries cannot use up what new leads need.
    """

    name: str
    """Name of the allowance, one of a few fixed words because it is also a metric label (`daily`, `10 s`)."""
    limit: int
    remaining: int
    until: float
    """Seconds since the epoch when the allowance is renewed; if that is unknown, when to ask again."""
    reserve: int = 0


@dataclass(frozen=True, slots=True)
class Preview:
    """The request that `deliver` would send, with secrets masked."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str
    why: str = ""
    """Reason for a request that not every record causes, such as `a note, because the route has a remark`."""


class Severity(StrEnum):
    """The importance of a probe's finding."""

    ERROR = "error"
    """Some or all leads will not arrive until somebody changes something."""
    WARNING = "warning"
    """The setting may work but is probably a mistake, or it does not work at the moment."""
    NOTE = "note"
    """Nothing is wrong, but the operator should know it."""


@dataclass(frozen=True, slots=True, repr=False)
class MappedField:
    """Knowledge about one mapped field before there is an event."""

    name: str
    """Name of the field at the destination."""
    always: bool = False
    """True if every record has the field: it is required, or has a constant or a default."""
    text: bool = False
    """True if the field is text in every record that has it."""
    longest: int | None = None
    """Maximum number of characters, if the mapping guarantees one (a `truncate`, a constant)."""
    values: tuple[Any, ...] = ()
    """Values that the field is known to take: its constant, the results of its lookup, its default."""
    closed: bool = False
    """True if the field takes no other value than `values`."""


@dataclass(frozen=True, slots=True, repr=False)
class MappedRoute:
    """Everything that one route will ask of the destination."""

    settings: RouteSettings
    """Route settings of the connector, an instance of its `route_settings`."""
    fields: tuple[MappedField, ...]
    """Mapped fields, in the order of the configuration."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a probe, with the part of the configuration that it concerns."""

    severity: Severity
    message: str
    """The problem and how to fix it, in one line without secrets: `no such field (did you mean `phone`?)`."""
    route: int | None = None
    """Index in the routes passed to `probe`; None for the destination itself."""
    field: str | None = None
    """With `route`: name of the field. A field that the route does not map is named if it is missing."""
    setting: tuple[str | int, ...] = ()
    """Setting at fault, as keys and list indexes: of the route if `route` is set, else of the destination."""


class Connector(ABC):
    """Client of one API for one destination.

    Created once per destination when the configuration goes live, used by its lane, and closed once when the
    destination goes away.
    The constructor does no I/O. It raises `SettingError` for mistakes that the types of the settings cannot catch, so
    that creating the connectors checks a configuration. It raises several of them as an `ExceptionGroup`, and all are
    shown.
    """

    destination_settings: ClassVar[type[DestinationSettings]]
    route_settings: ClassVar[type[RouteSettings]] = RouteSettings
    max_batch: ClassVar[int] = 1
    """Maximum number of records that the API takes in one call; the configuration may lower it."""
    rate_limit: ClassVar[tuple[int, float] | None] = None
    """Number of requests, and the seconds in which they are allowed, for every account of this API. The configuration
    may override it. None if there is no such limit, or none is known."""
    conditional_writes: ClassVar[bool] = False
    """True if `deliver` heeds `Record.create_only` and `Record.if_empty`. `check` refuses such fields otherwise."""
    uses_written: ClassVar[bool] = False
    """True if `deliver` looks at `Record.written`, because a search of this API finds a new record only some seconds
    after its creation. The lane reads the store once more for each batch, and leaves it empty otherwise."""

    @abstractmethod
    def __init__(self, settings: Any, context: Context) -> None: ...

    @classmethod
    def starter(cls) -> str | None:
        """Return the file `starter.yaml` beside the connector's module; None if there is no such file.

        `leadbridge init` begins with it: `destination` (settings, with `${NAME}` for what the user must fill in),
        `route` (settings and fields, with comments) and `expect` (the record of the sample lead, on one line).
        """
        file = Path(getfile(cls)).with_name("starter.yaml")
        return file.read_text("utf-8") if file.exists() else None

    def open(self, vault: Vault) -> None:  # noqa: B027 - most connectors keep nothing
        """Receive the vault, in which secrets that change are stored.

        Called before the first `deliver` or `probe`, and again when a lane begins, perhaps during other deliveries.
        """

    def quotas(self) -> Sequence[Quota]:
        """Return the state of the allowances as the destination last reported it; nothing if it reports none.

        Called after each `deliver` and whenever the destination is displayed, so it must not send a request.
        """
        return ()

    def check_route(self, settings: Any, fields: Sequence[str]) -> None:  # noqa: B027 - its own route model
        """Raise `SettingError` for mistakes that the types of the settings cannot catch, such as a broken template.

        `fields` are the names that the route maps, in order. A path that begins with `fields` leads to one of them.

        Called for each route to the destination when a configuration is checked, and before the first record of the
        route. Like the constructor, it does no I/O and may raise several errors as an `ExceptionGroup`.
        """

    def batches(self) -> bool:
        """Return True if `deliver` may receive more than one record under these settings."""
        return self.max_batch > 1

    def batch_group(self, record: Record) -> Hashable:
        """Return the group of a record. Only records of equal groups share a call (for example, the same object)."""
        return None

    def batch_key(self, record: Record) -> Hashable:
        """Return the identity of a record: records with equal keys never share a call."""
        return record.id

    @abstractmethod
    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Write the records in one call, and return an outcome for each, in the same order.

        Called up to `concurrency` times in parallel, never twice at once with the same record or the same contact. It
        may be cancelled at any await (time-out, stop). The outcome of its records is then unknown and they are
        delivered again, so look up whatever cannot be written twice before creating it, or remember it through `memo`.
        Report failures as outcomes, not as exceptions. An exception that escapes counts as `Retry` with
        `Reason.CONNECTOR_ERROR`, and so does a list of another length.
        """

    @abstractmethod
    def preview(self, records: Sequence[Record]) -> Preview:
        """Return the request that `deliver` would send, without sending it. Secrets are masked."""

    def related_previews(self, record: Record) -> Sequence[Preview]:
        """Return the requests that `deliver` would send after that of `preview`, each with its reason.

        Lookups are left out. An id that only an answer has is a text in brackets. Raises as `preview` does.
        """
        return ()

    async def probe(self, routes: Sequence[MappedRoute]) -> Sequence[Finding]:
        """Ask the destination whether it would accept the records of its routes.

        Check that it is reachable and accepts the credentials, and that it knows the fields: names, types, lengths,
        allowed values, write permission, and which other fields it requires. No findings mean that all of this is well.
        Report anything that cannot be checked as a `Severity.NOTE`.

        Called only for `leadbridge check --online`, once and before anything else, in a process that delivers nothing.
        It must not write: send only requests that cannot change anything, never the kind that writes leads. All its
        calls together are cut off after `Context.timeout` seconds. Report problems as findings, not as exceptions; of
        an exception that escapes, only the type is shown.

        Args:
            routes: Every route to this destination, of all chatbots.
        """
        return (Finding(Severity.NOTE, "not checked online: its connector has no probe"),)

    async def holds(self, records: Sequence[RemoteRecord]) -> Sequence[bool | None]:
        """Ask the destination whether it still has the records, and answer for each, in the same order.

        Return False only if the destination says that the record does not exist, and None if it cannot be determined.

        Called for `leadbridge reconcile --online` and for the same check on the dashboard, one call at a time with at
        most 100 records. On the dashboard it may run beside `deliver`, or while `close` is called. It must not write.
        It is cut off after `Context.timeout` seconds; an exception counts as None for all records.
        """
        return [None] * len(records)

    @abstractmethod
    async def close(self) -> None:
        """Close the connections. A second call does nothing.

        Called once, after all other calls have ended. Only `holds` may still be running; it may then fail.
        """
