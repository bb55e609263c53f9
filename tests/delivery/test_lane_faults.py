"""When a lane that fails is begun again, when it is given up, and when its faults are forgotten."""

from bridge.delivery.lane_faults import CALM_SECONDS, FAULTS_LIMIT, FIRST_REST, LEFT_SECONDS, LONGEST_REST, Faults


def test_a_lane_that_fails_rests_longer_each_time() -> None:
    faults, now = Faults(), 1000.0
    rests = []
    for _ in range(10):
        faults.add("crm", now, now)
        rest = next(seconds for seconds in range(1, 100) if not faults.is_resting("crm", now + seconds))
        rests.append(rest)
        now += rest
    assert rests[:4] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST, 8 * FIRST_REST]
    assert rests[-1] == LONGEST_REST
    assert not faults.is_resting("mail", now)


def test_a_lane_that_fails_several_times_in_a_row_is_given_up() -> None:
    faults = Faults()
    for count in range(1, FAULTS_LIMIT + 1):
        assert not faults.given_up
        faults.add("crm", 10.0 * count - 1, 10.0 * count)
    assert faults.given_up == {"crm"}


def test_faults_with_a_long_run_between_them_are_not_in_a_row() -> None:
    faults = Faults()
    for count in range(FAULTS_LIMIT + 2):
        now = count * 2 * CALM_SECONDS
        faults.add("crm", now - CALM_SECONDS, now)
    assert not faults.given_up


def test_faults_are_forgotten_when_the_lane_runs_well_or_was_left_to_others_for_long() -> None:
    faults = Faults()
    for lane in ("crm", "mail"):
        for _ in range(FAULTS_LIMIT):
            faults.add(lane, 0.0, 1.0)
    faults.forget_old({"crm": 10.0}, 10.0 + CALM_SECONDS - 1)
    assert faults.given_up == {"crm", "mail"}
    faults.forget_old({"crm": 10.0}, 10.0 + CALM_SECONDS)
    assert faults.given_up == {"mail"}
    faults.forget_old({}, 1.0 + LEFT_SECONDS)
    assert not faults.given_up
