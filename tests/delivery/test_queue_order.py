import random
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.queue_order import LARGE_BYTES, QueueOrder
from bridge.store.interface import Due


def due(number: int, contact: int = 0, due_at: float = 0.0, failures: int = 0) -> Due:
    return Due(number, contact or number, due_at, failures)


def test_gives_what_never_failed_first_and_in_order() -> None:
    order = QueueOrder()
    order.add([due(1, failures=1), due(2), due(3)])
    assert order.take(0.0, 10, 10) == [2, 3, 1]


def test_keeps_a_contact_in_order_through_retries() -> None:
    order = QueueOrder()
    order.add([due(1, contact=7), due(2, contact=7), due(3, contact=8)])
    assert order.take(0.0, 10, 10) == [1, 3]
    order.postpone(1, due_at=60.0, failures=1)
    assert order.take(59.0, 10, 10) == []
    assert order.next_due() == 60.0
    assert order.take(60.0, 10, 10) == [1]
    order.done(1)
    assert order.take(60.0, 10, 10) == [2]


def test_what_there_is_no_room_for_goes_next() -> None:
    order = QueueOrder()
    order.add([due(number) for number in range(1, 6)])
    assert order.take(0.0, 4, 0) == [1, 2, 3, 4]
    order.put_back([2, 3, 4])
    assert order.take(0.0, 2, 0) == [2, 3]
    assert len(order) == 2


def test_is_full_while_large_payloads_are_out() -> None:
    order = QueueOrder()
    order.add([due(number) for number in range(1, 6)])
    for each in order.take(0.0, 5, 0):
        order.note_size(each, LARGE_BYTES // 4)
    assert order.full
    order.done(1)
    assert order.full
    order.postpone(2, 1.0, 1)
    assert not order.full
    for each in range(10, 10_000):
        order.note_size(each, 1_000)
    assert not order.full
    order.note_size(3, LARGE_BYTES)
    order.forget({4, 5})
    assert not order.full


def test_takes_no_more_retries_than_asked_for() -> None:
    order = QueueOrder()
    order.add([due(number, failures=1) for number in range(1, 6)])
    assert order.take(0.0, 10, 2) == [1, 2]


def test_what_is_out_is_not_given_again_when_the_queue_is_read_anew() -> None:
    order = QueueOrder()
    order.add([due(1, contact=7), due(2, contact=7), due(3)])
    assert order.take(0.0, 10, 10) == [1, 3]
    order.forget({1})
    assert order.cursor == 0
    order.add([due(1, contact=7), due(2, contact=7), due(3)])
    assert order.take(0.0, 10, 10) == [3]
    order.done(1)
    assert order.take(0.0, 10, 10) == [2]


def test_an_older_one_that_was_read_anew_goes_before_one_that_comes_again() -> None:
    order = QueueOrder()
    order.add([due(10, contact=7)])
    assert order.take(0.0, 1, 1) == [10]
    order.forget({10})
    order.add([due(3, contact=7)])
    order.postpone(10, due_at=0.0, failures=1)
    assert order.take(0.0, 5, 5) == [3]
    order.add([due(10, contact=7, failures=1)])
    order.done(3)
    assert order.take(0.0, 5, 5) == [10]


def test_probes_in_turn_so_that_a_poisoned_delivery_does_not_stay_first() -> None:
    order = QueueOrder()
    order.add([due(1), due(2)])
    assert order.take(0.0, 1, 1) == [1]
    order.postpone(1, due_at=0.0, failures=0)
    assert order.take(0.0, 1, 1) == [2]


@given(
    contacts=st.lists(st.integers(1, 4), max_size=30),
    seed=st.integers(0, 2**32),
    fail=st.floats(0, 0.9),
    forget=st.floats(0, 0.3),
)
def test_every_delivery_goes_once_at_a_time_in_the_order_of_its_contact(
    contacts: list[int], seed: int, fail: float, forget: float
) -> None:
    chance = random.Random(seed)
    queue = {number: due(number, contact) for number, contact in enumerate(contacts, 1)}
    pending = dict(queue)
    order = QueueOrder()
    out: set[int] = set()
    went = defaultdict(list)
    now = 0.0
    for _ in range(1000):
        order.add([each for each in pending.values() if each.id > order.cursor][:3])
        for number in order.take(now, chance.randint(0, 3), chance.randint(0, 3)):
            contact = pending[number].contact
            assert not any(pending[other].contact == contact for other in out)
            assert all(other >= number for other, each in pending.items() if each.contact == contact)
            out.add(number)
        if chance.random() < forget:
            order.forget(out)
        if out:
            number = chance.choice(sorted(out))
            out.remove(number)
            if chance.random() < fail:
                pending[number] = Due(number, pending[number].contact, now + 5, pending[number].failures + 1)
                order.postpone(number, now + 5, pending[number].failures)
            else:
                went[pending.pop(number).contact].append(number)
                order.done(number)
        now += 1
        fail *= 0.99
        if not pending:
            break
    assert not pending
    assert all(numbers == sorted(numbers) for numbers in went.values())
    assert len(order) == 0
