import asyncio
import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, exc, inspect, select, text
from sqlalchemy.engine import make_url

from bridge.errors import LeaseLostError, OperatorError, StoreUnavailableError
from bridge.event import EventState
from bridge.store import commands, tombstones, writer
from bridge.store.driver import READ_BYTES, Driver, raw
from bridge.store.exchanges import exchanges_of
from bridge.store.interface import Attempt, DeliveryState, Lease, NewDelivery, Pause, RoutedEvent, Settlement
from bridge.store.preparation import HEAD, driver_for, migrate, revision
from bridge.store.queries import recent_events
from bridge.store.schema import attempts, deliveries, events, metadata
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from bridge.store.sqlite_queue import DUE
from connectors.base import Exchange
from tests.building import NOW, event, routed

pytestmark = pytest.mark.each_engine


def rows(driver: Driver, table: Any) -> list[Any]:
    with driver.engine().connect() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


def operate(driver: Driver, statement: str) -> None:
    """Change something as an operator's command does."""
    with contextlib.closing(driver.connect()) as connection:
        raw(connection).execute(driver.begin)
        connection.execute(text(statement))
        raw(connection).execute("COMMIT")


def delivered(delivery: int, event_id: str = "", number: int = 1, route: str = "crm") -> Settlement:
    attempt = Attempt(number, NOW, 0.1, "delivered", None, 200, None)
    return Settlement(
        delivery,
        event_id,
        route,
        "acme",
        NOW,
        DeliveryState.DELIVERED,
        None,
        number,
        0,
        None,
        NOW,
        remote_id="r",
        attempt=attempt,
    )


async def lease(store: SqlStore, name: str = "crm") -> Lease:
    return (await store.claim("me", [name], NOW, 10))[name]


async def test_keeps_an_event_with_its_deliveries(store: SqlStore, driver: Driver) -> None:
    accepted = routed("crm", "mail")
    assert await store.accept([accepted]) == [True]
    (kept,) = rows(driver, events)
    assert kept.id.hex() == accepted.event.id
    assert kept.payload == accepted.event.payload
    assert [(row.destination, row.state) for row in rows(driver, deliveries)] == [
        ("crm", "pending"),
        ("mail", "pending"),
    ]


async def test_the_same_event_is_kept_once_however_it_comes(store: SqlStore, driver: Driver) -> None:
    same = routed("crm")
    at_once = await asyncio.gather(*[store.accept([same]) for _ in range(5)])
    assert sorted(at_once) == [[False]] * 4 + [[True]]
    assert await store.accept([same, routed("crm"), same]) == [False, True, False]
    assert len(rows(driver, events)) == len(rows(driver, deliveries)) == 2


async def test_many_at_once_are_all_kept(store: SqlStore, driver: Driver) -> None:
    await asyncio.gather(*[store.accept([routed("crm") for _ in range(3)]) for _ in range(100)])
    assert len(rows(driver, events)) == 300


async def test_one_bad_change_does_not_spoil_the_others_of_its_group(store: SqlStore, driver: Driver) -> None:
    twice = NewDelivery("crm", "crm")
    broken = RoutedEvent(event(), (twice, twice))
    results = await asyncio.gather(
        store.accept([routed("crm")]), store.accept([broken]), store.accept([routed("crm")]), return_exceptions=True
    )
    assert results[0] == results[2] == [True]
    assert isinstance(results[1], driver.refusals)
    assert len(rows(driver, events)) == 2


async def test_a_delivery_that_cannot_be_made_is_born_a_dead_letter(store: SqlStore, driver: Driver) -> None:
    await store.accept([RoutedEvent(event(), (NewDelivery("crm", "crm", "when failed"),))])
    (row,) = rows(driver, deliveries)
    assert (row.state, row.reason, row.detail) == ("dead", "mapping", "when failed")
    assert await store.due("crm", 0, 10) == []


async def test_due_pages_through_the_queue_of_one_destination(store: SqlStore) -> None:
    await store.accept([routed("crm", "mail") for _ in range(5)])
    first = await store.due("crm", 0, 3)
    rest = await store.due("crm", first[-1].id, 3)
    assert [due.id for due in first + rest] == [1, 3, 5, 7, 9]


async def test_reading_leaves_out_what_is_not_pending_any_more(store: SqlStore) -> None:
    await store.accept([routed("crm"), routed("crm")])
    await store.settle(await lease(store), [delivered(1)])
    (left,) = await store.read("crm", [1, 2, 99])
    assert (left.id, left.chatbot, left.memo) == (2, "acme", {})


