"""Simulated time for what waits by an event loop's clock: it leaps to the next timer instead of waiting for it."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


_TURN = 1e-7
"""Seconds that a turn of the loop takes at least: what waits for less than a float can tell comes to its end."""


class _Leaping(selectors.DefaultSelector):
    """Lets time pass at once when nothing else is to be done."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if timeout is not None:
            self.now += _TURN if ready else max(timeout, _TURN)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0, and passes only where every task waits for it."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Give the simulated seconds."""
        return self._leaping.now


def simulated(work: Coroutine[Any, Any, T]) -> T:
    """Run some work in simulated time; give its result."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)
