"""The writer alone: which changes share a group, and what becomes of those for which the store takes too long."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from bridge.errors import StoreUnavailableError
from bridge.store.writer import Writer

PATIENCE = 0.01


class Committing:
    """Commits in memory, and not before it may."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.may = threading.Event()
        self.may.set()

    def __call__(self, group: Sequence[str]) -> Sequence[object]:
        self.groups.append(list(group))
        assert self.may.wait(10)
        return [change.upper() for change in group]


@pytest.fixture
def committing() -> Committing:
    return Committing()


@pytest.fixture
async def writer(committing: Committing) -> AsyncIterator[Writer[str]]:
    made: Writer[str] = Writer(committing, lambda *_: None, lambda: None, patience=PATIENCE)
    yield made
    committing.may.set()
    await made.close()


async def test_a_change_that_finds_the_store_idle_waits_for_nothing(
    writer: Writer[str], committing: Committing
) -> None:
    assert await writer.submit("a", sent=True) == "A"
    assert committing.groups == [["a"]]


async def test_what_was_sent_fails_when_the_store_takes_too_long(writer: Writer[str], committing: Committing) -> None:
    committing.may.clear()
    under_way = [writer.submit("event", sent=True), writer.submit("outcome")]
    await asyncio.sleep(0)
    behind = [writer.submit("later event", sent=True), writer.submit("later outcome")]
    for each in (under_way[0], behind[0]):
        with pytest.raises(StoreUnavailableError):
            await each
    committing.may.set()
    assert [await under_way[1], await behind[1]] == ["OUTCOME", "LATER OUTCOME"]
    # What was under way may be committed all the same; what had not begun is not.
    assert committing.groups == [["event", "outcome"], ["later outcome"]]


async def test_what_comes_while_the_store_stands_still_fails_as_soon(
    writer: Writer[str], committing: Committing
) -> None:
    committing.may.clear()
    for change in ("first", "second", "third"):
        with pytest.raises(StoreUnavailableError):
            await writer.submit(change, sent=True)
    committing.may.set()
    assert await writer.submit("fourth", sent=True) == "FOURTH"
    assert committing.groups == [["first"], ["fourth"]]


async def test_a_commit_in_time_stops_the_clock(writer: Writer[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loop, clocks = asyncio.get_running_loop(), []
    call_later = loop.call_later

    def noted(*args: Any) -> asyncio.TimerHandle:
        clocks.append(call_later(*args))
        return clocks[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    assert await writer.submit("event", sent=True) == "EVENT"
    assert [clock.cancelled() for clock in clocks] == [True]


async def test_close_commits_what_waits(committing: Committing) -> None:
    writer: Writer[str] = Writer(committing, lambda *_: None, lambda: None)
    await writer.submit("a", sent=True)
    waiting = writer.submit("b", sent=True)
    await writer.close()
    assert await waiting == "B"


async def test_kinds_have_commits_of_their_own_and_the_next_group_waits_for_all() -> None:
    groups: list[list[str]] = []
    may = threading.Event()

    def commit(group: Sequence[str]) -> Sequence[object]:
        groups.append(list(group))
        assert group[0][0] == "a" or may.wait(10)
        return group

    writer: Writer[str] = Writer(commit, lambda *_: None, lambda: None, kind=lambda change: change[0])
    first = [writer.submit(change) for change in ("a1", "b1", "a2")]
    assert await first[0] == "a1"
    # Part of the group is still under way.
    then = [writer.submit("a3")]
    await asyncio.sleep(0)
    then.append(writer.submit("a4"))
    may.set()
    assert [await each for each in then] == ["a3", "a4"]
    assert groups == [["a1", "a2"], ["b1"], ["a3", "a4"]]
    await writer.close()
