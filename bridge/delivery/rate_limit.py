"""The rate limit of a destination: one for its lane and for every request that its connector sends."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass

from aiolimiter import AsyncLimiter


@dataclass(slots=True, eq=False)
class Place:
    """The right to send a request, and then where it stands among the others."""

    taken: float
    """When it was taken, or moved to the end, in the loop's time."""
    arrived: float
    """When its request has arrived at the latest."""


_prepaid: ContextVar[list[Place] | None] = ContextVar("prepaid", default=None)
"""Of a call of a connector, shared by the tasks that it starts: requests that it may send without waiting, because the
lane has waited for them."""

MOST_SLACK = 0.1
"""Seconds by which two requests may come closer to each other on their way, in any window that is long enough."""
MOST_UNDER_WAY = 1.0
"""Seconds after which a request is taken to have arrived, if no answer to it has come by then; in short windows a tenth
of the window. So answers that take long cost no more than a tenth of the rate."""
MOST_REMEMBERED = 20_000
"""Limits of more requests are kept by the bucket alone: its slack is as wide as what a request may be under way in
windows of 100 s and more."""


class Pace:
    """Keeps requests under a limit: no window of `per` seconds sees more than `requests` of them.

    A leaky bucket lets its capacity pass at once and then its rate: in one window the sum of both. So a fiftieth of
    the limit is the burst and the rest the rate; a limit too small for that is paced evenly. The window is taken to be
    a little longer than it is: requests that are sent in time may arrive closer to each other. Used by one event loop.

    Between the bucket and the destination's own count a request may be held up, by a process that waits for its turn
    at the processor as much as by a network. So the last requests have a place each, and the next one waits until a
    whole window after the one `requests` places before it has arrived: before its answer. It waits before it has a
    place: a call that has one is not held up by this, and its time-out does not run meanwhile.
    """

    def __init__(self, requests: int, per: float) -> None:
        slack = _slack(per)
        burst = max(1, requests // 50)
        rate = (requests - (burst if burst > 1 else 0)) / (per + slack)
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._late = slack / 2
        """A place holds for so many seconds without being moved."""
        self._window = per + self._late
        self._under_way = min(MOST_UNDER_WAY, per / 10)
        self._places: deque[Place] | None = deque(maxlen=requests) if requests <= MOST_REMEMBERED else None
        """Those of the last requests, in the order in which they were taken."""
        self._turn = asyncio.Lock()

    def free(self) -> bool:
        """Tell whether `take` would not wait."""
        return not self._turn.locked() and self._limiter.has_capacity() and self._left() <= 0

    async def take(self) -> Place:
        """Wait for the right to send a request; one after the other, in the order of asking.

        Cancelled, it costs nothing or one request of the bucket.
        """
        async with self._turn:
            await self._limiter.acquire()
            while (left := self._left()) > 0:  # noqa: ASYNC110 - one that was held up may have gone to the end
                await asyncio.sleep(left)
            return self._placed()

    async def wait(self, woken: asyncio.Event, stopping: Callable[[], bool]) -> Place | None:
        """Wait for a place as `take` does; None if its lane is stopped meanwhile, which sets `woken`."""
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
            # What it was woken for meanwhile is still to be done.
            woken.set()
        return None if stopping() else taken.result()

    async def spend(self) -> None:
        """Have the burst used up, as if its requests had just been sent; to be called when a lane begins. Never waits.

        Another process, or this one under another configuration, may have sent them up to this very moment: with a
        burst of its own after that one's, a window would see more than it may.
        """
        for _ in range(int(self._limiter.max_rate)):
            if not self._limiter.has_capacity():
                return
            await self._limiter.acquire()

    def prepay(self, place: Place) -> None:
        """Let the current task, and the tasks that it starts, send one request more without waiting: after `take`."""
        prepaid = _prepaid.get()
        if prepaid is None:
            _prepaid.set([place])
        else:
            prepaid.append(place)

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Wait before a request, unless it is prepaid; to be left when it has been answered.

        This is `connectors.base.Context.pace`. What is raised within tells that no answer came: the request may arrive
        later.
        """
        prepaid = _prepaid.get()
        place = await self._kept(prepaid.pop()) if prepaid else await self.take()
        yield
        place.arrived = min(place.arrived, asyncio.get_running_loop().time())

    async def _kept(self, place: Place) -> Place:
        """Give the place of a request that is sent now. One that was held up goes to the end, where there is room."""
        if asyncio.get_running_loop().time() - place.taken <= self._late:
            return place
        if self._places is None or place not in self._places:
            return await self.take()
        self._places.remove(place)
        return self._placed()

    def _left(self) -> float:
        """Give for how long there is no room for another request."""
        if self._places is None or len(self._places) < (self._places.maxlen or 0):
            return 0.0
        return self._places[0].arrived + self._window - asyncio.get_running_loop().time()

    def _placed(self) -> Place:
        now = asyncio.get_running_loop().time()
        place = Place(now, now + self._under_way)
        if self._places is not None:
            self._places.append(place)
        return place


def _slack(per: float) -> float:
    """Give by how much a window is taken to be longer: a tenth of a second, or what a short one can spare."""
    return max(per / 100, min(MOST_SLACK, per / 20))
