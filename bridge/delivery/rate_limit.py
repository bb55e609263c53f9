"""Limits of a destination: its rate limit, for every request of its connector, and the quotas that it reports."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from aiolimiter import AsyncLimiter

from connectors.base import Quota


@dataclass(slots=True, eq=False)
class Slot:
    """The right to send a request, and afterwards its position among the last requests."""

    taken: float
    """Time at which the slot was taken, or moved to the end, in the loop's time."""
    arrived: float
    """Latest time at which the request has arrived."""


_prepaid: ContextVar[list[Slot] | None] = ContextVar("prepaid", default=None)
"""Slots of a connector's call, for requests that may be sent at once because the lane has waited for them. The tasks
that the call starts share them."""

MOST_SLACK = 0.1
"""Maximum seconds by which two requests may come closer to each other on their way, in a window of 2 s or more."""
MOST_UNDER_WAY = 1.0
"""Seconds after which a request counts as arrived even if its answer has not come; in short windows a tenth of the
window. So answers that take long cost at most a tenth of the rate."""
MOST_REMEMBERED = 20_000
"""Maximum number of slots that are remembered. A limit of more requests is kept by the bucket alone."""


class Pace:
    """Keeps requests under a limit: no window of `per` seconds sees more than `requests` of them.

    A leaky bucket lets its capacity pass at once and then its rate: in one window the sum of both. So a fiftieth of
    the limit is the burst and the rest the rate; a limit too small for that is paced evenly. The window counts as a
    little longer than it is, because requests that are sent in time may arrive closer together. One event loop uses it.

    A busy processor or a network may delay a request between the bucket and the destination's own count. So each of
    the last requests has a slot. The next request waits until a whole window has passed since the request `requests`
    slots before it arrived. It waits before it has a slot, so that the time-out of its call does not run meanwhile.
    """

    def __init__(self, requests: int, per: float) -> None:
        slack = _slack(per)
        burst = max(1, requests // 50)
        rate = (requests - (burst if burst > 1 else 0)) / (per + slack)
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._late = slack / 2
        """Seconds for which a slot is valid without being moved."""
        self._window = per + self._late
        self._under_way = min(MOST_UNDER_WAY, per / 10)
        self._slots: deque[Slot] | None = deque(maxlen=requests) if requests <= MOST_REMEMBERED else None
        """Slots of the last requests, in the order in which they were taken."""
        self._turn = asyncio.Lock()

    def free(self) -> bool:
        """Return whether `take` would return at once."""
        return not self._turn.locked() and self._limiter.has_capacity() and self._left() <= 0

    async def take(self) -> Slot:
        """Wait for the right to send a request. Callers get it one after the other, in the order of their calls.

        A cancelled call costs at most one request of the bucket.
        """
        async with self._turn:
            await self._limiter.acquire()
            while (left := self._left()) > 0:  # noqa: ASYNC110 - a slot may have moved to the end meanwhile
                await asyncio.sleep(left)
            return self._new_slot()

    async def wait(self, woken: asyncio.Event, stopping: Callable[[], bool]) -> Slot | None:
        """Wait for a slot as `take` does; return None if the lane is stopped meanwhile, which sets `woken`."""
        if self.free():
            return await self.take()
        taken = asyncio.ensure_future(self.take())
        try:
            while not taken.done() and not stopping():
                woken.clear()
                waking = asyncio.ensure_future(woken.wait())
                await asyncio.wait({taken, waking}, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
        finally:
            taken.cancel()
            # The lane still has to do the work for which it was woken meanwhile.
            woken.set()
        return None if stopping() else taken.result()

    async def spend(self) -> None:
        """Use up the burst when a lane begins, as if its requests had just been sent. Never waits.

        Another process, or this one under another configuration, may have sent requests up to this moment. A second
        burst after that one would exceed the limit.
        """
        for _ in range(int(self._limiter.max_rate)):
            if not self._limiter.has_capacity():
                return
            await self._limiter.acquire()

    def prepay(self, slot: Slot) -> None:
        """Let the current task, and the tasks that it starts, send one request without waiting, with a taken slot."""
        prepaid = _prepaid.get()
        if prepaid is None:
            _prepaid.set([slot])
        else:
            prepaid.append(slot)

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Wait before a request, unless it is prepaid. The caller leaves the context when the answer has come.

        This is `connectors.base.Context.pace`. An exception inside means that no answer came: the request may arrive
        later.
        """
        prepaid = _prepaid.get()
        slot = await self._kept(prepaid.pop()) if prepaid else await self.take()
        yield
        slot.arrived = min(slot.arrived, asyncio.get_running_loop().time())

    async def _kept(self, slot: Slot) -> Slot:
        """Return the slot of a request that is sent now. An old slot moves to the end, when there is room."""
        if asyncio.get_running_loop().time() - slot.taken <= self._late:
            return slot
        if self._slots is None or slot not in self._slots:
            return await self.take()
        self._slots.remove(slot)
        return self._new_slot()

    def _left(self) -> float:
        """Return the seconds until there is room for another request."""
        if self._slots is None or len(self._slots) < (self._slots.maxlen or 0):
            return 0.0
        return self._slots[0].arrived + self._window - asyncio.get_running_loop().time()

    def _new_slot(self) -> Slot:
        now = asyncio.get_running_loop().time()
        slot = Slot(now, now + self._under_way)
        if self._slots is not None:
            self._slots.append(slot)
        return slot


def _slack(per: float) -> float:
    """Return the seconds by which a window counts as longer: a tenth of a second, or less for a short window."""
    return max(per / 100, min(MOST_SLACK, per / 20))


class QuotaHold(NamedTuple):
    """Times until which deliveries are held back, in seconds since the epoch."""

    nothing_until: float = 0.0
    """Nothing is sent before."""
    retries_until: float = 0.0
    """Only deliveries that were never tried are sent before."""

    def after(self, now: float) -> float | None:
        """Return the next of these times; None if both are past."""
        return min((each for each in (self.nothing_until, self.retries_until) if each > now), default=None)


NO_HOLD = QuotaHold()
"""Nothing is held back."""


def quota_hold(quotas: Sequence[Quota]) -> QuotaHold:
    """Return what the quotas allow: the strictest of them counts."""
    if not quotas:
        return NO_HOLD
    return QuotaHold(
        max((each.until for each in quotas if each.remaining <= 0), default=0.0),
        max((each.until for each in quotas if each.remaining <= each.reserve), default=0.0),
    )
