"""The thread for long work on a lead's values, which would delay other leads in the event loop.

Nearly all of that work takes microseconds and is done in the event loop. Work that exceeds the event loop's budget is
repeated here, within the budget of a record. There is one such thread for all lanes, because more threads would leave
less of the interpreter's time to the event loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bridge.mapping.budget import Budget, InlineBudget, InlineOverrun, spending

INLINE_PAYLOAD = 16 * 1024
"""Maximum size of a payload that is mapped in the event loop; a larger one is mapped in the thread."""
SLICE = 20
"""Number of deliveries that are mapped in the event loop before other tasks have their turn."""

T = TypeVar("T")

_thread = ThreadPoolExecutor(1, thread_name_prefix="mapping")


async def aside(make: Callable[[], T]) -> T:
    """Run work in the event loop, or in the thread if it takes long.

    Args:
        make: The work. It must change nothing, because it may be called twice.
    """
    try:
        return at_once(make)
    except InlineOverrun:
        return await in_thread(make)


def at_once(make: Callable[[], T]) -> T:
    """Run work in the event loop. Raises `InlineOverrun` if it takes long."""
    with spending(InlineBudget()):
        return make()


async def in_thread(make: Callable[[], T]) -> T:
    """Run work in the thread."""
    return await asyncio.get_running_loop().run_in_executor(_thread, _within, make)


def _within(make: Callable[[], T]) -> T:
    with spending(Budget()):
        return make()
