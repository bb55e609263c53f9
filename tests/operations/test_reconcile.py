"""What is counted as arrived, as waiting and as missing."""

from collections import Counter
from functools import reduce
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from bridge.operations.reconcile import (
    NAMED,
    Line,
    RecordCheck,
    missing,
    report_lines,
    steps,
)
from bridge.store.figures import OutcomeCounts, RouteEnds
from bridge.store.interface import DeliveryState
from bridge.store.search import DeliveredRecord

DEAD, DELIVERED, PENDING, DISCARDED = (
    DeliveryState.DEAD,
    DeliveryState.DELIVERED,
    DeliveryState.PENDING,
    DeliveryState.DISCARDED,
)
WHERES = st.tuples(st.sampled_from(["acme", "other"]), st.sampled_from(["crm", "mail", None]))
LEADS = st.lists(st.tuples(WHERES, st.sampled_from(DeliveryState)) | st.none(), max_size=30)


Lead: TypeAlias = tuple[RouteEnds, DeliveryState] | None


def counted_of(leads: list[Lead]) -> OutcomeCounts:
    """Count leads one by one; None is one that was not recognised, and without a destination it has no state."""
    states: dict[tuple[str, str | None], Counter[DeliveryState]] = {}
    untaken: Counter[tuple[str, str | None]] = Counter()
    for each in leads:
        if each and each[0][1]:
            states.setdefault(each[0], Counter())[each[1]] += 1
        elif each:
            untaken[each[0]] += 1
    return OutcomeCounts({where: dict(found) for where, found in states.items()}, dict(untaken), leads.count(None))


@given(LEADS, st.integers(1, 7))
def test_the_parts_together_are_the_whole(leads: list[Lead], size: int) -> None:
    ranges = [leads[first : last + 1] for first, last in steps(0, len(leads) - 1, size)]
    assert [each for part in ranges for each in part] == leads
    assert all(len(part) <= size for part in ranges)
    parts = [counted_of(part) for part in ranges]
    assert reduce(OutcomeCounts.__add__, parts, OutcomeCounts()) == counted_of(leads)


@given(LEADS)
def test_each_lead_is_in_one_line_and_one_column(leads: list[Lead]) -> None:
    counted = counted_of(leads)
    found = report_lines(counted)
    assert sum(each.received for each in found) == len(leads)
    for each in found:
        in_columns = each.delivered + each.waiting + each.dead + each.discarded
        assert in_columns == (each.received if each.destination or not each.chatbot else 0)
        assert each.held is None
    known = [(each.chatbot, each.destination or "") for each in found if each.chatbot]
    assert known == sorted(set(known))
    dead = sum(each is not None and each[0][1] is not None and each[1] is DEAD for each in leads)
    assert missing(counted) == (found_missing := missing(counted, {}))
    assert (found_missing.dead, found_missing.unrecognised, found_missing.gone) == (dead, leads.count(None), 0)
    assert bool(found_missing) is bool(dead or None in leads)


def record(number: int, chatbot: str = "acme") -> DeliveredRecord:
    return DeliveredRecord(number, f"{number:032x}", chatbot, "crm", f"r{number}")


def test_what_a_destination_says_stands_beside_what_it_was_given() -> None:
    counted = OutcomeCounts({("acme", "crm"): {DELIVERED: 4, PENDING: 1}, ("acme", "mail"): {DELIVERED: 2}}, {}, 0)
    crm = RecordCheck()
    crm.note([record(1), record(2), record(3)], {1: True, 2: False, 3: None})
    crm.note([record(4), record(5, "other")], {5: True})
    assert (crm.asked, crm.held, crm.gone) == (5, {"acme": 1, "other": 1}, {"acme": 1})
    assert [each.id for each in crm.named] == [2]
    first, second = report_lines(counted, {"crm": crm})
    assert first == Line("acme", "crm", 5, delivered=4, waiting=1, held=1, gone=1, unknown=2)
    # Not asked: it is not configured any more.
    assert (second.held, second.gone, second.unknown) == (None, None, None)
    assert missing(counted, {"crm": crm}).gone == 1


def test_one_that_is_delivered_meanwhile_makes_no_negative_number() -> None:
    crm = RecordCheck()
    crm.note([record(1), record(2)], {1: True, 2: True})
    (line,) = report_lines(OutcomeCounts({("acme", "crm"): {DELIVERED: 1, PENDING: 1}}, {}, 0), {"crm": crm})
    assert line.unknown == 0


def test_of_very_many_that_are_gone_the_newest_are_named() -> None:
    crm = RecordCheck()
    newest_first = [record(number) for number in range(NAMED + 50, 0, -1)]
    crm.note(newest_first, {each.id: False for each in newest_first})
    assert crm.gone.total() == NAMED + 50
    assert [each.id for each in crm.named] == list(range(NAMED + 50, 50, -1))


def test_a_record_says_nothing_of_whom_it_is_about() -> None:
    assert "r7" not in repr(record(7))
