"""Destinations that are split into shards: which rows a lane reads, and how the number of shards changes."""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from bridge.delivery.sharding import lanes_of, shard, shard_of
from bridge.errors import LeaseLostError
from bridge.store import commands, lease, queue, sharding
from bridge.store.driver import Driver, raw
from bridge.store.interface import Lease, Meeting, NewDelivery, Pause, RoutedEvent
from bridge.store.lane_queries import LaneRow, all_lanes
from bridge.store.schema import deliveries, lanes
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from bridge.store.sqlite_statements import Statements
from tests.building import NOW, routed
from tests.store.test_sql import delivered, rows

pytestmark = pytest.mark.each_engine

PENDING = int(os.environ.get("LEADBRIDGE_PENDING", "20000"))
TTL = 10.0


async def meet(store: SqlStore, shards: int, owner: str = "me", now: float = NOW, *names: str) -> Meeting:
    """Say that a process would split the crm so, and divide what is to be divided."""
    lanes = [lane for name in names or ("crm",) for lane in lanes_of(name, shards)]
    meeting = await store.meet(owner, lanes, now, TTL)
    for name in meeting.dividing:
        while await store.divide(name):
            pass
    return meeting


async def claim(store: SqlStore, shards: int, owner: str = "me", now: float = NOW) -> dict[str, Lease]:
    return await store.claim(owner, lanes_of("crm", shards), now, TTL)


async def due(store: SqlStore, shards: int) -> list[list[int]]:
    """Read the ids that each lane reads."""
    return [[each.id for each in await store.due(lane, 0, 10**9)] for lane in lanes_of("crm", shards)]


def by_contact(driver: Driver, shards: int) -> list[list[int]]:
    """Give the ids that each lane is to read."""
    pending = [row for row in rows(driver, deliveries) if row.state == "pending" and row.destination == "crm"]
    return [[row.id for row in pending if shard_of(row.contact, shards) == number + 1] for number in range(shards)]


def act(driver: Driver, verb: Any, *arguments: Any) -> Any:
    with driver.engine().begin() as connection:
        return verb(connection, *arguments)


# -- marks


@pytest.mark.parametrize("shards", [2, 3, 4, 64])
async def test_each_delivery_is_read_by_the_lane_of_its_contact_and_by_no_other(
    store: SqlStore, driver: Driver, shards: int
) -> None:
    await meet(store, shards)
    await store.accept([routed("crm", "mail") for _ in range(300)])
    assert await due(store, shards) == by_contact(driver, shards)
    for row in rows(driver, deliveries):
        of = shard(lanes_of(row.destination, shards)[shard_of(row.contact, shards) - 1])
        assert row.shard == (of.mark if row.destination == "crm" else None)
    assert len(await store.due("mail", 0, 1_000)) == len(await store.due("crm", 0, 1_000)) == 300


async def test_one_born_dead_or_put_back_or_moved_is_marked_as_one_that_is_accepted(
    store: SqlStore, driver: Driver
) -> None:
    await store.accept([RoutedEvent(routed().event, (NewDelivery("crm", "crm", "when failed"),)) for _ in range(9)])
    await store.accept([routed("mail") for _ in range(9)])
    await meet(store, 4)
    assert act(driver, commands.replay, list(range(1, 10)), NOW).keys() == set(range(1, 10))
    for number in range(10, 19):
        assert act(driver, commands.move, number, "crm", "crm", NOW)
    assert await due(store, 4) == by_contact(driver, 4)
    assert sorted(each for lane in await due(store, 4) for each in lane) == list(range(1, 19))
    assert act(driver, commands.move, 1, "mail", "mail", NOW)
    assert rows(driver, deliveries)[0].shard is None


# -- the number in force


async def test_a_process_that_has_died_keeps_its_number_for_as_long_as_its_lease(
    store: SqlStore, driver: Driver
) -> None:
    await meet(store, 4, "old")
    held = await claim(store, 4, "old")
    assert (await meet(store, 2, "new", NOW + TTL - 1)).shards == {"crm": 4}
    assert (await meet(store, 2, "new", NOW + TTL)).shards == {"crm": 2}
    assert (await claim(store, 2, "new", NOW + TTL)).keys() == set(lanes_of("crm", 2))
    await store.accept([routed("crm")])
    for each in held.values():
        with pytest.raises(LeaseLostError):
            await store.settle(each, [delivered(1)])


