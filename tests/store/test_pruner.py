"""Pruning under clocks that are wrong, and background work that fails."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge import app
from bridge.store import retention
from bridge.store.driver import Driver
from bridge.store.retention import ROUND_SECONDS
from bridge.store.schema import events
from bridge.store.sql import SqlStore
from tests.building import NOW, Clock, config, routed
from tests.store.test_sql import rows

DAY = 86_400.0
YEAR = 365 * DAY


async def _rounds(
    store: SqlStore, clock: Clock, monkeypatch: pytest.MonkeyPatch, driver: Driver
) -> list[MutableMapping[str, Any]]:
    """Run until the end of the first round; return the log."""
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == ROUND_SECONDS:
            done.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("bridge.store.retention.asyncio.sleep", sleep)
    monkeypatch.setattr(driver, "clock", lambda _, now: now)
    with capture_logs() as logs:
        pruning = asyncio.create_task(retention.prune_for_ever(lambda: config([]), store, clock))
        await done.wait()
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
    return logs


async def test_a_start_with_the_clock_200_days_ahead_removes_nothing(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.accept([routed() for _ in range(3)])
    assert await _rounds(store, Clock(NOW + 200 * DAY), monkeypatch, driver) == []
    assert len(rows(driver, events)) == 3


async def test_an_event_from_next_year_stops_nothing_and_the_log_says_how_many_went(
    store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = routed()
    await store.accept([future._replace(event=future.event._replace(received_at=NOW + YEAR))])
    await store.accept([routed() for _ in range(3)])
    late = routed()
    now = NOW + 31 * DAY
    await store.accept([late._replace(event=late.event._replace(received_at=now - DAY))])
    logs = await _rounds(store, Clock(now), monkeypatch, driver)
    assert [row.seq for row in rows(driver, events)] == [1, 5]
    assert [(each["event"], each.get("events")) for each in logs] == [("pruned", 3)]


async def test_background_work_that_fails_is_begun_again_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    times = 0
    failed: list[str] = []
    waits: list[float] = []

    async def work() -> None:
        nonlocal times
        times += 1
        if times <= 3:
            raise RuntimeError("ada@example.com")

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("bridge.app.asyncio.sleep", sleep)
    with capture_logs() as logs:
        await app._supervised("spool", work, failed.append)
    assert (times, failed, waits) == (4, ["spool"] * 3, [1.0, 2.0, 4.0])
    assert [(each["event"], each["work"], each["error"]) for each in logs] == [("fault", "spool", "RuntimeError")] * 3


async def test_an_empty_store_is_left_alone(store: SqlStore, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _rounds(store, Clock(NOW), monkeypatch, driver) == []
