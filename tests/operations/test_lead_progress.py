"""The sentence about a delivery in each state, and the way of a lead."""

from collections.abc import Mapping
from typing import Any

import pytest

from bridge.event import EventState, Form
from bridge.operations.lead_progress import delivery_answer, lead_answer, lead_timeline
from bridge.operations.masking import MEANINGS
from bridge.store.interface import DeliveryState, Pause
from bridge.store.lane_queries import LaneRow
from bridge.store.queries import AttemptRow, DeliveryDetails, DeliveryRow, EventRow
from connectors.base import Reason

NOW = 1_000.0
TIMEOUT = MEANINGS[Reason.TIMEOUT]


def delivery(state: DeliveryState = DeliveryState.PENDING, **changed: Any) -> DeliveryRow:
    values: dict[str, Any] = {
        "id": 7,
        "event_id": "00",
        "chatbot": "acme",
        "route": "crm",
        "destination": "crm",
        "state": state,
        "received_at": NOW - 60,
        "due_at": NOW - 60 if state is DeliveryState.PENDING else None,
        "settled_at": None if state is DeliveryState.PENDING else NOW - 50,
        "attempts": 0,
        "failures": 0,
        "reason": None,
        "warned": False,
    }
    return DeliveryRow(**(values | changed))


def lanes(pause: Pause | None = None, owner: str | None = "me", *, configured: bool = True) -> Mapping[str, LaneRow]:
    return {"crm": LaneRow("crm", owner, pause, 1, NOW, 0, configured)}


FAILED: dict[str, Any] = {"attempts": 2, "failures": 2, "reason": "timeout"}
PAUSED = Pause("lane", "unreachable", "no connection", NOW + 600, NOW - 60)
REMOVED = (
    "crm is no longer configured. Add it to the configuration again, move this delivery to another route (leadbridge "
    "deliveries move 7 --to ROUTE), or discard it."
)


@pytest.mark.parametrize(
    ("row", "found", "text", "next_try"),
    [
        (delivery(), lanes(), "On its way to crm.", None),
        (delivery(**FAILED, due_at=NOW + 9), lanes(), f"Not in crm yet: tried 2 times. {TIMEOUT}", NOW + 9),
        (
            delivery(**FAILED),
            lanes(),
            f"Not in crm yet: tried 2 times. {TIMEOUT} It is tried again as soon as its turn comes.",
            None,
        ),
        (
            # The destination was in trouble, which is not held against the lead.
            delivery(attempts=1, reason="timeout"),
            lanes(),
            f"Not in crm yet: tried once. {TIMEOUT} It is tried again as soon as its turn comes.",
            None,
        ),
        (delivery(**FAILED), lanes(PAUSED), f"Not in crm yet. {MEANINGS[Reason.UNREACHABLE]}", NOW + 600),
        (
            delivery(),
            lanes(Pause("operator", "a maintenance")),
            "Not in crm yet. An operator has paused this destination. Leads wait until somebody resumes it.",
            None,
        ),
        (delivery(), lanes(owner=None), "Not in crm yet: no process delivers to it at the moment.", None),
        (delivery(), lanes(configured=False), f"Not in crm. {REMOVED}", None),
        (delivery(), {}, f"Not in crm. {REMOVED}", None),
        (delivery(DeliveryState.DELIVERED), lanes(), "In crm.", None),
        (delivery(DeliveryState.DELIVERED, warned=True), lanes(), "In crm, with a warning.", None),
        (delivery(DeliveryState.DELIVERED), {}, "In crm. crm is no longer configured.", None),
        (
            delivery(DeliveryState.DEAD, **FAILED),
            lanes(),
            f"Not in crm. {TIMEOUT} It was given up after 2 tries. It is not tried again until somebody replays it.",
            None,
        ),
        (
            delivery(DeliveryState.DEAD, attempts=1, reason="refused"),
            {},
            f"Not in crm. {MEANINGS[Reason.REFUSED]} {REMOVED}",
            None,
        ),
        (
            delivery(DeliveryState.DISCARDED),
            {},
            "Not in crm: somebody discarded it. It is not tried again until somebody replays it.",
            None,
        ),
    ],
)
def test_each_state_says_where_why_and_what_comes_next(
    row: DeliveryRow, found: Mapping[str, LaneRow], text: str, next_try: float | None
) -> None:
    answer = delivery_answer(row, found, NOW)
    assert (answer.text, answer.next_try_at) == (text, next_try)


