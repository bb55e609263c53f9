"""No page of the dashboard and no answer of the API reads a whole table, on either engine.

Every statement that they ask of a store of some thousand events is explained by the engine itself, and what it reads is
counted. The bounds of a page (`search.SPAN` and the like) are as much smaller here as the store is.
"""

import asyncio
import dataclasses
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event, text

from bridge import app
from bridge.admin import reconcile
from bridge.config.reload import load_files
from bridge.store import commands, figures, search
from bridge.store.driver import Driver, raw
from bridge.store.filter import DeliveryFilter, EventFilter
from bridge.store.interface import DeliveryState, Pause
from bridge.store.preparation import driver_for, migrate
from bridge.store.schema import deliveries, metadata
from tests.benchmarks.fullness import CHATBOTS, DESTINATIONS, Fullness, fill
from tests.benchmarks.program import NOWHERE, setup
from tests.benchmarks.visitor import visitor
from tests.benchmarks.visits import CLIENT_CHATBOTS, scoped_visits, visits

pytestmark = pytest.mark.thorough

FULLNESS = Fullness(events=20_000, dead=200, pending=200, odd=200)
SPANS = {"SPAN": 500, "READ_SPAN": 100, "LOOK_SPAN": 100, "WAITING_SPAN": 500}
READ_ROWS = 4_000
"""Rows of events and deliveries that one statement may read: a fifth of the events, a tenth of the deliveries."""
STEPS_OF_A_ROW = 12
"""Instructions of SQLite's machine for a row that is counted or put into an order, at most."""
TOKEN, CLIENT = "the-token-of-an-operator", "the-token-of-a-client"

