"""What a trace tells of a request, a commit, an attempt and a connector's request: names and attributes. Pure.

They are those of OpenTelemetry's semantic conventions for HTTP and for messaging, where a lane is a queue; what they
have no word for begins with `leadbridge.`. Of a lead nothing is told but its ids: no field, no text of a CRM, no path,
query or header, no address of who has sent it. Where the conventions ask for one of these (`url.full`, `url.path`) it
is left out.
"""

from collections.abc import Collection
from http import HTTPStatus

from bridge.config.model import Destination
from bridge.store.interface import Delivery, RoutedEvent
from connectors.base import Delivered, Exchange, Outcome

Attributes = dict[str, str | int | None]
"""By name; None stands for one that is not there."""

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""Those that are named; another is a stranger's text, and `_OTHER` by the conventions."""
CUT_OFF = "cut_off"
"""What has no end of its own: the process was stopped, or the whole call took too long."""


def request_name(method: str, path: str, status: int) -> str:
    """Name the span of a request to the webhook endpoint."""
    return f"{_method(method)} {_route(path, status) or ''}".strip()


def request(method: str, scheme: str, path: str, status: int) -> Attributes:
    """Say what a request to the webhook endpoint was, as far as the sender's own words are not needed for it."""
    return {
        "http.request.method": _method(method),
        "http.route": _route(path, status),
        "http.response.status_code": status,
        "url.scheme": scheme,
        "error.type": str(status) if is_fault(status) else None,
    }


def received(chatbots: Collection[str], results: Collection[str], event_ids: Collection[str]) -> Attributes:
    """Say what came of a request, in the words of the metric `leadbridge_events_total`; an array may have several."""
    return {
        "leadbridge.chatbot": ",".join(sorted(chatbots)) or None,
        "leadbridge.result": ",".join(sorted(results)) or None,
        "leadbridge.event.id": next(iter(event_ids)) if len(event_ids) == 1 else None,
    }


def accept(routed: RoutedEvent) -> Attributes:
    """Say what has been committed."""
    return {
        "messaging.system": "leadbridge",
        "messaging.operation.name": "accept",
        "messaging.operation.type": "send",
        "messaging.message.id": routed.event.id,
        "leadbridge.chatbot": routed.event.chatbot,
        "leadbridge.event.state": routed.event.state.value,
        "leadbridge.event.type": routed.event.type,
        "leadbridge.deliveries": len(routed.deliveries),
    }


def delivery(destination: Destination, delivery: Delivery) -> Attributes:
    """Say which delivery is being tried."""
    return {
        "messaging.system": "leadbridge",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": destination.name,
        "messaging.message.id": delivery.event_id,
        "leadbridge.chatbot": delivery.chatbot,
        "leadbridge.route": delivery.route,
        "leadbridge.connector": destination.connector_name,
        "leadbridge.delivery.id": delivery.id,
    }


def attempt(delivery: Delivery, size: int) -> Attributes:
    """Say which attempt it is, and how many records its call carries if it is not alone."""
    return {
        "leadbridge.attempt": delivery.attempts + 1,
        "messaging.batch.message_count": size if size > 1 else None,
    }


def outcome_word(outcome: Outcome) -> str:
    """Give the outcome as metrics and log have it."""
    return type(outcome).__name__.lower()


def outcome_fault(outcome: Outcome) -> str | None:
    """Give the code of a failure, and never its detail: that may be the destination's own words, and hold the lead."""
    return None if isinstance(outcome, Delivered) else outcome.reason.value


def exchange_name(exchange: Exchange) -> str:
    """Name the span of a connector's request."""
    return _method(exchange.method)


def exchange(exchange: Exchange) -> Attributes:
    """Say what a connector's request was; its host is the configuration's, a lead cannot choose it."""
    return {
        "http.request.method": _method(exchange.method),
        "http.response.status_code": exchange.status,
        "server.address": exchange.host,
        "server.port": exchange.port,
        "url.scheme": exchange.scheme,
    }


def exchange_fault(exchange: Exchange) -> str | None:
    """Say what was wrong with a connector's request: why there was no answer, or the status of one that refuses."""
    if exchange.reason:
        return exchange.reason.value
    if exchange.status is None:
        return CUT_OFF
    return str(exchange.status) if exchange.status >= HTTPStatus.BAD_REQUEST else None


def is_fault(status: int) -> bool:
    """Tell whether a request failed by the server's fault; a 4xx is the client's."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _method(method: str) -> str:
    return method if method in METHODS else "_OTHER"


def _route(path: str, status: int) -> str | None:
    """Give the path as the documentation writes it; another path is a stranger's text."""
    if status == HTTPStatus.NOT_FOUND:
        return None
    return "/webhook" if path == "/webhook" else "/webhooks/{chatbot}"
