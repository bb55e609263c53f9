"""The way of one lead: where it is at each destination, why, what happens next, and when it got there. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.event import EventState, Form
from bridge.operations.masking import HELD, reason_text
from bridge.store import queries
from bridge.store.interface import DeliveryState
from bridge.store.lane_queries import LaneRow, LaneStatus
from bridge.store.queries import DeliveryRow, EventRow


@dataclass(frozen=True, slots=True)
class DeliveryAnswer:
    """The answer to "where is my lead?" for one destination."""

    text: str
    """One or two sentences."""
    tone: str
    """`good`, `wait` or `bad`."""
    next_try_at: float | None = None
    since: float | None = None
    """Time of the first failure, or of the beginning of an operator's pause, if it is known."""
    is_held: bool = False
    """True if an operator has paused the destination."""


def lead_answer(event: EventRow) -> DeliveryAnswer | None:
    """Return why an event has no delivery; None if its deliveries answer for it. Pure."""
    match event.state:
        case EventState.TEST:
            return DeliveryAnswer("This is a test: it was stored and answered, and goes to no destination.", "good")
        case EventState.UNRECOGNISED:
            what = "Leadbridge does not recognise this event, so it went to no destination. It is kept: correct the "
            return DeliveryAnswer(what + "configuration if it is a lead, then route it again.", "bad")
    if not event.deliveries:
        return DeliveryAnswer("No route of its chatbot takes this lead, so it goes to no destination.", "bad")
    return None


def delivery_answer(
    delivery: DeliveryRow,
    lanes: Mapping[str, LaneRow],
    now: float,
    *,
    failing_since: float | None = None,
    behind: bool = False,
    unnamed: bool = False,
) -> DeliveryAnswer:
    """Return where a delivery is, why, and what happens next. Pure.

    Args:
        delivery: The delivery.
        lanes: Lanes by the names of their destinations.
        now: The time. A next try in the past is not named: the delivery waits for its turn.
        failing_since: Time of the delivery's first failure in a row.
        behind: True if an earlier delivery of the same person to the same destination is still pending.
        unnamed: True if the configuration does not name its chatbot or its route.
    """
    name, lane = delivery.destination, lanes.get(delivery.destination)
    removed = lane is None or lane.state is LaneStatus.REMOVED
    match delivery.state:
        case DeliveryState.DELIVERED:
            warned = ", with a warning" if delivery.warned else ""
            gone = f" {name} is no longer configured." if removed else ""
            return DeliveryAnswer(f"In {name}{warned}.{gone}", "wait" if warned else "good")
        case DeliveryState.DISCARDED:
            return DeliveryAnswer(
                f"Not in {name}: somebody discarded it. It is not tried again until somebody replays it.", "bad"
            )
        case DeliveryState.DEAD:
            why = reason_text(delivery.reason) or "It was given up."
            tries = f" It was given up after {delivery.attempts} tries." if delivery.attempts > 1 else ""
            after = _removed(delivery) if removed else "It is not tried again until somebody replays it."
            return DeliveryAnswer(f"Not in {name}. {why}{tries} {after}", "bad")
        case DeliveryState.PENDING if removed or lane is None:
            return DeliveryAnswer(f"Not in {name}. {_removed(delivery)}", "bad")
        case DeliveryState.PENDING:
            if unnamed:
                return DeliveryAnswer(f"Not in {name}. {_unnamed(delivery)}", "bad")
            return _waiting_answer(delivery, lane, now, failing_since, behind=behind)


def _removed(delivery: DeliveryRow) -> str:
    """Return what a person can do about a destination that the configuration does not have."""
    return (
        f"{delivery.destination} is no longer configured. Add it to the configuration again, move this delivery to "
        f"another route (leadbridge deliveries move {delivery.id} --to ROUTE), or discard it."
    )


def _unnamed(delivery: DeliveryRow) -> str:
    """Return what a person can do about a chatbot or route that the configuration does not name."""
    return (
        f"Its chatbot or its route {delivery.route} is no longer configured. It goes on when the name returns; or move "
        f"it to another route (leadbridge deliveries move {delivery.id} --to ROUTE), or discard it."
    )


