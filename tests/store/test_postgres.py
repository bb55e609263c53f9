"""What only PostgreSQL has: several processes on one store, connections that break, and a server that speaks freely."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, insert, select, text

from bridge.errors import LeaseLostError, OperatorError, StoreUnavailableError
from bridge.store import postgres, queue
from bridge.store.driver import raw
from bridge.store.interface import NewDelivery, Pause, QuarantinedRequest, RoutedEvent
from bridge.store.postgres import PostgresDriver
from bridge.store.preparation import driver_for, migrate
from bridge.store.queue import Accept, Settle
from bridge.store.schema import attempts, deliveries, events, exchanges, lanes
from bridge.store.secrets import read_secret, write_secret
from bridge.store.sql import NOTIFY_SECONDS, SqlStore
from bridge.store.transaction import TURN
from tests.building import IDENTITY, NOW, event, routed
from tests.postgresql import ToldDriver
from tests.postgresql import database as new_database
from tests.store.test_sql import delivered, lease, operate, rows

pytestmark = pytest.mark.own_engine


@pytest.fixture
def driver(database: str) -> ToldDriver:
    return ToldDriver(database)


@pytest.fixture
async def other(database: str) -> AsyncIterator[SqlStore]:
    """The store as another process has it."""
    opened = SqlStore(ToldDriver(database))
    yield opened
    await opened.close()


def ask(url: str, statement: str, *parameters: object) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def ask_nothing(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


# -- order


async def test_what_is_accepted_later_is_not_seen_before_what_is_accepted_earlier(
    driver: ToldDriver, other: SqlStore, database: str
) -> None:
    with contextlib.closing(driver.connect()) as slow:
        raw(slow).execute(driver.begin_own)
        queue.write(slow, [Accept([routed("crm")])])
        # Its ids are given out already. Whoever accepts now gets higher ones, and must not commit before it.
        accepting = asyncio.ensure_future(other.accept([routed("crm")]))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await until(lambda: ask(database, waiting) == [(1,)])
        assert await other.due("crm", 0, 10) == []
        raw(slow).execute("COMMIT")
    assert await accepting == [True]
    assert [each.id for each in await other.due("crm", 0, 10)] == [1, 2]


async def test_a_lane_that_reads_on_misses_nothing_of_what_two_processes_accept(
    store: SqlStore, other: SqlStore
) -> None:
    read: list[int] = []
    accepting = True

    async def lane() -> None:
        going = True
        while going:
            going = accepting
            due = await store.due("crm", read[-1] if read else 0, 7)
            read.extend(each.id for each in due)
            going |= bool(due)

    async def receiver(to: SqlStore) -> None:
        for _ in range(25):
            await asyncio.gather(*[to.accept([routed("crm") for _ in range(2)]) for _ in range(4)])

    reading = asyncio.create_task(lane())
    await asyncio.gather(receiver(store), receiver(other))
    accepting = False
    await reading
    assert read == sorted(read)
    assert len(read) == 2 * 25 * 4 * 2


async def test_the_same_event_at_two_processes_at_once_is_kept_once(
    store: SqlStore, other: SqlStore, driver: ToldDriver
) -> None:
    same = [routed("crm") for _ in range(40)]
    answers = await asyncio.gather(
        *[each.accept([one]) for one in same for each in (store, other)],
        *[each.accept([one]) for one in reversed(same) for each in (store, other)],
    )
    assert answers.count([True]) == 40
    assert len(rows(driver, events)) == len(rows(driver, deliveries)) == 40


async def test_processes_that_keep_the_same_at_once_do_not_collide(store: SqlStore, other: SqlStore) -> None:
    for number in range(5):
        write = partial(write_secret, destination="crm", name=f"token {number}", value="value", now=NOW)
        await asyncio.gather(*(each.change(write) for each in (store, other)))
    assert await other.query(partial(read_secret, destination="crm", name="token 4")) == "value"


# -- news


async def test_others_are_told_at_once_of_what_is_accepted(
    store: SqlStore, other: SqlStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.writer.IDLE_SECONDS", 3600.0)
    told: list[Any] = []
    other.on_accepted = told.append
    await until(lambda: ask(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN %%'"))
    await store.accept([routed("crm", "mail")])
    await store.accept([RoutedEvent(event(), (NewDelivery("dead", "dead", "when failed"),))])
    await until(lambda: frozenset().union(*told) == {"crm", "mail"})


async def test_others_are_told_at_once_and_then_no_more_often_than_they_can_use(
    other: SqlStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.writer.IDLE_SECONDS", 3600.0)
    tellings: list[set[str]] = []

    class Counting(ToldDriver):
        def notify(self, writer: Any, accepted: Collection[str]) -> None:
            tellings.append(set(accepted))
            super().notify(writer, accepted)

    store = SqlStore(Counting(database))
    told: list[Any] = []
    other.on_accepted = told.append
    await until(lambda: ask(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN %%'"))
    await store.accept([routed("first")])
    await until(lambda: told == [{"first"}])
    now = asyncio.get_running_loop().time
    began, names = now(), {f"crm-{number}" for number in range(40)}
    for name in sorted(names):
        await store.accept([routed(name)])
    await until(lambda: frozenset().union(*told) >= names)
    assert len(tellings) <= 2 + (now() - began) / NOTIFY_SECONDS
    assert set().union(*tellings) == {"first"} | names
    await store.close()


async def test_behind_a_pooler_the_poll_tells_what_is_new(
    driver: ToldDriver, other: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToldDriver, "listen", lambda *_: None)
    told: list[Any] = []
    changed = asyncio.Event()
    store = SqlStore(driver)
    store.on_accepted = told.append
    store.on_changed = changed.set
    await other.accept([routed("crm", "mail")])
    await until(lambda: told == [{"crm", "mail"}])
    assert not changed.is_set()
    operate(driver, "UPDATE deliveries SET due_at = due_at + 1")
    await asyncio.wait_for(changed.wait(), 5)
    await store.close()


async def test_nothing_is_kept_in_a_session(store: SqlStore, driver: ToldDriver) -> None:
    """A pooler may give each transaction another server connection."""

    async def another_session() -> None:
        # What DISCARD takes away is what a session has. It takes no part in the writer's transactions.
        await until(lambda: not (store._notification or store._writer._busy))
        assert store._own.connection is not None
        raw(store._own.connection).execute("DISCARD ALL")

    await another_session()
    assert await store.accept([routed("crm") for _ in range(3)]) == [True] * 3
    await another_session()
    held = await lease(store)
    await another_session()
    await store.settle(held, [delivered(1)])
    assert ask(driver._conninfo, "SELECT count(*) FROM pg_prepared_statements") == [(0,)]
    assert [row.state for row in rows(driver, deliveries)] == ["delivered", "pending", "pending"]


async def test_who_waits_for_what_another_process_delivers_is_called_to_ask_again(
    store: SqlStore, other: SqlStore
) -> None:
    settled = asyncio.Event()
    store.on_settled = lambda _: settled.set()
    one = routed("crm")
    await store.accept([one])
    held = await lease(other)
    assert await store.undelivered([one.event.id]) == 1
    await other.settle(held, [delivered(1, one.event.id)])
    await asyncio.wait_for(settled.wait(), 5)
    assert await store.undelivered([one.event.id]) == 0


# -- leases


async def test_who_takes_a_lane_over_waits_for_the_settle_that_is_under_way(
    driver: ToldDriver, store: SqlStore, other: SqlStore, database: str
) -> None:
    await store.accept([routed("crm"), routed("crm")])
    held = await lease(store)
    with contextlib.closing(driver.connect()) as slow:
        raw(slow).execute(driver.begin_own)
        assert queue.write(slow, [Settle(held, [delivered(1)])]) == [frozenset()]
        taking = asyncio.ensure_future(other.claim("other", ["crm"], NOW + 100, 10))
        await until(lambda: ask(database, "SELECT 1 FROM pg_locks WHERE NOT granted"))
        assert not taking.done()
        raw(slow).execute("COMMIT")
    taken = (await taking)["crm"]
    assert taken.fence == held.fence + 1
    with pytest.raises(LeaseLostError):
        await store.settle(held, [delivered(2)])
    assert [row.state for row in rows(driver, deliveries)] == ["delivered", "pending"]


async def test_one_of_two_that_claim_at_once_gets_each_lane(store: SqlStore, other: SqlStore) -> None:
    names = [f"lane {number}" for number in range(20)]
    for _ in range(5):
        mine, theirs = await asyncio.gather(
            store.claim("me", names, NOW, 10), other.claim("other", names[::-1], NOW, 10)
        )
        assert mine.keys() | theirs.keys() == set(names)
        assert not mine.keys() & theirs.keys()
        await asyncio.gather(store.release("me"), other.release("other"))


async def test_leases_are_measured_by_the_servers_clock(database: str) -> None:
    store = SqlStore(PostgresDriver(database))
    await store.claim("one", ["crm"], 0.0, 100)
    # Whatever another machine's clock says.
    assert await store.claim("other", ["crm"], 1e12, 100) == {}
    membership = await store.heartbeat("other", ["crm"], 1e12, 100)
    assert membership.holders == {"crm": "one"}
    await store.close()


async def test_a_settlement_whose_answer_was_lost_is_written_once(store: SqlStore, driver: ToldDriver) -> None:
    await store.accept([routed("crm")])
    held = await lease(store)
    for _ in range(2):
        await store.settle(held, [delivered(1).with_exchange("[]")])
    assert len(rows(driver, attempts)) == 1
    assert len(rows(driver, exchanges)) == 1
    another = delivered(1)
    assert another.attempt
    another = another._replace(attempt=another.attempt._replace(started_at=NOW + 1))
    with pytest.raises(psycopg.IntegrityError):
        await store.settle(held, [another])


# -- trouble


async def test_lost_connections_are_opened_again(store: SqlStore, other: SqlStore, database: str) -> None:
    told = asyncio.Event()
    await store.accept([routed("crm")])
    assert len(await store.due("crm", 0, 10)) == 1
    ask(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid() AND datname = %s",
        database.split("/")[3].split("?", maxsplit=1)[0],
    )
    with pytest.raises(StoreUnavailableError, match="cannot commit"):
        await store.accept([routed("crm")])
    with contextlib.suppress(StoreUnavailableError):
        await store.due("crm", 0, 10)
    other.on_changed = told.set
    assert await store.accept([routed("crm")]) == [True]
    assert len(await store.due("crm", 0, 10)) == 2
    # What it was not told of meanwhile may be anything.
    await asyncio.wait_for(told.wait(), 5)


async def test_a_table_that_is_locked_is_trouble_that_passes(
    store: SqlStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("ALTER FUNCTION leadbridge_accept SET lock_timeout = '100ms'")
    monkeypatch.setattr(postgres, "_READ", "BEGIN READ ONLY; SET LOCAL statement_timeout = '100ms'")
    with psycopg.connect(database) as blocker:
        blocker.execute("LOCK TABLE events, deliveries")
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            await store.accept([routed("crm")])
        with pytest.raises(StoreUnavailableError, match="statement timeout"):
            await store.due("crm", 0, 10)
        blocker.rollback()
    assert await store.accept([routed("crm")]) == [True]
    assert len(await store.due("crm", 0, 10)) == 1


async def test_a_server_that_does_not_answer_is_given_up(
    store: SqlStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.check()
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 0.2)
    async with asyncio.timeout(3):
        with pytest.raises(StoreUnavailableError):
            await store.change(lambda c: c.execute(text("SELECT pg_sleep(4)")))
        with psycopg.connect(database) as blocker:
            blocker.execute("LOCK TABLE deliveries")
            with pytest.raises(StoreUnavailableError):
                await store.accept([routed("crm")])
            with pytest.raises(StoreUnavailableError):
                await store.due("crm", 0, 10)
        assert await store.accept([routed("crm")]) == [True]
        assert len(await store.due("crm", 0, 10)) == 1


async def test_an_event_does_not_wait_for_a_turn_that_does_not_end(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToldDriver, "patience", 0.05)
    store, one, two = SqlStore(ToldDriver(database)), routed("crm"), routed("crm")
    with psycopg.connect(database) as blocker:
        blocker.execute(f"SELECT {TURN}")
        waiting = asyncio.create_task(store.accept([one]))
        # The one thread is with the event, so what is no event waits behind it.
        await until(lambda: ask(database, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        checking = asyncio.create_task(store.check())
        for event in (waiting, asyncio.create_task(store.accept([two]))):
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                await event
        blocker.rollback()
    await checking
    # The first was under way and is kept all the same, the other is not; once more they are both there, once.
    assert await store.accept([one, two]) == [False, True]
    await store.close()


async def test_a_refused_request_does_not_wait_for_a_table_that_is_locked(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToldDriver, "patience", 0.05)
    store = SqlStore(ToldDriver(database))
    with psycopg.connect(database) as blocker:
        blocker.execute("LOCK TABLE quarantine")
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            await store.quarantine(QuarantinedRequest(NOW, "acme", "t=1,v1=00", b"{}"), IDENTITY)
        blocker.rollback()
    await store.close()


async def test_a_primary_that_has_become_a_standby_is_left(store: SqlStore, driver: ToldDriver, database: str) -> None:
    await store.check()
    name = database.split("/")[3].split("?", maxsplit=1)[0]
    before = store._own.connection
    assert before is not None
    raw(before).execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailableError, match="read-only"):
        await store.accept([routed("crm")])
    assert await store.accept([routed("crm")]) == [True], name
    assert store._own.connection is not before


async def test_what_the_server_says_of_a_row_is_not_repeated(store: SqlStore) -> None:
    wrong = routed("crm", Email="private@example.com")
    wrong = wrong._replace(event=wrong.event._replace(type=None, chatbot="private"))
    with pytest.raises(psycopg.IntegrityError) as refused:
        await store.accept([wrong])
    assert "ck_events_accepted_is_known" in str(refused.value)
    assert "private" not in str(refused.value)
    with pytest.raises(psycopg.DataError) as refused_:
        await store.change(lambda c: c.execute(text("SELECT CAST('private' AS integer)")))
    assert "private" not in str(refused_.value)


async def test_the_character_that_text_cannot_hold_is_replaced(store: SqlStore, driver: ToldDriver) -> None:
    await store.accept([routed("crm")])
    held = await lease(store)
    await store.settle(held, [delivered(1)._replace(warning="a\0b", memo={"note": "c\0"})])
    await store.pause(held, Pause("lane", "refused", "d\0", NOW), NOW)
    (row,) = rows(driver, deliveries)
    assert row.warning == "a\ufffdb"
    paused = await store.pause_of("crm")
    assert paused is not None
    assert paused.detail == "d\ufffd"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:the-secret@/leads?host=/nowhere-at-all",
        "postgresql://me:the-secret@127.0.0.1:1/leads",
        "postgresql://me:the-secret@127.0.0.1:nothing/leads",
        "postgresql://me:the-secret@/leads?unknown=1",
        "postgresql://me:the-secret@[/leads",
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(OperatorError) as told:
        driver_for(url).connect()
    assert "the-secret" not in f"{told.value}"
    assert "the-secret" not in repr(told.value.__cause__)


def test_processes_that_start_together_migrate_once() -> None:
    with new_database(migrated=False) as url:
        made: list[bool] = []
        starting = [
            threading.Thread(target=lambda: made.append(migrate(PostgresDriver(url).engine()))) for _ in range(4)
        ]
        for each in starting:
            each.start()
        for each in starting:
            each.join()
        assert sorted(made) == [False, False, False, True]


EMPTY = """
CREATE OR REPLACE FUNCTION leadbridge_settle_unlocked(group_of_rows json, of_lanes text[])
RETURNS TABLE (lost_lane text, lost_fence int, locked bigint) LANGUAGE plpgsql AS 'BEGIN END'"""


@pytest.mark.parametrize(
    "change",
    [EMPTY, "ALTER FUNCTION leadbridge_accept SET lock_timeout = '1h'", "DROP FUNCTION leadbridge_settle"],
    ids=["another text", "another setting", "missing"],
)
def test_a_start_replaces_functions_that_are_not_its_own(driver: ToldDriver, database: str, change: str) -> None:
    query = "SELECT pg_get_functiondef(oid), xmin FROM pg_proc WHERE starts_with(proname, 'leadbridge') ORDER BY 1"

    def texts() -> list[Any]:
        return ask(database, query)

    before = texts()
    assert not migrate(driver.engine())
    assert texts() == before, "they were written anew though nothing had changed"
    ask_nothing(database, change)
    assert not migrate(driver.engine())
    assert [text for text, _ in texts()] == [text for text, _ in before]


@pytest.mark.parametrize("of", [100, 1], ids=["few_wait", "all_wait"])
def test_the_queue_is_read_through_its_partial_index(driver: ToldDriver, of: int) -> None:
    with driver.engine().begin() as connection:
        connection.execute(
            text(
                "INSERT INTO events (id, received_at, state, form, payload) "
                "SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 'test', 'raw', '' FROM generate_series(1, 3000) n"
            )
        )
        columns = ["event_seq", "route", "destination", "contact", "state", "settled_at", "due_at"]
        connection.execute(
            insert(deliveries).from_select(
                columns,
                select(
                    events.c.seq,
                    text("'crm', 'crm', 1"),
                    text(f"CASE WHEN seq % {of} = 0 THEN 'pending' ELSE 'delivered' END"),
                    text(f"CASE WHEN seq % {of} != 0 THEN 1 END, CASE WHEN seq % {of} = 0 THEN 1 END"),
                ),
            )
        )
        connection.execute(text("ANALYZE"))
        assert connection.execute(select(func.count()).select_from(lanes)).scalar_one() == 0
        found = raw(connection).execute("EXPLAIN " + postgres._DUE, ("crm", 0, "crm", 10)).fetchall()
    assert any("Index Scan using ix_deliveries_due" in line for (line,) in found), found
