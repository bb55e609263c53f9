"""The outcomes that a connector returns: delivered, to be retried, or rejected, with reason and blame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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
