"""State of a lane, and the only place that changes it. Pure: time and chance are passed in.

A lane that has just begun may have another owner, other settings or another clock than the one before it. So it tries
its destination at once, whatever pause it finds, and no retry waits longer for it than the schedule says.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bridge.config.model import Destination
from bridge.delivery import retry
from bridge.delivery.batching import BatchItem, bring_untried_forward, next_batch, untried_place
from bridge.delivery.queue_order import QueueOrder
from bridge.delivery.rate_limit import QuotaHold
from bridge.delivery.suspects import Suspects
from bridge.store.interface import DeliveryState, Due, Pause, Settlement
from connectors.base import Outcome

READ_AHEAD = 4
"""Number of full sets of parallel calls that a lane keeps read and mapped for its next calls."""
KNOWN_LIMIT = 100_000
"""Maximum number of deliveries in the queue order, about 15 MB. The lane reads on when some of them are done."""
UNSETTLED_LIMIT = 8
"""Number of full sets of parallel calls whose outcomes may wait for their commit."""


class ReadPlan(NamedTuple):
    """Next deliveries to read and map."""

    fresh: int
    """Maximum number of deliveries that never failed."""
    retries: int
    """Maximum number of deliveries that failed before, taken only if no other may go."""
    from_store: bool
    """True if the queue in the store is read on first."""
    probe: bool
    """True if the lane needs a delivery that was never tried."""


class LaneCall(NamedTuple):
    """A call of a lane, and when the lane dealt with it."""

    timing: retry.CallTiming
    decided_at: float
    """Time of the lane's decision to make the call. Its task may begin later."""
    noted_at: float
    """Time at which the lane learnt its outcomes."""