async def test_reading_ends_where_it_has_read_enough(store: SqlStore, driver: Driver) -> None:
    large = b"x" * (READ_BYTES // 2)
    for _ in range(5):
        await store.accept([RoutedEvent(event()._replace(payload=large), (NewDelivery("crm", "crm"),))])
    ids = [1, 2, 3, 4, 5]
    assert [each.id for each in await store.read("crm", ids)] == [1, 2]
    assert [each.id for each in await store.read("crm", ids[2:])] == [3, 4]
    assert [each.id for each in await store.read("crm", ids[4:])] == [5]
    # Those that an operator has moved do not hide what is behind them.
    with driver.engine().begin() as connection:
        for number in ids[:3]:
            assert commands.move(connection, number, "by mail", "mail", NOW)
    assert [each.id for each in await store.read("crm", ids)] == [4]
    assert [each.id for each in await store.read("crm", ids[:3])] == []


async def test_what_is_moved_during_its_call_is_tried_at_its_new_place(store: SqlStore, driver: Driver) -> None:
    await store.accept([routed("crm")])
    held = await lease(store)
    with driver.engine().begin() as connection:
        assert commands.move(connection, 1, "by mail", "mail", NOW)
    # Its old lane knows of it still, and what became of the call that was under way.
    assert await store.read("crm", [1]) == []
    await store.settle(held, [delivered(1)])
    (row,) = rows(driver, deliveries)
    assert (row.state, row.destination, row.attempts, row.remote_id) == ("pending", "mail", 0, None)
    assert rows(driver, attempts) == []
    (moved,) = await store.read("mail", [1])
    assert moved.route == "by mail"
    await store.settle(await lease(store, "mail"), [delivered(1, route="by mail")])
    (row,) = rows(driver, deliveries)
    assert (row.state, row.attempts) == ("delivered", 1)
    assert len(rows(driver, attempts)) == 1


async def test_settles_the_delivery_and_its_attempt_together(store: SqlStore, driver: Driver) -> None:
    await store.accept([routed("crm")])
    settled = delivered(1)._replace(memo={"note": "7"}, warning="left out a field")
    await store.settle(await lease(store), [settled])
    (row,) = rows(driver, deliveries)
    assert (row.state, row.due_at, row.remote_id, row.memo) == ("delivered", None, "r", '{"note":"7"}')
    assert [(each.delivery_id, each.number, each.status) for each in rows(driver, attempts)] == [(1, 1, 200)]


SAID = 'NUL is written \\u0000, "\\\\u0000" in JSON, \ufffd where it cannot be kept'


async def test_keeps_the_exchange_of_an_attempt(store: SqlStore, driver: Driver) -> None:
    """A body that writes an escape of the character NUL is kept as it is, on both engines."""
    await store.accept([routed("crm"), routed("crm")])
    exchange = Exchange("POST", "https://crm.example/", SAID, 422, None, SAID)
    settled = delivered(1)._replace(warning=SAID).with_exchange(orjson.dumps([exchange]).decode())
    await store.settle(await lease(store), [settled, delivered(2)])
    with driver.engine().connect() as connection:
        assert exchanges_of(connection, 1) == {1: [exchange]}
        assert exchanges_of(connection, 2) == {}
    assert [row.warning for row in rows(driver, deliveries)] == [SAID, None]


async def test_what_an_operator_has_ended_keeps_its_state_but_the_attempt_is_kept(
    store: SqlStore, driver: Driver
) -> None:
    await store.accept([routed("crm")])
    held = await lease(store)
    with driver.engine().begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'discarded', due_at = NULL, settled_at = 1"))
    await store.settle(held, [delivered(1)])
    assert [row.state for row in rows(driver, deliveries)] == ["discarded"]
    assert len(rows(driver, attempts)) == 1


async def test_an_owner_that_lost_its_lane_settles_nothing(store: SqlStore, driver: Driver) -> None:
    await store.accept([routed("crm")])
    old = await lease(store)
    assert await store.claim("other", ["crm"], NOW + 9, 10) == {}
    new = (await store.claim("other", ["crm"], NOW + 10, 10))["crm"]
    assert new.fence == old.fence + 1
    with pytest.raises(LeaseLostError):
        await store.settle(old, [delivered(1)])
    with pytest.raises(LeaseLostError):
        await store.pause(old, None, NOW)
    assert [row.state for row in rows(driver, deliveries)] == ["pending"]
    await store.settle(new, [delivered(1)])


async def test_renewing_keeps_the_fence_and_releasing_frees_the_lane(store: SqlStore) -> None:
    first = await lease(store)
    assert (await store.claim("me", ["crm"], NOW + 5, 10))["crm"] == first
    await store.release("me")
    assert (await store.claim("other", ["crm"], NOW + 5, 10))["crm"].fence == first.fence + 1
    await store.release(None)
    assert "crm" in await store.claim("me", ["crm"], NOW + 5, 10)


async def test_only_what_is_asked_for_is_renewed_and_what_was_over_is_renewed_all_the_same(store: SqlStore) -> None:
    leases = await store.claim("a", ["crm", "mail"], NOW, 15)
    assert await store.claim("a", ["crm"], NOW + 10, 15) == {"crm": leases["crm"]}
    assert await store.claim("b", ["crm", "mail"], NOW + 16, 15) == {"mail": Lease("mail", leases["mail"].fence + 1)}
    # Nobody has taken it meanwhile.
    assert await store.claim("a", ["crm", "mail"], NOW + 100, 15) == {
        "crm": leases["crm"],
        "mail": Lease("mail", leases["mail"].fence + 2),
    }


async def test_a_lanes_own_pause_does_not_overwrite_an_operators(store: SqlStore, driver: Driver) -> None:
    held = await lease(store)
    await store.pause(held, Pause("lane", "timeout", "no answer", NOW + 60, NOW), NOW)
    assert await store.pause_of("crm") == Pause("lane", "timeout", "no answer", NOW + 60, NOW)
    with driver.engine().begin() as connection:
        connection.execute(text("UPDATE lanes SET paused_by = 'operator', pause_reason = 'stop', paused_until = NULL"))
    await store.pause(held, None, NOW)
    paused = await store.pause_of("crm")
    assert paused is not None
    assert paused.by == "operator"


async def test_counts_what_is_not_delivered(store: SqlStore) -> None:
    both = routed("crm", "mail")
    await store.accept([both])
    held = await lease(store)
    assert await store.undelivered([both.event.id]) == 2
    await store.settle(held, [delivered(1)])
    assert await store.undelivered([both.event.id]) == 1


async def test_an_event_counts_as_delivered_only_if_it_is_known(store: SqlStore, driver: Driver) -> None:
    unknown, erased, none = routed("crm"), routed("crm", SessionID=2), routed(SessionID=3)
    with driver.engine().begin() as connection:
        tombstones.add_tombstones(connection, [bytes.fromhex(erased.event.id)], None)
    assert await store.accept([erased, none]) == [False, True]
    assert await store.undelivered([unknown.event.id]) == 1
    assert await store.undelivered([erased.event.id]) == 0
    assert await store.undelivered([none.event.id]) == 0
    assert await store.undelivered([each.event.id for each in (unknown, erased, none)]) == 1
    with driver.engine().begin() as connection:
        # An erasure leaves its tombstones before it takes the rows.
        tombstones.add_tombstones(connection, [bytes.fromhex(none.event.id)], None)
    assert await store.undelivered([unknown.event.id, none.event.id]) == 1


async def test_tells_which_destinations_and_events_a_commit_was_about(store: SqlStore) -> None:
    accepted: list[Any] = []
    settled: list[Any] = []
    store.on_accepted = accepted.append
    store.on_settled = settled.append
    both = routed("crm", "mail")
    await store.accept([both])
    await store.settle(await lease(store), [delivered(1, both.event.id)])
    assert accepted == [{"crm", "mail"}]
    assert settled == [{both.event.id}]


async def test_notices_what_another_connection_changes_but_not_its_own(store: SqlStore, driver: Driver) -> None:
    noticed = asyncio.Event()
    store.on_changed = noticed.set
    await store.accept([routed("crm")])
    await asyncio.sleep(2.5 * writer.IDLE_SECONDS)
    assert not noticed.is_set()
    operate(driver, "UPDATE deliveries SET due_at = due_at + 1")
    await asyncio.wait_for(noticed.wait(), 5)


async def test_a_closed_store_takes_nothing(driver: Driver) -> None:
    store = SqlStore(driver)
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.accept([routed("crm")])
    await store.close()


async def test_what_waits_is_committed_before_it_closes(driver: Driver) -> None:
    store = SqlStore(driver)
    waiting = [asyncio.ensure_future(store.accept([routed("crm")])) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*waiting) == [[True]] * 20


async def test_refuses_more_than_it_can_commit_in_time(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WAITING_LIMIT", 0)
    with pytest.raises(StoreUnavailableError):
        await store.accept([routed("crm")])


async def test_a_locked_store_is_trouble_that_passes(
    embedded_store: SqlStore, embedded: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await embedded_store.check()
    blocker = sqlite3.connect(embedded.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        await embedded_store.accept([routed("crm")])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert await embedded_store.accept([routed("crm")]) == [True]


async def test_a_full_disk_is_trouble_that_passes(embedded_store: SqlStore, embedded: SqliteDriver) -> None:
    pages = await embedded_store.change(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await embedded_store.change(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar_one())
    big = [routed("crm", Content="x" * 5_000) for _ in range(3)]
    with pytest.raises(StoreUnavailableError, match="full"):
        await embedded_store.accept(big)
    assert rows(embedded, events) == []
    await embedded_store.change(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1000000").scalar_one())
    assert await embedded_store.accept(big) == [True] * 3


async def test_a_broken_connection_is_replaced(store: SqlStore) -> None:
    await store.check()
    assert store._own.connection is not None
    raw(store._own.connection).close()
    with pytest.raises((StoreUnavailableError, sqlite3.ProgrammingError)):
        await store.accept([routed("crm")])
    assert await store.accept([routed("crm")]) == [True]


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path}/leadbridge.db")
    first, second = SqliteDriver(url), SqliteDriver(url)
    first.lock()
    with pytest.raises(OperatorError, match=r"another leadbridge \(process \d+\) serves this store"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_is_refused(url: str) -> None:
    with pytest.raises(OperatorError, match="would lose leads"):
        SqliteDriver(make_url(url))


def test_the_migrations_build_exactly_the_tables_that_the_code_works_on(driver: Driver) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with driver.engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        found = {
            table: {check["name"] for check in inspect(connection).get_check_constraints(table)}
            for table in metadata.tables
        }
    declared = {
        name: {str(each.name) for each in table.constraints if type(each).__name__ == "CheckConstraint"}
        for name, table in metadata.tables.items()
    }
    assert found == declared
    assert revision(driver.engine()) == HEAD
    assert not migrate(driver.engine())


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    from tests.postgresql import database

    with database(migrated=False) as url:
        yield url


@pytest.fixture
def empty(empty_url: str) -> Driver:
    return driver_for(empty_url)


def upgrade(engine: Engine, to: str) -> None:
    from alembic import command

    from bridge.store.preparation import _config

    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, to)


KILLED = """
import os, signal, sys
from sqlalchemy import event
from bridge.store.preparation import migrate
from bridge.store.preparation import driver_for

engine = driver_for(sys.argv[1]).engine()

@event.listens_for(engine, "before_cursor_execute")
def kill(connection, cursor, statement, *_):
    if statement.startswith("INSERT INTO alembic_version"):
        os.kill(os.getpid(), signal.SIGKILL)

migrate(engine)
"""


def test_a_first_migration_that_is_killed_at_its_end_leaves_nothing_and_is_repeated(
    empty_url: str, empty: Driver
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, empty_url], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert revision(empty.engine()) is None
    assert tables(empty.engine()) == {}
    assert migrate(empty.engine())
    assert revision(empty.engine()) == HEAD
    assert {each.name for each in metadata.sorted_tables} <= set(inspect(empty.engine()).get_table_names())


SQLITE_TABLES = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
POSTGRESQL_TABLES = """
SELECT 'column ' || table_name || '.' || column_name,
  concat_ws(' ', data_type, character_maximum_length, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public'
UNION SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION SELECT 'rule ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace"""


def tables(engine: Engine) -> dict[str, str]:
    asked = SQLITE_TABLES if engine.dialect.name == "sqlite" else POSTGRESQL_TABLES
    with engine.connect() as connection:
        found = connection.execute(text(asked)).all()
    # Alembic writes the same constraints in another order and with other white space.
    return {name: " ".join(sorted(re.findall(r"[^\s,()]+", what))) for name, what in found}


def test_a_new_store_is_what_the_migrations_make_of_an_empty_one(empty: Driver) -> None:
    engine = empty.engine()
    migrate(engine)
    at_once = tables(engine)
    assert {"events", "lanes"} <= metadata.tables.keys()
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    upgrade(engine, "head")
    assert revision(engine) == HEAD
    assert tables(engine) == at_once


def test_a_store_of_a_newer_version_is_refused(driver: Driver) -> None:
    with driver.engine().begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(OperatorError, match="written by a newer"):
        migrate(driver.engine())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deliveries SET due_at = NULL",
        "UPDATE deliveries SET state = 'delivered', settled_at = 1",
        "UPDATE deliveries SET state = 'dead', due_at = NULL, settled_at = 1",
        "UPDATE deliveries SET state = 'gone'",
        "UPDATE deliveries SET failures = 1, failing_since = 1",
        "UPDATE deliveries SET attempts = 1, failures = 1",
        "UPDATE deliveries SET event_seq = 99",
        "UPDATE events SET chatbot = NULL",
        "UPDATE events SET id = substr(id, 2)",
        "INSERT INTO changes (id, number) VALUES (2, 1)",
        "UPDATE lanes SET owner = NULL",
        "UPDATE lanes SET paused_by = 'lane', pause_reason = 'x'",
        "UPDATE lanes SET paused_by = 'operator'",
    ],
)
async def test_the_database_itself_forbids_impossible_states(store: SqlStore, driver: Driver, statement: str) -> None:
    await store.accept([routed("crm")])
    await lease(store)
    with pytest.raises(exc.IntegrityError), driver.engine().begin() as connection:
        connection.execute(text(statement))


async def test_the_queue_is_read_through_its_partial_index(embedded_store: SqlStore, embedded: SqliteDriver) -> None:
    connection = sqlite3.connect(embedded.path)
    plan = connection.execute("EXPLAIN QUERY PLAN " + DUE, ("crm", 0, 10)).fetchall()
    connection.close()
    assert [row[3] for row in plan] == ["SEARCH deliveries USING INDEX ix_deliveries_due (destination=? AND id>?)"]


async def test_the_log_is_copied_into_the_database_beside_the_traffic(
    embedded_store: SqlStore, embedded: SqliteDriver
) -> None:
    await asyncio.gather(*[embedded_store.accept([routed("crm", Content="x" * 3_000)]) for _ in range(200)])
    async with asyncio.timeout(10):
        while embedded.path.stat().st_size < 500_000:
            await asyncio.sleep(0.02)


async def test_a_fault_in_the_upkeep_does_not_end_the_writer(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(_: object) -> None:
        loop.call_soon_threadsafe(looked.set)
        raise RuntimeError("a fault")

    monkeypatch.setattr(driver, "tidy", fail)
    await asyncio.wait_for(looked.wait(), 5)
    assert await store.accept([routed("crm")]) == [True]


async def test_gives_the_last_accepted_events(store: SqlStore, driver: Driver) -> None:
    accepted = [routed("crm", Email=f"{number}@example.com") for number in range(4)]
    unknown = RoutedEvent(event()._replace(state=EventState.UNRECOGNISED, chatbot=None, type=None))
    await store.accept([*accepted, unknown])

    with driver.engine().connect() as connection:
        recent = recent_events(connection, 3)
        assert recent_events(connection, 3, "acme") == recent
        assert recent_events(connection, 3, "other") == []

    assert [each.payload for each in recent] == [each.event.payload for each in reversed(accepted[1:])]
    assert [each.id for each in recent] == [each.event.id for each in reversed(accepted[1:])]


async def test_an_event_that_breaks_a_rule_of_the_tables_is_refused_and_the_others_of_its_group_are_kept(
    store: SqlStore, driver: Driver
) -> None:
    wrong = routed("crm")
    wrong = wrong._replace(event=wrong.event._replace(type=None))
    good = routed("crm")
    refused, kept = await asyncio.gather(store.accept([wrong]), store.accept([good]), return_exceptions=True)
    assert isinstance(refused, Exception)
    assert kept == [True]
    assert [row.id.hex() for row in rows(driver, events)] == [good.event.id]


async def test_a_large_group_of_every_kind_is_one_transaction(store: SqlStore, driver: Driver) -> None:
    mine = await lease(store)
    many = [routed("crm", "mail") for _ in range(150)]
    assert await store.accept(many[:100]) == [True] * 100
    done = [delivered(number * 2 + 1, many[number].event.id) for number in range(100)]
    accepted, _, _ = await asyncio.gather(
        store.accept([*many[90:], many[149]]), store.settle(mine, done), store.settle(mine, [])
    )
    assert accepted == [False] * 10 + [True] * 50 + [False]
    states = [(row.destination, row.state) for row in rows(driver, deliveries)]
    assert states.count(("crm", "delivered")) == 100
    assert states.count(("mail", "pending")) == 150
    assert len(rows(driver, attempts)) == 100


def test_who_uses_sqlite_loads_nothing_of_postgresql() -> None:
    asked = "import sys, bridge.app; print([name for name in sys.modules if 'psycopg' in name or 'postgresql' in name])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_embedded_file_is_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "leadbridge.db"
    driver = SqliteDriver(make_url(f"sqlite:///{path}"))
    migrate(driver.engine())
    with driver.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        for file in tmp_path.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name