def _waiting_answer(
    delivery: DeliveryRow, lane: LaneRow, now: float, failing_since: float | None, *, behind: bool
) -> DeliveryAnswer:
    name, meaning = delivery.destination, reason_text(delivery.reason)
    if lane.pause and lane.pause.by == "operator":
        return DeliveryAnswer(f"Not in {name} yet. {HELD}", "wait", since=lane.pause.since, is_held=True)
    if lane.pause:
        why = reason_text(lane.pause.reason) or "The destination is in trouble."
        return DeliveryAnswer(f"Not in {name} yet. {why}", "wait", _later(lane.pause.until, now), lane.pause.since)
    if behind:
        return DeliveryAnswer(f"Not in {name} yet: an earlier lead of the same person goes first.", "wait")
    if lane.state is LaneStatus.UNOWNED:
        return DeliveryAnswer(f"Not in {name} yet: no process delivers to it at the moment.", "wait")
    if delivery.attempts and meaning:
        tries = "once" if delivery.attempts == 1 else f"{delivery.attempts} times"
        again = _later(delivery.due_at, now)
        soon = "" if again else " It is tried again as soon as its turn comes."
        return DeliveryAnswer(f"Not in {name} yet: tried {tries}. {meaning}{soon}", "wait", again, failing_since)
    return DeliveryAnswer(f"On its way to {name}.", "wait")


def _later(moment: float | None, now: float) -> float | None:
    return moment if moment is not None and moment > now else None


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """One step of a lead's way."""

    text: str
    tone: str
    """`good`, `wait`, `bad`, or `plain` for a step that is no result."""
    at: float | None
    """Its time; None if it has not come yet."""
    after: float | None = None
    """Seconds since the receipt of the event."""


_COVERED: Final = {
    Form.RAW: "Verified: the signature covers the body as sent.",
    Form.JSON: "Verified: the signature covers the body in its JavaScript JSON form.",
    Form.UNSIGNED: "Taken without a signature: this chatbot skips the check.",
}


def lead_timeline(
    event: EventRow, stories: Sequence[queries.DeliveryDetails], answers: Sequence[DeliveryAnswer]
) -> list[TimelineStep]:
    """Return the way of a lead: received, verified, then each destination in the order of time. Pure.

    `answers` are those of the deliveries.
    """
    received = event.received_at
    steps = []
    for story, answer in zip(stories, answers, strict=True):
        delivery, tries = story.row, [each for each in story.tries if each.outcome != "delivered"]
        if tries and delivery.attempts > 1:
            first = tries[0]
            why = reason_text(first.reason) or "It failed."
            text = f"The first try to {delivery.destination} failed. {why}"
            if first.number == 1:
                steps.append(_step(text, "wait", first.started_at + first.duration, received))
        if delivery.state is DeliveryState.PENDING:
            steps.append(TimelineStep(answer.text, answer.tone, None))
        else:
            steps.append(_step(_ended(story), answer.tone, delivery.settled_at, received))
    ordered = sorted(steps, key=lambda each: math.inf if each.at is None else each.at)
    source = f" from {event.chatbot}" if event.chatbot else ""
    return [
        TimelineStep(f"Received{source}.", "plain", received),
        TimelineStep(_COVERED[event.form], "plain", received, 0.0),
        *ordered,
    ]


def _ended(story: queries.DeliveryDetails) -> str:
    delivery = story.row
    match delivery.state:
        case DeliveryState.DELIVERED:
            tries = f", at try {delivery.attempts}" if delivery.attempts > 1 else ""
            return f"In {delivery.destination}{tries}{', with a warning' if delivery.warned else ''}."
        case DeliveryState.DISCARDED:
            return f"Discarded: it does not go to {delivery.destination}."
    return f"Given up: it is not in {delivery.destination}. {reason_text(delivery.reason) or ''}".strip()


def _step(text: str, tone: str, at: float | None, received: float) -> TimelineStep:
    return TimelineStep(text, tone, at, None if at is None else max(0.0, at - received))
