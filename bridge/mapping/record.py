"""How a stored delivery becomes the record that a connector is asked to write. Pure."""

import hashlib
from collections.abc import Callable
from functools import lru_cache

from bridge import event
from bridge.config.model import Chatbot, Route
from bridge.mapping.mapping import MappingError, variables
from bridge.store.interface import Delivery
from connectors.base import Reason, Record


class Spoiled(Exception):  # noqa: N818 - says what has become of the delivery; its cause is the error
    """A delivery that cannot become a record until somebody changes the configuration."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class LeftOutError(Exception):
    """The file of a delivery's chatbot is left out because of its errors: the delivery waits until it is served."""


def make_record(delivery: Delivery, chatbots: Callable[[str], Chatbot | None]) -> Record:
    """Map the delivery's event as its route in the configuration in use says. Raises `Spoiled`.

    Raises LeftOutError too, if `chatbots` does.
    """
    chatbot = _chatbot(delivery, chatbots)
    route = _route(delivery, chatbot)
    try:
        restored = event.restore(delivery.event_id, delivery.chatbot, delivery.payload, delivery.received_at)
    except ValueError as error:
        raise Spoiled(Reason.MAPPING, f"the stored payload cannot be read: {error}") from error
    _check_owner(delivery, event.serial_number(restored.fields), chatbot)
    values = variables(restored)
    try:
        fields = route.mapping.apply(values)
    except MappingError as error:
        raise Spoiled(Reason.MAPPING, str(error)) from error
    return Record(
        id=record_id(delivery.event_id, delivery.route),
        fields=fields,
        event=values,
        payload=delivery.payload,
        route=route.settings,
        memo=delivery.memo,
        is_repeat=delivery.attempts > 0,
    )


@lru_cache(maxsize=1024)
def _route_mark(route: str) -> str:
    return hashlib.sha256(route.encode()).hexdigest()[:8]


def record_id(event_id: str, route: str) -> str:
    """Give the idempotency key of an event on a route.

    Made of the event itself, so that it stays the same even if the event is sent and stored anew after the store was
    lost.
    """
    return f"{event_id}-{_route_mark(route)}"


def _chatbot(delivery: Delivery, chatbots: Callable[[str], Chatbot | None]) -> Chatbot:
    chatbot = chatbots(delivery.chatbot)
    if chatbot is None:
        raise Spoiled(
            Reason.UNROUTED,
            f"chatbot {delivery.chatbot} is not in the configuration any more; put it back and replay, or discard",
        )
    return chatbot


def _check_owner(delivery: Delivery, serial: str | None, chatbot: Chatbot) -> None:
    """Refuse an event of a chatbot whose name another one has got since. Keys may have been changed meanwhile."""
    if serial != chatbot.serial_number and not chatbot.admits(delivery.verified_by):
        raise Spoiled(
            Reason.UNROUTED,
            f"chatbot {chatbot.name} is another one now: it has neither the event's SerialNumber nor a key that "
            "verified it; put the earlier one back under this name and replay, or discard",
        )


def _route(delivery: Delivery, chatbot: Chatbot) -> Route:
    for route in chatbot.routes:
        if route.name == delivery.route:
            return route
    raise Spoiled(
        Reason.UNROUTED,
        f"chatbot {delivery.chatbot} has no route {delivery.route} any more; put it back and replay, or discard",
    )
