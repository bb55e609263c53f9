"""Routing of a verified payload: its event, and one delivery for each route that takes it. Pure."""

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
    event = _event(verified, chatbot, now, identity)
    if event.state is not EventState.ACCEPTED or chatbot is None:
        return RoutedEvent(event)
    deliveries = []
    for each in chatbot.routes:
        if event.type in each.events:
            taken, problem = _holds(each.when, event)
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
    return event._replace(id=identity.event_id(fields), contact=identity.contact(fields), phone=identity.phone(fields))


def why_unrecognised(document: object, chatbot: Chatbot | None) -> str:
    """Explain why an event is not recognised, with the next step."""
    if document is None:
        return "it is not JSON"
    serial = serial_number(document)
    if serial is None:
        return "it has no SerialNumber"
    if chatbot is None or serial not in chatbot.serial_numbers:
        return f"no chatbot has its SerialNumber {serial}; if it is one of yours, put it into the configuration"
    if chatbot.left_out:
        return f"the file of its chatbot {chatbot.name} has errors and is left out: fix {chatbot.left_out}, then replay"
    return f"its Type is none of {', '.join(EVENT_TYPES)}, or one of its fields is not a plain value"


def _event(verified: Verified, chatbot: Chatbot | None, now: float, identity: Identity) -> Event:
    fields = fields_of(verified.document) or {}
    known = (
        chatbot is not None
        and not chatbot.left_out
        and fields.get("Type") in EVENT_TYPES
        and serial_number(verified.document) in chatbot.serial_numbers
    )
    event = Event(
        id=identity.event_id(fields) if known else identity.unrecognised_id(verified.payload, verified.document),
        payload=verified.payload,
        form=verified.form,
        received_at=now,
        chatbot=verified.chatbot,
        state=EventState.ACCEPTED if known else EventState.UNRECOGNISED,
        type=fields["Type"] if known else None,
        contact=identity.contact(fields) if known else NO_CONTACT,
        fields=fields,
        verified_by=verified.verified_by,
        phone=identity.phone(fields) if known else None,
    )
    return event._replace(state=EventState.TEST) if _is_test(verified.document, chatbot, event) else event


def _is_test(document: object, chatbot: Chatbot | None, event: Event) -> bool:
    """Return True if the sender only tests the connection: an empty object, or `test_when` is true."""
    if document == {}:
        return True
    if chatbot is None or chatbot.test_when is None or not event.fields:
        return False
    # An event whose condition fails is a lead, because a lead that counts as a test would be lost.
    taken, problem = _holds(chatbot.test_when, event)
    return taken and problem is None


def _holds(condition: Condition | None, event: Event) -> tuple[bool, str | None]:
    """Return the truth of a condition. One that fails counts as true, with a problem, so that no lead is lost."""
    if condition is None:
        return True, None
    try:
        if isinstance(budget_in_force(), InlineBudget):
            return bool(condition(event_variables(event))), None
        with spending(Budget(CONDITION_STEPS)):  # of its own, so that it cannot exhaust that of other conditions
            return bool(condition(event_variables(event))), None
    except ExpressionError as error:
        return True, f"`when` failed on this event: {error.message}; fix it, then replay"
