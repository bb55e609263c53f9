"""The interface of the store for the receiver and the lanes, and its values.

Every change is one transaction, which other waiting changes may share. The call returns after the commit, or raises
with nothing changed. A crash therefore leaves the whole change or nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from bridge.event import Event, Room
from bridge.identity import Identity
from bridge.operations.audit import Entry
from connectors.base import Reason, WrittenRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

PAGE = 100
"""Rows of a page by default."""


class DeliveryState(StrEnum):
    """State of a delivery. Only `PENDING` is in the queue."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """A dead letter: given up with a reason; an operator may replay or discard it."""
    DISCARDED = "discarded"


class NewDelivery(NamedTuple):
    """A delivery that an event gets when it is accepted."""

    route: str
    destination: str
    problem: str | None = None
    """Set if the delivery cannot be made (its `when` failed). It is then stored as a dead letter with this detail."""


class RoutedEvent(NamedTuple):
    """An event with the deliveries that its routes make: the argument of `Store.accept`."""

    event: Event
    deliveries: tuple[NewDelivery, ...] = ()


class Due(NamedTuple):
    """The part of a pending delivery that a lane needs to decide the order."""

    id: int
    contact: int
    due_at: float
    failures: int
    attempts: int = 0


class Delivery(NamedTuple):
    """A pending delivery with its event: everything that an attempt needs.

    The values of each attempt are tuples, as those of each request are (`bridge.event.Event`).
    """

    id: int
    event_id: str
    chatbot: str
    payload: bytes
    received_at: float
    route: str
    attempts: int
    failures: int
    failing_since: float | None
    memo: Mapping[str, str]
    verified_by: tuple[str, ...] = ()
    """See `bridge.event.Event`."""
    written: WrittenRecord | None = None
    """See `connectors.base.Record`; only for a connector that uses it."""

    def __repr__(self) -> str:
        """Return the id and the route, without a value of the event."""
        return f"Delivery(id={self.id}, route={self.route!r})"


class Attempt(NamedTuple):
    """One attempt of a delivery, as it is stored."""

    number: int
    started_at: float
    duration: float
    outcome: str
    """`delivered`, `retry` or `rejected`."""
    reason: Reason | None
    status: int | None
    detail: str | None
    exchange: str | None = None
    """Requests and answers of the call, as JSON (`bridge.delivery.exchanges`)."""


class Settlement(NamedTuple):
    """The new state of a delivery after an attempt, and the attempt if there was one."""

    delivery: int
    event_id: str
    route: str
    """The route of the attempt. If the delivery was moved to another route meanwhile, nothing is written."""
    chatbot: str
    received_at: float
    """Receipt of the event, which the tally counts from."""
    state: DeliveryState
    due_at: float | None
    attempts: int
    failures: int
    failing_since: float | None
    settled_at: float | None
    reason: Reason | None = None
    detail: str | None = None
    warning: str | None = None
    remote_id: str | None = None
    remote_url: str | None = None
    memo: Mapping[str, str] = MappingProxyType({})
    attempt: Attempt | None = None
    """None if no call was made: the mapping failed, or the route is gone."""

    def with_exchange(self, exchange: str | None) -> "Settlement":
        """Return the settlement with the requests and answers of its attempt."""
        attempt = self.attempt
        return (
            self if attempt is None or exchange is None else self._replace(attempt=attempt._replace(exchange=exchange))
        )


@dataclass(frozen=True, slots=True)
class Pause:
    """The reason why a lane does not deliver."""

    by: str
    """`operator` (until it is resumed) or `lane` (until `until`, then it probes)."""
    reason: str
    detail: str | None = None
    until: float | None = None
    since: float | None = None
    """Beginning of the pause; None if it is not known."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work a lane. It is valid until another process raises the fence."""

    lane: str
    fence: int


@dataclass(frozen=True, slots=True)
class Membership:
    """The processes that serve the store at one moment, including this one."""

    candidates: Mapping[str, frozenset[str]]
    """Lanes that each process would work."""
    holders: Mapping[str, str]
    """The process that holds a valid lease, by lane."""
    now: float
    """Time of that moment by the store's clock: the server's, or the caller's if no machine shares the store."""
    next_expiry: float = math.inf
    """Seconds until the first member or lease of another process expires if it is not renewed."""


@dataclass(frozen=True, slots=True, repr=False)
class QuarantinedRequest:
    """A request with a bad signature that names a configured chatbot, or that came while a file was left out."""

    received_at: float
    chatbot: str
    """Name of the chatbot, or of the file that is left out."""
    signature: str
    """The signature header as received, so that it can be verified again after the key is corrected."""
    body: bytes
    room: Room = Room.MISMATCH


