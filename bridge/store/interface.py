"""What the receiver and the lanes ask of the store, and the values that pass.

Every call that changes something is in one transaction, which others that wait at that moment may share; it returns
after the commit, or raises with nothing changed. A crash therefore leaves either the whole change or nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from bridge.event import Event, Room
from bridge.identity import Identity
from bridge.operations.audit import Entry
from connectors.base import Reason

PAGE = 100
"""Rows of a page, unless another limit is asked for."""


class DeliveryState(StrEnum):
    """Where a delivery stands. Only `PENDING` is in the queue."""

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
    """Set where the delivery cannot be made (its `when` failed): then it is born a dead letter with this detail."""


class RoutedEvent(NamedTuple):
    """An event with the deliveries that the configuration gives it: what `Store.accept` takes."""

    event: Event
    deliveries: tuple[NewDelivery, ...] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """A pending delivery, as little of it as a lane needs to decide the order."""

    id: int
    contact: int
    due_at: float
    failures: int
    attempts: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Delivery:
    """A pending delivery with its event: all that is needed to try it."""

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

    def __repr__(self) -> str:
        """Name the delivery without a value of its event."""
        return f"Delivery(id={self.id}, route={self.route!r})"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a delivery, as it is kept."""

    number: int
    started_at: float
    duration: float
    outcome: str
    """`delivered`, `retry` or `rejected`."""
    reason: Reason | None
    status: int | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a delivery after an attempt: its new state, and the attempt if there was one."""

    delivery: int
    event_id: str
    route: str
    """The one that it was mapped by: of a delivery that has been moved to another one meanwhile nothing is written."""
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
    memo: Mapping[str, str] = field(default_factory=dict)
    attempt: Attempt | None = None
    """None where no call was made: the mapping failed, or the route is gone."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a lane does not deliver."""

    by: str
    """`operator` (until resumed) or `lane` (until `until`, then it probes)."""
    reason: str
    detail: str | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work a lane. Valid as long as nobody has raised the fence since."""

    lane: str
    fence: int


@dataclass(frozen=True, slots=True)
class Membership:
    """Who serves the store at a moment, this process included."""

    candidates: Mapping[str, frozenset[str]]
    """By process: the lanes that it would work."""
    holders: Mapping[str, str]
    """By lane: the process whose lease of it is not over."""
    next_expiry: float = math.inf
    """Seconds until the first of the others, or of their leases, is over if it is not renewed."""


@dataclass(frozen=True, slots=True, repr=False)
class QuarantinedRequest:
    """A request whose signature did not hold although it names a configured chatbot."""

    received_at: float
    chatbot: str
    signature: str
    """The signature header as it came, so that it can be verified again after the key is corrected."""
    body: bytes
    room: Room = Room.MISMATCH


class PruneResult(NamedTuple):
    """What a step of pruning has done."""

    after: int | None
    """The `seq` to go on from; None at the end of what is old enough."""
    deleted: int
    """So many events."""


class Store(Protocol):
    """The durable queue. All calls may be made at any time and in parallel from the event loop's thread."""

    shared: bool
    """Whether other processes may serve the store too."""
    on_accepted: Callable[[frozenset[str]], None]
    """Called after each commit that brought new deliveries, with the destinations that have some.

    Also for other processes' commits, and then perhaps twice."""
    on_settled: Callable[[frozenset[str]], None]
    """Called after each commit that settled deliveries, with the ids of their events.

    Of other processes' settles nothing is told: then it is called from time to time with the ids of events that
    `undelivered` was asked about."""
    on_changed: Callable[[], None]
    """Called when another process changed something: everything read before may be out of date."""

    async def accept(self, routed: Sequence[RoutedEvent]) -> list[bool]:
        """Keep the events with their deliveries, all or none; say of each whether it is new.

        An event that is there already stays as it is, and its deliveries too. Raises StoreUnavailableError.
        """
        ...

    async def settle(self, lease: Lease, settlements: Sequence[Settlement]) -> frozenset[int]:
        """Write what became of deliveries. One that is not pending any more keeps its state.

        Returns the deliveries of which nothing was written, because somebody else has locked their row or the lane's:
        they are to be settled again, by themselves. All others are written, or none if it raises.
        Raises LeaseLostError if the lane has another owner by now (not looked at where there is nothing to write),
        StoreUnavailableError if it cannot commit.
        """
        ...

    async def due(self, lane: str, after: int, limit: int) -> list[Due]:
        """Read the pending deliveries of a lane with ids above `after`, oldest first."""
        ...

    async def read(self, lane: str, ids: Sequence[int]) -> list[Delivery]:
        """Read those of the deliveries that are still pending, with their events, in order of id.

        Where their payloads are large, only the first ones (`driver.READ_BYTES`): ask for those behind them again.
        Without those that an operator has moved to another destination.
        """
        ...

    async def heartbeat(self, owner: str, names: Sequence[str], now: float, ttl: float) -> Membership:
        """Be known for `ttl` seconds from `now` as a process that would work these lanes; learn who else is there.

        Where this process alone may serve, nobody else is there.
        """
        ...

    async def claim(self, owner: str, names: Sequence[str], now: float, ttl: float) -> dict[str, Lease]:
        """Take or renew the lanes that are free, expired, or the owner's own; each for `ttl` seconds from `now`.

        Where several machines share the store, its own clock counts instead of `now`, here and in `heartbeat`.
        """
        ...

    async def release(self, owner: str | None, names: Sequence[str] | None = None) -> None:
        """Give up the owner's lanes at once, these or all, and with all of them its membership.

        An owner of None stands for everybody, where this process alone may serve.
        """
        ...

    async def check(self) -> None:
        """Make sure that the store can commit. Raises StoreUnavailableError."""
        ...

    async def pause(self, lease: Lease, pause: Pause | None) -> None:
        """Write why the lane has paused, or that it has not. An operator's pause is not overwritten."""
        ...

    async def paused(self, lane: str) -> Pause | None:
        """Read why a lane is paused; None if it is not."""
        ...

    async def undelivered(self, event_ids: Sequence[str]) -> int:
        """Count the deliveries of these events that are not delivered, and the events that are not there."""
        ...

    async def identity(self, given: bytes | None) -> Identity:
        """Return what the ids of the installation are made with; `given` is the configuration's own key.

        The first process of all makes the key. Raises OperatorError if the store is used with another one.
        """
        ...

    async def active(self, chatbots: Sequence[str]) -> frozenset[str]:
        """Return those of the chatbots that have events, among the last ones that are kept."""
        ...

    async def waits(self, chatbot: str, route: str, destination: str) -> bool:
        """Tell whether a delivery of a chatbot is pending on a route to a destination."""
        ...

    async def quarantine(self, request: QuarantinedRequest, identity: Identity) -> bool:
        """Keep a refused request; False if its room is full and it may not take the place of another one.

        The identity makes the digest by which the sender's three tries are one request.
        """
        ...

    async def prune_quarantine(self, before: float) -> bool:
        """Delete the next refused requests that were received before a time; say whether there may be more."""
        ...

    async def prune_tombstones(self, now: float) -> bool:
        """Delete the next tombstones of erased events that are over; say whether there may be more."""
        ...

    async def keep_proofs(self, keys: Mapping[str, bytes], now: float) -> None:
        """Note under which keys (`bridge.ingress.signature.fingerprint`) a signature has held, by chatbot."""
        ...

    async def keep_secret(self, destination: str, name: str, value: str, now: float) -> None:
        """Keep a destination's secret instead of the one kept under this name before."""
        ...

    async def read_secret(self, destination: str, name: str) -> str | None:
        """Read what `keep_secret` has kept; None if nothing."""
        ...

    async def note(self, entry: Entry, now: float) -> int:
        """Keep an entry of the audit log by itself, before what it tells of is done; give its id.

        Raises StoreUnavailableError: then it must not be done.
        """
        ...

    async def prune(self, now: float, delivered: float, dead: float, after: int) -> PruneResult:
        """Delete what is kept no longer among the next events after a `seq`."""
        ...

    async def newest(self, now: float) -> tuple[float, float | None]:
        """Return the store's own time, or `now` if it has none, and when its newest event was received.

        Events from the future are passed over; None if there are no others.
        """
        ...

    async def prune_audit(self, before: float) -> bool:
        """Delete the next entries of the audit log that are older than a time; say whether there may be more."""
        ...

    async def close(self) -> None:
        """Commit what waits, then close. Calls made later raise StoreUnavailableError."""
        ...