async def test_a_fence_of_old_does_not_come_again_with_its_number(store: SqlStore, driver: Driver) -> None:
    await store.accept([routed("crm")])
    await meet(store, 4)
    held = await claim(store, 4)
    await store.release("me", lanes_of("crm", 4))
    for shards in (2, 4, 1, 4):
        assert (await meet(store, shards)).shards == ({"crm": shards} if shards > 1 else {})
    again = await claim(store, 4)
    assert all(again[name].fence > held[name].fence for name in held)
    with pytest.raises(LeaseLostError):
        await store.settle(held["crm#1/4"], [delivered(1)])


async def test_several_destinations_change_each_by_itself(store: SqlStore) -> None:
    assert (await meet(store, 3, "me", NOW, "crm", "mail")).shards == {"crm": 3, "mail": 3}
    await claim(store, 3)
    # The lanes of the crm are held still, those of the other one are not.
    assert (await meet(store, 2, "me", NOW, "crm", "mail")).shards == {"crm": 3, "mail": 2}


# -- dividing


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 8), (8, 3)])
async def test_what_waits_is_divided_before_anybody_gets_a_lease(
    store: SqlStore, driver: Driver, before: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "DIVIDE_ROWS", 7)
    await meet(store, before)
    await store.accept([routed("crm") for _ in range(60)])
    assert await due(store, before) == by_contact(driver, before)
    ended = [delivered(number) for number in range(1, 60, 5)]
    await store.settle((await claim(store, before))[lanes_of("crm", before)[0]], ended)
    await store.release("me", lanes_of("crm", before))

    meeting = await store.meet("me", lanes_of("crm", after), NOW, TTL)
    if after > 1:
        assert meeting.dividing == {"crm"}
        more = True
        while more:
            assert await claim(store, after) == {}
            # Meanwhile leads come, and operators put back what has ended.
            await store.accept([routed("crm")])
            act(driver, commands.replay, [ended.pop().delivery] if ended else [], NOW)
            more = await store.divide("crm")
    assert not await store.divide("crm")
    assert (await store.meet("me", lanes_of("crm", after), NOW, TTL)).dividing == frozenset()
    assert (await claim(store, after)).keys() == set(lanes_of("crm", after))
    assert await due(store, after) == by_contact(driver, after)


async def test_the_number_may_change_again_while_it_is_being_divided(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "DIVIDE_ROWS", 5)
    await store.accept([routed("crm") for _ in range(30)])
    for shards in (4, 2, 5):
        assert (await store.meet("me", lanes_of("crm", shards), NOW, TTL)).shards == {"crm": shards}
        assert await store.divide("crm")
    while await store.divide("crm"):
        pass
    assert await due(store, 5) == by_contact(driver, 5)


async def test_a_crash_leaves_it_at_its_last_step(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "DIVIDE_ROWS", 5)
    first = SqlStore(driver)
    await first.accept([routed("crm") for _ in range(12)])
    await first.meet("me", lanes_of("crm", 4), NOW, TTL)
    assert await first.divide("crm")
    await first.close()
    second = SqlStore(driver)
    await second.release(None if driver.exclusive else "me")
    assert (await second.meet("other", lanes_of("crm", 4), NOW, TTL)).dividing == {"crm"}
    assert await claim(second, 4, "other") == {}
    assert await second.divide("crm")
    assert not await second.divide("crm")
    assert (await claim(second, 4, "other")).keys() == set(lanes_of("crm", 4))
    assert await due(second, 4) == by_contact(driver, 4)
    await second.close()


# -- pauses, and what people see


def seen(driver: Driver, now: float = NOW) -> LaneRow:
    with driver.engine().connect() as connection:
        (row,) = all_lanes(connection, ["crm"], now)
    return row


async def test_an_operator_pauses_and_resumes_all_shards_at_once(store: SqlStore, driver: Driver) -> None:
    await meet(store, 4)
    held = await claim(store, 4)
    await store.pause(held["crm#2/4"], Pause("lane", "timeout", "slow", NOW + 60))
    act(driver, commands.pause_lane, "crm", Pause("operator", "moving"))
    assert {await store.paused(lane) for lane in held} == {Pause("operator", "moving")}
    # Its own does not overwrite it, and neither does another number of shards.
    await store.pause(held["crm#3/4"], Pause("lane", "timeout", None, NOW + 60))
    assert await store.paused("crm#3/4") == Pause("operator", "moving")
    assert (seen(driver).state, seen(driver).pause) == ("paused", Pause("operator", "moving"))
    await store.release("me", list(held))
    await meet(store, 2)
    assert await store.paused("crm#2/2") == Pause("operator", "moving")
    assert act(driver, commands.resume_lane, "crm")
    assert await store.paused("crm#2/2") is None
    assert not act(driver, commands.resume_lane, "crm")


