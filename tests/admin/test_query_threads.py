"""Operators' work in threads: queries on kept connections, and dry runs that cannot be ended from outside."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from bridge.admin import presentation
from bridge.admin import query_threads as query_threads_module
from bridge.admin.authentication import RequestRefusedError
from bridge.admin.query_threads import DRY_RUNS, DryRuns, QueryThreads
from bridge.admin.responses import UnansweredError
from bridge.errors import NotFoundError, StoreUnavailableError
from bridge.operations import events
from bridge.store.driver import Driver, raw
from bridge.store.filter import DeliveryFilter
from bridge.store.interface import DeliveryState
from bridge.store.search import find_deliveries
from bridge.store.sql import SqlStore
from bridge.store.transaction import read_once, transaction
from tests.building import routed


@pytest.fixture
async def query_threads(driver: Driver) -> AsyncIterator[QueryThreads]:
    """A query_threads on a store with a lead for two destinations."""
    store = SqlStore(driver)
    await store.accept([routed("crm", "mail", Email="ada@example.com")])
    made = QueryThreads(driver)
    yield made
    await made.close()
    await store.close()


def deliveries(connection: Connection) -> int:
    return len(presentation.show_deliveries(connection, DeliveryFilter(), ()).deliveries)


@pytest.mark.each_engine
async def test_a_query_goes_on_after_its_connection_was_cut(query_threads: QueryThreads) -> None:
    assert await query_threads.ask(deliveries) == 2
    for connection in query_threads._connections:
        raw(connection).close()
    assert await query_threads.ask(deliveries) == 2
    assert len(query_threads._connections) <= query_threads_module.THREADS


@pytest.mark.each_engine
async def test_a_query_that_fails_is_not_repeated(query_threads: QueryThreads) -> None:
    asked = []

    def broken(connection: Connection) -> None:
        asked.append(connection)
        connection.execute(text("SELECT 1 FROM no_such_table"))

    for tries in (1, 2):
        with pytest.raises(StoreUnavailableError, match="the store cannot be read"):
            await query_threads.ask(broken)
        assert len(asked) == tries
    with pytest.raises(NotFoundError):
        await query_threads.ask(lambda connection: events.show(connection, "0123456789ab"))
    assert await query_threads.ask(deliveries) == 2


@pytest.mark.each_engine
async def test_parts_of_a_page_that_ask_for_the_same_read_it_once(query_threads: QueryThreads, driver: Driver) -> None:
    asked: list[object] = []

    @read_once
    def count(connection: Connection, state: str) -> int:
        asked.append(connection)
        return len(find_deliveries(connection, DeliveryFilter(state=DeliveryState(state))).rows)

    def page(connection: Connection) -> list[int]:
        return [count(connection, state) for state in ("pending", "pending", "dead")]

    assert await query_threads.ask(page) == [2, 2, 0]
    with transaction(driver) as connection:
        assert [*page(connection), len(asked)] == [2, 2, 0, 5]
        connection.execute(text("UPDATE deliveries SET state = 'dead', reason = 'gone', due_at = NULL, settled_at = 1"))
        assert page(connection) == [0, 0, 2]
    assert await query_threads.ask(page) == [0, 0, 2]


async def test_dry_runs_are_few_and_each_is_answered_in_time(
    query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is given up frees no place: its work goes on, and none that waits behind it ever begins."""
    monkeypatch.setattr(query_threads_module, "DRY_RUN_SECONDS", 0.05)
    dry_runs, end, began = DryRuns(query_threads), threading.Event(), []

    def slow(number: int) -> None:
        began.append(number)
        end.wait()

    answers = await asyncio.gather(
        *(dry_runs.attempt(lambda number=number: slow(number)) for number in range(DRY_RUNS + 2)),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert [type(each) for each in answers] == [UnansweredError] * DRY_RUNS + [RequestRefusedError] * 2
    assert began == [0]
    # Those that had not begun have made room.
    with pytest.raises(UnansweredError, match=r"takes longer than 0\.05 s"):
        await dry_runs.attempt(lambda: slow(1))
    assert began == [0]
    end.set()
    monkeypatch.setattr(query_threads_module, "DRY_RUN_SECONDS", 30.0)
    assert await dry_runs.attempt(lambda: 7) == 7
    await dry_runs.close()


async def test_a_page_that_takes_long_is_an_answer_too(
    query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_threads_module, "RESPONSE_SECONDS", 0.05)
    end = threading.Event()
    with pytest.raises(UnansweredError):
        await query_threads.work(lambda _: end.wait())
    end.set()
