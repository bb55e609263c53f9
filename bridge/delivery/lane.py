"""Lane of a destination: reads what is due, maps it, batches it, delivers it, settles it.

The lane is one of the two conductors. It calls the steps in their order and decides nothing itself: `lane_state`
decides when to call and read, `queue_order` in which order, `retry` what becomes of a delivery and of the lane. A lease
in the store makes it the only owner of its queue.

A crash at any point leaves the deliveries pending as they were. Those whose call was under way are tried again, which
is why connectors write idempotently. A commit of new deliveries wakes the lane (`bridge.app`); the lane never polls.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from bridge.config.model import Chatbot, Destination
from bridge.delivery.attempt import AttemptRunner, call_allowance, log_attempt, refused_whole
from bridge.delivery.batching import BatchItem
from bridge.delivery.clock import DeliveryClock
from bridge.delivery.exchanges import Exchanges
from bridge.delivery.lane_state import LaneCall, LaneState, ReadPlan
from bridge.delivery.preparation import Preparation
from bridge.delivery.rate_limit import Slot
from bridge.delivery.settlement import settle
from bridge.errors import LeaseLostError, StoreUnavailableError
from bridge.store.interface import Delivery, Lease, Pause, Settlement, Store
from bridge.store.queue import written_records
from bridge.store.secrets import StoreVault
from connectors.base import Outcome

STORE_TROUBLE_SECONDS = 1.0
"""Seconds that a lane waits before it asks a store again that could not be reached."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LaneContext:
    """Parts that the lanes of a process share."""

    store: Store
    """Holds the queues."""
    chatbots: Callable[[str], Chatbot | None]
    """Returns the chatbot of a name in the configuration in use."""
    clock: DeliveryClock
    caller: AttemptRunner
    """Makes the calls."""
    chance: Callable[[], float]
    """Returns a number in [0, 1)."""
    owned: Callable[[], bool] = lambda: True
    """Returns whether the leases last. After their end no call begins, even if nobody has stopped the lanes yet, as in
    a process that was suspended."""


