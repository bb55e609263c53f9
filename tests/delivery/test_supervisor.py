"""The lanes of several processes on one store, and of one that is alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from bridge.config.model import RateLimit
from bridge.delivery import supervisor as module
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.supervisor import Lanes
from bridge.errors import StoreUnavailableError
from bridge.store.driver import Driver
from bridge.store.interface import Pause
from bridge.store.sql import SqlStore
from connectors.base import Blame, Reason, Retry
from tests.building import FakeConnector, all_delivered, chatbot, config, destination, route, routed
from tests.postgresql import ToldDriver

pytestmark = pytest.mark.each_engine

NAMES = ("crm", "mail", "log", "erp")


class Process:
    """One process: its store, its lanes, its connectors."""

    def __init__(self, driver: Driver, names: tuple[str, ...] = NAMES, rate_limit: RateLimit | None = None) -> None:
        self.store = SqlStore(driver)
        self.connectors = {name: FakeConnector() for name in names}
        self.config = config(
            [chatbot("acme", *[route(name) for name in names])],
            [destination(name, connector, rate_limit=rate_limit) for name, connector in self.connectors.items()],
        )
        loop = asyncio.get_running_loop()
        self.lanes = Lanes(lambda: self.config, self.store, loop.time, AttemptRunner())
        self.store.on_accepted, self.store.on_changed = self.lanes.wake, self.lanes.change
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
    await until(lambda: len(first.lanes._claim.share) == 1)
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
    for each in first.lanes._running.values():
        each.task.cancel()
    await until(lambda: second.working == set(NAMES))


async def test_whoever_is_left_looks_when_the_leases_of_the_dead_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", 1.5)
    first, second = start(), start()
    await until(lambda: shared(first, second))
    first.run.cancel()
    for each in first.lanes._running.values():
        each.task.cancel()
    theirs = asyncio.get_running_loop().time() + module.LEASE_SECONDS
    # Its own are to last well beyond those of the dead: it does not renew them any more.
    await until(lambda: second.lanes._owned_until > theirs + 0.7)
    monkeypatch.setattr(module, "RENEW_SECONDS", 60.0)
    await until(lambda: second.working == set(NAMES))


async def test_whoever_is_left_looks_when_one_ends_that_died_before_it_could_claim(
    start: Start, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had said that it was there, and had no lease whose end would have been waited for."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 60.0)
    ghost = SqlStore(ToldDriver(database))
    await ghost.heartbeat("ghost", ["crm", "mail"], asyncio.get_running_loop().time(), 1)
    left = start("crm", "mail")
    await until(lambda: len(left.working) == 1)
    await until(lambda: left.working == {"crm", "mail"})
    await ghost.close()


async def test_a_process_that_is_cut_off_begins_no_calls_after_its_leases_are_over(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    await until(lambda: first.working == set(NAMES))

    async def fail(*_: Any) -> None:
        raise StoreUnavailableError("cut off")

    with monkeypatch.context() as cut:
        cut.setattr(first.store, "heartbeat", fail)
        await until(lambda: not first.lanes.complete())
        await first.store.accept([routed("crm")])
        await asyncio.sleep(0.2)
        assert first.calls() == 0
    await until(lambda: first.calls() == 1)
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


async def test_a_destination_that_goes_is_closed_whether_its_lane_is_worked_here_or_not(start: Start) -> None:
    """Another process's destination may have been asked here what it holds, over connections of its own."""
    one, other = start(), start()
    await until(lambda: shared(one, other))
    for process in (one, other):
        changed = {**process.config.destinations, "crm": destination("crm", FakeConnector())}
        process.config = replace(process.config, destinations=changed)
        process.lanes.reconfigure()
    await until(lambda: one.connectors["crm"].closed and other.connectors["crm"].closed)
    await one.stop()
    await other.stop()
    for process in (one, other):
        assert {name: each.closed for name, each in process.connectors.items()} == dict.fromkeys(NAMES, 1)


async def test_one_that_follows_does_not_use_the_limit_again(driver: Driver) -> None:
    limit = RateLimit(2, 3600.0)
    first = Process(driver, ("crm",), limit)
    await first.store.accept([routed("crm") for _ in range(20)])
    # The first one ever has the limit to itself.
    await until(lambda: first.calls() == 1)
    await asyncio.sleep(0.1)
    assert first.calls() == 1
    await first.stop()
    second = Process(driver, ("crm",), limit)
    await until(lambda: second.working)
    await asyncio.sleep(0.2)
    assert second.calls() == 0
    await second.stop()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have lanes that fail begin again after a moment, without writing the time's worth of tracebacks."""
    monkeypatch.setattr(module, "log", Mock())
    monkeypatch.setattr(module, "FIRST_REST", 0.05)
    monkeypatch.setattr(module, "LONGEST_REST", 0.2)
    monkeypatch.setattr(module, "CALM_SECONDS", 0.8)


def break_lane(process: Process, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Have one lane of a process fail whenever it asks for its pause."""
    paused = process.store.pause_of

    async def ask(lane: str) -> Pause | None:
        if lane == broken:
            raise RuntimeError("a fault of this process")
        return await paused(lane)

    monkeypatch.setattr(process.store, "pause_of", ask)


@pytest.mark.usefixtures("quickly")
async def test_a_lane_that_fails_again_and_again_is_shown_and_tried_until_it_works(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = start()
    with monkeypatch.context() as patch:
        break_lane(alone, patch, "crm")
        await until(lambda: alone.lanes.failing() == {"crm"})
        await until(lambda: alone.working == set(NAMES) - {"crm"})
        await alone.store.accept([routed("crm", "mail")])
        await until(lambda: alone.calls() == 1)
        assert not alone.lanes.complete()
    await until(lambda: alone.calls() == 2)
    await until(alone.lanes.complete)
    assert alone.working == set(NAMES)


async def test_settings_that_have_changed_are_tried_at_once(start: Start) -> None:
    """A lane that has paused for a bad token does not wait for the end of its pause to use a good one."""
    process = start("crm")
    connector = process.connectors["crm"]
    connector.answer = lambda _: [Retry(Reason.UNAUTHORIZED, "who are you", Blame.DESTINATION, after=3600.0)]
    await until(lambda: process.working == {"crm"})
    await process.store.accept([routed("crm")])
    await until(lambda: (lane := process.lanes.running.get("crm")) and lane.pause)
    connector.answer = all_delivered
    process.config = replace(process.config, destinations={"crm": destination("crm", connector)})
    process.lanes.reconfigure()
    await until(lambda: len(connector.calls) == 2)
    await until(lambda: (lane := process.lanes.running.get("crm")) and not lane.pause)
