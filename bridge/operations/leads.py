"""Leads as people see them: the person, what became of the lead at each destination, and why. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from bridge.event import EventState, decode, text_of
from bridge.operations import events
from bridge.operations.masking import HELD, Audience, masked_text, reason_text
from bridge.store import queries
from bridge.store.interface import PAGE, DeliveryState
from bridge.store.lane_queries import LaneRow, LaneStatus
from bridge.store.queries import DeliveryRow, EventRow
from bridge.store.search import DeliveryFilter, EventFilter, find_deliveries

UNKNOWN = "Somebody without a name"
"""Stands for a person whose event has neither a name nor an address nor a phone number."""


@dataclass(frozen=True, slots=True, repr=False)
class Lead:
    """A row of a list of leads."""

    event: EventRow
    person: str
    """Label of the person, masked for the audience."""
    deliveries: Sequence[DeliveryRow]


@dataclass(frozen=True, slots=True, repr=False)
class LeadPage:
    """A page of leads, newest first."""

    leads: Sequence[Lead]
    next: int | None
    """Cursor of the next page; None on the last."""


@dataclass(frozen=True, slots=True)
class DeliveryAnswer:
    """The answer to "where is my lead?" for one destination."""

    text: str
    """One or two sentences."""
    tone: str
    """`good`, `wait` or `bad`."""
    next_try_at: float | None = None


def list_leads(
    connection: Connection,
    criteria: Sequence[EventFilter] | DeliveryFilter,
    audience: Audience,
    identity_key: bytes | None = None,
) -> LeadPage:
    """Read a page of leads.

    Args:
        connection: Connection to the store.
        criteria: Filters of events, of which the first that finds any is used; or a filter of deliveries, whose events
            are read.
        audience: Reader of the list.
        identity_key: The configuration's own; it finds the events of a person.
    """
    if isinstance(criteria, DeliveryFilter):
        found = find_deliveries(connection, criteria)
        rows = queries.events_in(connection, queries.event_seqs(connection, [each.id for each in found.rows]))
        following = found.next
    else:
        page = events.search(connection, criteria, identity_key)
        rows, following = list(page.rows), page.next
    seqs = [row.seq for row in rows]
    payloads, deliveries = queries.payloads(connection, seqs), queries.deliveries_of_events(connection, seqs)
    leads = [Lead(row, person_label(payloads[row.seq], audience), deliveries.get(row.seq, ())) for row in rows]
    return LeadPage(leads, following)


def person_labels(connection: Connection, seqs: Sequence[int], audience: Audience) -> dict[str, str]:
    """Return the label of the person of each event, by the event's id."""
    labels: dict[str, str] = {}
    for start in range(0, len(seqs), PAGE):
        part = seqs[start : start + PAGE]
        payloads = queries.payloads(connection, part)
        labels |= {row.id: person_label(payloads[row.seq], audience) for row in queries.events_in(connection, part)}
    return labels


def person_label(payload: bytes, audience: Audience) -> str:
    """Return the name and address of an event's person in one line.

    A viewer sees no more than a first character of each. An operator recognises the person, and sees everything once
    personal data is revealed.
    """
    try:
        document = decode(payload)
    except ValueError:
        return UNKNOWN
    first, last = (text_of(document, name).strip() for name in ("FirstName", "LastName"))
    contact = text_of(document, "Email").strip() or text_of(document, "PhoneNumber").strip()
    if audience.reveal:
        parts = [f"{first} {last}".strip(), contact]
    elif audience.operator:
        parts = [f"{first} {last[:1] + '.' if last else ''}".strip(), _shortened(contact)]
    else:
        parts = [masked_text(each) if each else "" for each in (first or last, contact)]
    return " · ".join(each[:80] for each in parts if each) or UNKNOWN


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


def delivery_answer(delivery: DeliveryRow, lanes: Mapping[str, LaneRow]) -> DeliveryAnswer:
    """Return where a delivery is, why, and what happens next. Pure.

    Args:
        delivery: The delivery.
        lanes: Lanes by the names of their destinations.
    """
    name, meaning = delivery.destination, reason_text(delivery.reason)
    match delivery.state:
        case DeliveryState.DELIVERED:
            warned = ", with a warning" if delivery.warned else ""
            return DeliveryAnswer(f"In {name}{warned}.", "wait" if warned else "good")
        case DeliveryState.DISCARDED:
            return DeliveryAnswer(f"Not in {name}: somebody discarded it.", "bad")
        case DeliveryState.DEAD:
            why = meaning or "It was given up."
            return DeliveryAnswer(f"Not in {name}. {why} It is not tried again until somebody replays it.", "bad")
        case DeliveryState.PENDING:
            return _waiting_answer(delivery, lanes.get(name), meaning)


def _waiting_answer(delivery: DeliveryRow, lane: LaneRow | None, meaning: str | None) -> DeliveryAnswer:
    name = delivery.destination
    if lane is None or lane.state is LaneStatus.REMOVED:
        return DeliveryAnswer(f"Not in {name}: it is no longer configured. Move this delivery, or discard it.", "bad")
    if lane.pause and lane.pause.by == "operator":
        return DeliveryAnswer(f"Not in {name} yet. {HELD}", "wait")
    if lane.pause:
        why = reason_text(lane.pause.reason) or "The destination is in trouble."
        return DeliveryAnswer(f"Not in {name} yet. {why}", "wait", lane.pause.until)
    if delivery.failures:
        tries = "once" if delivery.attempts == 1 else f"{delivery.attempts} times"
        return DeliveryAnswer(f"Not in {name} yet: tried {tries}. {meaning or ''}".strip(), "wait", delivery.due_at)
    return DeliveryAnswer(f"On its way to {name}.", "wait")


def _shortened(contact: str) -> str:
    """Return an address or a number that somebody who knows it recognises: `d…@example.com`, `…23 45`."""
    local, at, domain = contact.rpartition("@")
    if at:
        return f"{local[:1]}…@{domain}"
    return f"…{contact[-4:]}" if contact else ""
