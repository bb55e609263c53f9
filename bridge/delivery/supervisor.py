"""All lanes of this process: it takes their leases, keeps them, and gives them up.

A lane is owned through a lease in the store, for `LEASE_SECONDS`; whoever takes it over raises the lane's fence, and a
settle under an older fence is refused. So a process that was stopped for a while cannot settle what its successor did.

Where several processes serve one store, each works its share (`delivery.assignment`). A lane that is another process's
share is given up once the calls under way in it are settled, so a lane moves without a call being made twice. Another
process takes a lane over only when its owner has died or cannot reach the store, at the end of the lease.

A lane that fails several times in a row (`delivery.lane_faults`) is left to the other processes: this one does not
announce it. A lane that no process announces is tried again here.
"""

import asyncio
import contextlib
import math
import os
import socket
import uuid
from collections.abc import Callable, Mapping

import structlog

from bridge.clock import SHOWN_SECONDS, LaneClock, steady
from bridge.config.model import Chatbot, Config, Destination
from bridge.delivery.assignment import shares
from bridge.delivery.attempt import Caller
from bridge.delivery.lane import Lane
from bridge.delivery.lane_faults import Faults
from bridge.delivery.rate_limit import Pace
from bridge.errors import StoreUnavailableError
from bridge.mapping.record import LeftOutError
from bridge.store.interface import Lease, Store

LEASE_SECONDS = 6.0
FIRST_FENCE = 1
"""Of a lane that nobody has owned before."""
RENEW_SECONDS = 2.0
"""Three tries to renew before the lease is over, which is when somebody else works a dead process's lanes."""
CLOSE_SECONDS = 5.0
"""How long the connectors may take to close, all together."""
TICK_SECONDS = 0.05
"""How long after the end of a lease one looks at it."""

log = structlog.get_logger()


