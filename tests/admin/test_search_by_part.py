"""Leads are found by a part of their e-mail address: all of them, page by page, and by operators only."""

import pytest

from bridge.store import search
from tests.admin.conftest import VIEWER, Desk

FIRST = {"email_part": "LOVELACE@ex"}


async def found(desk: Desk, limit: int) -> list[str]:
    """Follow the cursors to the end; give the ids in the order in which they came."""
    ids: list[str] = []
    before: int | None = None
    while True:
        status, page = await desk.ask("POST", "/api/events/search", json={**FIRST, "limit": limit, "before": before})
        assert status == 200, page
        assert len(page["events"]) <= limit
        ids += [each["id"] for each in page["events"]]
        if page["next"] is None:
            return ids
        assert before is None or page["next"] < before
        before = page["next"]


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(("span", "size"), [(2, search.READ_BYTES), (5_000, search.READ_BYTES), (5_000, 1_000)])
async def test_all_are_found_newest_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, limit: int, span: int, size: int
) -> None:
    monkeypatch.setattr(search, "READ_SPAN", span)
    monkeypatch.setattr(search, "READ_BYTES", size)
    monkeypatch.setattr(search, "READ_AT_ONCE", 2)
    await desk.send(Email="old@example.com")
    for name in ("ada.lovelace", "grace", "b.LoveLace", "grace.h", "grace.m", "c.lovelace"):
        await desk.send(Email=f"{name}@example.com")
    newest_first = [each["id"] for each in (await desk.ask("GET", "/api/events"))[1]["events"]]
    assert await found(desk, limit) == [newest_first[at] for at in (0, 3, 5)]


async def test_a_page_reads_so_many_bytes_and_says_from_where_to_look_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.send(Email="lovelace@example.com")
    for _ in range(3):
        await desk.send(Email="grace@example.com", Content="x" * 10_000)
    monkeypatch.setattr(search, "READ_BYTES", 15_000)
    status, page = await desk.ask("POST", "/api/events/search", json=FIRST)
    assert (status, page["events"]) == (200, [])
    status, page = await desk.ask("POST", "/api/events/search", json={**FIRST, "before": page["next"]})
    assert (status, len(page["events"])) == (200, 1)


async def test_a_part_is_long_enough_and_for_operators(desk: Desk) -> None:
    for part in ("ad", "a b c", ""):
        assert (await desk.ask("POST", "/api/events/search", json={"email_part": part}))[0] == 400
    assert (await desk.ask("POST", "/api/events/search", token=VIEWER, json=FIRST))[0] == 403
    assert (await desk.ask("POST", "/api/events/search", token=VIEWER, json={"email": "ada@example.com"}))[0] == 200
