"""The rate limit of a destination: one for each of its lanes and for every request that its connector sends."""

import asyncio
from collections import deque
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


_call: ContextVar[_Call | None] = ContextVar("call", default=None)


MOST_SLACK = 0.1
"""Seconds by which two requests may come closer to each other on their way, in any window that is long enough."""
MOST_REMEMBERED = 1_000
"""Limits of more requests are not kept by the times of the last ones: their slack is many requests wide."""


class Pace:
    """Keeps requests under a limit: no window of `per` seconds sees more than `requests` of them.

    A leaky bucket lets its capacity pass at once and then its rate: in one window the sum of both. So a fiftieth of
    the limit is the burst and the rest the rate; a limit too small for that is paced evenly. The window is taken to be
    a little longer than it is: requests that are sent in time may arrive closer to each other. So paces that have a
    part of a limit each keep it together. Used by one event loop.

    Between the bucket and the sending a process may have to wait for its turn at the processor. So the times of
    sending are kept too: a request that would be one too many since one that was late waits.
    """

    def __init__(self, requests: int, per: float) -> None:
        slack = _slack(per)
        burst = max(1, requests // 50)
        rate = (requests - (burst if burst > 1 else 0)) / (per + slack)
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._window = per + slack / 2
        self._sent: deque[float] | None = deque(maxlen=requests) if requests <= MOST_REMEMBERED else None
        """When the last requests were sent, in the loop's time."""

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

    async def __call__(self) -> None:
        """Wait before a request, unless it is prepaid. This is `connectors.base.Context.pace`.

        In a call that a lane makes, it is the lane's pace that counts: where a destination is split, its lanes share
        the connector, and each of them has its own.
        """
        call = _call.get()
        pace = call.pace if call else self
        if call and call.prepaid:
            call.prepaid -= 1
        else:
            await pace.take()
        await pace._apart()  # noqa: SLF001 - another one of this class

    async def _apart(self) -> None:
        """Wait until the window that ends now has room for one more, and count it in."""
        if self._sent is None:
            return
        clock = asyncio.get_running_loop().time
        # Another one that has waited too may have been counted in meanwhile.
        while len(self._sent) == self._sent.maxlen and (left := self._sent[0] + self._window - clock()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self._sent.append(clock())


def _slack(per: float) -> float:
    """Give by how much a window is taken to be longer: a tenth of a second, or what a short one can spare."""
    return max(per / 100, min(MOST_SLACK, per / 20))
