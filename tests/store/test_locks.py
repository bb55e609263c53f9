"""PostgreSQL's locks: nobody waits long for a process that stands still, and no two for each other."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from bridge.delivery.supervisor import LEASE_SECONDS, RENEW_SECONDS
from bridge.errors import LeaseLostError, RowLockedError
from bridge.store import commands, lease
from bridge.store import lease as lease_rows
from bridge.store.driver import raw
from bridge.store.interface import Lease, Pause
from bridge.store.postgres import PostgresDriver
from bridge.store.postgres_queue import ROW_MILLISECONDS
from bridge.store.retention import prune_events
from bridge.store.sql import SqlStore
from bridge.store.transaction import transaction
from tests.building import NOW, routed
from tests.postgresql import ToldDriver
from tests.store.test_postgres import ask, until
from tests.store.test_sql import delivered

pytestmark = pytest.mark.each_engine

LANES = ("crm", "mail", "log", "erp", "shop", "desk")
STEPS = 60
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def stores(database: str) -> AsyncIterator[list[SqlStore]]:
    """One store, as two processes have it."""
    opened = [SqlStore(ToldDriver(database)) for _ in range(2)]
    yield opened
    for each in opened:
        await each.close()


async def test_one_that_is_stopped_in_the_middle_of_a_claim_does_not_keep_the_others_from_their_lanes(
    stores: list[SqlStore], database: str
) -> None:
    driver, (store, other) = ToldDriver(database), stores
    await store.heartbeat("me", ["one", "two"], NOW, LEASE_SECONDS)
    await other.heartbeat("other", ["one", "two"], NOW, LEASE_SECONDS)
    assert await store.claim("me", ["one"], NOW, LEASE_SECONDS)
    assert await other.claim("other", ["two"], NOW, LEASE_SECONDS)
    stopped = driver.connect()
    with contextlib.closing(raw(stopped)):
        raw(stopped).execute(driver.begin_own)
        lease.heartbeat(stopped, "other", ["one", "two", "three"], NOW, LEASE_SECONDS)
        held = lease_rows.claim(stopped, "other", ["one", "two", "three"], NOW, LEASE_SECONDS)
        assert held.keys() == {"two", "three"}
        # Nothing follows. What it holds is free before anybody's lease is over, and it is dead before long.
        async with asyncio.timeout(LEASE_SECONDS - RENEW_SECONDS):
            # Its own lane at once, and the free one as soon as the server has ended the other's transaction.
            assert "one" in await store.claim("me", ["one", "three"], NOW, LEASE_SECONDS)
            await store.heartbeat("me", ["one", "two"], NOW + LEASE_SECONDS, LEASE_SECONDS)
            while not await store.claim("me", ["two"], NOW + LEASE_SECONDS, LEASE_SECONDS):
                pass
            assert (await store.claim("me", ["two"], NOW + LEASE_SECONDS, LEASE_SECONDS)).keys() == {"two"}


@contextlib.asynccontextmanager
async def held_row(database: str, query: str) -> AsyncIterator[None]:
    """Hold rows as somebody's psql does that was left open."""
    with psycopg.connect(database) as blocker:
        assert blocker.execute(f"{query} FOR UPDATE".encode()).rowcount == 1
        yield


async def test_an_outcome_whose_row_is_locked_holds_up_no_other(stores: list[SqlStore], database: str) -> None:
    store, _ = stores
    await store.accept([routed("crm"), routed("crm"), routed("mail")])
    leases = await store.claim("me", ["crm", "mail"], NOW, LEASE_SECONDS)
    async with held_row(database, "SELECT FROM deliveries WHERE id = 2"), asyncio.timeout(2):
        locked = await asyncio.gather(
            store.settle(leases["crm"], [delivered(1), delivered(2)]),
            store.settle(leases["mail"], [delivered(3, route="mail")]),
        )
        assert list(locked) == [{2}, frozenset()]
        # Now that it is known, nobody waits for it at all.
        began = time.monotonic()
        assert await store.settle(leases["crm"], [delivered(2)]) == {2}
        assert time.monotonic() - began < ROW_MILLISECONDS / 1000
        assert await store.accept([routed("crm")]) == [True]
        assert (await store.claim("me", ["crm", "mail"], NOW, LEASE_SECONDS)).keys() == {"crm", "mail"}
        assert [each.id for each in await store.due("crm", 0, 10)] == [2, 4]
    assert await store.settle(leases["crm"], [delivered(2)]) == frozenset()
    assert [each.id for each in await store.due("crm", 0, 10)] == [4]
    assert ask(database, "SELECT delivery_id, number FROM attempts ORDER BY 1") == [(1, 1), (2, 1), (3, 1)]


async def test_a_lane_whose_row_is_locked_is_the_only_one_that_waits(stores: list[SqlStore], database: str) -> None:
    store, other = stores
    await store.accept([routed("crm", "mail"), routed("log")])
    leases = await store.claim("me", ["crm", "mail"], NOW, LEASE_SECONDS)
    await other.claim("other", ["log"], NOW, LEASE_SECONDS)
    async with held_row(database, "SELECT FROM lanes WHERE name = 'crm'"), asyncio.timeout(8):
        assert await store.settle(leases["mail"], [delivered(2, route="mail")]) == frozenset()
        assert await store.settle(leases["crm"], [delivered(1)]) == {1}
        # What is left of its lease still holds, as long as another renewal comes in time.
        assert (await store.claim("me", ["crm", "mail"], NOW, LEASE_SECONDS)).keys() == {"crm", "mail"}
        assert (await store.claim("me", ["crm", "mail"], NOW + 4, LEASE_SECONDS)).keys() == {"mail"}
        assert (await other.claim("other", ["log", "crm"], NOW, LEASE_SECONDS)).keys() == {"log"}
        await other.release("other", ["log"])
        with pytest.raises(RowLockedError):
            await store.pause(leases["crm"], Pause("lane", "unreachable"), NOW)
        assert await store.accept([routed("crm")]) == [True]
        await store.heartbeat("me", ["crm", "mail"], NOW, LEASE_SECONDS)
    assert await store.settle(leases["crm"], [delivered(1)]) == frozenset()
    assert await store.claim("me", ["crm"], NOW, LEASE_SECONDS) == {"crm": leases["crm"]}


