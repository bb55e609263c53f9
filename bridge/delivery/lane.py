"""The loop of a destination: read what is due, map it, batch it, deliver it, settle it.

One of the two conductors: it calls the steps in their order and decides nothing itself (`agenda` decides the order,
`retry` what becomes of a delivery and of the lane). It is the only owner of its lane, by a lease in the store.

A crash at any point leaves the deliveries pending as they were: those whose call was on its way are tried again, which
is why connectors write idempotently. A new delivery wakes the lane on commit; the lane never polls.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import structlog

from bridge.clock import LaneClock
from bridge.config.model import Chatbot, Destination
from bridge.delivery import retry
from bridge.delivery.attempt import Caller, allowed, log_attempt, refused_whole
from bridge.delivery.batching import Ready, bring_untried_forward, next_batch, untried_place
from bridge.delivery.queue_order import Agenda
from bridge.delivery.quota import Allowance
from bridge.delivery.rate_limit import Place
from bridge.delivery.secret_store import StoreVault
from bridge.delivery.settlement import settle
from bridge.errors import LeaseLostError, StoreUnavailableError
from bridge.mapping.preparation import Preparation
from bridge.store.interface import Delivery, DeliveryState, Lease, Pause, Settlement, Store
from connectors.base import Outcome

READ_AHEAD = 4
"""How many times what can be on its way at once the lane keeps read and mapped for the next calls."""
KNOWN_LIMIT = 100_000
"""The most deliveries that the agenda knows of, about 15 MB; beyond it the lane reads on when some are done."""
UNSETTLED_LIMIT = 8
"""How many times what can be on its way at once may wait for its outcome to be committed."""
STORE_TROUBLE_SECONDS = 1.0
"""How long a lane waits before it asks a store that is in trouble again."""

log = structlog.get_logger()


class Lane:
    """Works the queue of one destination until it is stopped or its lease is lost.

    `chatbots` gives the chatbot of a name in the configuration in use, `clock` the time, `chance`
    a number in [0, 1), `owned` whether the lease lasts still: after it no call begins, though nobody has stopped the
    lane yet, as in a process that was suspended. `caller` makes the calls.
    """

    def __init__(
        self,
        destination: Destination,
        chatbots: Callable[[str], Chatbot | None],
        store: Store,
        lease: Lease,
        *,
        clock: LaneClock,
        chance: Callable[[], float] = random.random,
        caller: Caller | None = None,
        owned: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = lease.lane
        self.destination = destination
        self._store = store
        self._lease = lease
        self._time = clock
        self._chance = chance
        self._caller = caller or Caller()
        self._owned = owned
        self._agenda = Agenda()
        self._ready: deque[Ready] = deque()
        self._out: set[int] = set()
        """Deliveries in a call, or called and not settled yet."""
        self._aside: set[int] = set()  # deliveries that a thread is to map
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._health = retry.Health()
        self._suspects = retry.Suspects()
        self._held: Pause | None = None
        """A pause by an operator."""
        self._more = True
        """Whether the store may hold deliveries beyond the agenda's cursor."""
        self._changed = True
        self._stopping = False
        self._fault: BaseException | None = None
        self._now = self._time.now()
        self._eager = False
        self._wake = asyncio.Event()
        self._allowance = Allowance()
        self._log = log.bind(destination=destination.name)
        self._preparation = Preparation(destination, chatbots, clock.now, self._caller, self._log)

    @property
    def pause(self) -> Pause | None:
        """Why the lane does not deliver; None while it does."""
        return self._held or self._health.pause

    def wake(self) -> None:
        """Tell the lane that new deliveries have been committed."""
        self._more = True
        pause = self._health.pause
        if self._held or (pause and pause.until is not None and pause.until > self._now and not self._suspects.alone):
            # Nothing may go yet; the end of the pause, or the operator's word, wakes the lane.
            return
        self._wake.set()

    def change(self) -> None:
        """Tell the lane that somebody else has changed something: it reads its queue and its pause anew."""
        self._changed = True
        self._wake.set()

    def probe_at_once(self) -> None:
        """Wait for no pause that the store knows of: the settings have changed, and perhaps they were the reason."""
        self._eager = True

    def stop(self) -> None:
        """Begin no more calls; `run` returns when those on their way are settled."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work the lane. Returns after `stop` or when the lease is lost; cancelled, it cuts off the calls.

        Raises what has gone wrong inside the lane itself: then its memory is not to be trusted any more, and it is
        for its owner to begin anew from the store.
        """
        self.destination.connector.open(StoreVault(self._store, self.destination.name, self._time.wall))
        try:
            while not self._stopping:
                if self._fault:
                    raise self._fault
                self._wake.clear()
                # One time for the whole turn: what is not due yet for one step must not be past for the next one.
                self._now = self._time.now()
                await self._reload()
                await self._begin_calls()
                self._read_ahead()
                await self._sleep()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what to do next

    async def _reload(self) -> None:
        # Not before its own pause is written: else it would look as if an operator had ended it.
        if not self._changed or any(task and not task.done() for task in (self._reading, self._writing)):
            return
        before = self._health
        try:
            pause = self._time.pause(await self._store.paused(self.name))
        except StoreUnavailableError as error:
            await self._store_trouble(error)
            return
        if self._health.pause != before.pause:
            # It has paused, or come back, during the question: the answer is out of date.
            self._wake.set()
            return
        self._changed = False
        self._held = pause if pause and pause.by == "operator" else None
        if pause is None or self._health.pause is None:
            if self._eager and pause and not self._held:
                pause = replace(pause, until=self._now)
            self._health = retry.Health(pause=None if self._held else pause)
        self._eager = False
        self._ready.clear()
        self._aside = set()
        self._agenda.forget(self._out)
        self._more = True

    async def _begin_calls(self) -> None:
        while self._ready and self._may_call(self._ready):
            if self._health.pause and not self._choose_probe():
                return
            batch = next_batch(self._ready, self._batch_size(), self._now - self.destination.batch_linger)
            if not batch:
                return
            pace = self.destination.pace
            place = await pace.wait(self._wake, lambda: self._stopping) if pace else None
            # Much may have happened while it waited.
            if not self._may_call(batch) or len(batch) > self._batch_size():
                self._ready.extendleft(reversed(batch))
                return
            self._calls += 1
            self._out.update(each.delivery.id for each in batch)
            self._track(self._call(batch, self._time.now(), place))

    def _may_call(self, ready: Sequence[Ready]) -> bool:
        """Tell whether some of these may go now."""
        if (
            self._stopping
            or self._held
            or self._changed
            or not self._owned()
            or self._now < self._allowance.nothing_until
        ):
            return False
        concurrency = self.destination.concurrency
        if len(self._tasks) >= concurrency * UNSETTLED_LIMIT:
            return False
        pause = self._health.pause
        if pause is None:
            return self._calls < concurrency
        # A probe: one call, when the pause is over, or when there is a lead that can tell whose trouble it is.
        over = pause.until is None or self._now >= pause.until
        return self._calls == 0 and (over or (self._suspects.alone and untried_place(ready) is not None))

    def _lacks_probe(self) -> bool:
        """Tell whether a delivery that was never tried could be read: the best one to probe with."""
        more = self._more and len(self._agenda) < KNOWN_LIMIT
        return not self._agenda.full and (more or self._agenda.untried()) and untried_place(self._ready) is None

    def _choose_probe(self) -> bool:
        """Put the next probe in front; False while it is still to be read."""
        bring_untried_forward(self._ready)
        return not self._lacks_probe() and not (self._reading and not self._reading.done())

    def _batch_size(self) -> int:
        return 1 if self._health.pause else self.destination.batch_size

    async def _sleep(self) -> None:
        """Wait until there is something to do: a wake, a retry, the end of a pause, or of a batch's lingering."""
        times = [
            self._agenda.next_due(),
            self._health.pause.until if self._health.pause else None,
            self._allowance.after(self._now),
        ]
        if self._ready and self.destination.batch_linger:
            times.append(self._ready[0].loaded_at + self.destination.batch_linger)
        times_to_come = [time for time in times if time is not None and time > self._now]
        try:
            async with asyncio.timeout(max(0.0, min(times_to_come) - self._time.now()) if times_to_come else None):
                await self._wake.wait()
        except TimeoutError:
            pass

    # -- reading

    def _read_ahead(self) -> None:
        """See to it, beside the calls, that the next ones are read and mapped."""
        if self._changed or self._stopping or self._held or (self._reading and not self._reading.done()):
            return
        size = self.destination.batch_size
        ahead = self.destination.concurrency * size * READ_AHEAD
        fresh = ahead - len(self._ready) - len(self._aside)
        probe = self._health.pause is not None and self._lacks_probe()
        if (fresh < ahead - ahead // 2 and not probe) or self._agenda.full:
            return
        fresh = max(fresh, 1)
        # No retry is taken before it can go: a new lead that comes meanwhile goes first.
        retries = (self.destination.concurrency - self._calls) * size - len(self._ready)
        if self._now < self._allowance.retries_until:
            retries = 0
        more = self._more and len(self._agenda) < KNOWN_LIMIT
        if more or self._agenda.ready(self._now, fresh, retries):
            self._reading = self._track(self._read(fresh, retries, more=more, probe=probe))

    async def _read(self, fresh: int, retries: int, *, more: bool, probe: bool) -> None:
        try:
            if more:
                self._more = False
                dues = await self._store.due(self.name, self._agenda.cursor, fresh)
                self._agenda.tell(self._time.dues(dues))
                self._more |= len(dues) == fresh
            untried = self._agenda.take_untried() if probe else []
            ids = untried or self._agenda.take(self._time.now(), fresh, retries)
            await self._load(ids)
        except StoreUnavailableError as error:
            self._changed = True
            await self._store_trouble(error)
        self._wake.set()

    async def _load(self, ids: Sequence[int]) -> None:
        """Turn deliveries into records; those that cannot be become dead letters here, and nothing is sent."""
        while ids:
            deliveries = await self._store.read(self.name, ids)
            # It reads so many bytes only: those behind the last one are read next, if there is room.
            last = deliveries[-1].id if deliveries else max(ids)
            read, ids = [each for each in ids if each <= last], [each for each in ids if each > last]
            await self._map(read, deliveries)
            if ids and self._agenda.full:
                self._agenda.give_back(ids)
                return

    async def _map(self, ids: Sequence[int], deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._agenda.weigh(delivery.id, len(delivery.payload))
        now = self._time.now()
        prepared = await self._preparation.inline([*map(self._time.delivery, deliveries)], now)
        self._ready.extend(prepared.ready)
        for gone in set(ids) - {delivery.id for delivery in deliveries}:
            self._agenda.done(gone)
        if prepared.slow:
            self._aside.update(delivery.id for delivery in prepared.slow)
            self._track(self._map_aside(prepared.slow, now))
        await self._bury(prepared.spoiled)

    async def _map_aside(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Map slow deliveries in a thread; the others do not wait. After a reload they are read anew."""
        aside = self._aside
        for delivery in deliveries:
            prepared = None if self._stopping else await self._preparation.aside(delivery, now)
            if prepared is None or aside is not self._aside:
                return
            aside.discard(delivery.id)
            self._ready.extend(prepared.ready)
            self._wake.set()
            await self._bury(prepared.spoiled)

    async def _bury(self, spoiled: Sequence[Settlement]) -> None:
        if spoiled:
            self._out.update(each.delivery for each in spoiled)
            await self._settle(spoiled)

    # -- one call

    async def _call(self, batch: list[Ready], decided_at: float, place: Place | None) -> None:
        """Deliver a batch; one that is refused as a whole is split until the poisoned record stands alone.

        `decided_at` is when it was taken up. Its task may begin later, and learn nothing of what happened meanwhile.
        `place` is that of its first request under the rate limit.
        """
        parts = [batch]
        settlements: list[Settlement] = []
        try:
            while parts:
                part = parts.pop()
                if self.destination.pace:
                    self.destination.pace.prepay(place or await self.destination.pace.take())
                    place = None
                outcomes, call = await self._caller.deliver(self.destination, part, self._time.now, self._log)
                self._allowance = self._time.allowance(allowed(self.destination.connector, self._log))
                if len(part) > 1 and refused_whole(outcomes):
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                    continue
                settlements = self._decide(part, outcomes, call, decided_at)
                if parts:
                    self._track(self._settle(settlements))
        finally:
            self._calls -= 1
            self._wake.set()
        await self._settle(settlements)

    def _decide(
        self, batch: Sequence[Ready], outcomes: Sequence[Outcome], call: retry.Call, decided_at: float
    ) -> list[Settlement]:
        schedule = self.destination.retry
        before = self._health.pause
        self._health = self._health.after(outcomes, call, schedule, self._chance(), decided_at=decided_at)
        excused = self._health.pause is not None
        if self._health.pause != before:
            self._writing = self._track(self._write_pause(self._health.pause))
        self._suspects.add([each.delivery.id for each in batch], outcomes, self._health)
        settlements = []
        for each, outcome in zip(batch, outcomes, strict=True):
            settlements.append(retry.decide(each.delivery, outcome, call, schedule, self._chance(), excused=excused))
            self._caller.attempted(self.destination.name, outcome, self._time.call(call), each.delivery.received_at)
            log_attempt(self._log, each, outcome, call)
        return settlements

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        shift = self._time.shift
        stored = [self._time.stored(each, shift) for each in settlements]
        try:
            async for written in settle(self._store, self._lease, stored, self._log):
                self._settled([self._time.stored(each, -shift) for each in written])
        except LeaseLostError as error:
            self._log.warning("lane_lost", error=str(error))
            self.stop()

    def _settled(self, settlements: Sequence[Settlement]) -> None:
        for each in settlements:
            self._out.discard(each.delivery)
            if each.state is DeliveryState.PENDING and each.due_at is not None:
                self._agenda.again(each.delivery, each.due_at, each.failures)
            else:
                self._agenda.done(each.delivery)
        self._wake.set()

    async def _write_pause(self, pause: Pause | None) -> None:
        if pause:
            self._log.warning("lane_paused", reason=pause.reason, until=pause.until)
        else:
            self._log.info("lane_resumed")
        try:
            await self._store.pause(self._lease, self._time.stored_pause(pause))
        except (StoreUnavailableError, LeaseLostError) as error:
            # Only what `lanes list` shows depends on it; the settle that follows meets the same trouble.
            self._log.warning("pause_not_written", error=str(error))

    # -- beside

    async def _store_trouble(self, error: StoreUnavailableError) -> None:
        self._log.warning("lane_waits_for_store", error=str(error))
        await asyncio.sleep(STORE_TROUBLE_SECONDS)
        self._wake.set()

    def _track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled():
            self._fault = self._fault or task.exception()