@dataclass(slots=True)
class LaneState:
    """Everything that a lane knows about its queue and its destination. A lane that fails reads it anew."""

    destination: Destination
    now: float
    """Time of the current turn. All steps of a turn see the same time."""
    order: QueueOrder = field(default_factory=QueueOrder)
    ready: deque[BatchItem] = field(default_factory=deque)
    """Mapped deliveries that wait for their call."""
    in_thread: set[int] = field(default_factory=set)
    """Deliveries that a thread maps."""
    calling: set[int] = field(default_factory=set)
    """Deliveries in a call, or called and not settled yet."""
    calls: int = 0
    """Number of calls under way."""
    health: retry.DestinationHealth = field(default_factory=retry.DestinationHealth)
    suspects: Suspects = field(default_factory=Suspects)
    allowance: QuotaHold = field(default_factory=QuotaHold)
    operator_pause: Pause | None = None
    more: bool = True
    """True if the store may hold deliveries behind the last one that was read."""
    outdated: bool = True
    """True if the queue and the pause are to be read anew."""
    passes: int = 0
    """Number of times that the queue was read from its beginning."""
    stopping: bool = False

    @property
    def pause(self) -> Pause | None:
        """Reason why the lane does not deliver; None while it does."""
        return self.operator_pause or self.health.pause

    @property
    def is_held(self) -> bool:
        """True if no new delivery may go before an operator or the end of the pause wakes the lane."""
        pause = self.health.pause
        lasts = pause is not None and pause.until is not None and pause.until > self.now
        return self.operator_pause is not None or (lasts and not self.suspects.alone)

    def begin_anew(self, pause: Pause | None) -> None:
        """Forget everything but the calls under way, because somebody changed the queue. `pause` is the stored one."""
        self.passes += 1
        self.operator_pause = pause if pause and pause.by == "operator" else None
        if pause is None or self.health.pause is None:
            own = None if self.operator_pause else pause
            self.health = retry.DestinationHealth(pause=replace(own, until=self.now) if own and self._is_new else own)
        self.outdated = False
        self.ready.clear()
        self.in_thread = set()
        self.order.forget(self.calling)
        self.more = True

    def add(self, dues: Sequence[Due], plan: ReadPlan) -> None:
        """Add deliveries that were read from the store, as `plan` says."""
        if self._is_new:
            dues = [each if each.due_at <= self.now else self._brought_near(each) for each in dues]
        self.order.add(dues)
        self.more |= len(dues) == plan.fresh

    def may_call(self, ready: Sequence[BatchItem], tasks: int) -> bool:
        """Return whether some of these deliveries may go now; `tasks` is the number of tasks of the lane."""
        if self.stopping or self.operator_pause or self.outdated or self.now < self.allowance.nothing_until:
            return False
        if tasks >= self.destination.concurrency * UNSETTLED_LIMIT:
            return False
        pause = self.health.pause
        if pause is None:
            return self.calls < self.destination.concurrency
        # A probe: one call when the pause is over, or when there is a lead that shows which side fails.
        is_over = pause.until is None or self.now >= pause.until
        return self.calls == 0 and (is_over or (self.suspects.alone and untried_place(ready) is not None))

    def take_batch(self, *, reading: bool) -> list[BatchItem]:
        """Take the records of the next call out of `ready`; empty if the call has to wait for others.

        `reading` is whether deliveries are being read: a probe waits for one that was never tried.
        """
        if self.health.pause:
            bring_untried_forward(self.ready)
            if reading or self.lacks_probe():
                return []
        linger = self.destination.batch_linger
        return next_batch(self.ready, self.batch_size, self.now - linger, self.suspects.shares)

    def put_back(self, batch: Sequence[BatchItem]) -> None:
        """Return records to the front of `ready`."""
        self.ready.extendleft(reversed(batch))

    def begin_call(self, batch: Sequence[BatchItem]) -> None:
        """Note that a call of these records begins."""
        self.calls += 1
        self.calling.update(each.delivery.id for each in batch)

    def decide(
        self, batch: Sequence[BatchItem], outcomes: Sequence[Outcome], call: LaneCall, chance: Callable[[], float]
    ) -> tuple[Sequence[Outcome], list[Settlement]]:
        """Return the outcomes of a call with their blame corrected, and what becomes of the deliveries.

        Notes what the call says about the destination.
        """
        schedule, timing = self.destination.retry, call.timing
        outcomes, signs = self.suspects.judge([each.delivery for each in batch], outcomes)
        if signs:
            self.health = self.health.after(
                [*signs.values()],
                timing,
                schedule,
                chance(),
                decided_at=call.decided_at,
                noted_at=call.noted_at,
            )
        excused = self.health.pause is not None
        self.suspects.add(signs, self.health)
        return outcomes, [
            retry.decide(each.delivery, outcome, timing, schedule, chance(), excused=excused)
            for each, outcome in zip(batch, outcomes, strict=True)
        ]

    def hold_for_quota(self, allowance: QuotaHold) -> None:
        """Hold deliveries back as a destination's quotas say, but look again within the longest wait."""
        limit = self.now + retry.longest_wait(self.destination.retry)
        self.allowance = QuotaHold(min(allowance.nothing_until, limit), min(allowance.retries_until, limit))

    @property
    def batch_size(self) -> int:
        """Maximum number of records of the next call: 1 for a probe."""
        return 1 if self.health.pause else self.destination.batch_size

    def lacks_probe(self) -> bool:
        """Return whether a delivery that was never tried could be read: the best probe."""
        readable = self._reads_on() or self.order.has_untried()
        return not self.order.full and readable and untried_place(self.ready) is None

    def read_plan(self) -> ReadPlan | None:
        """Return the deliveries to read beside the calls; None if there are enough, or nothing may be read."""
        if self.outdated or self.stopping or self.operator_pause:
            return None
        size = self.destination.batch_size
        ahead = self.destination.concurrency * size * READ_AHEAD
        fresh = ahead - len(self.ready) - len(self.in_thread)
        probe = self.health.pause is not None and self.lacks_probe()
        if (fresh < ahead - ahead // 2 and not probe) or self.order.full:
            return None
        fresh = max(fresh, 1)
        # A retry is taken only when it can go, so that a new lead that arrives meanwhile goes first.
        retries = (self.destination.concurrency - self.calls) * size - len(self.ready)
        if self.now < self.allowance.retries_until:
            retries = 0
        from_store = self._reads_on()
        if not from_store and not self.order.has_ready(self.now, fresh, retries):
            return None
        return ReadPlan(fresh, retries, from_store, probe)

    def next_time(self) -> float | None:
        """Return when the lane has something to do if nothing wakes it: a retry, or the end of a pause or a linger."""
        times = [
            self.order.next_due(),
            self.health.pause.until if self.health.pause else None,
            self.allowance.after(self.now),
        ]
        if self.ready and self.destination.batch_linger:
            times.append(self.ready[0].loaded_at + self.destination.batch_linger)
        return min((time for time in times if time is not None and time > self.now), default=None)

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Note that outcomes are committed: their deliveries leave the queue, or wait for their next attempt."""
        for each in settlements:
            self.calling.discard(each.delivery)
            if each.state is DeliveryState.PENDING and each.due_at is not None:
                self.order.postpone(each.delivery, each.due_at, each.failures)
            else:
                self.order.done(each.delivery)

    @property
    def _is_new(self) -> bool:
        """True while the lane reads the queue for the first time."""
        return self.passes <= 1

    def _brought_near(self, due: Due) -> Due:
        """Return a delivery that is due no later than after a failure of this moment."""
        wait = retry.wait(self.destination.retry, max(due.failures, 1), 0.0)
        return due._replace(due_at=min(due.due_at, self.now + wait))

    def _reads_on(self) -> bool:
        return self.more and len(self.order) < KNOWN_LIMIT
