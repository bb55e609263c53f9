from functools import partial

import pytest
from sqlalchemy import func, select, text

from bridge.event import EventState
from bridge.store import exchanges, retention, schema
from bridge.store.driver import Driver
from bridge.store.interface import RoutedEvent
from bridge.store.retention import prune_events
from bridge.store.schema import attempts, deliveries, events
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SPARE_PAGES, SqliteDriver
from tests.building import NOW, event, routed
from tests.store.test_sql import delivered, lease, rows

pytestmark = pytest.mark.each_engine

DAY = 86_400.0


async def prune(store: SqlStore, now: float) -> None:
    after: int | None = 0
    while after is not None:
        after = (
            await store.change(partial(prune_events, now=now, delivered=30 * DAY, dead=180 * DAY, after=after))
        ).after


async def test_keeps_what_is_pending_and_removes_the_rest_in_its_time(store: SqlStore, driver: Driver) -> None:
    await store.accept([routed("crm"), routed("crm", "mail"), routed("crm")])
    held = await lease(store)
    await store.settle(held, [delivered(1), delivered(2)])
    with driver.engine().begin() as connection:
        connection.execute(
            text(
                "UPDATE deliveries SET state = 'dead', reason = 'refused', due_at = NULL, "
                "settled_at = :now WHERE id = 4"
            ),
            {"now": NOW},
        )
    await prune(store, NOW + 30 * DAY - 1)
    assert len(rows(driver, events)) == 3
    await prune(store, NOW + 30 * DAY)
    assert [row.seq for row in rows(driver, events)] == [2, 3]
    await prune(store, NOW + 180 * DAY)
    assert [row.seq for row in rows(driver, events)] == [2]
    assert {row.event_seq for row in rows(driver, deliveries)} == {2}
    assert {row.delivery_id for row in rows(driver, attempts)} == {2}


@pytest.mark.parametrize(("state", "days"), [(EventState.TEST, 30), (EventState.UNRECOGNISED, 180)])
async def test_events_without_deliveries_have_their_time_too(
    store: SqlStore, driver: Driver, state: EventState, days: int
) -> None:
    await store.accept([RoutedEvent(event()._replace(state=state))])
    await prune(store, NOW + days * DAY - 1)
    assert len(rows(driver, events)) == 1
    await prune(store, NOW + days * DAY)
    assert rows(driver, events) == []


async def test_exchanges_go_before_their_attempts(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "STEP", 2)
    await store.accept([routed("crm") for _ in range(4)])
    made = [delivered(number).with_exchange("[]") for number in range(1, 5)]
    assert made[3].attempt
    made[3] = made[3]._replace(attempt=made[3].attempt._replace(started_at=NOW + 1))
    await store.settle(await lease(store), made)
    assert not await store.change(partial(exchanges.prune_exchanges, before=NOW))
    assert await store.change(partial(exchanges.prune_exchanges, before=NOW + 0.5))
    assert not await store.change(partial(exchanges.prune_exchanges, before=NOW + 0.5))
    assert [row.delivery_id for row in rows(driver, schema.exchanges)] == [4]
    assert len(rows(driver, attempts)) == 4
    await prune(store, NOW + 30 * DAY + 1)
    assert rows(driver, schema.exchanges) == []


async def test_goes_on_in_steps_past_what_stays(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 3)
    await store.accept([routed("crm") for _ in range(10)])
    await store.settle(await lease(store), [delivered(number) for number in range(5, 11)])
    await prune(store, NOW + 30 * DAY)
    assert [row.seq for row in rows(driver, events)] == [1, 2, 3, 4]


async def test_the_file_shrinks_after_much_was_removed(embedded_store: SqlStore, embedded: SqliteDriver) -> None:
    await embedded_store.accept([routed(Content="x" * 200_000) for _ in range(200)])
    await prune(embedded_store, NOW + 30 * DAY)
    free = select(func.count()).select_from(events)
    assert await embedded_store.change(lambda c: c.execute(free).scalar_one()) == 0
    with embedded.connect() as connection:
        for _ in range(100):
            embedded.tidy(connection)
        assert connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() <= SPARE_PAGES
