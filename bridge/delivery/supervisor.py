"""Supervisor of the lanes of this process: takes their leases, renews them, and gives them up.

A lane is owned through a lease in the store, for `LEASE_SECONDS`. A process that takes a lane over raises the lane's
fence, and a settlement under an older fence is refused. So a process that was suspended cannot settle deliveries that
its successor works.

If several processes serve one store, each works its share (`shares`). A lane that belongs to another process's share
is given up when its calls under way are settled, so no call is made twice. A lane whose owner died or cannot reach the
store is taken over at the end of the lease.

A lane that fails begins anew from the store, at growing intervals. So do all lanes, at once, if the clock jumps.
"""

import asyncio
import contextlib
import heapq
import math
import os
import random
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog

from bridge.config.model import Chatbot, Config, Destination
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.clock import DeliveryClock
from bridge.delivery.lane import Lane, LaneContext
from bridge.delivery.rate_limit import Pace
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Lease, Store

LEASE_SECONDS = 6.0
FIRST_FENCE = 1
"""Fence of a lane that nobody has owned before."""
RENEW_SECONDS = 2.0
"""Seconds between two claims: three tries to renew before a lease is over."""
TICK_SECONDS = 0.05
"""Seconds between the end of another process's lease and the claim that follows."""
FAULTS_LIMIT = 3
"""Number of faults in a row from which a lane counts as failing."""
CALM_SECONDS = 60.0
"""Seconds of running after which earlier faults no longer count."""
FIRST_REST = 1.0
LONGEST_REST = 60.0
"""Seconds from a fault until the lane begins again: doubled each time, up to the longest."""

log = structlog.get_logger()


class RunningLane(NamedTuple):
    """A lane that this process works."""

    lane: Lane
    task: asyncio.Task[None]
    begun_at: float
    """The loop's time."""


@dataclass(frozen=True, slots=True)
class _Faults:
    """Faults in a row of one lane."""

    count: int
    rests_until: float
    """Time at which the lane may begin again, in the loop's time."""


@dataclass(frozen=True, slots=True)
class LaneClaims:
    """Lanes of this process and of the others, as of one round of claims."""

    share: frozenset[str] = frozenset()
    """Lanes that this process is to work."""
    leases: Mapping[str, Lease] = field(default_factory=dict)
    """Lanes that this process owns: its share, and lanes whose calls are still to be settled."""
    holders: Mapping[str, str] = field(default_factory=dict)
    """By lane: the process that owned it when the round began."""
    released: frozenset[str] = frozenset()
    """Lanes that this process has just given up."""
    next_end: float = math.inf
    """End of the first lease of another process if it is not renewed, in the loop's time."""