async def test_a_lost_lease_is_said_beside_a_locked_row(stores: list[SqlStore], database: str) -> None:
    store, other = stores
    await store.accept([routed("crm"), routed("mail")])
    leases = await store.claim("me", ["crm", "mail"], NOW, 1)
    await other.claim("other", ["mail"], NOW + 2, LEASE_SECONDS)
    async with held_row(database, "SELECT FROM deliveries WHERE id = 1"):
        assert await store.settle(leases["crm"], [delivered(1)]) == {1}
        with pytest.raises(LeaseLostError):
            await store.settle(leases["mail"], [delivered(2, route="mail")])
        # One that has been erased is not there to be locked.
        assert await store.settle(leases["crm"], [delivered(77)]) == frozenset()


async def test_a_process_that_could_not_renew_a_locked_lane_writes_its_outcomes_before_another_takes_it(
    stores: list[SqlStore], database: str
) -> None:
    store, other = stores
    await store.accept([routed("crm")])
    later = NOW + LEASE_SECONDS
    await store.heartbeat("me", ["crm"], NOW, LEASE_SECONDS)
    held = await store.claim("me", ["crm"], NOW, LEASE_SECONDS)
    async with held_row(database, "SELECT FROM lanes WHERE name = 'crm'"):
        assert await store.settle(held["crm"], [delivered(1)]) == {1}
        await store.heartbeat("me", ["crm"], later, LEASE_SECONDS)
    # The lease is over, the row is free, and the other process is the first to come.
    await other.heartbeat("other", ["crm"], later, LEASE_SECONDS)
    assert await other.claim("other", ["crm"], later, LEASE_SECONDS) == {}
    assert await store.settle(held["crm"], [delivered(1)]) == frozenset()
    # A process that lives and no longer claims the lane gives it up itself.
    assert await other.claim("other", ["crm"], later + RENEW_SECONDS, LEASE_SECONDS) == {}
    assert await store.claim("me", ["mail"], later + RENEW_SECONDS, LEASE_SECONDS)
    taken = await other.claim("other", ["crm"], later + RENEW_SECONDS, LEASE_SECONDS)
    assert taken["crm"].fence == held["crm"].fence + 1
    # So does one that has died, when its heartbeat is over.
    end = later + RENEW_SECONDS + LEASE_SECONDS
    assert (await store.claim("me", ["crm"], end, LEASE_SECONDS))["crm"].fence == held["crm"].fence + 2


async def test_what_is_pruned_waits_for_a_locked_row_and_nobody_with_it(stores: list[SqlStore], database: str) -> None:
    store, _ = stores
    await store.accept([routed("crm")])
    await store.settle((await store.claim("me", ["crm"], NOW, LEASE_SECONDS))["crm"], [delivered(1)])
    async with held_row(database, "SELECT FROM events WHERE seq = 1"), asyncio.timeout(3):
        pruned = asyncio.ensure_future(store.change(lambda c: prune_events(c, NOW + 1000, 1.0, 1.0, 0)))
        await until(lambda: ask(database, WAITING) == [(1,)])
        assert await store.accept([routed("crm")]) == [True]
        with pytest.raises(RowLockedError):
            await pruned


async def test_processes_and_operators_never_wait_for_each_other_in_a_circle(database: str) -> None:
    """The server would end one of them after a second (SQLSTATE 40P01), and leases are not renewed meanwhile.

    Over lanes, that is: an operator's change of many deliveries may meet outcomes that are written in another order.
    """
    stores = [SqlStore(PostgresDriver(database)) for _ in range(4)]
    await asyncio.gather(
        *(_process(store, number) for number, store in enumerate(stores)),
        asyncio.to_thread(_operator, PostgresDriver(database)),
    )
    for each in stores:
        await each.close()


async def _process(store: SqlStore, number: int) -> None:
    chance, owner, leases = random.Random(number), f"process {number}", dict[str, Lease]()
    for _ in range(STEPS):
        share = [lane for lane in LANES if chance.random() < 0.7]
        match chance.randrange(6):
            case 0:
                await store.heartbeat(owner, share, time.time(), 1)
            case 1 | 2:
                leases = await store.claim(owner, [*share, *leases], time.time(), 1)
            case 3:
                await store.release(owner, chance.sample(list(leases), len(leases) // 2))
            case 4:
                await store.accept([routed(*LANES)])
            case _:
                await asyncio.gather(*(_settle(store, each) for each in leases.values()))


async def _settle(store: SqlStore, lease: Lease) -> None:
    due = await store.due(lease.lane, 0, 5)
    with contextlib.suppress(LeaseLostError):
        await store.settle(lease, [delivered(each.id) for each in due])


def _operator(driver: PostgresDriver) -> None:
    chance = random.Random(0)
    for _ in range(STEPS):
        with transaction(driver) as connection:
            match chance.randrange(3):
                case 0:
                    commands.replay(connection, [chance.randint(1, STEPS * len(LANES))], time.time())
                case 1:
                    commands.pause_lane(connection, chance.choice(LANES), Pause("operator", "they asked for it"))
                case _:
                    commands.resume_lane(connection, chance.choice(LANES), NOW)
