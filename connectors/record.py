"""The record that a connector is asked to write, and the choice of the fields that are written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

ValueT = TypeVar("ValueT")


class RouteSettings(BaseModel):
    """Settings of a connector for a route."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True, repr=False)
class WrittenRecord:
    """What an earlier delivery of a contact has left at a destination."""

    remote_id: str | None
    """Record ID at the destination (`Delivered.remote_id`)."""
    memo: Mapping[str, str] = field(default_factory=dict)
    """Memo of its last outcome."""


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """One event under the mapping of one route, to be written by a connector."""

    id: str
    """Idempotency key: the same on every attempt of this delivery, and different for every other delivery."""
    fields: Mapping[str, Any]
    """Mapped fields by the names of the destination, in the order of the configuration, without empty ones."""
    event: Mapping[str, Any]
    """Event fields by the sender's names (`Email`, ...), plus `event` (`id`, `received_at`) and `chatbot`."""
    payload: bytes
    """The event as JSON, as it was received."""
    route: RouteSettings
    """Route settings of the connector, an instance of its `route_settings`."""
    memo: Mapping[str, str] = field(default_factory=dict)
    """Values that the outcomes of earlier attempts kept, such as ids of objects created on the way. They let an attempt
    after a crash or a lost answer avoid creating them twice."""
    is_repeat: bool = False
    """True if an attempt of this delivery has ended before: this is a retry, or a replay by an operator. False proves
    nothing about the destination, because the process may have been killed after it wrote the record."""
    create_only: frozenset[str] = frozenset()
    """Names of the fields that are written only if this write creates the record (`write: create`)."""
    if_empty: frozenset[str] = frozenset()
    """Names of the fields that are written only where the destination holds no value (`write: if_empty`)."""
    written: WrittenRecord | None = None
    """The last write for the same contact at this destination, for a connector with `uses_written`. Read the record by
    its id, and take it only if it still has the lead's e-mail or phone: it may have been deleted or changed, the
    destination may have another account now, and another route writes other objects."""

    def __repr__(self) -> str:
        """Return the record's id without any of its values, because a repr ends up in logs."""
        return f"Record(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class RemoteRecord:
    """A record that was delivered, for a later check that the destination still has it."""

    remote_id: str
    """Record ID at the destination (`Delivered.remote_id`)."""
    route: RouteSettings
    """Route settings of the connector, an instance of its `route_settings`."""


def writable_fields(
    fields: Mapping[str, ValueT],
    held: Mapping[str, object] | None,
    *,
    create_only: frozenset[str] = frozenset(),
    if_empty: frozenset[str] = frozenset(),
) -> dict[str, ValueT]:
    """Return the fields that a write may set.

    A connector calls this after it has read the existing record. A CRM has no conditional write, so a change between
    the read and the write is not seen.

    Args:
        fields: Fields of the record in the connector's form, by name.
        held: Values of the existing record, by name; None for a record that does not exist.
        create_only: Names of the fields for a new record only (`Record.create_only`).
        if_empty: Names of the fields for a new record, or one without a value for them (`Record.if_empty`).
    """
    if held is None:
        return dict(fields)
    return {
        name: value
        for name, value in fields.items()
        if name not in create_only and not (name in if_empty and is_filled(held.get(name)))
    }


def is_filled(value: object) -> bool:
    """Return True if a destination's value counts as one. 0 and false do; white space and an empty list do not."""
    return bool(value.strip()) if isinstance(value, str) else value is not None and value not in ([], {})


def is_other_person(stronger: object, held: Iterable[object]) -> bool:
    """Return True if a record that was found by a weaker key (a phone) belongs to somebody else.

    Families and reception desks share phones, so an e-mail that differs counts more than a phone that does not. Where
    either side has no e-mail, the phone decides. A connector never changes the record of another person.

    Args:
        stronger: Value of the stronger key in the lead, such as its e-mail.
        held: All values of that key in the found record.
    """
    wanted = str(stronger or "").strip().casefold()
    known = {str(each or "").strip().casefold() for each in held} - {""}
    return bool(wanted and known) and wanted not in known


