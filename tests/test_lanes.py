"""The lanes of several processes on one store, and of one that is alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge import lanes as module
from bridge.calling import Caller
from bridge.errors import StoreUnavailableError
from bridge.lanes import Lanes
from bridge.store.driver import Driver
from bridge.store.sql import SqlStore
from tests.building import FakeConnector, chatbot, config, destination, route, routed
from tests.postgresql import ToldDriver

NAMES = ("crm", "mail", "log", "erp")


class Process:
    """One process: its store, its lanes, its connectors."""

    def __init__(self, driver: Driver, names: tuple[str, ...] = NAMES) -> None:
        self.store = SqlStore(driver)
        self.connectors = {name: FakeConnector() for name in names}
        self.config = config(
            [chatbot("acme", *[route(name) for name in names])],
            [destination(name, connector) for name, connector in self.connectors.items()],
        )
        loop = asyncio.get_running_loop()
        self.lanes = Lanes(lambda: self.config, self.store, loop.time, Caller())
        self.run = loop.create_task(self.lanes.run())

    @property
    def working(self) -> set[str]:
        return set(self.lanes.running)

    async def stop(self) -> None:
        self.lanes.stop()
        await asyncio.wait_for(self.run, 5)
        await self.store.close()

    def calls(self) -> int:
        return sum(len(each.calls) for each in self.connectors.values())


Start = Callable[..., Process]


@pytest.fixture
async def start(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.1)
    started: list[Process] = []

    def begin(*names: str) -> Process:
        started.append(Process(ToldDriver(database), names or NAMES))
        return started[-1]

    yield begin
    for each in started:
        if not each.run.done():
            await each.stop()
        else:
            await each.store.close()


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def shared(*processes: Process) -> bool:
    """Whether each works its share, and together they work all."""
    working = [each.working for each in processes]
    sizes = [len(each) for each in working]
    whole = set().union(*working) == set(NAMES)
    return whole and sum(sizes) == len(NAMES) and max(sizes) - min(sizes) <= 1


async def test_a_newcomer_gets_its_share_and_leaves_it_to_the_others_again(start: Start) -> None:
    first = start()
    await until(lambda: first.working == set(NAMES))
    second = start()
    await until(lambda: shared(first, second))
    third = start()
    await until(lambda: shared(first, second, third))
    await until(lambda: all(each.lanes.complete() for each in (first, second, third)))
    await second.stop()
    await until(lambda: shared(first, third))
    assert first.lanes.complete()


async def test_a_lane_moves_when_the_calls_on_their_way_are_settled(start: Start) -> None:
    first = start("crm", "mail")
    await until(lambda: first.working == {"crm", "mail"})
    gate = asyncio.Event()
    for connector in first.connectors.values():
        connector.before = lambda _: gate.wait()
    await first.store.accept([routed("crm", "mail")])
    await until(lambda: first.calls() == 2)
    second = start("crm", "mail")
    # It knows that there is another one, and begins no more calls in a lane that is to move.
    await until(lambda: len(first.lanes._share) == 1)
    await asyncio.sleep(2 * module.LEASE_SECONDS)
    assert second.working == set()
    gate.set()
    await until(lambda: len(first.working) == len(second.working) == 1)
    await second.store.accept([routed("crm", "mail")])
    await until(lambda: first.calls() + second.calls() == 4)
    assert second.calls() == 1


async def test_the_lanes_of_a_dead_process_are_taken_over(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = start(), start()
    await until(lambda: shared(first, second))
    # It says no more, as if it had died, and gives nothing up.
    first.run.cancel()
    for task in first.lanes._running.values():
        task.cancel()
    await until(lambda: second.working == set(NAMES))


async def test_a_process_that_is_cut_off_begins_no_calls_after_its_leases_are_over(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    await until(lambda: first.working == set(NAMES))

    async def fail(*_: Any) -> None:
        raise StoreUnavailableError("cut off")

    with monkeypatch.context() as cut:
        cut.setattr(first.store, "meet", fail)
        await until(lambda: not first.working)
        assert not first.lanes.complete()
    await until(lambda: first.working == set(NAMES))
    assert first.lanes.complete()


async def test_lanes_that_only_one_process_knows_are_its_own(start: Start) -> None:
    first = start("crm", "mail", "log")
    second = start("log", "erp")
    await until(lambda: (first.working, second.working) == ({"crm", "mail"}, {"log", "erp"}))


async def test_calls_that_take_long_to_end_keep_their_lease_when_the_process_stops(start: Start) -> None:
    first = start("crm")
    await until(lambda: first.working == {"crm"})
    gate = asyncio.Event()
    first.connectors["crm"].before = lambda _: gate.wait()
    await first.store.accept([routed("crm")])
    await until(lambda: first.calls() == 1)
    second = start("crm")
    first.lanes.stop()
    await asyncio.sleep(2 * module.LEASE_SECONDS)
    assert second.working == set()
    gate.set()
    await asyncio.wait_for(first.run, 5)
    await until(lambda: second.working == {"crm"})
    await asyncio.sleep(2 * module.RENEW_SECONDS)
    assert second.calls() == 0


async def test_one_that_is_alone_owns_everything_whatever_the_store_says(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    process = Process(driver)
    await until(lambda: process.working == set(NAMES) and process.lanes.complete())
    with contextlib.ExitStack() as trouble:
        context = trouble.enter_context(monkeypatch.context())

        async def fail(*_: Any) -> None:
            raise StoreUnavailableError("the disk is full")

        context.setattr(process.store, "claim", fail)
        await asyncio.sleep(0.2)
        assert process.working == set(NAMES)
    await process.stop()