class Lanes:
    """Runs the lanes that this process owns."""

    def __init__(self, config: Callable[[], Config], store: Store, clock: Callable[[], float], caller: Caller) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._config = config
        self._store = store
        self._clock = clock
        self._steady = steady(clock, asyncio.get_running_loop().time)
        self._caller = caller
        self._configured: Mapping[str, Destination] = config().destinations
        self._lanes: dict[str, Lane] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._leases: dict[str, Lease] = {}
        self._faults = Faults()
        self._began_at: dict[str, float] = {}
        """When each lane that is being worked was begun, in the loop's time."""
        self._changed_lanes: set[str] = set()
        """Lanes whose destinations' settings have changed since they were begun."""
        self._theirs: frozenset[str] = frozenset()
        """The lanes that other processes worked at the last membership."""
        self._begun: set[str] = set()
        """The lanes that this process has worked."""
        self._share: frozenset[str] = frozenset()
        """The lanes that this process is to work."""
        self._elsewhere: dict[str, float] = {}
        """When each lane was last seen in another process's hands, in the loop's time."""
        self._cut_off = False
        """Whether the leases are over and could not be renewed."""
        self._until = math.inf
        """When they are over, in the loop's time."""
        self._over: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._soonest = math.inf
        """In how many seconds the first of the others, or of their leases, is over if it is not renewed."""
        self._stopping = False
        self._wake = asyncio.Event()
        store.on_accepted = self._accepted
        store.on_changed = self._changed

    @property
    def running(self) -> Mapping[str, Lane]:
        """The lanes that are being worked here, by name."""
        return self._lanes

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """The destinations of which a lane is being worked here, by name."""
        return {lane.destination.name: lane.destination for lane in self._lanes.values()}

    def complete(self) -> bool:
        """Whether the lanes of all destinations are owned, by this process or by others that serve the same store.

        A lane that one process has left and another has not taken yet counts as owned as long as that may take.
        """
        since = asyncio.get_running_loop().time() - (LEASE_SECONDS + RENEW_SECONDS)
        return (
            not self._cut_off
            and not self.failing()
            and all(
                name in self._leases or self._elsewhere.get(name, -math.inf) >= since
                for name in self._config().destinations
            )
        )

    def clock_moved(self) -> float:
        """Return by how many seconds the machine's clock was set forward since the process began, if by many."""
        moved = self._clock() - self._steady()
        return moved if abs(moved) >= SHOWN_SECONDS else 0.0

    def failing(self) -> frozenset[str]:
        """Return the destinations whose lanes fail again and again here, and are worked by no other process."""
        return (self._faults.given_up - self._theirs) & self._config().destinations.keys()

    async def run(self) -> None:
        """Own lanes until `stop`.

        Returns when what was on its way is settled, the leases are given up, and the connectors closed. Cancelled, it
        cuts off what is on its way: those deliveries stay pending.
        """
        try:
            await self._run()
        finally:
            for task in (*self._running.values(), *self._closing):
                task.cancel()

    async def _run(self) -> None:
        while not (self._stopping and not self._lanes):
            self._wake.clear()
            await self._claim()
            with contextlib.suppress(TimeoutError):
                # When somebody has died, at the very end of its leases.
                async with asyncio.timeout(min(RENEW_SECONDS, self._soonest + TICK_SECONDS)):
                    await self._wake.wait()
        for destination in self._config().destinations.values():
            self._close(destination)
        if self._closing:
            # A connector may be anybody's code. The others wait for the leases.
            _, late = await asyncio.wait(self._closing, timeout=CLOSE_SECONDS)
            if late:
                log.warning("connectors_not_closed", count=len(late), after=CLOSE_SECONDS)
        if self._over:
            self._over.cancel()
        try:
            await self._store.release(self.owner)
        except StoreUnavailableError as error:
            log.warning("leases_not_released", error=str(error))

    def stop(self) -> None:
        """Begin no more calls."""
        self._stopping = True
        for lane in self._lanes.values():
            lane.stop()
        self._wake.set()

    def reconfigure(self) -> None:
        """Take over a changed configuration: a destination that has changed ends its calls and begins anew."""
        destinations = self._config().destinations
        for name, destination in self._configured.items():
            worked = any(lane.destination is destination for lane in self._lanes.values())
            if destinations.get(name) is not destination and not worked:
                # No lane here closes it in its end, and it may have been asked something all the same.
                self._close(destination)
        self._configured = destinations
        for lane in self._lanes.values():
            if destinations.get(lane.destination.name) is lane.destination:
                # What it has mapped already was mapped as it used to be.
                lane.change()
            else:
                self._changed_lanes.add(lane.name)
                lane.stop()
        self._wake.set()

    async def _claim(self) -> None:
        """Learn which lanes are this process's, and take, renew and give up leases accordingly."""
        names = [] if self._stopping else list(self._config().destinations)
        asked_at = asyncio.get_running_loop().time()
        self._faults.look(self._began_at, asked_at)
        given_up = self._faults.given_up.intersection(names)
        offered = [name for name in names if name not in given_up]
        try:
            membership = await self._store.heartbeat(self.owner, offered, self._clock(), LEASE_SECONDS)
            self._share = shares(membership.candidates, membership.holders).get(self.owner, frozenset())
            left = given_up.difference(*membership.candidates.values())
            self._share |= {name for name in left if not self._faults.rests(name, asked_at)}
            # What is being stopped is kept until its calls are settled.
            keep = self._share | self._lanes.keys()
            if gone := self._leases.keys() - keep:
                await self._store.release(self.owner, sorted(gone))
            leases = await self._store.claim(self.owner, sorted(keep), self._clock(), LEASE_SECONDS)
        except StoreUnavailableError as error:
            # The lanes go on: their settles are refused if somebody else takes them over meanwhile.
            log.warning("leases_not_renewed", error=str(error))
            self._soonest = math.inf
            return
        self._soonest = membership.next_expiry - (asyncio.get_running_loop().time() - asked_at)
        self._leases = leases
        self._theirs = frozenset(lane for lane, holder in membership.holders.items() if holder != self.owner)
        self._elsewhere |= dict.fromkeys([*membership.holders, *gone], asked_at)
        self._last_until(asked_at + LEASE_SECONDS)
        for name, lane in self._lanes.items():
            if name not in leases or name not in self._share:
                lane.stop()
        if self._stopping:
            return
        # As they are now: the configuration may have been replaced during the claim, and connectors closed with it.
        for name, destination in self._config().destinations.items():
            mine = name in leases and name in self._share and name not in self._lanes
            if mine and not self._faults.rests(name, asked_at):
                self._begin(destination, leases[name])

    def _last_until(self, moment: float) -> None:
        """See to it that no call begins after the leases are over, where others may have the lanes then.

        `moment` is in the loop's time, which goes on while the process is stopped.
        """
        self._cut_off = False
        self._until = moment
        if self._over:
            self._over.cancel()
            self._over = None
        if self._store.shared:
            self._over = asyncio.get_running_loop().call_at(moment, self._leases_over)

    def _owns(self) -> bool:
        return not self._store.shared or asyncio.get_running_loop().time() < self._until

    def _leases_over(self) -> None:
        log.warning("leases_over", lanes=len(self._lanes))
        self._cut_off = True
        for lane in self._lanes.values():
            lane.stop()

    def _begin(self, destination: Destination, lease: Lease) -> None:
        lane = Lane(
            destination,
            self._chatbot,
            self._store,
            lease,
            clock=LaneClock(self._clock, self._steady, destination.retry),
            caller=self._caller,
            owned=self._owns,
        )
        if lane.name in self._changed_lanes:
            self._changed_lanes.discard(lane.name)
            lane.probe_at_once()
        self._lanes[lane.name] = lane
        self._began_at[lane.name] = asyncio.get_running_loop().time()
        first = lease.fence == FIRST_FENCE and destination.name not in self._begun
        self._begun.add(destination.name)
        work = _work(lane, destination.pace, first=first)
        task = asyncio.get_running_loop().create_task(work, name=f"lane {lane.name}")
        self._running[lane.name] = task
        task.add_done_callback(lambda done: self._ended(lane, done))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        """A lane has ended: stopped, or lost, or by a fault. The next claim begins it anew if it is still ours."""
        name, destination = lane.name, lane.destination
        del self._lanes[name]
        del self._running[name]
        began_at = self._began_at.pop(name)
        if not task.cancelled() and (error := task.exception()):
            self._faults.add(name, began_at, asyncio.get_running_loop().time())
            given_up = name in self._faults.given_up
            log.error("lane_fault", destination=destination.name, lane=name, given_up=given_up, exc_info=error)
        if self._config().destinations.get(destination.name) is not destination:
            if not any(each.destination is destination for each in self._lanes.values()):
                self._close(destination)
            self._wake.set()
        if name not in self._share or self._stopping:
            # Somebody waits for it.
            self._wake.set()

    def _close(self, destination: Destination) -> None:
        task = asyncio.get_running_loop().create_task(destination.connector.close())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("connector_not_closed", exc_info=error)

    def _chatbot(self, name: str) -> Chatbot | None:
        """Return the chatbot of a name; None if there is none. Raises LeftOutError."""
        config = self._config()
        if config.may_be_left_out(name):
            raise LeftOutError
        return config.chatbots.get(name)

    def _accepted(self, destinations: frozenset[str]) -> None:
        for name in destinations & self._lanes.keys():
            self._lanes[name].wake()

    def _changed(self) -> None:
        for lane in self._lanes.values():
            lane.change()


async def _work(lane: Lane, pace: Pace | None, *, first: bool) -> None:
    """Work a lane. Unless it is the `first` time that anybody does, its rate limit may be used up at this moment."""
    if pace and not first:
        await pace.spend()
    await lane.run()
