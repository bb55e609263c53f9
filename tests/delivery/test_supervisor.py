"""The lanes of several processes on one store, and of one that is alone."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from bridge.config.model import RateLimit
from bridge.delivery import lane_faults
from bridge.delivery import supervisor as module
from bridge.delivery.attempt import Caller
from bridge.delivery.sharding import lanes_of
from bridge.delivery.supervisor import Lanes
from bridge.errors import StoreUnavailableError
from bridge.store import sharding
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

    def __init__(
        self, driver: Driver, names: tuple[str, ...] = NAMES, shards: int = 1, rate_limit: RateLimit | None = None
    ) -> None:
        self.store = SqlStore(driver)
        self.connectors = {name: FakeConnector() for name in names}
        self.rate_limit = rate_limit
        self.configure(shards)
        loop = asyncio.get_running_loop()
        self.lanes = Lanes(lambda: self.config, self.store, loop.time, Caller())
        self.run = loop.create_task(self.lanes.run())

    def configure(self, shards: int) -> None:
        """Have every destination split so."""
        self.config = config(
            [chatbot("acme", *[route(name) for name in self.connectors])],
            [
                destination(name, connector, shards=shards, rate_limit=self.rate_limit)
                for name, connector in self.connectors.items()
            ],
        )

    def reload(self, shards: int) -> None:
        self.configure(shards)
        self.lanes.reconfigure()

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

    def begin(*names: str, shards: int = 1) -> Process:
        started.append(Process(ToldDriver(database), names or NAMES, shards))
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


async def test_whoever_is_left_looks_when_the_leases_of_the_dead_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", 1.5)
    first, second = start(), start()
    await until(lambda: shared(first, second))
    first.run.cancel()
    for task in first.lanes._running.values():
        task.cancel()
    theirs = asyncio.get_running_loop().time() + module.LEASE_SECONDS
    # Its own are to last well beyond those of the dead: it does not renew them any more.
    await until(lambda: second.lanes._until > theirs + 0.7)
    monkeypatch.setattr(module, "RENEW_SECONDS", 60.0)
    await until(lambda: second.working == set(NAMES))


async def test_whoever_is_left_looks_when_one_ends_that_died_before_it_could_claim(
    start: Start, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had said that it was there, and had no lease whose end would have been waited for."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 60.0)
    ghost = SqlStore(ToldDriver(database))
    await ghost.meet("ghost", ["crm", "mail"], asyncio.get_running_loop().time(), 1)
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


# -- shards


def split(shards: int, *processes: Process) -> bool:
    """Whether these processes share the shards of the crm, and it is complete for them."""
    working = [each.working for each in processes]
    sizes = [len(each) for each in working]
    whole = sorted(lane for each in working for lane in each) == sorted(lanes_of("crm", shards))
    return whole and max(sizes) - min(sizes) <= 1 and all(each.lanes.complete() for each in processes)


def sessions(*processes: Process) -> list[int]:
    """Give the leads that were delivered, by process in the order of their calls."""
    return [record.fields["session"] for each in processes for call in each.connectors["crm"].calls for record in call]


async def accept(process: Process, count: int, first: int = 0) -> None:
    await process.store.accept([routed("crm", SessionID=number) for number in range(first, first + count)])


async def test_processes_share_the_shards_of_a_destination(start: Start) -> None:
    first, second, third = (start("crm", shards=6) for _ in range(3))
    await until(lambda: split(6, first, second, third))
    await accept(first, 200)
    await until(lambda: len(sessions(first, second, third)) == 200)
    assert sorted(sessions(first, second, third)) == list(range(200))
    assert all(len(sessions(each)) > 30 for each in (first, second, third))
    await second.stop()
    await until(lambda: split(6, first, third))
    assert set(first.lanes.destinations) == {"crm"}


async def test_a_process_with_another_number_waits_until_the_last_one_with_the_old_number_has_gone(
    start: Start,
) -> None:
    first, second = start("crm", shards=1), start("crm", shards=1)
    await until(lambda: sorted([*first.working, *second.working]) == ["crm"])
    newer = start("crm", shards=4)
    await accept(newer, 10)
    await until(lambda: len(sessions(first, second)) == 10)
    # It serves, and is ready: nothing is undone because of it, and a rollout may go on.
    await until(newer.lanes.complete)
    assert newer.working == set()
    await first.stop()
    await until(lambda: second.working == {"crm"})
    await accept(newer, 10, 10)
    await until(lambda: len(sessions(first, second)) == 20)
    assert newer.working == set()
    await second.stop()
    await until(lambda: split(4, newer))
    await accept(newer, 10, 20)
    await until(lambda: len(sessions(newer)) == 10)
    assert sorted(sessions(first, second, newer)) == list(range(30))


async def test_nobody_is_ready_while_the_shards_in_force_are_nobodys(start: Start, database: str) -> None:
    ghost = SqlStore(ToldDriver(database))
    now = asyncio.get_running_loop().time()
    await ghost.meet("ghost", lanes_of("crm", 4), now, 1e9)
    while await ghost.divide("crm"):
        pass
    newer = start("crm", shards=2)
    await until(lambda: newer.lanes._shards == {"crm": 4})
    assert not newer.lanes.complete()
    await ghost.release("ghost")
    await until(lambda: split(2, newer))
    await ghost.close()


async def test_a_reload_changes_the_number_when_every_process_has_it_and_all_calls_are_settled(start: Start) -> None:
    first, second = start("crm", shards=2), start("crm", shards=2)
    await until(lambda: split(2, first, second))
    gates = [asyncio.Event(), asyncio.Event()]
    first.connectors["crm"].before = lambda _: gates[0].wait()
    second.connectors["crm"].before = lambda _: gates[1].wait()
    await accept(first, 60)
    await until(lambda: first.calls() and second.calls())
    first.reload(5)
    gates[0].set()
    # What it has left, the other one takes over: it still goes by the old number.
    await until(lambda: second.working == set(lanes_of("crm", 2)))
    second.reload(5)
    await asyncio.sleep(2 * module.LEASE_SECONDS)
    assert first.working == set()
    gates[1].set()
    await until(lambda: split(5, first, second))
    await until(lambda: len(sessions(first, second)) == 60)
    assert sorted(sessions(first, second)) == list(range(60))
    for process in (first, second):
        assert process.connectors["crm"].closed == 1
    second.reload(1)
    first.reload(1)
    await until(lambda: sorted([*first.working, *second.working]) == ["crm"])


async def test_the_number_of_a_process_that_died_is_over_with_its_lease(start: Start) -> None:
    first = start("crm", shards=3)
    await until(lambda: split(3, first))
    first.run.cancel()
    for task in first.lanes._running.values():
        task.cancel()
    second = start("crm", shards=2)
    await until(lambda: split(2, second))


async def test_one_that_is_alone_works_all_shards_and_changes_their_number(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(sharding, "DIVIDE_ROWS", 10)
    process = Process(driver, ("crm",), 4)
    await until(lambda: split(4, process))
    await accept(process, 50)
    await until(lambda: len(sessions(process)) == 50)
    gate = asyncio.Event()
    process.connectors["crm"].before = lambda _: gate.wait()
    await accept(process, 100, 50)
    await until(lambda: process.calls() > 50)
    for shards in (2, 7, 1):
        process.reload(shards)
        gate.set()
        await until(functools.partial(split, shards, process))
    await until(lambda: len(sessions(process)) == 150)
    assert sorted(sessions(process)) == list(range(150))
    assert process.connectors["crm"].closed == 3
    await process.stop()


async def test_a_store_that_fails_while_it_divides_is_asked_again(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    process = Process(driver, ("crm",), 1)
    await until(lambda: process.working == {"crm"})
    failures = iter([StoreUnavailableError("the disk is full")] * 3)
    divide = process.store.divide

    async def fail(name: str) -> bool:
        if error := next(failures, None):
            raise error
        return await divide(name)

    monkeypatch.setattr(process.store, "divide", fail)
    process.reload(3)
    await until(lambda: split(3, process))
    await process.stop()


@pytest.mark.parametrize(("shards", "at_once"), [(1, 1), (2, 0)])
async def test_one_that_follows_does_not_use_the_limit_again(driver: Driver, shards: int, at_once: int) -> None:
    limit = RateLimit(2, 3600.0)
    first = Process(driver, ("crm",), shards, limit)
    await until(lambda: len(first.working) == shards)
    await accept(first, 20)
    # The first one ever has the limit to itself; but a shard's may have been used under another number of them.
    await until(lambda: first.calls() == at_once)
    await asyncio.sleep(0.1)
    assert first.calls() == at_once
    await first.stop()
    second = Process(driver, ("crm",), shards, limit)
    await until(lambda: len(second.working) == shards)
    await asyncio.sleep(0.2)
    assert second.calls() == 0
    await second.stop()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have lanes that fail begin again after a moment, without writing the time's worth of tracebacks."""
    monkeypatch.setattr(module, "log", Mock())
    monkeypatch.setattr(lane_faults, "FIRST_REST", 0.05)
    monkeypatch.setattr(lane_faults, "LONGEST_REST", 0.2)
    monkeypatch.setattr(lane_faults, "CALM_SECONDS", 0.8)