class Lane:
    """Works the queue of one destination until it is stopped or its lease, the right to work it, is lost."""

    def __init__(self, destination: Destination, lease: Lease, context: LaneContext) -> None:
        self.name = lease.lane
        self.destination = destination
        self.state = LaneState(destination, context.clock())
        self.lease = lease
        self._context = context
        self._store = context.store
        self._clock = context.clock
        self._caller = context.caller
        self._log = log.bind(destination=destination.name)
        self._exchanges = Exchanges(destination)
        self._preparation = Preparation(destination, context.chatbots, self._clock, self._caller, self._log)
        self._wake = asyncio.Event()
        self._tasks = _Tasks(self._wake)
        self._reading: asyncio.Task[None] | None = None
        self._pausing: asyncio.Task[None] | None = None

    @property
    def pause(self) -> Pause | None:
        """Reason why the lane does not deliver; None while it does."""
        return self.state.pause

    def wake(self) -> None:
        """Look for new deliveries, because some have been committed."""
        self.state.more = True
        if not self.state.is_held:
            self._wake.set()

    def change(self) -> None:
        """Read the queue and the pause anew, because an operator or another process changed something."""
        self.state.outdated = True
        self._wake.set()

    def stop(self) -> None:
        """Begin no more calls; `run` returns when those under way are settled."""
        self.state.stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work the lane. Return after `stop` or when the lease is lost; a cancellation cuts the calls off.

        Raises any fault of the lane itself, when the calls under way are settled: otherwise they would be made again.
        The state of the lane can no longer be trusted, so the supervisor begins a new lane from the store.
        """
        self.destination.connector.open(StoreVault(self._store, self.destination.name, self._clock))
        try:
            while not self.state.stopping:
                self._tasks.raise_fault()
                self._wake.clear()
                self.state.now = self._clock()
                await self._refresh()
                await self._begin_calls()
                self._read_ahead()
                await self._sleep()
            await self._tasks.finish()
        except Exception:
            self.state.stopping = True
            await self._tasks.finish()
            raise
        finally:
            await self._tasks.cancel()

    # -- the steps of a turn

    async def _refresh(self) -> None:
        """Read the pause anew, and begin with an empty queue, if somebody changed something."""
        # A pause of the lane itself is written first. Otherwise it would look as if an operator had ended it.
        if not self.state.outdated or _is_running(self._reading) or _is_running(self._pausing):
            return
        before = self.state.health.pause
        try:
            pause = await self._store.pause_of(self.name)
        except StoreUnavailableError as error:
            await self._wait_for_store(error)
            return
        if self.state.health.pause != before:
            # The lane paused or resumed meanwhile, so the answer is out of date.
            self._wake.set()
            return
        self.state.begin_anew(pause)

    async def _begin_calls(self) -> None:
        while self.state.ready and self._may_call(self.state.ready):
            batch = self.state.take_batch(reading=_is_running(self._reading))
            if not batch:
                return
            pace = self.destination.pace
            slot = await pace.wait(self._wake, lambda: self.state.stopping) if pace else None
            # The state may have changed during the wait.
            if not self._may_call(batch) or len(batch) > self.state.batch_size:
                self.state.put_back(batch)
                return
            self.state.begin_call(batch)
            self._tasks.start(self._call(batch, self._clock(), slot))

    def _may_call(self, ready: Sequence[BatchItem]) -> bool:
        return self._context.owned() and self.state.may_call(ready, len(self._tasks))

    def _read_ahead(self) -> None:
        """Read and map the next deliveries beside the calls."""
        if not _is_running(self._reading) and (plan := self.state.read_plan()):
            self._reading = self._tasks.start(self._read(plan))

    async def _sleep(self) -> None:
        """Wait until the lane is woken, or the next time at which it has something to do."""
        time = self.state.next_time()
        try:
            async with asyncio.timeout(None if time is None else max(0.0, time - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            pass

    # -- reading and mapping

    async def _read(self, plan: ReadPlan) -> None:
        order = self.state.order
        try:
            if plan.from_store:
                self.state.more = False
                self.state.add(await self._store.due(self.name, order.cursor, plan.fresh), plan)
            untried = order.take_untried() if plan.probe else []
            await self._load(untried or order.take(self._clock(), plan.fresh, plan.retries))
        except StoreUnavailableError as error:
            self.state.outdated = True
            await self._wait_for_store(error)
        self._wake.set()

    async def _load(self, ids: Sequence[int]) -> None:
        """Read deliveries with their events, as many at once as the store returns, and map them."""
        while ids:
            deliveries = await self._store.read(self.name, ids)
            # The store limits the bytes of an answer. Deliveries behind the last one are read next, if there is room.
            last = deliveries[-1].id if deliveries else max(ids)
            read, ids = [each for each in ids if each <= last], [each for each in ids if each > last]
            await self._map(read, deliveries)
            if ids and self.state.order.full:
                self.state.order.put_back(ids)
                return

    async def _map(self, ids: Sequence[int], deliveries: Sequence[Delivery]) -> None:
        """Turn deliveries into records. Those that cannot be mapped become dead letters, and nothing is sent."""
        for delivery in deliveries:
            self.state.order.note_size(delivery.id, len(delivery.payload))
        if deliveries and self.destination.connector.uses_written:
            # The deliveries of a contact are read one at a time, so its earlier outcomes are committed.
            read = partial(written_records, deliveries=[each.id for each in deliveries])
            written = await self._store.query(read)
            deliveries = [each._replace(written=written.get(each.id)) for each in deliveries]
        now = self._clock()
        prepared = await self._preparation.inline(deliveries, now)
        self.state.ready.extend(prepared.ready)
        for missing in set(ids) - {delivery.id for delivery in deliveries}:
            self.state.order.done(missing)
        if prepared.slow:
            self.state.in_thread.update(delivery.id for delivery in prepared.slow)
            self._tasks.start(self._map_in_thread(prepared.slow, now))
        await self._settle_unmapped(prepared.dead_letters)

    async def _map_in_thread(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Map slow deliveries in a thread, so that the others do not wait. After a refresh they are read anew."""
        in_thread = self.state.in_thread
        for delivery in deliveries:
            prepared = None if self.state.stopping else await self._preparation.aside(delivery, now)
            if prepared is None or in_thread is not self.state.in_thread:
                return
            in_thread.discard(delivery.id)
            self.state.ready.extend(prepared.ready)
            self._wake.set()
            await self._settle_unmapped(prepared.dead_letters)

    async def _settle_unmapped(self, settlements: Sequence[Settlement]) -> None:
        if settlements:
            self.state.calling.update(each.delivery for each in settlements)
            await self._settle(settlements)

    # -- one call

    async def _call(self, batch: list[BatchItem], decided_at: float, slot: Slot | None) -> None:
        """Deliver a batch. A batch that is refused as a whole is split until the poisoned record stands alone.

        Args:
            batch: Records of the call.
            decided_at: When the lane decided to make the call. The task may begin later.
            slot: Slot of the first request under the rate limit.
        """
        parts = [batch]
        settlements: list[Settlement] = []
        try:
            while parts:
                part = parts.pop()
                if self.destination.pace:
                    self.destination.pace.prepay(slot or await self.destination.pace.take())
                    slot = None
                exchanges = self._exchanges.begin([each.record.id for each in part])
                outcomes, call = await self._caller.deliver(self.destination, part, self._clock, self._log)
                self.state.hold_for_quota(call_allowance(self.destination.connector, self._clock, self._log))
                if len(part) > 1 and refused_whole(outcomes):
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                    continue
                made = LaneCall(call, decided_at, self._clock())
                settlements = [
                    self._exchanges.settled(each, exchanges, item.record.id, made.noted_at)
                    for each, item in zip(self._decide(part, outcomes, made), part, strict=True)
                ]
                if parts:
                    self._tasks.start(self._settle(settlements))
        finally:
            self.state.calls -= 1
            self._wake.set()
        await self._settle(settlements)

    def _decide(self, batch: Sequence[BatchItem], outcomes: Sequence[Outcome], call: LaneCall) -> list[Settlement]:
        """Return what becomes of the deliveries of a call, and note and log what the call says."""
        before = self.state.health.pause
        outcomes, settlements = self.state.decide(batch, outcomes, call, self._context.chance)
        if self.state.health.pause != before:
            self._pausing = self._tasks.start(self._write_pause(self.state.health.pause))
        for each, outcome in zip(batch, outcomes, strict=True):
            self._caller.attempted(self.destination.name, outcome, call.timing, each.delivery.received_at)
            log_attempt(self._log, each, outcome, call.timing)
        return settlements

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        try:
            async for written in settle(self._store, self.lease, settlements, self._log):
                self.state.settled(written)
                self._wake.set()
        except LeaseLostError as error:
            self._log.warning("lane_lost", error=str(error))
            self.stop()

    async def _write_pause(self, pause: Pause | None) -> None:
        if pause:
            self._log.warning("lane_paused", reason=pause.reason, until=pause.until)
        else:
            self._log.info("lane_resumed")
        try:
            await self._store.pause(self.lease, pause, self._clock())
        except (StoreUnavailableError, LeaseLostError) as error:
            # Only the display of lanes depends on it. The settlement that follows meets the same trouble.
            self._log.warning("pause_not_written", error=str(error))

    async def _wait_for_store(self, error: StoreUnavailableError) -> None:
        self._log.warning("lane_waits_for_store", error=str(error))
        await asyncio.sleep(STORE_TROUBLE_SECONDS)
        self._wake.set()


class _Tasks:
    """Tasks of a lane. Each wakes the lane at its end, and the first fault is kept for the lane to raise."""

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._running: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._end)
        return task

    def raise_fault(self) -> None:
        if self._fault:
            raise self._fault

    async def finish(self) -> None:
        while self._running:
            await asyncio.wait(self._running)

    async def cancel(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled():
            self._fault = self._fault or task.exception()


def _is_running(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()