async def test_a_shard_pauses_by_itself_and_is_resumed_with_its_destination(store: SqlStore, driver: Driver) -> None:
    await meet(store, 3)
    held = await claim(store, 3)
    for number, until in ((2, NOW + 60), (3, NOW + 30)):
        await store.pause(held[f"crm#{number}/3"], Pause("lane", "timeout", "slow", until))
    assert await store.paused("crm#1/3") is None
    assert await store.paused("crm#2/3") == Pause("lane", "timeout", "slow", NOW + 60)
    row = seen(driver)
    assert row.state == "paused"
    assert row.pause == Pause("lane", "timeout", "shards 2, 3 of 3: slow", NOW + 30)
    assert [each.state for each in row.shards] == ["running", "paused", "paused"]
    assert act(driver, commands.resume_lane, "crm")
    assert await store.paused("crm#2/3") is None
    await store.pause(held["crm#2/3"], Pause("lane", "timeout", None, NOW + 60))
    assert seen(driver).pause == Pause("lane", "timeout", "shard 2 of 3", NOW + 60)
    await store.release("me", list(held))
    await meet(store, 1)
    assert (seen(driver).pause, seen(driver).shards) == (None, ())


async def test_a_split_destination_is_shown_as_one_that_is_worked_when_all_of_it_is(
    store: SqlStore, driver: Driver
) -> None:
    await meet(store, 3)
    await store.accept([routed("crm") for _ in range(5)])
    await store.claim("one", ["crm#1/3"], NOW, TTL)
    await store.claim("two", ["crm#2/3"], NOW, TTL)
    row = seen(driver)
    assert (row.state, row.owner, row.pending) == ("unowned", None, 5)
    await store.claim("one", ["crm#3/3"], NOW, TTL)
    row = seen(driver)
    assert (row.state, row.owner) == ("running", "one, two")
    assert [each.owner for each in row.shards] == ["one", "two", "one"]
    assert seen(driver, NOW + TTL).state == "unowned"
    await store.release("one")
    await store.release("two")
    await store.meet("me", lanes_of("crm", 5), NOW, TTL)
    assert seen(driver).why(configured=True) == "being divided into 5 shards"


# -- cost


def plan(driver: Driver, statement: str, parameters: Any) -> str:
    with driver.engine().connect() as connection:
        if isinstance(driver, SqliteDriver):
            found = raw(connection).execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            return "\n".join(row[3] for row in found)
        found = raw(connection).execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters).fetchall()
        return "\n".join(row[0] for row in found)


def asked(driver: Driver, lane: str, after: int, limit: int) -> tuple[str, Any]:
    """Give the hot question for a lane as text, with its parameters."""
    of = shard(lane)
    if isinstance(driver, SqliteDriver):
        statements = Statements(driver.dialect)
        if of.mark is None:
            return statements.due_text, (of.destination, after, limit, 0)
        return statements.due_of_shard_text, (of.destination, of.mark, after, limit, 0)
    from bridge.store import postgres

    if of.mark is None:
        return postgres._DUE, (of.destination, after, of.destination, limit)
    return postgres._DUE_OF_SHARD, (of.destination, of.mark, after, of.mark, limit)


IDS = {
    "sqlite": "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < :count) "
    "SELECT randomblob(16) AS id FROM s",
    "postgresql": "SELECT decode(md5(n || random()::text), 'hex') AS id FROM generate_series(1, :count) s(n)",
}


def fill(driver: Driver, count: int, first: int, step: int, shards: int) -> None:
    """Have deliveries wait, of the contacts `first`, `first + step` and so on, without accepting them one by one."""
    with driver.engine().begin() as connection:
        last = connection.execute(text("SELECT coalesce(max(seq), 0) FROM events")).scalar_one()
        ids = IDS[connection.dialect.name]
        connection.execute(
            text(
                "INSERT INTO events (id, received_at, chatbot, state, type, form, payload) "
                f"SELECT id, 1.0, 'acme', 'accepted', 'Lead', 'raw', id FROM ({ids}) g"
            ),
            {"count": count},
        )
        connection.execute(
            text(
                "INSERT INTO deliveries (event_seq, route, destination, contact, shard, state, due_at) "
                "SELECT seq, 'crm', 'crm', contact, "
                "CASE WHEN :shards > 1 THEN :shards * 100 + 1 + contact % :shards END, 'pending', 1.0 FROM "
                "(SELECT seq, :first + :step * (row_number() OVER (ORDER BY seq) - 1) AS contact FROM events "
                "WHERE seq > :last) g ORDER BY seq"
            ),
            {"first": first, "step": step, "last": last, "shards": shards},
        )
    if not isinstance(driver, SqliteDriver):
        # As the server's autovacuum does; with SQLite nobody does.
        with driver.connect() as connection:
            raw(connection).execute("ANALYZE")


