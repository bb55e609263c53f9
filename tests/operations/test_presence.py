"""Destinations are asked in calls of a bounded size, and left alone where there is a reason to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bridge.config.model import Config, Destination
from bridge.errors import StoreUnavailableError
from bridge.operations.reconcile import (
    SILENT_LIMIT,
    CheckTerms,
    RecordCheck,
    ask_all,
)
from bridge.store.search import AT_ONCE, DeliveredPage, DeliveredRecord
from connectors.base import Quota, RemoteRecord
from tests.building import NOW, FakeConnector, chatbot, config, destination, route


class Crm(FakeConnector):
    """Holds every record whose id ends in an even digit."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.say: Callable[[Sequence[RemoteRecord]], Any] = lambda filed: [
            int(each.remote_id[1:]) % 2 == 0 for each in filed
        ]

    async def holds(self, filed: Sequence[RemoteRecord]) -> Sequence[bool | None]:
        self.asked.append([each.remote_id for each in filed])
        said = self.say(filed)
        told: Sequence[bool | None] = await said if asyncio.iscoroutine(said) else said
        return told


@dataclass
class Place:
    """A destination that was given `count` records, and how it is asked."""

    count: int
    crm: Crm = field(default_factory=Crm)
    going: Callable[[Destination], bool] = lambda _: True
    limit: int | None = None
    pause: float = 0.0
    route: str = "crm"
    opened: list[str] = field(default_factory=list)
    config: Config = field(init=False)

    def __post_init__(self) -> None:
        self.config = config([chatbot("acme", route("crm"))], [destination("crm", self.crm, timeout=5.0)])

    async def read(self, name: str, before: int | None) -> DeliveredPage:
        high = before or self.count + 1
        ids = range(high - 1, max(0, high - 1 - AT_ONCE), -1)
        rows = [DeliveredRecord(each, f"{each:032x}", "acme", self.route, f"r{each}") for each in ids]
        return DeliveredPage(rows, rows[-1].id if rows and rows[-1].id > 1 else None)

    @asynccontextmanager
    async def open(self, destination: Destination) -> AsyncIterator[None]:
        self.opened.append(f"open {destination.name}")
        yield
        self.opened.append(f"close {destination.name}")

    async def ask(self) -> RecordCheck:
        answered = RecordCheck()
        terms = CheckTerms(self.open, lambda: NOW, self.going, self.limit, self.pause)
        await ask_all(self.read, terms, self.config, {"crm": answered})
        return answered


async def test_all_are_asked_for_in_calls_of_a_hundred() -> None:
    place = Place(250)
    answered = await place.ask()
    assert [len(each) for each in place.crm.asked] == [100, 100, 50]
    assert place.crm.asked[0][0] == "r250"
    assert (answered.asked, answered.held.total(), answered.gone.total()) == (250, 125, 125)
    assert place.opened == ["open crm", "close crm"]


async def test_no_more_than_the_limit() -> None:
    place = Place(1_000, limit=150)
    answered = await place.ask()
    assert [len(each) for each in place.crm.asked] == [100, 50]
    assert answered.asked == 150


def fail(_: Sequence[RemoteRecord]) -> Any:
    raise RuntimeError("a fault of the connector")


async def hang() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "say",
    [fail, lambda filed: [None] * len(filed), lambda _: [True], lambda _: hang()],
    ids=["fails", "none", "short", "hangs"],
)
async def test_one_that_tells_nothing_is_left_alone(say: Callable[[Sequence[RemoteRecord]], Any]) -> None:
    place = Place(1_000)
    place.config = config([chatbot("acme", route("crm"))], [destination("crm", place.crm, timeout=0.01)])
    place.crm.say = say
    answered = await place.ask()
    assert len(place.crm.asked) == SILENT_LIMIT
    assert (answered.held, answered.gone) == ({}, {})


async def test_one_that_answers_again_is_asked_on() -> None:
    place = Place(1_000)
    place.crm.say = lambda filed: fail(filed) if len(place.crm.asked) % SILENT_LIMIT else [True] * len(filed)
    answered = await place.ask()
    assert len(place.crm.asked) == 10
    assert answered.held.total() == 300


async def test_the_reserve_of_a_quota_is_left_for_leads() -> None:
    place = Place(1_000)

    def say(filed: Sequence[RemoteRecord]) -> Sequence[bool]:
        place.crm.quota = [Quota("daily", 1_000, 20, NOW + 60, reserve=20)] if len(place.crm.asked) == 2 else []
        return [True] * len(filed)

    place.crm.say = say
    assert (await place.ask()).asked == 200
    place.crm.quota = [Quota("daily", 1_000, 20, NOW - 1, reserve=20)]
    assert (await place.ask()).asked == 1_000


async def test_it_ends_before_the_next_call() -> None:
    place = Place(1_000)
    place.going = lambda _: len(place.crm.asked) < 4
    assert (await place.ask()).asked == 400


async def test_what_is_not_routed_any_more_is_not_asked_for() -> None:
    place = Place(250, route="another")
    answered = await place.ask()
    assert (place.crm.asked, answered.asked) == ([], 250)


async def test_calls_are_as_far_apart_as_they_are_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(250)
    slept: list[tuple[float, int]] = []

    async def sleep(seconds: float) -> None:
        slept.append((seconds, len(place.crm.asked)))

    monkeypatch.setattr("bridge.operations.reconcile.asyncio.sleep", sleep)
    place.pause = 1.0
    await place.ask()
    assert slept == [(1.0, 1), (1.0, 2)]


async def test_a_store_in_trouble_is_told_as_such() -> None:
    place = Place(1)

    async def broken(*_: object) -> DeliveredPage:
        raise StoreUnavailableError("the disk is full")

    place.read = broken  # type: ignore[method-assign,assignment]  # in the place of the store
    with pytest.raises(StoreUnavailableError, match="disk"):
        await place.ask()
    assert place.opened == ["open crm"]
