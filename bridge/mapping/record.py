"""Building of a connector's record from a stored delivery. Pure."""

import hashlib
from collections.abc import Callable
from functools import lru_cache

from bridge import event
from bridge.config.model import Chatbot, Route
from bridge.mapping.mapping import FieldTrace, MappingError, event_variables
from bridge.store.interface import Delivery
from connectors.base import Reason, Record


class UnmappableError(Exception):
    """Error for a delivery that needs a change of the configuration before it can become a record."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class NotConfiguredError(Exception):
    """Error for a delivery whose chatbot or route the configuration does not name: the delivery waits for the name."""


def build_record(
    delivery: Delivery, chatbots: Callable[[str], Chatbot | None], traces: list[FieldTrace] | None = None
) -> Record:
    """Return the record of a delivery's event under its route in the configuration in use.

    Args:
        delivery: The delivery.
        chatbots: Returns a chatbot by its name.
        traces: Receives the computation of each field, also if there is no record.

    Raises:
        UnmappableError: There is no record; the delivery becomes a dead letter.
        NotConfiguredError: The configuration does not name its chatbot or its route.
    """
    chatbot = _chatbot(delivery, chatbots)
    route = _route(delivery, chatbot)
    try:
        restored = event.restore(delivery.event_id, delivery.chatbot, delivery.payload, delivery.received_at)
    except ValueError as error:
        raise UnmappableError(Reason.MAPPING, f"the stored payload cannot be read: {error}") from error
    _check_owner(delivery, event.serial_number(restored.fields), chatbot)
    values = event_variables(restored)
    try:
        fields = route.mapping.apply(values, traces)
    except MappingError as error:
        raise UnmappableError(Reason.MAPPING, str(error)) from error
    return Record(
        id=record_id(delivery.event_id, delivery.route),
        fields=fields,
        event=values,
        payload=delivery.payload,
        route=route.settings,
        memo=delivery.memo,
        is_repeat=delivery.attempts > 0,
        create_only=route.mapping.create_only,
        if_empty=route.mapping.if_empty,
        written=delivery.written,
    )


@lru_cache(maxsize=1024)
def _route_mark(route: str) -> str:
    return hashlib.sha256(route.encode()).hexdigest()[:8]


def record_id(event_id: str, route: str) -> str:
    """Return the idempotency key of an event on a route.

    It depends only on the event, so it stays the same if the event is sent and stored again after the store was lost.
    """
    return f"{event_id}-{_route_mark(route)}"


def _chatbot(delivery: Delivery, chatbots: Callable[[str], Chatbot | None]) -> Chatbot:
    chatbot = chatbots(delivery.chatbot)
    if chatbot is None:
        raise NotConfiguredError(f"chatbot {delivery.chatbot} is not in the configuration")
    return chatbot


def _check_owner(delivery: Delivery, serial: str | None, chatbot: Chatbot) -> None:
    """Refuse an event whose chatbot's name now belongs to another chatbot. Keys may have changed meanwhile."""
    if serial not in chatbot.serial_numbers and not chatbot.admits(delivery.verified_by):
        raise UnmappableError(
            Reason.UNROUTED,
            f"chatbot {chatbot.name} is a different one now: it has neither the event's SerialNumber nor a key that "
            f"verified it; restore the earlier one under this name and replay, or discard",
        )


def _route(delivery: Delivery, chatbot: Chatbot) -> Route:
    for route in chatbot.routes:
        if route.name == delivery.route:
            return route
    raise NotConfiguredError(f"chatbot {delivery.chatbot} has no route {delivery.route}")