def reads_its_index_alone(driver: Driver, lane: str) -> None:
    shown = plan(driver, *asked(driver, lane, 100, 80))
    index = "ix_deliveries_shards" if shard(lane).of > 1 else "ix_deliveries_due"
    if isinstance(driver, SqliteDriver):
        of = "destination=? AND shard=? AND id>?" if shard(lane).of > 1 else "destination=? AND id>?"
        assert shown == f"SEARCH deliveries USING INDEX {index} ({of})"
    else:
        assert f"Index Scan using {index}" in shown, shown
        assert "Filter" not in shown, shown
        assert "Sort" not in shown, shown


@pytest.mark.parametrize("shards", [1, 4])
async def test_the_queue_is_read_through_its_index_alone(store: SqlStore, driver: Driver, shards: int) -> None:
    await meet(store, shards)
    fill(driver, 5_000, 0, 1, shards)
    with driver.engine().begin() as connection:
        connection.execute(
            text("UPDATE deliveries SET state = 'delivered', due_at = NULL, settled_at = 1 WHERE id % 5 > 0")
        )
    fill(driver, 1_000, 0, 1, shards)
    for lane in lanes_of("crm", shards):
        reads_its_index_alone(driver, lane)


async def test_a_shards_next_batch_costs_the_same_however_much_waits_in_the_others(
    store: SqlStore, driver: Driver
) -> None:
    """All but a few deliveries are of one shard, and come first; those of the others are few, and behind them."""
    await meet(store, 4)
    fill(driver, 4_000, 0, 1, 4)
    alone = await _seconds(store, "crm#3/4")
    fill(driver, PENDING, 0, 4, 4)
    fill(driver, 400, 0, 1, 4)
    beside = await _seconds(store, "crm#3/4")
    own = await _seconds(store, "crm#1/4")
    counts = Counter(row.shard for row in _marks(driver))
    print(f"{driver.name}: {counts}; next 80: {alone * 1000:.2f} ms, {beside * 1000:.2f} ms, {own * 1000:.2f} ms")
    for lane in lanes_of("crm", 4):
        reads_its_index_alone(driver, lane)
    if not isinstance(driver, SqliteDriver):
        # Pages that were touched: that of each row in the table, and the way down the index.
        shown = plan(driver, *asked(driver, "crm#3/4", 0, 80))
        assert _buffers(shown) <= 2 * 80, shown
    assert beside < 20 * alone + 0.02


async def _seconds(store: SqlStore, lane: str) -> float:
    """Give the least time of some for the first batch of a lane."""
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        assert len(await store.due(lane, 0, 80)) == 80
        taken.append(time.perf_counter() - began)
    return min(taken)


def _marks(driver: Driver) -> Any:
    with driver.engine().connect() as connection:
        return connection.execute(select(deliveries.c.shard)).all()


def _buffers(shown: str) -> int:
    line = next(line for line in shown.splitlines() if "Buffers:" in line)
    return sum(int(word.partition("=")[2]) for word in line.split() if "=" in word)


async def test_a_large_queue_is_divided_in_steps_that_accepts_pass_between(store: SqlStore, driver: Driver) -> None:
    fill(driver, PENDING, 0, 1, 1)
    await store.meet("me", lanes_of("crm", 4), NOW, TTL)
    longest, accepted = 0.0, 0

    async def divide() -> None:
        while await store.divide("crm"):
            pass

    began = time.perf_counter()
    dividing = asyncio.create_task(divide())
    while not dividing.done():
        asked_at = time.perf_counter()
        await store.accept([routed("crm")])
        longest = max(longest, time.perf_counter() - asked_at)
        accepted += 1
    await dividing
    took = time.perf_counter() - began
    print(
        f"{driver.name}: {PENDING:,} divided in {took:.1f} s; {accepted} accepts meanwhile, none over {longest:.3f} s"
    )
    assert accepted > 1
    assert Counter(row.shard for row in _marks(driver)).keys() == {401, 402, 403, 404}
    # Whatever the server has learnt of the rows before they were marked.
    for lane in lanes_of("crm", 4):
        reads_its_index_alone(driver, lane)
    assert sum(map(len, await due(store, 4))) == PENDING + accepted


async def test_the_rows_of_lanes_keep_their_rules(store: SqlStore, driver: Driver) -> None:
    await meet(store, 4)
    assert {(row.name, row.shards, row.divided_to) for row in rows(driver, lanes)} >= {("crm", 4, None)}


# -- at once, on PostgreSQL


