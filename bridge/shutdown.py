"""Shutdown of a bridge: steps in reverse order of their start, all within one deadline.

Container engines kill a process 30 s after SIGTERM. So no step may use up the time of the others: each gets the rest of
the deadline, less a reserve for the stores. A step that does not end in time is cancelled. Nothing is lost by that: a
delivery that is not settled stays pending, as after a crash.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable

import structlog

GRACE_SECONDS = 25.0
"""Maximum seconds of a whole shutdown; container engines kill after 30 or less."""
STORE_SECONDS = 5.0
"""Seconds that the other steps leave to the stores."""
MARGIN_SECONDS = 1.0
"""Seconds that the stores leave to the end of the process itself."""
LEAST_SECONDS = 0.1
"""Minimum seconds of each step, even if the others have used up the time."""

log = structlog.get_logger()


class Shutdown:
    """Steps that end parts of the bridge within one deadline. Create it in the running loop.

    Args:
        stack: Holder of the steps; they run when it is closed.
    """

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.cut_off: list[str] = []
        """Steps that did not end in time and may still occupy a thread."""
        self._stack = stack
        self._loop = asyncio.get_running_loop()
        self._until: float | None = None

    def begin(self) -> None:
        """Start the deadline, unless it is running. The first step starts it otherwise."""
        if self._until is None:
            self._until = self._loop.time() + GRACE_SECONDS

    def add(
        self, name: str, step: Callable[[], Awaitable[None]], *, most: float = GRACE_SECONDS, store: bool = False
    ) -> None:
        """Add a step. It runs before the steps that were added earlier.

        Args:
            name: Name in the log.
            step: Ends a part of the bridge. Cancelled if it takes too long.
            most: Maximum seconds of the step.
            store: True for a store, which may use the seconds that the other steps leave.
        """
        self._stack.push_async_callback(self._end, name, step, most, MARGIN_SECONDS if store else STORE_SECONDS)

    async def leave(self) -> None:
        """End the process if a thread or a task is left, for which Python would wait. Call it after the stack.

        A thread may be reading thousands of changed files, for a reload that nobody needs any more.
        """
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for each in tasks:
            each.cancel()
        threads = asyncio.ensure_future(self._loop.shutdown_default_executor())
        _, late = await asyncio.wait({*tasks, threads}, timeout=LEAST_SECONDS)
        if late or self.cut_off:
            # The log is written in the next turn of the loop.
            await asyncio.sleep(0)
            os._exit(0)

    async def _end(self, name: str, step: Callable[[], Awaitable[None]], most: float, spare: float) -> None:
        self.begin()
        left = (self._until or 0.0) - self._loop.time() - spare
        task = asyncio.ensure_future(step())
        try:
            _, late = await asyncio.wait({task}, timeout=max(LEAST_SECONDS, min(left, most)))
            if late:
                self.cut_off.append(name)
                log.warning("cut_off", step=name, detail="what is not settled stays pending")
                task.cancel()
                # Not longer, because it may ignore the cancellation.
                await asyncio.wait({task}, timeout=LEAST_SECONDS)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done() and not task.cancelled():
            task.result()


def end_at_last() -> None:
    """End the process at the deadline in any case, from a thread: the loop itself may be blocked."""
    timer = threading.Timer(GRACE_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()