class PruneResult(NamedTuple):
    """The result of a step of pruning."""

    after: int | None
    """The `seq` to continue from; None if no older event is left."""
    deleted: int
    """Number of deleted events."""


class Store(Protocol):
    """The durable queue. All calls may be made at any time and in parallel, from the event loop's thread."""

    shared: bool
    """True if other processes may serve the store too."""
    on_accepted: Callable[[frozenset[str]], None]
    """Called after each commit with new deliveries, with their destinations.

    Also called for other processes' commits, and then perhaps twice."""
    on_settled: Callable[[frozenset[str]], None]
    """Called after each commit that settled deliveries, with the ids of their events.

    Not called for other processes' commits. Instead it is called from time to time with the ids that `undelivered` was
    called for."""
    on_changed: Callable[[], None]
    """Called when another process changed something, so everything read before may be out of date."""

    async def accept(self, routed: Sequence[RoutedEvent]) -> list[bool]:
        """Store the events with their deliveries, all or none. Returns True for each new event.

        A known event and its deliveries stay as they are. Raises StoreUnavailableError.
        """
        ...

    async def settle(self, lease: Lease, settlements: Sequence[Settlement]) -> frozenset[int]:
        """Write the outcomes of deliveries. A delivery that is no longer pending keeps its state.

        Returns the deliveries that were not written because another transaction has locked their row or the lane's.
        Settle these again, in a call of their own. All others are written, or none if it raises.
        Raises LeaseLostError if the lane has another owner (not checked if there is nothing to write), and
        StoreUnavailableError if the store cannot commit.
        """
        ...

    async def due(self, lane: str, after: int, limit: int) -> list[Due]:
        """Read the pending deliveries of a lane with ids above `after`, oldest first."""
        ...

    async def read(self, lane: str, ids: Sequence[int]) -> list[Delivery]:
        """Read the deliveries that are still pending, with their events, in order of id.

        If the payloads are large, only the first ones are returned (`driver.READ_BYTES`): call again for the rest.
        Deliveries that an operator has moved to another destination are left out.
        """
        ...

    async def heartbeat(self, owner: str, names: Sequence[str], now: float, ttl: float) -> Membership:
        """Register this process for `ttl` seconds from `now` for these lanes, and return the members.

        If only one process may serve the store, it is the only member.
        """
        ...

    async def claim(self, owner: str, names: Sequence[str], now: float, ttl: float) -> dict[str, Lease]:
        """Take or renew lanes that are free, expired, or the owner's own, each for `ttl` seconds from `now`.

        If several machines share the store, its own clock counts instead of `now`, here and in `heartbeat`.
        """
        ...

    async def release(self, owner: str | None, names: Sequence[str] | None = None) -> None:
        """Release the owner's lanes at once: these, or all lanes and its membership.

        An owner of None stands for all owners, if only this process may serve the store.
        """
        ...

    async def check(self) -> None:
        """Check that the store can commit. Raises StoreUnavailableError."""
        ...

    async def pause(self, lease: Lease, pause: Pause | None, now: float) -> None:
        """Write the lane's own pause, or its end at `now`. An operator's pause is not overwritten."""
        ...

    async def pause_of(self, lane: str) -> Pause | None:
        """Read the pause of a lane; None if it is not paused."""
        ...

    async def undelivered(self, event_ids: Sequence[str]) -> int:
        """Count the deliveries of these events that are not delivered, and the events that are not in the store."""
        ...

    async def identity(self, given: bytes | None) -> Identity:
        """Return the identity of the installation. `given` is `store.identity_key`.

        The first process makes the key. Raises OperatorError if the store is used with another key.
        """
        ...

    async def quarantine(self, request: QuarantinedRequest, identity: Identity) -> bool:
        """Keep a refused request; False if its room is full and it may not take the place of another one.

        The identity makes the digest by which the sender's three tries are one request.
        """
        ...

    async def note(self, entry: Entry, now: float) -> int:
        """Store an entry of the audit log before its action, and return its id.

        If it raises StoreUnavailableError, the action must not be done.
        """
        ...

    async def query(self, function: Callable[["Connection"], T]) -> T:
        """Run a query for which nothing above is meant, with the connection of a reader."""
        ...

    async def change(self, function: Callable[["Connection"], T]) -> T:
        """Run a change for which nothing above is meant, in a transaction of its own between those of the traffic."""
        ...

    async def newest_receipt(self, now: float) -> float | None:
        """Return the receipt of the newest event that is not in the future; None without one.

        `now` counts where the store has no clock of its own.
        """
        ...

    async def close(self) -> None:
        """Commit waiting changes, then close. Later calls raise StoreUnavailableError."""
        ...