@contextlib.asynccontextmanager
async def opened(database: str) -> AsyncIterator[SqlStore]:
    from tests.postgresql import ToldDriver

    store = SqlStore(ToldDriver(database))
    yield store
    await store.close()


@contextlib.contextmanager
def slow(store: SqlStore, begin: str) -> Iterator[Connection]:
    """A transaction of another process, which is committed at the end."""
    with contextlib.closing(store._driver.connect()) as connection:
        raw(connection).execute(begin)
        yield connection
        raw(connection).execute("COMMIT")


async def waits(store: SqlStore, work: asyncio.Future[Any]) -> None:
    """Wait until something waits for a lock."""
    async with asyncio.timeout(5):
        with contextlib.closing(store._driver.connect()) as connection:
            while not raw(connection).execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                assert not work.done()
                await asyncio.sleep(0.005)


async def test_the_number_changes_only_when_nobody_works_or_would_work_by_the_old_one(
    database: str,
) -> None:
    async with opened(database) as store:
        await store.accept([routed("crm") for _ in range(20)])
        assert (await meet(store, 1, "old")).shards == {}
        held = (await claim(store, 1, "old"))["crm"]
        # Another process would split it: as long as the old one lives, it gets nothing.
        assert (await meet(store, 4, "new")).shards == {}
        assert await claim(store, 4, "new") == {}
        # The old one is given the new number too; its calls are still on their way.
        assert (await meet(store, 4, "old")).shards == {}
        await store.settle(held, [delivered(1)])
        await store.release("old", ["crm"])
        assert (await meet(store, 4, "new")).shards == {"crm": 4}
        assert (await claim(store, 4, "new")).keys() == set(lanes_of("crm", 4))
        assert await claim(store, 1, "third") == {}
        with pytest.raises(LeaseLostError):
            await store.settle(held, [delivered(2)])


async def test_what_is_accepted_while_the_number_changes_is_marked_by_one_of_them_and_then_divided(
    database: str,
) -> None:
    async with opened(database) as one, opened(database) as other:
        with slow(one, one._driver.begin_own) as accepting:
            queue.write(accepting, [queue.Accept([routed("crm")])])
            changing = asyncio.ensure_future(other.meet("me", lanes_of("crm", 4), NOW, TTL))
            await waits(one, changing)
        assert (await changing).dividing == {"crm"}
        assert not await other.divide("crm")
        assert await due(other, 4) == by_contact(other._driver, 4)

        with slow(one, one._driver.begin_own) as connection:
            lease.meet(connection, "me", lanes_of("crm", 8), NOW, TTL)
            answers = asyncio.gather(*[other.accept([routed("crm")]) for _ in range(20)])
            await waits(one, answers)
        assert await answers == [[True]] * 20
        while await other.divide("crm"):
            pass
        assert await due(other, 8) == by_contact(other._driver, 8)


async def test_what_is_put_back_while_the_number_changes_is_divided_and_keeps_nobody_from_a_lease(
    database: str,
) -> None:
    async with opened(database) as one, opened(database) as other:
        await one.accept([routed("crm") for _ in range(5)])
        held = (await one.claim("me", ["crm"], NOW, TTL))["crm"]
        await one.settle(held, [delivered(number) for number in range(1, 6)])
        with slow(one, one._driver.begin) as operator:
            commands.replay(operator, [1, 2, 3], NOW)
            assert (await other.claim("me", ["crm"], NOW, TTL)).keys() == {"crm"}
            await other.release("me", ["crm"])
            changing = asyncio.ensure_future(other.meet("me", lanes_of("crm", 4), NOW, TTL))
            await waits(one, changing)
        assert (await changing).dividing == {"crm"}
        assert not await other.divide("crm")
        assert await due(other, 4) == by_contact(other._driver, 4)
        assert sum(map(len, await due(other, 4))) == 3


async def test_of_processes_that_would_split_it_differently_the_first_has_its_way(database: str) -> None:
    async with opened(database) as one, opened(database) as other:
        await one.meet("one", ["mail"], NOW, TTL)
        with slow(one, one._driver.begin_own) as connection:
            lease.meet(connection, "one", lanes_of("crm", 4), NOW, TTL)
            # It has read that the crm is not split, and waits to change that.
            meeting = asyncio.ensure_future(other.meet("other", lanes_of("crm", 8), NOW, TTL))
            await waits(one, meeting)
        assert (await meeting).shards == {"crm": 4}
        assert (await other.meet("other", lanes_of("crm", 8), NOW, TTL)).shards == {"crm": 4}
        await one.release("one")
        assert (await other.meet("other", lanes_of("crm", 8), NOW, TTL)).shards == {"crm": 8}
