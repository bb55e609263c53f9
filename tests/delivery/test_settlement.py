"""Outcomes that no store could hold as they are, and outcomes that a store refuses or that meet a locked row."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, cast

import pytest
import structlog

from bridge.delivery import settlement as module
from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.settlement import MEMO_LIMIT, NOTE, TEXT_LIMIT, clean_outcome, settle, storable
from bridge.errors import LeaseLostError, StoreUnavailableError
from bridge.store.interface import Delivery, Lease, Settlement, Store
from bridge.store.sql import SqlStore
from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from tests.building import NOW, FakeConnector, destination, routed
from tests.store.test_sql import delivered, lease

LEASE = Lease("crm", 1)
LOG = structlog.get_logger()


class Nameless:
    """A value of a plug-in that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("fine", "fine"),
        ("Grüße, 漢字 😀", "Grüße, 漢字 😀"),
        ("caf\udce9", "caf\ufffd"),
        ("a\0b", "a\ufffdb"),
        ("x" * TEXT_LIMIT, "x" * TEXT_LIMIT),
        ("x" * (TEXT_LIMIT + 1), "x" * (TEXT_LIMIT - 1) + "…"),
    ],
)
def test_a_text_is_made_fit_for_the_store(given: str, kept: str) -> None:
    assert storable(given) == kept
    assert clean_outcome(Delivered(given, given, given)) == Delivered(kept, kept, kept)
    assert clean_outcome(Rejected(Reason.REFUSED, given)) == Rejected(Reason.REFUSED, kept)


@pytest.mark.parametrize("status", [200, 0, 999, None])
def test_a_status_of_http_stays(status: int | None) -> None:
    assert clean_outcome(Delivered(status=status)).status == status


@pytest.mark.parametrize("status", [-1, 1000, 2**70, 200.0, math.nan, "200", True, Nameless()])
def test_a_hostile_status_is_none(status: Any) -> None:
    assert clean_outcome(Delivered(status=status)).status is None


@pytest.mark.parametrize(
    ("after", "kept"),
    [(0, 0), (2.5, 2.5), (None, None), (-1, None), (math.nan, None), (-math.inf, None), ("5", None), (True, None)],
)
def test_a_wait_is_a_number_that_can_be_added(after: Any, kept: float | None) -> None:
    outcome = clean_outcome(Retry(Reason.TIMEOUT, "late", after=after))
    assert isinstance(outcome, Retry)
    assert outcome.after == kept


def test_an_endless_wait_is_a_long_one() -> None:
    outcome = clean_outcome(Retry(Reason.TIMEOUT, "late", after=math.inf))
    assert isinstance(outcome, Retry)
    assert outcome.after is not None
    assert math.isfinite(NOW + outcome.after)


@pytest.mark.parametrize(
    ("memo", "kept"),
    [
        ({"note": "7"}, {"note": "7"}),
        ({"note": 7, 8: "x", "half": "\ud800"}, {"note": "7", "8": "x", "half": "\ufffd"}),
        ({"none": None, "bad": Nameless()}, {}),
        (["not", "a", "mapping"], {}),
        ({str(number): "" for number in range(500)}, {str(number): "" for number in range(MEMO_LIMIT)}),
    ],
)
def test_a_memo_is_texts_by_name(memo: Any, kept: dict[str, str]) -> None:
    assert clean_outcome(Delivered(memo=memo)).memo == kept


def test_an_unknown_reason_or_blame_is_a_known_one() -> None:
    odd: Any = "refused"
    assert clean_outcome(Rejected(odd, "x")) == Rejected(Reason.REFUSED, "x")
    odd = "whatever"
    assert clean_outcome(Retry(odd, "x", odd)) == Retry(Reason.CONNECTOR_ERROR, "x", Blame.UNCLEAR)


@pytest.mark.parametrize("answer", [None, 7, [None], [Delivered(), Delivered()], {}])
async def test_whatever_a_connector_gives_is_an_outcome_for_each_record(answer: Any) -> None:
    connector = FakeConnector()
    connector.answer = lambda _: answer
    batch = [cast("Any", Ready())]
    outcomes, _ = await AttemptRunner().deliver(destination("crm", connector), batch, lambda: NOW, LOG)
    assert [type(each) for each in outcomes] == [Retry]
    assert outcomes[0].reason is Reason.CONNECTOR_ERROR  # type: ignore[union-attr]


