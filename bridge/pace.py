"""The rate limit of a destination: one for each of its lanes and for every request that its connector sends."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass

from aiolimiter import AsyncLimiter


@dataclass(slots=True)
class _Call:
    """A call of a connector. The tasks that it starts share it."""

    pace: "Pace"
    """That of the lane whose call it is."""
    prepaid: int = 1
    """Requests that it may send without waiting: the lane has waited for them."""


@dataclass(slots=True)
class _Request:
    """A request that is on its way, or was."""

    arrived: float
    """When it has arrived at the latest, in the loop's time."""


_call: ContextVar[_Call | None] = ContextVar("call", default=None)


MOST_SLACK = 0.1
"""Seconds by which two requests may come closer to each other on their way, in any window that is long enough."""
MOST_UNDER_WAY = 1.0
"""Seconds after which a request is taken to have arrived, if no answer to it has come by then; in short windows a tenth
of the window. So answers that take long cost no more than a tenth of the rate."""
MOST_REMEMBERED = 1_000
"""Limits of more requests are not kept by the times of the last ones: their slack is many requests wide."""


class Pace:
    """Keeps requests under a limit: no window of `per` seconds sees more than `requests` of them.

    A leaky bucket lets its capacity pass at once and then its rate: in one window the sum of both. So a fiftieth of
    the limit is the burst and the rest the rate; a limit too small for that is paced evenly. The window is taken to be
    a little longer than it is: requests that are sent in time may arrive closer to each other. So paces that have a
    part of a limit each keep it together. Used by one event loop.

    Between the bucket and the destination's own count a request may be held up, by a process that waits for its turn
    at the processor as much as by a network. So it is kept too by when the last requests have arrived: before their
    answers. A request that would be one too many since one that was late waits.
    """

    def __init__(self, requests: int, per: float) -> None:
        slack = _slack(per)
        burst = max(1, requests // 50)
        rate = (requests - (burst if burst > 1 else 0)) / (per + slack)
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._window = per + slack / 2
        self._under_way = min(MOST_UNDER_WAY, per / 10)
        self._sent: deque[_Request] | None = deque(maxlen=requests) if requests <= MOST_REMEMBERED else None
        """The last requests, in the order in which they were sent."""

    def free(self) -> bool:
        """Tell whether `take` would not wait."""
        return self._limiter.has_capacity()

    async def take(self) -> None:
        """Wait for the right to send a request."""
        await self._limiter.acquire()

    async def spend(self) -> None:
        """Have the burst used up, as if its requests had just been sent; to be called when a lane begins. Never waits.

        Another process, or this one under another configuration, may have sent them up to this very moment: with a
        burst of its own after that one's, a window would see more than it may.
        """
        for _ in range(int(self._limiter.max_rate)):
            if not self.free():
                return
            await self.take()

    def prepay(self) -> None:
        """Let the current task, and the tasks that it starts, send one request more without waiting: after `take`.

        Their further requests wait for this pace.
        """
        call = _call.get()
        if call is None or call.pace is not self:
            _call.set(_Call(self))
        else:
            call.prepaid += 1

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Wait before a request, unless it is prepaid; leave when it has been answered, or has failed.

        This is `connectors.base.Context.pace`. In a call that a lane makes, it is the lane's pace that counts: where a
        destination is split, its lanes share the connector, and each of them has its own.
        """
        call = _call.get()
        pace = call.pace if call else self
        if call and call.prepaid:
            call.prepaid -= 1
        else:
            await pace.take()
        request = await pace._apart()  # noqa: SLF001 - another one of this class
        try:
            yield
        finally:
            request.arrived = min(request.arrived, asyncio.get_running_loop().time())

    async def _apart(self) -> _Request:
        """Wait until the window that ends now has room for one more, and count it in."""
        clock = asyncio.get_running_loop().time
        if self._sent is None:
            return _Request(clock())
        # Another one that has waited too may have been counted in meanwhile.
        while len(self._sent) == self._sent.maxlen and (left := self._sent[0].arrived + self._window - clock()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        request = _Request(clock() + self._under_way)
        self._sent.append(request)
        return request


def _slack(per: float) -> float:
    """Give by how much a window is taken to be longer: a tenth of a second, or what a short one can spare."""
    return max(per / 100, min(MOST_SLACK, per / 20))
