"""What alerts, `reconcile` and `tail` ask of the store, on each engine."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from bridge.admin.query_threads import QueryThreads
from bridge.delivery import retry
from bridge.event import EventState
from bridge.operations import deliveries, events, reconcile
from bridge.operations.reconcile import Missing, Reconciliation, steps
from bridge.store import commands, figures, queries, search
from bridge.store.activity import Follower
from bridge.store.driver import Driver
from bridge.store.figures import OutcomeCounts
from bridge.store.filter import DeliveryFilter, EventFilter, Scope
from bridge.store.interface import DeliveryState, QuarantinedRequest, RoutedEvent
from bridge.store.lane_queries import waiting_behind
from bridge.store.postgres import PostgresDriver
from bridge.store.sql import SqlStore
from bridge.store.transaction import transaction
from connectors.base import Delivered, Outcome, Reason, Rejected
from tests.building import IDENTITY, NOW, SCHEDULE, event, routed

pytestmark = pytest.mark.each_engine


async def settle(store: SqlStore, outcomes: dict[int, Outcome]) -> None:
    lease = (await store.claim("lane", ["crm"], NOW, 1e9))["crm"]
    for delivery in await store.read("crm", list(outcomes)):
        call = retry.CallTiming(NOW, 1.0)
        settled = retry.decide(delivery, outcomes[delivery.id], call, SCHEDULE, 0.0, excused=False)
        await store.settle(lease, [settled])


@pytest.fixture
async def filled(store: SqlStore) -> SqlStore:
    """Four leads for two destinations: one dead at the crm, one delivered there; and a strange event."""
    await store.accept([routed("crm", "mail", received_at=NOW + number) for number in range(4)])
    await store.accept([RoutedEvent(event(received_at=NOW + 9)._replace(state=EventState.UNRECOGNISED))])
    await settle(store, {1: Rejected(Reason.REFUSED, "no"), 3: Delivered("17")})
    return store


async def test_a_client_does_not_learn_that_another_client_knows_the_person(store: SqlStore, driver: Driver) -> None:
    """Their chatbots share a destination, where deliveries of one person wait for each other."""
    made = routed("crm")
    for at, name in enumerate(("other", "acme", "acme")):
        same = event(NOW + at, Email="ada@example.com")._replace(chatbot=name)
        await store.accept([made._replace(event=same)])
    with driver.connect() as connection:
        assert waiting_behind(connection, [1, 2, 3]) == {2, 3}
        assert waiting_behind(connection, [2, 3], Scope(frozenset({"acme"}))) == {3}
        assert waiting_behind(connection, [2, 3], Scope(frozenset())) == frozenset()


async def test_what_a_person_asks_is_from_one_moment(store: SqlStore, driver: Driver) -> None:
    def count(connection: Connection) -> int:
        return int(connection.execute(text("SELECT count(*) FROM events")).scalar_one())

    with driver.connect() as connection:
        with driver.snapshot(connection):
            assert count(connection) == 0
            await store.accept([routed("crm")])
            assert count(connection) == 0
        with driver.snapshot(connection):
            assert count(connection) == 1


async def test_what_a_person_asks_changes_nothing_and_takes_one_core_on_postgresql(database: str) -> None:
    driver = PostgresDriver(database)
    with driver.connect() as connection:
        with driver.snapshot(connection):
            assert connection.execute(text("SHOW max_parallel_workers_per_gather")).scalar() == "0"
            assert connection.execute(text("SHOW statement_timeout")).scalar() == "30s"
        with pytest.raises(DBAPIError, match="read-only"), driver.snapshot(connection):
            connection.execute(text("DELETE FROM events"))
        # Nothing of it stays in the session.
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "0"


async def test_what_is_open_is_counted(filled: SqlStore, query_threads: QueryThreads) -> None:
    (dead,) = await query_threads.ask(figures.dead_groups)
    assert (dead.destination, dead.reason, dead.number, dead.last_at) == ("crm", "refused", 1, NOW + 1)
    assert (await query_threads.ask(figures.backlogs))["crm"] == figures.Backlog(2, NOW + 2)
    (strange,) = await query_threads.ask(figures.unrecognised_groups)
    assert (strange.number, strange.last_at) == (1, NOW + 9)


async def test_deliveries_with_a_warning_are_found_and_counted(
    filled: SqlStore, query_threads: QueryThreads, driver: Driver
) -> None:
    await settle(filled, {5: Delivered("18", warning="phone left out", left_out=("phone",))})

    async def found(**criteria: Any) -> list[int]:
        matches = await query_threads.ask(
            lambda connection: search.find_deliveries(connection, DeliveryFilter(**criteria))
        )
        return [each.id for each in matches.rows]

    dead, delivered = DeliveryState.DEAD, DeliveryState.DELIVERED
    assert await found(warning=True) == await found(warning=True, state=delivered, chatbot="acme") == [5]
    assert await found(warning=True, destination="mail") == await found(warning=True, state=dead) == []
    assert await found(warning=False, state=delivered) == [3]
    assert len(await found(warning=False)) == 7
    rows = (
        await query_threads.ask(
            lambda connection: search.find_deliveries(connection, DeliveryFilter(destination="crm"))
        )
    ).rows
    assert [each.id for each in rows if each.warned] == [5]
    (warned,) = await query_threads.ask(lambda connection: figures.warned_groups(connection, NOW))
    assert (warned.destination, warned.number, warned.last_at) == ("crm", 1, NOW + 1)
    assert await query_threads.ask(lambda connection: figures.warned_groups(connection, NOW + 2)) == []
    with transaction(driver) as connection:
        commands.replay(connection, [5], NOW)
    assert await found(warning=True) == [], "it has yet to be delivered"


async def test_what_reconcile_asks(filled: SqlStore, query_threads: QueryThreads) -> None:
    await filled.accept([RoutedEvent(event())])
    last = await query_threads.ask(queries.last_event)
    assert last == 6
    dead, delivered, pending = DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.PENDING
    whole = OutcomeCounts(
        {("acme", "crm"): {dead: 1, delivered: 1, pending: 2}, ("acme", "mail"): {pending: 4}},
        {("acme", None): 1},
        1,
    )
    assert await query_threads.ask(lambda connection: figures.count_events(connection, 1, last)) == whole
    parts = OutcomeCounts()
    for first, end in steps(1, last, 2):
        parts += await query_threads.ask(partial(figures.count_events, first=first, last=end))
    assert parts == whole
    assert await query_threads.ask(lambda connection: figures.count_events(connection, 7, 9)) == OutcomeCounts()


async def test_what_was_delivered_is_read_page_by_page_newest_first(
    store: SqlStore, query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.accept([routed("crm", "mail", received_at=NOW + number) for number in range(8)])
    await settle(store, {number: Delivered(f"r{number}") for number in (1, 3, 5, 9, 11, 13)})

    async def read(first: int) -> list[list[int]]:
        pages, before = [], None
        while True:
            page = await query_threads.ask(
                partial(search.delivered_page, destination="crm", first=first, before=before)
            )
            pages.append([each.id for each in page.rows])
            if page.next is None:
                return pages
            before = page.next

    assert await read(1) == [[13, 11, 9, 5, 3, 1]]
    assert await read(5) == [[13, 11, 9]]
    assert await read(99) == [[]]
    monkeypatch.setattr(search, "AT_ONCE", 2)
    assert await read(1) == [[13, 11], [9, 5], [3, 1]]
    monkeypatch.setattr(search, "SPAN", 4)
    pages = await read(1)
    assert [each for page in pages for each in page] == [13, 11, 9, 5, 3, 1]
    assert len(pages) > 3
    (record,) = (await query_threads.ask(partial(search.delivered_page, destination="crm", first=7, before=None))).rows
    assert (record.chatbot, record.route, record.remote_id) == ("acme", "crm", "r13")
    assert len(record.event_id) == 32


async def test_what_tail_asks(filled: SqlStore, query_threads: QueryThreads) -> None:
    follower = Follower()
    await query_threads.ask(lambda connection: follower.begin(connection, 0))
    assert not (await query_threads.ask(follower.look)).events
    await filled.quarantine(QuarantinedRequest(NOW, "acme", "t=1", b"{}"), IDENTITY)
    await filled.accept([routed("crm")])
    await settle(filled, {5: Delivered("18"), 9: Delivered("19")})
    news = await query_threads.ask(follower.look)
    assert [each.seq for each in news.events] == [6]
    assert [(each.id, each.state) for each in news.deliveries] == [
        (5, DeliveryState.DELIVERED),
        (9, DeliveryState.DELIVERED),
    ]
    assert [each.size for each in news.refused] == [2]
    again = await query_threads.ask(follower.look)
    assert (again.events, again.deliveries, again.refused) == ([], [], [])


async def test_a_list_goes_on_until_it_is_full(
    filled: SqlStore, query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SPAN", 2)
    page = await query_threads.ask(partial(search.find_deliveries, criteria=DeliveryFilter(destination="crm", limit=3)))
    assert len(page.rows) < 3
    rows = await query_threads.ask(
        partial(deliveries.list_deliveries, criteria=DeliveryFilter(destination="crm", limit=3))
    )
    assert [each.id for each in rows] == [7, 5, 3]
    leads = EventFilter(state=EventState.ACCEPTED)
    assert [each.seq for each in await query_threads.ask(partial(events.list_events, criteria=leads))] == [4, 3, 2, 1]


async def test_a_reconciliation_counts_in_steps(
    filled: SqlStore, query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SPAN", 2)
    result = Reconciliation(NOW)
    await result.count(query_threads.ask)
    assert result.missing() == Missing(dead=1, unrecognised=1, gone=0)
    assert [(each.destination, each.received) for each in result.lines()] == [("crm", 4), ("mail", 4), (None, 1)]
