"""The steps of a stop, in order and within one deadline."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

import pytest

from bridge import shutdown
from bridge.shutdown import Shutdown


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "STORE_SECONDS", 0.2)
    monkeypatch.setattr(shutdown, "MARGIN_SECONDS", 0.05)
    monkeypatch.setattr(shutdown, "LEAST_SECONDS", 0.01)


def _step(done: list[str], name: str) -> Callable[[], Awaitable[None]]:
    async def end() -> None:
        done.append(name)

    return end


class _Stuck:
    """A step that does not end when it is cancelled, but at the end of the test."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def __call__(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.over.wait()


async def test_one_deadline_for_all_and_time_for_the_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "GRACE_SECONDS", 0.6)
    done: list[str] = []
    loop, stuck = asyncio.get_running_loop(), _Stuck()
    began = loop.time()
    slow: list[str] = []

    async def commits() -> None:
        await asyncio.sleep(0.1)
        slow.append("committed")

    async with contextlib.AsyncExitStack() as stack:
        made = Shutdown(stack)
        made.add("store", commits, store=True)
        made.add("early", _step(done, "early"))
        made.add("stuck", stuck)
        made.add("stuck too", stuck)
        made.add("late", _step(done, "late"))
    stuck.over.set()
    assert done == ["late", "early"]
    assert slow == ["committed"], "the other steps have used up its time"
    assert made.cut_off == ["stuck too", "stuck"]
    assert loop.time() - began < 0.6


async def test_a_step_may_have_a_bound_of_its_own_and_its_failure_is_raised() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async def waits() -> None:
        await asyncio.Event().wait()

    loop, stack = asyncio.get_running_loop(), contextlib.AsyncExitStack()
    began, made = loop.time(), Shutdown(stack)
    made.add("fails", fails)
    made.add("stuck", waits, most=0.05)
    with pytest.raises(ZeroDivisionError):
        await stack.aclose()
    assert made.cut_off == ["stuck"]
    assert loop.time() - began < 5


@pytest.mark.parametrize("busy", [True, False])
async def test_a_thread_that_still_works_keeps_no_process_alive(busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "LEAST_SECONDS", 0.2)
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    over = threading.Event()
    work = asyncio.get_running_loop().run_in_executor(None, over.wait)
    if not busy:
        over.set()
        await work
    async with contextlib.AsyncExitStack() as stack:
        made = Shutdown(stack)
    work.cancel()
    await made.leave()
    over.set()
    assert ended == ([0] if busy else [])
