"""The audit log on each engine."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection

from bridge.admin.audit_log import AuditLog
from bridge.admin.query_threads import QueryThreads
from bridge.errors import OperatorError
from bridge.operations.audit import BY_COMMAND, Action, ActionResult, Entry, Means, Subject, Who
from bridge.store import audit_log, commands, retention
from bridge.store.driver import Driver
from bridge.store.interface import Pause
from bridge.store.schema import audit, lanes
from bridge.store.sql import SqlStore
from tests.building import NOW, Clock, config, routed
from tests.store.test_sql import rows

pytestmark = pytest.mark.each_engine

DAY = 86_400.0
SOMEBODY = Who("operator", Means.SESSION, "0123abcd", "10.0.0.5")
PAUSED = Entry(SOMEBODY, Action.PAUSE, Subject.LANE, "crm", 1, {"was": "running", "of": 3})


async def page(query_threads: QueryThreads, *asked: Any) -> list[int]:
    return [each.id for each in await query_threads.ask(lambda connection: audit_log.list_entries(connection, *asked))]


async def test_an_entry_is_kept_as_it_is(store: SqlStore, query_threads: QueryThreads) -> None:
    assert await store.note(PAUSED, NOW) == 1
    (kept,) = await query_threads.ask(audit_log.list_entries)
    assert kept == audit_log.AuditRow(
        1, NOW, "pause", "operator", "session", "0123abcd", "10.0.0.5", "lane", "crm", 1, {"was": "running", "of": 3}
    )
    await store.note(Entry(BY_COMMAND, Action.ERASE, count=2), NOW)
    bare = (await query_threads.ask(audit_log.list_entries))[0]
    assert (bare.subject, bare.session, bare.address, bare.count, bare.facts) == (None, None, None, 2, {})


async def test_it_is_read_page_by_page_and_by_kind(store: SqlStore, query_threads: QueryThreads) -> None:
    for action in (Action.PAUSE, Action.SEARCH, Action.PAUSE, Action.SEARCH, Action.PAUSE):
        await store.note(Entry(BY_COMMAND, action), NOW)
    assert await page(query_threads) == [5, 4, 3, 2, 1]
    assert await page(query_threads, None, 4, 2) == [3, 2]
    assert await page(query_threads, Action.PAUSE, None, 2) == [5, 3]
    assert await page(query_threads, Action.PAUSE, 3, 2) == [1]
    assert await page(query_threads, Action.LOGIN) == []


async def test_an_action_and_its_entry_are_both_there_or_neither(
    store: SqlStore, query_threads: QueryThreads, driver: Driver
) -> None:
    log = AuditLog(store, query_threads, Clock())

    def act(connection: Connection, entry: Entry = PAUSED) -> ActionResult:
        commands.pause_lane(connection, "crm", Pause("operator", "moving"))
        audit_log.add_entry(connection, entry, NOW)
        return ActionResult(("done",), (entry,))

    def fail(connection: Connection) -> ActionResult:
        act(connection)
        raise OperatorError("not so")

    def refused(connection: Connection) -> ActionResult:
        # The table refuses a command that came from somewhere.
        return act(connection, Entry(Who("operator", Means.COMMAND, None, "10.0.0.5"), Action.PAUSE))

    for wrong in (fail, refused):
        with pytest.raises(OperatorError):
            await log.change(wrong)
        assert rows(driver, lanes) == rows(driver, audit) == []
    assert (await log.change(act)).message == "done"
    assert [each.name for each in rows(driver, lanes)] == ["crm"]
    assert [(each.at, each.action) for each in rows(driver, audit)] == [(NOW, "pause")]


async def test_the_steps_of_an_action_are_counted(store: SqlStore, query_threads: QueryThreads) -> None:
    first = await store.note(Entry(BY_COMMAND, Action.DISCARD_ALL, count=0), NOW)
    await store.note(Entry(BY_COMMAND, Action.DISCARD_ALL, count=0), NOW)
    for _ in range(2):
        await query_threads.change(lambda connection: audit_log.add(connection, first, 500))
    assert [each.count for each in await query_threads.ask(audit_log.list_entries)] == [0, 1_000]


async def test_many_are_removed_in_steps_when_their_time_is_over(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "STEP", 2)
    for number in range(5):
        await store.note(PAUSED, NOW + number)
    assert await store.change(lambda c: audit_log.prune_entries(c, NOW + 4))
    assert await store.change(lambda c: audit_log.prune_entries(c, NOW + 4))
    assert not await store.change(lambda c: audit_log.prune_entries(c, NOW + 4))
    assert [each.at for each in rows(driver, audit)] == [NOW + 4]
    # The id of one that was removed is not given again.
    assert not await store.change(lambda c: audit_log.prune_entries(c, NOW + 5))
    assert await store.note(PAUSED, NOW) == 6


async def test_it_is_kept_as_long_as_the_longest_kept_event(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, slept = Clock(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == retention.ROUND_SECONDS:
            slept.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("bridge.store.retention.asyncio.sleep", sleep)
    # The time of this test is the database's too.
    monkeypatch.setattr(driver, "clock", lambda _, now: now)
    for days in (0, 181):
        await store.note(PAUSED, NOW + days * DAY)
    for after, left in ((180 * DAY, 2), (180 * DAY + 1, 1)):
        clock.now = NOW + after
        # Ages are counted from the newest receipt.
        await store.accept([routed(received_at=clock.now)])
        slept.clear()
        pruning = asyncio.create_task(retention.prune_for_ever(lambda: config([]), store, clock))
        await slept.wait()
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
        assert len(rows(driver, audit)) == left
