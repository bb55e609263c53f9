"""The tally: what it counts, that it stays when rows go, and the numbers that are read from it."""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery import retry
from bridge.event import EventState
from bridge.operations.tally import PERIODS, TallyTotals, period_totals, read_history
from bridge.store import commands
from bridge.store.driver import Driver
from bridge.store.interface import NewDelivery, RoutedEvent
from bridge.store.retention import prune_events
from bridge.store.sql import SqlStore
from bridge.store.tally import SPEED_BANDS, SPEED_BOUNDS, bucket_of
from bridge.store.transaction import transaction
from connectors.base import Delivered, Outcome, Reason, Rejected
from tests.building import NOW, SCHEDULE, event, routed
from tests.counted_tally import missing_counts

DAY = 86_400.0


async def settle(store: SqlStore, outcomes: dict[int, Outcome], now: float) -> None:
    lease = (await store.claim("lane", ["crm"], NOW, 1e9))["crm"]
    for delivery in await store.read("crm", list(outcomes)):
        timing = retry.CallTiming(now, 0.0)
        settled = retry.decide(delivery, outcomes[delivery.id], timing, SCHEDULE, 0.0, excused=False)
        await store.settle(lease, [settled])


@pytest.mark.each_engine
async def test_numbers_of_the_past_outlive_the_rows(store: SqlStore, driver: Driver) -> None:
    old = NOW - 10 * DAY
    strange = event(NOW)._replace(state=EventState.UNRECOGNISED, chatbot=None, type=None)
    again = routed("crm", received_at=NOW)
    await store.accept([*(routed("crm", received_at=at) for at in (old, NOW, NOW, NOW)), again])
    await store.accept([RoutedEvent(event(NOW), (NewDelivery("crm", "crm", "a condition failed"),))])
    await store.accept([RoutedEvent(event(NOW)._replace(state=EventState.TEST)), RoutedEvent(strange)])
    await settle(store, {1: Delivered("1")}, old + 0.5)
    await settle(store, {2: Delivered("2"), 3: Delivered("3", warning="left out")}, NOW + 7.0)
    await settle(store, {4: Rejected(Reason.REFUSED, "no")}, NOW + 8.0)
    # The event is known, and the delivery was discarded while it was tried: neither is counted once more.
    assert await store.accept([again, RoutedEvent(strange)]) == [False, False]
    (tried,) = await store.read("crm", [5])
    with transaction(driver) as connection:
        commands.discard(connection, [4, 5], NOW + 9.0)
        commands.replay(connection, [2], NOW + 9.0)
    timing = retry.CallTiming(NOW, 10.0)
    late = retry.decide(tried, Delivered("5"), timing, SCHEDULE, 0.0, excused=False)
    await store.settle((await store.claim("lane", ["crm"], NOW, 1e9))["crm"], [late])
    await settle(store, {2: Delivered("2")}, NOW + 60.0)

    def numbers() -> list[tuple[int, ...]]:
        with driver.engine().connect() as connection:
            found = [period_totals(connection, NOW, days) for days in PERIODS]
            history = read_history(connection, NOW)
        for shown, each in zip(history.periods, found, strict=True):
            assert (shown.days, shown.whole, shown.before) == (each.days, each.whole, each.before)
        assert [total.received for _, total in history.days[-11:]] == [1, *[0] * 9, 5]
        assert history.days[-1] == (datetime.fromtimestamp(NOW, UTC).date(), found[0].whole)
        for each in found:
            assert each.chatbots["acme"][0].states == each.whole.states - Counter(unrecognised=1)
            assert each.chatbots[""][0].states == Counter(unrecognised=1)
        return [
            (each.received, each.delivered, each.warned, each.states["dead"], each.states["discarded"], *each.bands)
            for period in found
            for each in (period.whole, period.before)
        ]

    today, nothing = (5, 2, 1, 1, 2, 0, 1, 1, 0), (0,) * 9
    last_week = (1, 1, 0, 0, 0, 1, 0, 0, 0)
    thirty_days = (6, 3, 1, 1, 2, 1, 1, 1, 0)
    assert numbers() == [today, nothing, today, last_week, thirty_days, nothing]
    with driver.engine().connect() as connection:
        assert missing_counts(connection) == {}
    after: int | None = 0
    while after is not None:
        with transaction(driver) as connection:
            after = prune_events(connection, NOW + 90 * DAY, 60.0, 60.0, after).after
    assert numbers() == [today, nothing, today, last_week, thirty_days, nothing]
    with driver.engine().connect() as connection:
        assert missing_counts(connection) == {}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.95]))
def test_typical_times_and_bands_are_those_of_the_deliveries(seconds: list[float], share: float) -> None:
    totals = TallyTotals(buckets=Counter(bucket_of(0.0, each) for each in seconds))
    limits = (0.0, *SPEED_BANDS, float("inf"))
    assert totals.bands == tuple(sum(low <= each < high for each in seconds) for low, high in pairwise(limits))
    found = totals.quantile(share)
    exact = sorted(seconds)[max(0, -(-int(share * 100) * len(seconds) // 100) - 1)]
    assert found is not None
    bucket = bucket_of(0.0, exact)
    assert (SPEED_BOUNDS[bucket - 1] if bucket else 0.0) <= found <= SPEED_BOUNDS[min(bucket, len(SPEED_BOUNDS) - 1)]


def test_nothing_delivered_has_no_typical_time() -> None:
    assert TallyTotals().quantile(0.5) is None
