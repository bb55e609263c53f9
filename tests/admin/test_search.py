"""The questions and actions of the admin listener, on each engine."""

import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection

from bridge.admin.query_threads import QueryThreads
from bridge.event import EventState
from bridge.store import commands, figures, search
from bridge.store.commands import BulkAction
from bridge.store.driver import Driver
from bridge.store.filter import DeliveryFilter, EventFilter
from bridge.store.installation import adopt
from bridge.store.interface import DeliveryState, NewDelivery, RoutedEvent
from bridge.store.sql import SqlStore
from tests.building import IDENTITY_KEY, NOW, event

HOUR = 3600.0


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> Driver:
    if request.param == "sqlite":
        made: Driver = request.getfixturevalue("embedded")
    else:
        from tests.postgresql import ToldDriver

        made = ToldDriver(request.getfixturevalue("database"))
    with made.engine().begin() as connection:
        adopt(connection, IDENTITY_KEY)
    return made


@pytest.fixture
async def query_threads(either: Driver) -> AsyncIterator[QueryThreads]:
    """A store with two leads without e-mail, then six, one an hour, of which three are dead at `crm`; and a test."""
    store = SqlStore(either)
    leads = [
        event(NOW + at * HOUR, Email=f"ada{at % 2}@example.com", PhoneNumber=f"+1 202 555 01{at}") for at in range(6)
    ]
    for at in (-2, -1):
        known = event(NOW + at * HOUR, Email="", PhoneNumber="+44 20 7946 0018")
        await store.accept([RoutedEvent(known, (NewDelivery("spare", "spare"),))])
    for at, each in enumerate(leads):
        problem = "a field is empty" if at < 3 else None
        await store.accept([RoutedEvent(each, (NewDelivery("crm", "crm", problem), NewDelivery("erp", "erp")))])
    await store.accept([RoutedEvent(event(NOW + 6 * HOUR, Email="test@example.com")._replace(state=EventState.TEST))])
    made = QueryThreads(either)
    yield made
    await made.close()
    await store.close()


async def all_events(query_threads: QueryThreads, **wanted: Any) -> list[float]:
    """Follow the cursors to the end; give the hours of what was found."""
    found: list[float] = []
    before = None
    while True:
        asked = EventFilter(**wanted, before=before)
        page = await query_threads.ask(partial(search.find_events, criteria=asked, identity_key=IDENTITY_KEY))
        found += [(each.received_at - NOW) / HOUR for each in page.rows]
        if page.next is None:
            return found
        assert before is None or page.next < before
        before = page.next


async def all_deliveries(query_threads: QueryThreads, **wanted: Any) -> list[tuple[float, str]]:
    found: list[tuple[float, str]] = []
    before = None
    while True:
        asked = DeliveryFilter(**wanted, before=before)
        page = await query_threads.ask(lambda connection, asked=asked: search.find_deliveries(connection, asked))  # type: ignore[misc]
        found += [((each.received_at - NOW) / HOUR, each.destination) for each in page.rows]
        if page.next is None:
            return found
        assert before is None or page.next < before
        before = page.next


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(("span", "size"), [(2, search.READ_BYTES), (50_000, search.READ_BYTES), (50_000, 1)])
async def test_what_is_looked_for_is_found_once_page_by_page(
    query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch, limit: int, span: int, size: int
) -> None:
    for name in ("SPAN", "READ_SPAN", "LOOK_SPAN"):
        monkeypatch.setattr(search, name, span)
    monkeypatch.setattr(search, "READ_BYTES", size)
    assert await all_events(query_threads, limit=limit) == [6, 5, 4, 3, 2, 1, 0, -1, -2]
    assert await all_events(query_threads, limit=limit, chatbot="nobody") == []
    assert await all_events(query_threads, limit=limit, state=EventState.TEST) == [6]
    assert await all_events(query_threads, limit=limit, email="ADA1@example.com") == [5, 3, 1]
    assert await all_events(query_threads, limit=limit, email="test@example.com") == [6]
    assert await all_events(query_threads, limit=limit, email="test@example.com", state=EventState.TEST) == [6]
    assert await all_events(query_threads, limit=limit, phone="5550 12") == [2]
    assert await all_events(query_threads, limit=limit, phone="+1 20255501 2") == [2]
    # Known by their phone: shown at once, and where they stand.
    alone = await all_events(query_threads, limit=limit, phone="+44 20 7946 0018")
    assert set(alone) == {-1, -2}
    assert alone[0] == -1
    assert await all_events(query_threads, limit=limit, since=NOW + HOUR, until=NOW + 3 * HOUR) == [2, 1]
    assert await all_events(query_threads, limit=limit, email="ada1@example.com", since=NOW + 2 * HOUR) == [5, 3]
    dead = [(2, "crm"), (1, "crm"), (0, "crm")]
    assert await all_deliveries(query_threads, limit=limit, state=DeliveryState.DEAD) == dead
    assert await all_deliveries(query_threads, limit=limit, state=DeliveryState.DEAD, reason="mapping") == dead
    assert await all_deliveries(query_threads, limit=limit, state=DeliveryState.DEAD, reason="gone") == []
    assert await all_deliveries(query_threads, limit=limit, state=DeliveryState.DEAD, destination="erp") == []
    assert await all_deliveries(query_threads, limit=limit, state=DeliveryState.PENDING, destination="crm") == [
        (5, "crm"),
        (4, "crm"),
        (3, "crm"),
    ]
    assert len(await all_deliveries(query_threads, limit=limit, state=DeliveryState.PENDING, chatbot="acme")) == 11
    assert len(await all_deliveries(query_threads, limit=limit)) == 14
    assert await all_deliveries(query_threads, limit=limit, since=NOW + 5 * HOUR) == [(5, "erp"), (5, "crm")]


