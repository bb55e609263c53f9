"""The rate limit of a destination: one for its lane and for every request that its connector sends."""

from contextvars import ContextVar

from aiolimiter import AsyncLimiter

_prepaid: ContextVar[list[None] | None] = ContextVar("prepaid", default=None)
"""Requests that the current call may send without waiting: the lane has waited for them.

A list, so that the tasks that a call starts share it with the call.
"""


class Pace:
    """Keeps requests under a limit: no window of `per` seconds sees more than `requests` of them.

    A leaky bucket lets its capacity pass at once and then its rate: in one window the sum of both. So a fiftieth of
    the limit is the burst and the rest the rate, but for a hundredth: requests that are sent in time may arrive a
    little closer to each other. A limit too small for that is paced evenly. Used by one event loop.
    """

    def __init__(self, requests: int, per: float) -> None:
        burst = max(1, requests // 50)
        rate = (requests - (burst if burst > 1 else 0) - requests // 100) / per
        self._limiter = AsyncLimiter(burst, burst / rate)

    def free(self) -> bool:
        """Tell whether `take` would not wait."""
        return self._limiter.has_capacity()

    async def take(self) -> None:
        """Wait for the right to send a request."""
        await self._limiter.acquire()

    def prepay(self) -> None:
        """Let the current task, and the tasks that it starts, send one request more without waiting: after `take`."""
        prepaid = _prepaid.get()
        if prepaid is None:
            _prepaid.set([None])
        else:
            prepaid.append(None)

    async def __call__(self) -> None:
        """Wait before a request, unless it is prepaid. This is `connectors.base.Context.pace`."""
        prepaid = _prepaid.get()
        if prepaid:
            prepaid.pop()
        else:
            await self._limiter.acquire()
