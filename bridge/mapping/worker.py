"""The thread for work on a lead's values that takes long, so that it holds up no other lead.

Nearly all of that work takes microseconds and is done in the event loop. What spends the event loop's budget is done
again here, within the budget of a record. There is one such thread for all lanes: with more of them the event loop
would get less of the interpreter's time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bridge.mapping.budget import Budget, InlineBudget, InlineOverrun, spending

INLINE_PAYLOAD = 16 * 1024
"""Bytes of a payload that is mapped in the event loop; a larger one is mapped in the thread."""
SLICE = 20
"""Deliveries that are mapped in the event loop before it looks after others."""

T = TypeVar("T")

_thread = ThreadPoolExecutor(1, thread_name_prefix="mapping")


async def aside(make: Callable[[], T]) -> T:
    """Make something in the event loop, or in the thread if it takes long.

    Args:
        make: Depends on a lead's values and changes nothing, because it may be called twice.
    """
    try:
        return at_once(make)
    except InlineOverrun:
        return await in_thread(make)


def at_once(make: Callable[[], T]) -> T:
    """Make something in the event loop; raises `InlineOverrun` if it takes long."""
    with spending(InlineBudget()):
        return make()


async def in_thread(make: Callable[[], T]) -> T:
    """Make something in the thread."""
    return await asyncio.get_running_loop().run_in_executor(_thread, _within, make)


def _within(make: Callable[[], T]) -> T:
    with spending(Budget()):
        return make()
