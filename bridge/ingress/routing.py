"""Routing of a verified payload: its event, and one delivery for each route that takes it. Pure."""

from typing import Any

from bridge.config.model import Chatbot, Condition
from bridge.event import (
    EVENT_TYPES,
    NO_CONTACT,
    Event,
    EventState,
    Verified,
    decode,
    fields_of,
    serial_number,
)
from bridge.identity import Identity
from bridge.mapping.budget import CONDITION_STEPS, Budget, InlineBudget, budget_in_force, spending
from bridge.mapping.mapping import event_variables
from bridge.store.interface import NewDelivery, RoutedEvent
from connectors.base import ExpressionError


def route(verified: Verified, chatbot: Chatbot | None, now: float, identity: Identity) -> RoutedEvent:
    """Make the event of a verified payload, and give it a delivery for each route that takes it.

    `chatbot` is the configured one of the payload's name. Nothing that is authentic is refused: what is not
    recognised becomes an event without deliveries, for a person to look at.
    """
    document = verified.document
    fields = fields_of(document)
    if (
        fields is None
        or chatbot is None
        or (kind := fields["Type"]) not in EVENT_TYPES
        or serial_number(document) not in chatbot.serial_numbers
    ):
        return RoutedEvent(_unrecognised(verified, chatbot, fields or {}, now, identity))
    event_id, contact, phone = identity.of_event(fields)
    event = Event(
        event_id,
        verified.payload,
        verified.form,
        now,
        verified.chatbot,
        EventState.ACCEPTED,
        kind,
        contact,
        fields,
        verified.verified_by,
        phone,
    )
    if chatbot.test_when is not None and _is_test(chatbot.test_when, event):
        return RoutedEvent(event._replace(state=EventState.TEST))
    deliveries = []
    for each in chatbot.routes:
        if kind in each.events:
            taken, problem = (True, None) if each.when is None else _holds(each.when, event)
            if taken:
                deliveries.append(NewDelivery(each.name, each.destination, problem))
    return RoutedEvent(event, tuple(deliveries))


def identified(event: Event, identity: Identity) -> Event:
    """Return an event of a store with the id, the contact and the phone that this identity makes of its payload."""
    try:
        document = decode(event.payload)
    except ValueError:
        document = None
    fields = fields_of(document)
    if event.type is None or fields is None:
        return event._replace(id=identity.unrecognised_id(event.payload, document))
    event_id, contact, phone = identity.of_event(fields)
    return event._replace(id=event_id, contact=contact, phone=phone)


def why_unrecognised(document: object, chatbot: Chatbot | None) -> str:
    """Explain why an event is not recognised, with the next step."""
    if document is None:
        return "it is not JSON"
    serial = serial_number(document)
    if serial is None:
        return "it has no SerialNumber"
    if chatbot is None or serial not in chatbot.serial_numbers:
        return f"no chatbot has its SerialNumber {serial}; if it is one of yours, put it into the configuration"
    return f"its Type is none of {', '.join(EVENT_TYPES)}, or one of its fields is not a plain value"


def _unrecognised(
    verified: Verified, chatbot: Chatbot | None, fields: dict[str, Any], now: float, identity: Identity
) -> Event:
    """Return an event that is kept for a person, or the sender's test of the connection."""
    event = Event(
        id=identity.unrecognised_id(verified.payload, verified.document),
        payload=verified.payload,
        form=verified.form,
        received_at=now,
        chatbot=verified.chatbot,
        state=EventState.UNRECOGNISED,
        type=None,
        contact=NO_CONTACT,
        fields=fields,
        verified_by=verified.verified_by,
    )
    test_when = chatbot.test_when if chatbot and fields else None
    if verified.document == {} or (test_when is not None and _is_test(test_when, event)):
        return event._replace(state=EventState.TEST)
    return event


def _is_test(test_when: Condition, event: Event) -> bool:
    """Return True if the condition holds. If it fails, the event is a lead: one that counts as a test would be lost."""
    taken, problem = _holds(test_when, event)
    return taken and problem is None


def _holds(condition: Condition, event: Event) -> tuple[bool, str | None]:
    """Return the truth of a condition. One that fails counts as true, with a problem, so that no lead is lost."""
    try:
        if isinstance(budget_in_force(), InlineBudget):
            return bool(condition(event_variables(event))), None
        with spending(Budget(CONDITION_STEPS)):  # of its own, so that it cannot exhaust that of other conditions
            return bool(condition(event_variables(event))), None
    except ExpressionError as error:
        return True, f"`when` failed on this event: {error.message}; fix it, then replay"