class Ready:
    record = None


class Picky:
    """Stands in for a store: refuses some outcomes, and has the rows of some locked for a while."""

    def __init__(self, refused: Sequence[int] = (), locked: Sequence[int] = (), away: int = 0) -> None:
        self.written: list[Settlement] = []
        self.calls: list[list[int]] = []
        self.refused, self.locked, self.away = set(refused), set(locked), away

    async def settle(self, _: Lease, settlements: Sequence[Settlement]) -> frozenset[int]:
        self.calls.append([each.delivery for each in settlements])
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("away")
        if any(each.delivery in self.refused and each.remote_id for each in settlements):
            raise ValueError("no column takes that")
        self.written += [each for each in settlements if each.delivery not in self.locked]
        locked = frozenset(self.locked & {each.delivery for each in settlements})
        self.locked = set()
        return locked


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Wait for nothing; gives the waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waits


async def written(store: Picky, *ids: int) -> list[list[int]]:
    outcomes = [delivered(each) for each in ids]
    return [
        [each.delivery for each in some] async for some in settle(cast("Store", store), LEASE, outcomes, LOG) if some
    ]


async def test_an_outcome_that_is_refused_is_written_in_its_shortest_form() -> None:
    store = Picky(refused=[2])
    assert await written(store, 1, 2, 3) == [[1], [2], [3]]
    assert [each.remote_id for each in store.written] == ["r", None, "r"]
    assert all(each.state == "delivered" for each in store.written)


async def test_an_outcome_whose_row_is_locked_is_written_later_by_itself(at_once: list[float]) -> None:
    store = Picky(locked=[2])
    assert await written(store, 1, 2, 3) == [[1, 3], [2]]
    assert store.calls == [[1, 2, 3], [2]]
    assert at_once == [module.FIRST_LOCKED_SECONDS]


async def test_a_store_that_is_away_is_asked_again(at_once: list[float]) -> None:
    assert await written(Picky(away=2), 1) == [[1]]
    assert at_once == [module.TROUBLE_SECONDS] * 2


async def test_a_lost_lease_is_the_lanes_to_know() -> None:
    class Lost(Picky):
        async def settle(self, _: Lease, settlements: Sequence[Settlement]) -> frozenset[int]:
            raise LeaseLostError("gone")

    with pytest.raises(LeaseLostError):
        await written(Lost(), 1)


async def test_each_engine_keeps_the_outcomes_that_are_cleaned(store: SqlStore) -> None:
    from bridge.delivery import retry
    from tests.building import SCHEDULE

    hostile: list[Outcome] = [
        Delivered("caf\udce9", "\0", "x" * 10_000, cast("Any", 2**70), cast("Any", {"a": "\ud800", 1: 2})),
        Retry(Reason.TIMEOUT, "\udce9\0", after=math.inf, status=cast("Any", "x"), memo={"\udc80": "\0"}),
        Rejected(Reason.REFUSED, cast("Any", Nameless())),
    ]
    await store.accept([routed("crm") for _ in hostile])
    held = await lease(store)
    rows: list[Delivery] = await store.read("crm", [1, 2, 3])
    call = retry.CallTiming(NOW, 0.1)
    outcomes = [
        retry.decide(row, clean_outcome(each), call, SCHEDULE, 0.0, excused=False)
        for row, each in zip(rows, hostile, strict=True)
    ]
    done = [each.delivery async for some in settle(store, held, outcomes, LOG) for each in some]
    assert done == [1, 2, 3]
    assert [each.id for each in await store.read("crm", [1, 2, 3])] == [2]


async def test_each_engine_keeps_the_shortest_form_of_what_it_refuses(store: SqlStore) -> None:
    await store.accept([routed("crm"), routed("crm")])
    held = await lease(store)
    wrong = delivered(1)._replace(remote_id="\ud800", detail="\ud800")
    done = [each async for some in settle(store, held, [wrong, delivered(2)], LOG) for each in some]
    assert [each.delivery for each in done] == [1, 2]
    assert (done[0].remote_id, done[0].detail) == (None, NOTE)
    assert await store.due("crm", 0, 10) == []
