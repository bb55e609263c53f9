import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery import retry
from bridge.delivery.retry import HEALTHY, LONGEST_PROBE, UNCLEAR_LIMIT, CallTiming, DestinationHealth, decide
from bridge.store.interface import Delivery, DeliveryState
from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from tests.building import NOW, SCHEDULE

DELIVERY = Delivery(1, "e" * 32, "acme", b"{}", NOW - 60, "crm", 0, 0, None, {"kept": "1"})
CALL = CallTiming(NOW - 1, 1.0)
UNCLEAR = Retry(Reason.SERVER_ERROR, "500", status=500)
DOWN = Retry(Reason.UNAUTHORIZED, "401", Blame.DESTINATION, status=401)
BUSY = Retry(Reason.CONFLICT, "busy", Blame.RECORD)
REFUSED = Rejected(Reason.REFUSED, "no")


def settle(outcome: Outcome, *, excused: bool = False, **delivery: Any) -> Any:
    return decide(DELIVERY._replace(**delivery), outcome, CALL, SCHEDULE, 0.0, excused=excused)


def test_waits_grow_up_to_the_longest() -> None:
    assert [retry.wait(SCHEDULE, failures, 0.0) for failures in (1, 2, 3, 10, 10_000)] == [10, 20, 40, 3600, 3600]


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1))
def test_jitter_takes_away_at_most_its_share(failures: int, chance: float, jitter: float) -> None:
    schedule = dataclasses.replace(SCHEDULE, jitter=jitter)
    longest = retry.wait(SCHEDULE, failures, 0.0)
    assert longest * (1 - jitter) <= retry.wait(schedule, failures, chance) <= longest


def test_a_delivered_record_is_over_and_keeps_what_the_destination_said() -> None:
    settled = settle(Delivered("7", "https://crm/7", "left out phone", 201), failures=2, failing_since=NOW, attempts=2)
    assert (settled.state, settled.due_at, settled.settled_at) == (DeliveryState.DELIVERED, None, NOW)
    assert (settled.remote_id, settled.remote_url, settled.warning) == ("7", "https://crm/7", "left out phone")
    assert (settled.failures, settled.failing_since, settled.reason) == (0, None, None)
    assert (settled.attempt.number, settled.attempt.status, settled.memo) == (3, 201, {"kept": "1"})


def test_a_rejected_record_is_dead_at_once_with_the_reason() -> None:
    settled = settle(REFUSED)
    assert (settled.state, settled.reason, settled.detail) == (DeliveryState.DEAD, Reason.REFUSED, "no")


@pytest.mark.parametrize("outcome", [UNCLEAR, BUSY])
def test_a_failure_of_its_own_is_counted(outcome: Outcome) -> None:
    settled = settle(outcome, failures=2, failing_since=NOW - 30, attempts=5)
    assert (settled.failures, settled.failing_since, settled.due_at) == (3, NOW - 30, NOW + 40)
    assert settle(outcome).failing_since == NOW


def test_the_destinations_trouble_is_not_counted() -> None:
    for settled in (settle(DOWN), settle(UNCLEAR, excused=True)):
        assert (settled.state, settled.failures, settled.due_at) == (DeliveryState.PENDING, 0, NOW)
        assert settled.attempt is not None
    assert settle(BUSY, excused=True).failures == 1


def test_the_destinations_trouble_never_kills_a_delivery_however_long_it_lasts() -> None:
    settled = settle(DOWN, failures=5, attempts=5, failing_since=NOW - 30 * 86_400)
    assert settled.state is DeliveryState.PENDING


def test_gives_up_only_after_the_schedule() -> None:
    old: dict[str, Any] = {"failures": 9, "attempts": 9}
    assert settle(BUSY, failing_since=NOW - 3 * 86_400 + 1, **old).state is DeliveryState.PENDING
    assert settle(BUSY, failing_since=NOW - 3 * 86_400, **old).state is DeliveryState.DEAD


def test_gives_up_nothing_that_had_fewer_than_ten_attempts() -> None:
    """The clock may have been set ahead since the first failure."""
    for attempts in range(9):
        settled = settle(BUSY, failing_since=NOW - 30 * 86_400, failures=attempts, attempts=attempts)
        assert settled.state is DeliveryState.PENDING
        assert settled.due_at == NOW + retry.wait(SCHEDULE, attempts + 1, 0.0)


@pytest.mark.parametrize("give_up_after", [120.0, 600.0, 3 * 86_400.0, 30 * 86_400.0])
def test_ten_attempts_fit_into_the_time_after_which_a_delivery_is_given_up(give_up_after: float) -> None:
    schedule = dataclasses.replace(SCHEDULE, give_up_after=give_up_after)
    delivery, now = DELIVERY, NOW
    while True:
        settled = decide(delivery, BUSY, CallTiming(now, 0.0), schedule, 0.0, excused=False)
        if settled.due_at is None:
            break
        now = settled.due_at
        delivery = delivery._replace(
            attempts=settled.attempts, failures=settled.failures, failing_since=settled.failing_since
        )
    assert now == NOW + give_up_after
    assert settled.attempts > retry.GIVE_UP_ATTEMPTS