@pytest.mark.parametrize(
    ("row", "found", "since", "is_held"),
    [
        (delivery(**FAILED, due_at=NOW + 9), lanes(), NOW - 30, False),
        (delivery(), lanes(PAUSED), NOW - 60, False),
        (delivery(**FAILED), lanes(PAUSED), NOW - 60, False),
        (delivery(), lanes(Pause("operator", "a maintenance", since=NOW - 90)), NOW - 90, True),
        (delivery(), lanes(Pause("operator", "a maintenance")), None, True),
        (delivery(DeliveryState.DEAD, **FAILED), lanes(), None, False),
    ],
)
def test_the_sentence_says_since_when(
    row: DeliveryRow, found: Mapping[str, LaneRow], since: float | None, *, is_held: bool
) -> None:
    answer = delivery_answer(row, found, NOW, failing_since=NOW - 30)
    assert (answer.since, answer.is_held) == (since, is_held)


def test_a_lead_waits_for_an_earlier_one_of_the_same_person_and_for_the_name_of_its_route() -> None:
    assert delivery_answer(delivery(), lanes(), NOW, behind=True).text == (
        "Not in crm yet: an earlier lead of the same person goes first."
    )
    assert delivery_answer(delivery(), lanes(), NOW, unnamed=True).text.startswith(
        "Not in crm. Its chatbot or its route crm is no longer configured. It goes on when the name returns; or move it"
    )


def event(state: EventState = EventState.ACCEPTED, form: Form = Form.RAW, **deliveries: int) -> EventRow:
    states = {DeliveryState(name): count for name, count in deliveries.items()}
    return EventRow(1, "00", NOW - 60, "acme", state, "Lead", form, (), states)


def test_an_event_without_deliveries_says_why() -> None:
    assert lead_answer(event(delivered=1)) is None
    for state, beginning in (
        (EventState.ACCEPTED, "No route of its chatbot takes this lead"),
        (EventState.TEST, "This is a test"),
        (EventState.UNRECOGNISED, "Leadbridge does not recognise this event"),
    ):
        answer = lead_answer(event(state))
        assert answer is not None
        assert answer.text.startswith(beginning)


def story(row: DeliveryRow, *tries: AttemptRow) -> DeliveryDetails:
    return DeliveryDetails(row, None, None, None, None, None, {}, tries)


def test_the_way_of_a_lead_is_in_the_order_of_time() -> None:
    failed = AttemptRow(1, NOW - 58, 2.0, "retry", "timeout", None, None)
    slow = story(delivery(DeliveryState.DELIVERED, attempts=2, settled_at=NOW - 10), failed)
    quick = story(delivery(DeliveryState.DELIVERED, attempts=1, destination="mail", settled_at=NOW - 59))
    waiting = story(delivery(destination="sheet"))
    stories = [waiting, slow, quick]
    found = {name: lanes()["crm"] for name in ("crm", "mail", "sheet")}
    answers = [delivery_answer(each.row, found, NOW) for each in stories]
    steps = lead_timeline(event(delivered=2, pending=1), stories, answers)
    assert [(each.text, each.after, each.tone) for each in steps] == [
        ("Received from acme.", None, "plain"),
        ("Verified: the signature covers the body as sent.", 0.0, "plain"),
        ("In mail.", 1.0, "good"),
        (f"The first try to crm failed. {TIMEOUT}", 4.0, "wait"),
        ("In crm, at try 2.", 50.0, "good"),
        ("On its way to sheet.", None, "wait"),
    ]