def break_lane(process: Process, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Have one lane of a process fail whenever it asks for its pause."""
    paused = process.store.paused

    async def ask(lane: str) -> Pause | None:
        if lane == broken:
            raise RuntimeError("a fault of this process")
        return await paused(lane)

    monkeypatch.setattr(process.store, "paused", ask)


@pytest.mark.usefixtures("quickly")
async def test_a_lane_that_fails_again_and_again_is_worked_by_another_process(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    break_lane(first, monkeypatch, "crm")
    await until(lambda: first.lanes.failing() == {"crm"})
    assert not first.lanes.complete()
    second = start()
    await until(lambda: "crm" in second.working)
    await until(lambda: first.lanes.complete() and not first.lanes.failing())
    await first.store.accept([routed("crm")])
    await until(lambda: len(second.connectors["crm"].calls) == 1)
    # Each has its share of the others, and the first one does not take the lane that it has given up.
    await until(lambda: len(first.working) == 2 and len(second.working) == 2)
    assert "crm" not in first.working


@pytest.mark.usefixtures("quickly")
async def test_a_lane_that_fails_is_tried_again_where_there_is_no_other_process(
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
    process.reload(1)
    await until(lambda: len(connector.calls) == 2)
    await until(lambda: (lane := process.lanes.running.get("crm")) and not lane.pause)