def health(
    *calls: tuple[float, Sequence[Outcome]], start: DestinationHealth | None = None, took: float = 0.0
) -> DestinationHealth:
    current = start or DestinationHealth()
    for ended, outcomes in calls:
        current = current.after(outcomes, CallTiming(ended - took, took), SCHEDULE, 0.0)
    return current


def test_a_destination_in_trouble_is_paused_at_once() -> None:
    pause = health((NOW, [DOWN])).pause
    assert pause is not None
    assert (pause.by, pause.reason, pause.until) == ("lane", "unauthorized", NOW + 10)


def test_unclear_failures_pause_only_in_a_row() -> None:
    row = [(NOW, [UNCLEAR])] * (UNCLEAR_LIMIT - 1)
    assert health(*row).pause is None
    assert health(*row, (NOW, [UNCLEAR])).pause is not None
    for sign_of_life in (Delivered(), REFUSED, BUSY):
        assert health(*row, (NOW, [sign_of_life]), *row).pause is None
        assert health((NOW, [UNCLEAR, sign_of_life])) == DestinationHealth()


def test_the_destinations_own_time_is_obeyed_and_not_capped() -> None:
    after = dataclasses.replace(DOWN, after=86_400.0)
    pause = health((NOW, [after])).pause
    assert pause is not None
    assert pause.until == NOW + 86_400


def test_probes_come_less_often_but_not_too_seldom() -> None:
    current, waits, at = DestinationHealth(), [], NOW
    for _ in range(10):
        current = health((at, [DOWN]), start=current)
        assert current.pause is not None
        assert current.pause.until is not None
        waits.append(current.pause.until - at)
        at = current.pause.until
        assert current.pause.since == NOW, "a probe that fails continues the pause"
    assert waits[:3] == [10, 20, 40]
    assert waits[-1] == LONGEST_PROBE


def test_calls_on_their_way_when_the_pause_began_do_not_lengthen_it() -> None:
    paused = health((NOW, [DOWN]))
    assert health((NOW + 1, [DOWN]), (NOW + 2, [UNCLEAR]), start=paused, took=9) == paused
    longer = health((NOW + 1, [dataclasses.replace(DOWN, after=60.0)]), start=paused, took=9)
    assert longer.pause is not None
    assert longer.pause.until == NOW + 61


def test_calls_on_their_way_end_a_pause_only_if_the_destination_did_not_ask_for_it() -> None:
    concluded = health(*[(NOW, [UNCLEAR])] * UNCLEAR_LIMIT)
    assert concluded.pause is not None
    assert health((NOW + 1, [Delivered()]), start=concluded, took=9) == DestinationHealth()
    asked = health((NOW, [dataclasses.replace(DOWN, after=60.0)]))
    assert health((NOW + 1, [Delivered()]), start=asked, took=9) == asked
    assert health((NOW + 60, [Delivered()]), start=asked) == DestinationHealth()


def test_a_call_counts_from_when_it_was_taken_up_not_from_when_it_began() -> None:
    asked = health((NOW, [dataclasses.replace(DOWN, after=60.0)]))
    late = asked.after([Delivered()], CallTiming(NOW + 1, 0.0), SCHEDULE, 0.0, decided_at=NOW - 1)
    assert late == asked


def test_a_call_that_was_begun_before_the_lane_learnt_of_the_pause_does_not_end_it() -> None:
    """The refusal has ended, and its task has not run yet, when the lane begins another call."""
    refusal = Retry(Reason.RATE_LIMITED, "429", Blame.DESTINATION, after=60.0)
    asked = HEALTHY.after([refusal], CallTiming(NOW, 1.0), SCHEDULE, 0.0, decided_at=NOW, noted_at=NOW + 1.02)
    for decided_at in (NOW + 1.01, NOW + 1.02):
        between = asked.after([Delivered()], CallTiming(decided_at, 0.1), SCHEDULE, 0.0, decided_at=decided_at)
        assert between == asked
    probe = asked.after([Delivered()], CallTiming(NOW + 61, 0.1), SCHEDULE, 0.0, decided_at=NOW + 61)
    assert probe == HEALTHY


def test_a_sign_of_life_ends_the_pause() -> None:
    paused = health((NOW, [DOWN]))
    assert health((NOW + 10, [Delivered()]), start=paused) == DestinationHealth()
    assert health((NOW + 10, [REFUSED]), start=paused) == DestinationHealth()


outcomes = st.sampled_from([Delivered(), REFUSED, BUSY, UNCLEAR, DOWN])


@given(
    outcome=outcomes,
    failures=st.integers(0, 50),
    age=st.floats(0, 10 * 86_400),
    chance=st.floats(0, 1, exclude_max=True),
    excused=st.booleans(),
)
def test_every_decision_is_a_state_that_the_store_allows(
    outcome: Outcome, failures: int, age: float, chance: float, excused: bool
) -> None:
    since = NOW - age if failures else None
    delivery = DELIVERY._replace(failures=failures, attempts=failures, failing_since=since)
    settled = decide(delivery, outcome, CALL, SCHEDULE, chance, excused=excused)
    assert (settled.state is DeliveryState.PENDING) == (settled.due_at is not None) == (settled.settled_at is None)
    assert (settled.failures == 0) == (settled.failing_since is None)
    assert settled.attempts == failures + 1 >= settled.failures
    assert settled.state is not DeliveryState.DELIVERED or isinstance(outcome, Delivered)
