"""The clock of deliveries: it follows the store's time, and never jumps in between."""

import pytest

from bridge.delivery.clock import JUMP_SECONDS, SHOWN_SECONDS, DeliveryClock
from tests.building import NOW, Clock

HOUR = 3_600.0


def made() -> tuple[DeliveryClock, Clock, Clock]:
    machine, timer = Clock(), Clock(100.0)
    return DeliveryClock(machine, timer), machine, timer


def test_it_counts_on_steadily_while_somebody_sets_the_machines_clock() -> None:
    clock, machine, timer = made()
    machine.now -= 24 * HOUR
    timer.now += 5.0
    assert clock() == NOW + 5.0


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_it_follows_the_stores_time_where_the_machines_clock_is_wrong(ahead: float) -> None:
    clock, _, timer = made()
    assert clock.follow(NOW + ahead, timer())
    assert clock() == NOW + ahead
    assert not clock.follow(NOW + ahead, timer())
    timer.now += 2.0
    assert clock() == NOW + ahead + 2.0


def test_an_answer_that_took_long_moves_it_no_further_than_it_shows() -> None:
    """The store may have read its time at any moment between the question and the answer."""
    clock, _, timer = made()
    timer.now += 4.0
    assert not clock.follow(NOW + 1.0, 100.0)
    assert clock() == NOW + 4.0, "both agree if the time was read after a second"
    assert clock.follow(NOW - 10.0, 100.0)
    assert clock() == NOW - 6.0, "the least change with which they agree"


def test_it_follows_a_small_difference_without_a_jump() -> None:
    clock, _, timer = made()
    assert not clock.follow(NOW + JUMP_SECONDS / 2, timer())
    assert clock() == NOW + JUMP_SECONDS / 2


def test_moments_of_the_machines_clock_are_put_into_the_stores_time() -> None:
    clock, machine, timer = made()
    assert clock.from_machine(NOW + 60.0) == NOW + 60.0
    clock.follow(NOW - HOUR, timer())
    assert clock.from_machine(machine() + 60.0) == clock() + 60.0


def test_a_machines_clock_that_was_set_is_shown_if_it_is_far_off() -> None:
    clock, machine, _ = made()
    machine.now += SHOWN_SECONDS - 1.0
    assert clock.machine_moved() == 0.0
    machine.now += 1.0
    assert clock.machine_moved() == SHOWN_SECONDS
