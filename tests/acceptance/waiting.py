"""Waiting for what happens outside of this process: for a condition with a deadline, never for a fixed time."""

import asyncio
import time
from collections.abc import Callable

import pytest

SECONDS = 30.0
"""How long anything may take where time is not the point: the machine may be busy with other things."""


async def comes(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    """Wait until the condition holds; tell whether it did before the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def until(condition: Callable[[], object], what: Callable[[], str] | str, seconds: float = SECONDS) -> None:
    """Wait until the condition holds; after the deadline the test fails with what was waited for."""
    if not await comes(condition, seconds):
        pytest.fail(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
