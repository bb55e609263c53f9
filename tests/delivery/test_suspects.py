"""Whose failure it is, by what the lane sees of other records."""

from collections import deque
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.batching import BatchItem, next_batch
from bridge.delivery.retry import CallTiming, DestinationHealth
from bridge.delivery.suspects import ATTEMPTS_LIMIT, Suspects
from bridge.store.interface import Delivery
from connectors.base import Blame, Delivered, Outcome, Reason, Record, Retry, RouteSettings
from tests.building import NOW, SCHEDULE

PAGE = Retry(Reason.NOT_FOUND, "404", Blame.DESTINATION, status=404)
REFUSED = Retry(Reason.UNAUTHORIZED, "401", Blame.DESTINATION, status=401)
BROKEN = Retry(Reason.SERVER_ERROR, "500", status=500)
BAD = 1


class Judged:
    """A lane of single calls, reduced to what its outcomes say."""

    def __init__(self) -> None:
        self.suspects = Suspects()
        self.health = DestinationHealth()
        self.attempts: dict[int, int] = {}
        self.now = NOW

    def call(self, outcomes: dict[int, Outcome]) -> Sequence[Outcome]:
        """Make a call; return its outcomes as they are settled."""
        self.now += 1000.0
        deliveries = [_delivery(each, self.attempts.get(each, 0)) for each in outcomes]
        for each in outcomes:
            self.attempts[each] = self.attempts.get(each, 0) + 1
        judged, signs = self.suspects.judge(deliveries, [*outcomes.values()])
        if signs:
            self.health = self.health.after([*signs.values()], CallTiming(self.now, 0.0), SCHEDULE, 0.0)
        self.suspects.add(signs, self.health)
        return judged


def _delivery(number: int, attempts: int = 0) -> Delivery:
    return Delivery(number, "e" * 32, "acme", b"{}", NOW, "crm", attempts, 0, None, {})


@pytest.mark.parametrize("failure", [PAGE, REFUSED, BROKEN])
def test_a_failure_that_only_one_record_meets_is_its_own_after_some_times(failure: Retry) -> None:
    lane = Judged()
    pauses = 0
    for number in range(2, 12):
        (outcome,) = lane.call({BAD: failure})
        pauses += lane.health.pause is not None
        is_own = isinstance(outcome, Retry) and outcome.blame is Blame.RECORD
        assert is_own == (lane.attempts[BAD] >= ATTEMPTS_LIMIT)
        lane.call({number: Delivered()})
        assert lane.health.pause is None
    assert pauses <= ATTEMPTS_LIMIT - 1


@pytest.mark.parametrize("failure", [REFUSED, BROKEN])
def test_a_destination_in_trouble_is_no_records_own_however_long_it_lasts(failure: Retry) -> None:
    lane = Judged()
    for _ in range(50):
        for number in (1, 2, 3):
            assert lane.call({number: failure}) == [failure]
    assert lane.health.pause is not None


def test_a_record_alone_waits_for_its_account_and_otherwise_counts_its_failures() -> None:
    for failure, counts in ((REFUSED, False), (BROKEN, False), (PAGE, True)):
        lane = Judged()
        (*_, outcome) = [lane.call({BAD: failure})[0] for _ in range(ATTEMPTS_LIMIT + 1)]
        assert isinstance(outcome, Retry)
        assert (outcome.blame is Blame.RECORD) == counts
        assert lane.health.pause is not None, "the destination may be the cause all the same"


def test_after_a_restart_the_next_failure_beside_a_delivery_counts() -> None:
    lane = Judged()
    lane.attempts[BAD] = ATTEMPTS_LIMIT
    lane.call({2: Delivered()})
    (outcome,) = lane.call({BAD: PAGE})
    assert isinstance(outcome, Retry)
    assert outcome.blame is Blame.RECORD
    assert lane.health == DestinationHealth()


def test_another_record_shows_at_once_which_side_fails_if_one_has_failed_often() -> None:
    lane = Judged()
    for _ in range(ATTEMPTS_LIMIT):
        assert not lane.suspects.alone
        lane.call({BAD: PAGE})
    assert lane.suspects.alone
    lane.call({2: PAGE})
    assert not lane.suspects.alone


def test_a_wait_that_the_destination_asked_for_is_kept() -> None:
    lane = Judged()
    for _ in range(2 * ATTEMPTS_LIMIT):
        lane.call({BAD: Retry(Reason.RATE_LIMITED, "429", Blame.DESTINATION, after=60.0)})
    assert not lane.suspects.alone


@pytest.mark.parametrize("failure", [PAGE, BROKEN])
def test_a_record_that_fails_its_whole_batch_ends_up_alone(failure: Retry) -> None:
    lane = Judged()
    ready = deque(_ready(number) for number in range(1, 401))
    sizes = []
    for _ in range(40):
        if not ready:
            break
        batch = next_batch(ready, 100, NOW, lane.suspects.shares)
        numbers = [each.delivery.id for each in batch]
        if BAD in numbers:
            sizes.append(len(numbers))
            lane.call(dict.fromkeys(numbers, failure))
            ready.extend(batch)
        else:
            lane.call(dict.fromkeys(numbers, Delivered()))
    assert sizes[:4] == [100, 25, 6, 1]
    assert [each.delivery.id for each in ready] == [BAD]


def _ready(number: int) -> BatchItem:
    record = Record(str(number), {}, {}, b"", RouteSettings())
    return BatchItem(_delivery(number), record, NOW, None, number)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([PAGE, REFUSED, BROKEN, Delivered()])), max_size=60),
    st.integers(1, 3),
)
def test_one_record_pauses_a_lane_that_delivers_others_at_most_some_times(
    before: list[tuple[int, Outcome]], others: int
) -> None:
    """Whatever has happened before."""
    lane = Judged()
    for number, outcome in before:
        lane.call({number: outcome})
    pauses = 0
    for number in range(100, 120):
        for each in range(others):
            lane.call({number * 10 + each: Delivered()})
        assert lane.health.pause is None
        lane.call({BAD: PAGE})
        pauses += lane.health.pause is not None
    assert pauses < ATTEMPTS_LIMIT
    assert len(lane.suspects.shares) <= len(lane.attempts)