Asked = tuple[str, Any]
"""A statement and its parameters."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Asked]]:
    """Collect what is asked in the query threads."""
    for name, value in SPANS.items():
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr(figures, "SPAN", SPANS["SPAN"])
    monkeypatch.setattr(reconcile, "NEWEST", SPANS["SPAN"])
    monkeypatch.setattr(figures, "NEWEST", SPANS["SPAN"])
    found: list[Asked] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if threading.current_thread().name.startswith("query") and statement.startswith(("SELECT", "WITH")):
            found.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture(params=["sqlite", "postgresql"])
def backlog(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    """Give a store in which what waits is older than most of what was delivered, as the engine sees it by itself."""
    sqlite = request.param == "sqlite"
    driver = driver_for(f"sqlite:///{tmp_path}/leadbridge.db" if sqlite else request.getfixturevalue("database"))
    migrate(driver.engine())
    fill(driver, dataclasses.replace(FULLNESS, pending=0), time.time())
    waits = (deliveries.c.id < FULLNESS.events // 4, deliveries.c.state == "delivered")
    with driver.engine().begin() as connection:
        connection.execute(deliveries.update().where(*waits).values(state="pending", due_at=0.0, settled_at=None))
        if not sqlite:
            # Statistics, but no map yet of what all can see: as between two runs of autovacuum.
            connection.execute(text("ANALYZE"))
    return driver


def test_an_old_backlog_is_not_looked_for_among_all_that_came_since(
    backlog: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SPANS.items():
        monkeypatch.setattr(search, name, value)
    said: list[Asked] = []
    with backlog.connect() as connection, backlog.snapshot(connection):

        @event.listens_for(connection, "before_cursor_execute")
        def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
            said.append((statement, parameters))

        for chatbot in (None, "hotel", "nobody"):
            waiting = DeliveryFilter(state=DeliveryState.PENDING, limit=20, chatbot=chatbot)
            assert bool(search.find_deliveries(connection, waiting).rows) is (chatbot != "nobody")
        assert not search.find_events(connection, EventFilter(email="nobody@example.com")).rows
        within = raw(connection)
        if connection.dialect.name == "sqlite":
            faults = [f"{fault}: {statement}" for statement, given in said if (fault := scan(within, statement, given))]
        else:
            faults = [
                f"{node['Node Type']} on {node['Relation Name']}, {rows:.0f} rows: {statement}"
                for statement, given in said
                for node, rows in read(within, statement, given)
                if rows > READ_ROWS
            ]
    assert len(said) > 10
    assert not faults, "\n".join(faults)


async def visit(store: str) -> None:
    """Have somebody ask for everything there is of a full store."""
    ports = dict.fromkeys(DESTINATIONS, NOWHERE)
    with setup(ports, store=store, chatbots=CHATBOTS, admin_token=TOKEN, clients={CLIENT: CLIENT_CHATBOTS}) as made:
        driver = driver_for(store)
        migrate(driver.engine())
        fill(driver, FULLNESS, time.time())
        with driver.engine().begin() as connection:
            for name in DESTINATIONS:
                commands.pause_lane(connection, name, Pause("operator", "a test"))
        config, files = load_files(made.config, os.environ)
        async with app.running(config, files):
            await asyncio.to_thread(ask_for_all, made.admin)


def ask_for_all(port: int) -> None:
    with visitor(port, TOKEN) as who:
        for each in visits(who, FULLNESS):
            who.ask(each.path, each.form)
    with visitor(port, CLIENT) as who:
        for each in scoped_visits():
            who.ask(each.path, each.form)


async def test_sqlite_reads_no_whole_table(tmp_path: Path, asked: list[Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await visit(f"sqlite:///{tmp_path}/leadbridge.db")
    connection = sqlite3.connect(tmp_path / "leadbridge.db")
    faults = [f"{said}: {statement}" for statement, given in asked if (said := scan(connection, statement, given))]
    connection.close()
    assert len(asked) > 300
    assert not faults, "\n".join(dict.fromkeys(faults))


def scan(connection: sqlite3.Connection, statement: str, given: Any) -> str | None:
    """Say how a statement reads too much; None if it does not."""
    partial = {index.name for table in metadata.tables.values() for index in table.indexes if index.name}
    for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", given):
        found = re.match(r"SCAN (events|deliveries)(?: USING (?:COVERING )?INDEX (\w+))?", row[3])
        if found and found[2] not in partial:
            return str(row[3])
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 100
        return 0

    connection.set_progress_handler(count, 100)
    connection.execute(statement, given).fetchall()
    connection.set_progress_handler(None, 0)
    return f"{steps} steps" if steps > STEPS_OF_A_ROW * READ_ROWS else None


async def test_postgresql_reads_no_whole_table(
    database: str, asked: list[Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The spool is in the working directory unless the configuration names a path.
    monkeypatch.chdir(tmp_path)
    await visit(database)
    with psycopg.connect(database) as connection:
        # Of so small a table it would read all, where of a large one it would not.
        connection.execute("SET enable_seqscan = off")
        faults = []
        # What the server holds in memory, and what it must fetch from a disk, have different plans.
        for cost in (1, 4):
            connection.execute(f"SET random_page_cost = {cost}")
            faults += [
                f"{node['Node Type']} on {node['Relation Name']}, {rows:.0f} rows: {statement}"
                for statement, given in asked
                for node, rows in read(connection, statement, given)
                if rows > READ_ROWS or node["Node Type"] == "Seq Scan"
            ]
    assert len(asked) > 300
    assert not faults, "\n".join(dict.fromkeys(faults))


def read(connection: "psycopg.Connection[Any]", statement: str, given: Any) -> Sequence[tuple[dict[str, Any], float]]:
    """Give the steps of a statement's plan that read events or deliveries, each with how many rows it has looked at."""
    row = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", given).fetchone()
    assert row
    return [
        (
            node,
            node["Actual Loops"] * sum(node[key] for key in node if key == "Actual Rows" or key.startswith("Rows Rem")),
        )
        for node in nodes(row[0][0]["Plan"])
        if node.get("Relation Name") in {"events", "deliveries"}
    ]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)