async def test_many_deliveries_of_a_person_do_not_hide_their_tests(
    either: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FOUND_LIMIT", 2)
    store, email = SqlStore(either), "ann@example.com"
    await store.accept([RoutedEvent(event(NOW - HOUR, Email=email)._replace(state=EventState.TEST))])
    for at in range(5):
        await store.accept([RoutedEvent(event(NOW + at * HOUR, Email=email), (NewDelivery("crm", "crm"),))])
    query_threads = QueryThreads(either)
    assert await all_events(query_threads, email=email, state=EventState.TEST) == [-1]
    await query_threads.close()
    await store.close()


async def test_what_is_pending_at_very_many_destinations_is_found(either: Driver) -> None:
    """More than SQLite joins in one statement, and one of them with more than its share: none hides another's."""
    store, query_threads = SqlStore(either), QueryThreads(either)
    waiting = [(at, f"crm-{at}" if at % 7 else "erp") for at in range(700)]
    await store.accept(
        [
            RoutedEvent(event(NOW + at * HOUR, Email=f"person.{at}@example.com"), (NewDelivery(name, name),))
            for at, name in waiting
        ]
    )
    assert await all_deliveries(query_threads, limit=50, state=DeliveryState.PENDING) == waiting[::-1]
    assert (
        await all_deliveries(query_threads, limit=50, state=DeliveryState.PENDING, destination="erp")
        == waiting[::7][::-1]
    )
    assert await all_events(query_threads, email="person.3@example.com") == [3]
    assert await all_events(query_threads, email="person.699@example.com") == [699]
    await query_threads.close()
    await store.close()


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_pending_is_shown_once_however_it_is_spread(
    either: Driver, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(search, "SPAN", chance.choice([10, 30]))
    monkeypatch.setattr(search, "LOOK_SPAN", chance.choice([1, 5, 20]))
    store, query_threads = SqlStore(either), QueryThreads(either)
    waiting: list[tuple[float, str]] = []
    routed = []
    for at in range(60):
        # Some have most of it, and many have one.
        name, fails = f"crm-{int(chance.random() ** 3 * 20)}", chance.random() < 0.3
        routed.append(RoutedEvent(event(NOW + at * HOUR), (NewDelivery(name, name, "it fails" if fails else None),)))
        waiting += [] if fails else [(at, name)]
    await store.accept(routed)
    for limit, chatbot in ((1, None), (3, "acme"), (10, None), (10, "acme")):
        assert (
            await all_deliveries(query_threads, limit=limit, state=DeliveryState.PENDING, chatbot=chatbot)
            == waiting[::-1]
        )
    await query_threads.close()
    await store.close()


async def test_a_person_is_found_wherever_their_name_stands(either: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the payload what the index does not know: no delivery, one that is older than a share, or another shape."""
    monkeypatch.setattr(search, "WAITING_SPAN", 1)
    store, query_threads = SqlStore(either), QueryThreads(either)
    known = {"Email": "ann@example.com", "PhoneNumber": 12025550134}
    for at, routes in enumerate([(NewDelivery("crm", "crm"),), (NewDelivery("crm", "crm"),), ()]):
        await store.accept([RoutedEvent(event(NOW + at * HOUR, **known), routes)])
    strange = event(NOW + 3 * HOUR)._replace(
        state=EventState.UNRECOGNISED, type=None, payload=orjson.dumps({**known, "Content": ["chat"]})
    )
    await store.accept([RoutedEvent(strange)])
    listed = event(NOW + 4 * HOUR)._replace(
        state=EventState.UNRECOGNISED, type=None, payload=orjson.dumps({"Email": list(known.values())})
    )
    await store.accept([RoutedEvent(listed)])
    assert await all_events(query_threads, email="Ann@example.com ") == [3, 2, 1, 0]
    assert await all_events(query_threads, email_part="nn@ex") == [3, 2, 1, 0]
    assert await all_events(query_threads, phone="202 555 0134") == [3, 2, 1, 0]
    await query_threads.close()
    await store.close()


async def test_the_hours_are_counted(query_threads: QueryThreads) -> None:
    day = await query_threads.ask(lambda connection: figures.last_day(connection, NOW + 5 * HOUR + 60))
    assert day.accepted[-6:] == [1, 1, 1, 1, 1, 1]
    assert sum(day.accepted) == 8
    assert day.deliveries == {DeliveryState.DEAD: 3, DeliveryState.PENDING: 11}
    assert day.complete
    assert await query_threads.ask(figures.dead_letter_causes) == [figures.DeadLetterCause("crm", "mapping", 3)]


async def test_a_run_touches_what_was_counted_in_steps(
    query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.commands.IDS_LIMIT", 2)
    chosen = DeliveryFilter(state=DeliveryState.DEAD, chatbot="acme", destination="crm", reason="mapping")
    found = await query_threads.ask(lambda connection: commands.selection_extent(connection, chosen))
    assert found.count == 3
    first = await query_threads.change(step(chosen, 0, found.through))
    rest = await query_threads.change(step(chosen, first[-1], found.through))
    assert (len(first), len(rest)) == (2, 1)
    assert await query_threads.change(step(chosen, rest[-1], found.through)) == []
    assert (await query_threads.ask(lambda connection: commands.selection_extent(connection, chosen))).count == 0


async def test_a_run_takes_what_waits_for_several_destinations_in_order_of_receipt(
    query_threads: QueryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.store.commands.IDS_LIMIT", 4)
    chosen = DeliveryFilter(state=DeliveryState.PENDING)
    found = await query_threads.ask(lambda connection: commands.selection_extent(connection, chosen))
    assert found.count == 11
    taken: list[int] = []
    while ids := await query_threads.change(step(chosen, taken[-1] if taken else 0, found.through)):
        taken += ids
    assert taken == sorted(set(taken))
    assert (len(taken), taken[-1]) == (11, found.through)
    monkeypatch.setattr(commands, "COUNT_LIMIT", 5)
    few = await query_threads.ask(lambda connection: commands.selection_extent(connection, chosen))
    assert (few.count, few.through) == (5, taken[4])


async def test_a_change_that_fails_changes_nothing(query_threads: QueryThreads) -> None:
    chosen = DeliveryFilter(state=DeliveryState.DEAD)

    def fail(connection: Connection) -> None:
        commands.change_next(connection, chosen, BulkAction.DISCARD, 0, 10_000, NOW)
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await query_threads.change(fail)
    assert (await query_threads.ask(lambda connection: commands.selection_extent(connection, chosen))).count == 3


def step(chosen: DeliveryFilter, after: int, through: int) -> "Callable[[Connection], list[int]]":
    return lambda connection: list(commands.change_next(connection, chosen, BulkAction.REPLAY, after, through, NOW))
