"""Processes that share the lanes: the real lanes and the real shares, on a queue in memory and simulated processors.

Ownership is worked out as the program does it (`bridge.delivery.supervisor`). The leases themselves are not written
anywhere.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

from bridge.config.model import Chatbot, RateLimit, RetrySchedule
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.clock import DeliveryClock
from bridge.delivery.lane import Lane, LaneContext
from bridge.delivery.supervisor import LEASE_SECONDS, RENEW_SECONDS, TICK_SECONDS, shares
from bridge.store.interface import Lease, Store
from bridge.store.sql import NOTIFY_SECONDS
from connectors.base import Blame, Connector, Delivered, Outcome, Preview, Reason, Record, Retry
from tests.building import chatbot, destination, route
from tests.simulation.memory import CHATBOT, COMMIT, ROUTE, MemoryStore
from tests.simulation.world import Arrival, Crm, Scenario

ACCEPT_SECONDS = 0.0003
"""Of a processor, for a lead that is taken."""
CALL_SECONDS = 0.0015
"""Of a processor, for a call with one record: read, map, send, settle; by `make bench BENCH="--only carried"`."""
RECORD_SECONDS = 0.0002
"""For each further record of a batch."""
_RETRY = RetrySchedule(initial=10.0, max=3600.0, multiplier=2.0, jitter=0.2, give_up_after=3 * 86_400.0)
_CHATBOT = chatbot(CHATBOT, route(ROUTE, {}))


class Process:
    """One `leadbridge serve`: a processor that does one thing after the other, and the lanes that it works."""

    def __init__(self, number: int, phase: float) -> None:
        self.number = number
        self.phase = phase
        """When it looks after its lanes for the first time; then every `RENEW_SECONDS`."""
        self.lanes: dict[str, tuple[Lane, asyncio.Task[None]]] = {}
        self.busy = 0.0
        """Seconds of the processor that it has used."""
        self._free_at = 0.0

    async def work(self, seconds: float) -> None:
        """Wait for the processor, and use it."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + seconds
        self.busy += seconds
        await asyncio.sleep(self._free_at - now)

    def next_look(self, after: float) -> float:
        """Give when it first looks after its lanes from then on."""
        return self.phase + RENEW_SECONDS * max(0, -(-(after - self.phase) // RENEW_SECONDS))


class SimulatedCrm(Connector):
    """Answers after a while, and fails now and then, or is away."""

    def __init__(self, crm: Crm, process: Process, is_away: Callable[[float], bool], chance: random.Random) -> None:
        self._crm = crm
        self._process = process
        self._is_away = is_away
        self._chance = chance

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Answer one call."""
        await self._process.work(CALL_SECONDS + RECORD_SECONDS * (len(records) - 1))
        loop = asyncio.get_running_loop()
        if self._is_away(loop.time()):
            return [Retry(Reason.UNREACHABLE, "away", Blame.DESTINATION)] * len(records)
        await asyncio.sleep(self._crm.delay(self._chance))
        if self._chance.random() < self._crm.failing:
            return [Retry(Reason.SERVER_ERROR, "500", status=500)] * len(records)
        return [Delivered()] * len(records)

    def preview(self, records: Sequence[Record]) -> Preview:
        """Show nothing."""
        raise NotImplementedError

    async def close(self) -> None:
        """Do nothing."""


class Cluster:
    """All processes, from the moment at which each has its share."""

    def __init__(self, scenario: Scenario, crm: Crm, store: MemoryStore) -> None:
        self.processes = [
            Process(number, RENEW_SECONDS * number / scenario.processes) for number in range(scenario.processes)
        ]
        self.ownerless: dict[str, float] = {}
        """For how long each lane of a process that died had no owner, in seconds."""
        self.fault: BaseException | None = None
        """What a lane has raised: it must not, and the simulation is worth nothing then."""
        self._scenario = scenario
        self._crm = crm
        self._store = store
        self._chance = random.Random(scenario.seed + 1)
        self._owners: dict[str, Process] = self._shared(self.processes, {})
        self.shares: Mapping[int, int] = self._sizes()
        """How many lanes each process has at the start."""
        self._loop = asyncio.get_running_loop()
        clock = DeliveryClock(self._loop.time, self._loop.time)
        queue = cast("Store", store)
        self._context = LaneContext(queue, _chatbot, clock, AttemptRunner(), self._chance.random)

    async def accept(self, lead: Arrival) -> int:
        """Take a lead in one of the processes that live; give its delivery's id."""
        process = self._chance.choice(self.processes)
        await process.work(ACCEPT_SECONDS)
        await asyncio.sleep(COMMIT)
        name = name_of(lead.destination)
        identity = self._store.take(name, lead.contact, self._loop.time())
        owner = self._owners.get(name)
        if owner is not None:
            self._loop.call_later(0.0 if owner is process else NOTIFY_SECONDS, self._wake, name)
        return identity

    async def kill(self, count: int) -> None:
        """Let some processes die at once; returns when others have all their lanes."""
        dead, self.processes = self.processes[:count], self.processes[count:]
        now = self._loop.time()
        for process in dead:
            for _, task in process.lanes.values():
                task.cancel()
        left = {name: owner for name, owner in self._owners.items() if owner in dead}
        living = {name: owner for name, owner in self._owners.items() if owner not in dead}
        self._owners = dict(living)
        heirs = self._shared(self.processes, living)
        # A lease lasts from the last look of the process that died; then the others look.
        moments = {
            name: owner.next_look(now) - RENEW_SECONDS + LEASE_SECONDS + TICK_SECONDS for name, owner in left.items()
        }
        for name, moment in sorted(moments.items(), key=lambda each: each[1]):
            await asyncio.sleep(max(0.0, moment - self._loop.time()))
            self.ownerless[name] = moment - now
            self._owners[name] = heirs[name]
            if self._store.waits(name):
                self._wake(name)

    async def stop(self) -> None:
        """End all lanes."""
        tasks = [task for process in self.processes for _, task in process.lanes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            self.fault = self.fault or task.exception()

    def _shared(self, processes: Collection[Process], holders: Mapping[str, Process]) -> dict[str, Process]:
        wanted = frozenset(map(name_of, range(self._scenario.destinations)))
        by_name = {f"{process.number:03}": process for process in processes}
        given = shares(
            dict.fromkeys(by_name, wanted), {lane: f"{process.number:03}" for lane, process in holders.items()}
        )
        return {lane: by_name[name] for name, lanes in given.items() for lane in lanes}

    def _sizes(self) -> Mapping[int, int]:
        sizes = {process.number: 0 for process in self.processes}
        for owner in self._owners.values():
            sizes[owner.number] += 1
        return sizes

    def _wake(self, name: str) -> None:
        owner = self._owners.get(name)
        if owner is None:
            return
        if name not in owner.lanes:
            # A lane that has nothing to do costs nothing here, so it begins with its first lead.
            owner.lanes[name] = self._begin(name, owner)
        lane, _ = owner.lanes[name]
        lane.wake()

    def _begin(self, name: str, owner: Process) -> tuple[Lane, "asyncio.Task[None]"]:
        place = int(name.partition("-")[2])
        connector = SimulatedCrm(self._crm, owner, lambda now: self._scenario.is_away(place, now), self._chance)
        limits = RateLimit(self._crm.requests, self._crm.per)
        made = destination(name, connector, batch=self._crm.batch, rate_limit=limits, retry=_RETRY)
        lane = Lane(made, Lease(name, 1), self._context)
        task = self._loop.create_task(lane.run(), name=name)
        task.add_done_callback(self._ended)
        return lane, task


def _chatbot(_: str) -> Chatbot | None:
    return _CHATBOT


def name_of(destination: int) -> str:
    """Give a destination's name, by its place in the order of their sizes."""
    return f"crm-{destination:07}"