class Lanes:
    """Runs the lanes that this process owns."""

    def __init__(
        self, config: Callable[[], Config], store: Store, clock: Callable[[], float], caller: AttemptRunner
    ) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._config = config
        self._store = store
        self._clock = DeliveryClock(clock, asyncio.get_running_loop().time)
        self._configured: Mapping[str, Destination] = config().destinations
        self._running: dict[str, RunningLane] = {}
        self._claim = LaneClaims()
        self._owned_until = math.inf
        """End of this process's leases, in the loop's time, which continues while the process is suspended."""
        self._context = LaneContext(store, self._chatbot, self._clock, caller, random.random, self._owns_lanes)
        self._faults: dict[str, _Faults] = {}
        """Faults in a row by lane, until the lane has run calmly."""
        self._seen_owned: dict[str, float] = {}
        """By lane: when it had an owner last, in the loop's time."""
        self._worked: set[str] = set()
        """Lanes that this process has worked at any time."""
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._wake = asyncio.Event()

    @property
    def running(self) -> Mapping[str, Lane]:
        """Lanes that this process works, by name."""
        return {name: each.lane for name, each in self._running.items()}

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """Destinations whose lanes this process works, by name."""
        return {name: each.lane.destination for name, each in self._running.items()}

    def complete(self) -> bool:
        """Return whether all lanes are owned, by this process or by others that serve the same store.

        A lane that one process has given up and another has not taken yet counts as owned for as long as that may
        take.
        """
        since = asyncio.get_running_loop().time() - (LEASE_SECONDS + RENEW_SECONDS)
        return (
            self._owns_lanes()
            and not self.failing()
            and all(
                name in self._claim.leases or self._seen_owned.get(name, -math.inf) >= since
                for name in self._config().destinations
            )
        )

    def clock_moved(self) -> float:
        """Return by how many seconds the machine's clock was set forward since the process began, if by many."""
        return self._clock.machine_moved()

    def failing(self) -> frozenset[str]:
        """Return the lanes of this process that fail again and again."""
        return frozenset(name for name in self._claim.share if self._fault(name).count >= FAULTS_LIMIT)

    def wake(self, destinations: frozenset[str]) -> None:
        """Wake the lanes of destinations for which deliveries have been committed (`Store.on_accepted`)."""
        for name in destinations & self._running.keys():
            self._running[name].lane.wake()

    def change(self) -> None:
        """Let all lanes read the store anew, because another process changed something (`Store.on_changed`)."""
        for each in self._running.values():
            each.lane.change()

    async def run(self) -> None:
        """Own lanes until `stop`. Return when the calls under way are settled and the connectors closed."""
        while not (self._stopping and not self._running):
            self._wake.clear()
            await self._renew()
            with contextlib.suppress(TimeoutError):
                # If another process has died, the next claim follows at the very end of its leases.
                until_end = self._claim.next_end - asyncio.get_running_loop().time()
                async with asyncio.timeout(min(RENEW_SECONDS, until_end + TICK_SECONDS)):
                    await self._wake.wait()
        for destination in self._config().destinations.values():
            self._close(destination)
        await asyncio.gather(*self._closing, return_exceptions=True)
        try:
            await self._store.release(self.owner)
        except StoreUnavailableError as error:
            log.warning("leases_not_released", error=str(error))

    def stop(self) -> None:
        """Begin no more calls."""
        self._stopping = True
        for each in self._running.values():
            each.lane.stop()
        self._wake.set()

    def reconfigure(self) -> None:
        """Take over a changed configuration. A destination that has changed ends its calls and begins anew."""
        destinations = self._config().destinations
        for name, destination in self._configured.items():
            running = self._running.get(name)
            is_worked = running is not None and running.lane.destination is destination
            if destinations.get(name) is not destination and not is_worked:
                # No lane closes this connector at its end, and it may have been used all the same.
                self._close(destination)
        self._configured = destinations
        for name, each in self._running.items():
            if destinations.get(name) is each.lane.destination:
                # Deliveries that are mapped already were mapped with the old settings.
                each.lane.change()
            else:
                each.lane.stop()
        self._wake.set()

    # -- leases

    async def _renew(self) -> None:
        """Claim the lanes of this process, stop lanes that it no longer has, and begin new ones."""
        names = [] if self._stopping else list(self._config().destinations)
        asked_at = asyncio.get_running_loop().time()
        for name, each in self._running.items():
            if asked_at - each.begun_at >= CALM_SECONDS:
                self._faults.pop(name, None)
        try:
            await self._claim_share(names, asked_at)
        except StoreUnavailableError as error:
            # The lanes continue: their settlements are refused if another process takes them over meanwhile.
            log.warning("leases_not_renewed", error=str(error))
            self._claim = replace(self._claim, next_end=math.inf)
            return
        self._seen_owned |= dict.fromkeys([*self._claim.holders, *self._claim.released], asked_at)
        if not self._owns_lanes():
            log.warning("leases_over", lanes=len(self._running))
            self.change()
        self._owned_until = asked_at + LEASE_SECONDS
        for name, each in self._running.items():
            # Another process may have had the lane meanwhile, so its lease must be the same one.
            if self._claim.leases.get(name) != each.lane.lease or name not in self._claim.share:
                each.lane.stop()
        if not self._stopping:
            self._begin_missing(asked_at)

    async def _claim_share(self, names: Sequence[str], asked_at: float) -> None:
        """Announce the lanes that this process is configured to work, and claim those of its share.

        Raises StoreUnavailableError.
        """
        membership = await self._store.heartbeat(self.owner, names, self._clock.machine(), LEASE_SECONDS)
        if self._clock.follow(membership.now, asked_at):
            log.warning("clock_jumped", lanes=len(self._running))
            # What they wait for is by the clock as it was.
            for each in self._running.values():
                each.lane.stop()
        share = shares(membership.candidates, membership.holders).get(self.owner, frozenset())
        # A lane that is being stopped is kept until its calls are settled.
        kept = share | self._running.keys()
        released = frozenset(self._claim.leases.keys() - kept)
        if released:
            await self._store.release(self.owner, sorted(released))
        leases = await self._store.claim(self.owner, sorted(kept), self._clock.machine(), LEASE_SECONDS)
        self._claim = LaneClaims(share, leases, membership.holders, released, asked_at + membership.next_expiry)

    def _owns_lanes(self) -> bool:
        """Return whether the leases last. Others take the lanes afterwards only if processes share the store."""
        return not self._store.shared or asyncio.get_running_loop().time() < self._owned_until

    # -- lanes

    def _begin_missing(self, now: float) -> None:
        # The configuration is read again: it may have been replaced during the claim, and connectors closed with it.
        for name, destination in self._config().destinations.items():
            is_mine = name in self._claim.leases and name in self._claim.share
            if is_mine and name not in self._running and now >= self._fault(name).rests_until:
                self._begin(destination, self._claim.leases[name])

    def _begin(self, destination: Destination, lease: Lease) -> None:
        name, loop = destination.name, asyncio.get_running_loop()
        lane = Lane(destination, lease, self._context)
        is_first = lease.fence == FIRST_FENCE and name not in self._worked
        self._worked.add(name)
        task = loop.create_task(_work(lane, destination.pace, first=is_first), name=f"lane {name}")
        self._running[name] = RunningLane(lane, task, loop.time())
        task.add_done_callback(lambda _: self._ended(name))

    def _ended(self, name: str) -> None:
        """Remove a lane that was stopped, lost its lease or failed. The next claim may begin it anew."""
        lane, task, begun_at = self._running.pop(name)
        if not task.cancelled() and (error := task.exception()):
            self._failed(name, begun_at, error)
        if self._config().destinations.get(name) is not lane.destination:
            self._close(lane.destination)
        # A new lane, another process or the end of this one may wait for it.
        self._wake.set()

    def _failed(self, name: str, begun_at: float, error: BaseException) -> None:
        now = asyncio.get_running_loop().time()
        count = self._fault(name).count + 1 if now - begun_at < CALM_SECONDS else 1
        self._faults[name] = _Faults(count, now + min(FIRST_REST * 2.0 ** (count - 1), LONGEST_REST))
        log.error("lane_fault", destination=name, lane=name, in_a_row=count, exc_info=error)

    def _fault(self, name: str) -> _Faults:
        return self._faults.get(name, _Faults(0, -math.inf))

    def _close(self, destination: Destination) -> None:
        task = asyncio.get_running_loop().create_task(destination.connector.close())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("connector_not_closed", exc_info=error)

    def _chatbot(self, name: str) -> Chatbot | None:
        return self._config().chatbots.get(name)


