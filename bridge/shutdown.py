"""The end of a bridge: its steps in reverse order of their beginning, all of them within one deadline.

Container engines kill 30 s after SIGTERM. So no step may use up the time of the others: it gets what is left of the one
deadline, less what the stores need at the end. A step that does not end in time is cut off and left behind. Nothing is
lost by that: a delivery that is not settled stays pending, as after a crash.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable

import structlog

GRACE_SECONDS = 25.0
"""How long a stop takes at the most, all in all; container engines kill after 30 or less."""
STORE_SECONDS = 5.0
"""What the steps before them leave of it to the stores."""
MARGIN_SECONDS = 1.0
"""What the stores leave of it to the end of the process itself."""
LEAST_SECONDS = 0.1
"""What each step gets even if the others have used up the time."""

log = structlog.get_logger()


class Shutdown:
    """Ends what was begun, within one deadline. Made inside the running loop.

    Args:
        stack: Where the steps are kept; its end is theirs.
    """

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.cut_off: list[str] = []
        """The steps that did not end in time, and may still hold a thread."""
        self._stack = stack
        self._loop = asyncio.get_running_loop()
        self._until: float | None = None

    def begin(self) -> None:
        """Let the time run; the first step does it otherwise."""
        if self._until is None:
            self._until = self._loop.time() + GRACE_SECONDS

    def add(
        self, name: str, step: Callable[[], Awaitable[None]], *, most: float = GRACE_SECONDS, store: bool = False
    ) -> None:
        """Add a step, which comes before those that were added before it.

        Args:
            name: What the log calls it.
            step: Ends something; where it is cut off, it is cancelled.
            most: Seconds that it may take, at most.
            store: Whether it is a store's: then the time that the other steps have to leave is its own.
        """
        self._stack.push_async_callback(self._end, name, step, most, MARGIN_SECONDS if store else STORE_SECONDS)

    async def leave(self) -> None:
        """End the process if a thread or a task was left behind: Python would wait for it. Call it after the stack."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for each in tasks:
            each.cancel()
        late = (await asyncio.wait(tasks, timeout=LEAST_SECONDS))[1] if tasks else ()
        if late or self.cut_off:
            # The log is written in the loop's next turn.
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
                # Not longer: it may not want to end.
                await asyncio.wait({task}, timeout=LEAST_SECONDS)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done() and not task.cancelled():
            task.result()


def end_at_last() -> None:
    """End the process when the time of a stop is over, whatever it does then: the loop itself may stand still."""
    timer = threading.Timer(GRACE_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()
