"""The history of a lane's pauses."""

import pytest

from bridge.store import commands
from bridge.store.driver import Driver
from bridge.store.interface import Pause
from bridge.store.lane_queries import KEPT, PastPause, past_pauses
from bridge.store.sql import SqlStore
from bridge.store.transaction import transaction
from tests.building import NOW


@pytest.mark.each_engine
async def test_pauses_that_are_over_are_kept_with_their_author_and_reason(store: SqlStore, driver: Driver) -> None:
    held = (await store.claim("lane", ["crm"], NOW, 1e9))["crm"]
    await store.pause(held, Pause("lane", "timeout", "no answer", NOW + 60, NOW), NOW)
    # A probe found another reason; the pause is the same one.
    await store.pause(held, Pause("lane", "unreachable", "refused", NOW + 120, NOW), NOW + 60)
    await store.pause(held, None, NOW + 120)
    await store.pause(held, None, NOW + 130)
    await store.pause(held, Pause("lane", "timeout", None, NOW + 300, NOW + 200), NOW + 200)
    with transaction(driver) as connection:
        commands.pause_lane(connection, "crm", Pause("operator", "Ada said so", since=NOW + 210))
    await store.pause(held, None, NOW + 220)
    with transaction(driver) as connection:
        commands.resume_lane(connection, "crm", NOW + 240)
        commands.resume_lane(connection, "crm", NOW + 250)
        assert past_pauses(connection, "crm") == [
            PastPause(NOW + 210, NOW + 240, "operator", None),
            PastPause(NOW + 200, NOW + 210, "lane", "timeout"),
            PastPause(NOW, NOW + 120, "lane", "unreachable"),
        ]
        assert past_pauses(connection, "mail") == []


async def test_the_history_is_bounded(store: SqlStore, driver: Driver) -> None:
    held = (await store.claim("lane", ["crm"], NOW, 1e9))["crm"]
    for number in range(KEPT + 5):
        await store.pause(held, Pause("lane", "timeout", None, NOW + number + 1, NOW + number), NOW + number)
        await store.pause(held, None, NOW + number + 0.5)
    with transaction(driver) as connection:
        found = past_pauses(connection, "crm", 1_000)
    assert [each.since for each in found] == [NOW + number for number in range(KEPT + 4, 4, -1)]