async def _work(lane: Lane, pace: Pace | None, *, first: bool) -> None:
    """Work a lane. Unless it is worked for the `first` time, its rate limit may be used up at this moment."""
    if pace and not first:
        await pace.spend()
    await lane.run()


def shares(wanted: Mapping[str, frozenset[str]], holders: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Assign each lane to one process, as equally as the processes' configurations allow. Pure.

    Every process computes it from the same values, and comes to the same result, so none has to be asked. A difference
    of a moment does no harm: a process takes a lane only when the lane is free.

    Args:
        wanted: By process, the lanes that it is configured to work. They differ while a configuration is rolled out.
        holders: By lane, the process that works it now. It keeps the lane unless it has more than its share, or is
            leaving.
    """
    given: dict[str, set[str]] = {process: set() for process in sorted(wanted)}
    free = []
    for lane in sorted(frozenset[str]().union(*wanted.values())):
        holder = holders.get(lane)
        if holder in given and lane in wanted[holder]:
            given[holder].add(lane)
        else:
            free.append(lane)
    for lane in free:
        willing = [process for process in given if lane in wanted[process]]
        given[min(willing, key=lambda process: len(given[process]))].add(lane)
    while _even_out(given, wanted):
        pass
    return {process: frozenset(lanes) for process, lanes in given.items()}


def _even_out(given: Mapping[str, set[str]], wanted: Mapping[str, frozenset[str]]) -> bool:
    """Move lanes from a process that has many to one that has at least two fewer; False if there is none to move.

    Many lanes go at once, as long as neither of the two passes the average: moving thousands of them one by one would
    hold up the process for seconds.
    """
    by_count = sorted(given, key=lambda process: len(given[process]))
    average = sum(map(len, given.values())) / max(len(given), 1)
    for giver in reversed(by_count):
        for taker in by_count:
            if len(given[giver]) - len(given[taker]) < 2:  # noqa: PLR2004 - one fewer is equal enough
                break
            if lanes := given[giver] & wanted[taker]:
                count = min(len(given[giver]) - math.ceil(average), math.floor(average) - len(given[taker]))
                moved = heapq.nlargest(max(count, 1), lanes)
                given[giver].difference_update(moved)
                given[taker].update(moved)
                return True
    return False