class Blame(StrEnum):
    """The cause of a failure. The bridge reacts to it, never to a status code.

    `RECORD`: this record only. Other records of the destination continue.
    `BATCH`: the call was refused as a whole because of a record that the answer does not name. The bridge splits the
    batch until that record stands alone. For a call of one record it means `RECORD`.
    `UNCLEAR`: a fault that may lie on either side (a 5xx, a time-out). Several in a row pause the lane.
    `DESTINATION`: the account, its credentials, its quota or its network. The lane pauses, and no delivery spends an
    attempt on it. If only one record fails so again and again, while others are delivered, the bridge blames it.
    """

    RECORD = "record"
    BATCH = "batch"
    UNCLEAR = "unclear"
    DESTINATION = "destination"


class Reason(StrEnum):
    """The reason why a record was not delivered. The list is closed because each reason is also a metric label."""

    BAD_ANSWER = "bad_answer"
    """The answer cannot be read, or does not account for the record."""
    CONFLICT = "conflict"
    """Another write is in progress, or the record exists and could not be updated."""
    CONNECTOR_ERROR = "connector_error"
    """The connector itself failed: it raised an exception, or returned a list of the wrong length."""
    FORBIDDEN = "forbidden"
    """The credentials are valid but do not permit the request."""
    GONE = "gone"
    """The address was retired (410)."""
    MAPPING = "mapping"
    """The mapping could not produce a record: a required field is empty, or a template failed."""
    NOT_FOUND = "not_found"
    """The address, or an object that the record refers to, does not exist."""
    RATE_LIMITED = "rate_limited"
    """Too many requests at the moment, or the quota is used up."""
    REDIRECT = "redirect"
    """The destination redirects. Redirects are never followed, because most turn a POST into a GET."""
    REFUSED = "refused"
    """The destination refused the record itself (a wrong or missing value)."""
    SERVER_ERROR = "server_error"
    """The destination failed (5xx)."""
    TIMEOUT = "timeout"
    """No complete answer in time. The record may or may not have been written."""
    TOO_LARGE = "too_large"
    """The request or the answer is larger than allowed."""
    UNAUTHORIZED = "unauthorized"
    """The credentials were refused."""
    UNREACHABLE = "unreachable"
    """No connection: name, network, TLS, or a forbidden address."""
    UNROUTED = "unrouted"
    """The configuration no longer has the route or destination of the delivery."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A record that the destination has. Returned only if its answer accounts for this very record."""

    remote_id: str | None = None
    """Record ID at the destination."""
    remote_url: str | None = None
    """Link to the record, for people."""
    warning: str | None = None
    """Note for the operator about a partial success (an optional field was left out)."""
    status: int | None = None
    """HTTP status of the call."""
    memo: Mapping[str, str] = field(default_factory=dict)
    """Values that later attempts and replays receive; see `Record.memo`."""
    left_out: tuple[str, ...] = ()
    """With a warning: names of the record's fields that were left out. They are counted, so they hold no value."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A record that was not delivered, or whose outcome is unknown. The bridge tries it again later."""

    reason: Reason
    detail: str
    """One line for the operator, without secrets; values of the record only where the destination quotes them."""
    blame: Blame = Blame.UNCLEAR
    after: float | None = None
    """Seconds that the destination asked to wait, not capped; None if it did not say."""
    status: int | None = None
    memo: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was refused for good. Another attempt cannot succeed until somebody changes something."""

    reason: Reason
    detail: str
    blame: Blame = Blame.RECORD
    """`RECORD` or `BATCH`."""
    status: int | None = None
    memo: Mapping[str, str] = field(default_factory=dict)


Outcome = Delivered | Retry | Rejected
