"""Dry runs of an event over all routes of its chatbot, by the steps that a real event takes. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from bridge.config import Chatbot, Config, Destination, Route
from bridge.config.secrets import hidden_texts
from bridge.event import EVENT_TYPES, Event, EventState, Form, Verified, decode, serial_number
from bridge.identity import STAND_IN
from bridge.ingress import javascript_json
from bridge.ingress.routing import route as route_event
from bridge.ingress.routing import why_unrecognised
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.mapping import FieldTrace, event_variables
from bridge.mapping.record import UnmappableError, build_record
from bridge.store.interface import Delivery, NewDelivery, RoutedEvent
from connectors.base import ExpressionError, Preview, Record

MASK: Final = "***"
MATCHES = "matches"
SKIPPED = "skipped"
FAILS = "fails"
"""The delivery would be a dead letter."""


T = TypeVar("T")

_EXPRESSIONS: Final = JinjaExpressions()


@dataclass(frozen=True, slots=True, repr=False)
class RouteCondition:
    """A route's `when`, with the values of its variables in one event."""

    source: str
    values: Mapping[str, Any]
    """Value of each variable that it uses."""


@dataclass(frozen=True, slots=True, repr=False)
class RouteDryRun:
    """Result of one route for an event."""

    route: str
    destination: str
    state: str
    """`MATCHES`, `SKIPPED` or `FAILS`."""
    why: str | None = None
    """Reason why the route skips the event or fails."""
    fields: Sequence[FieldTrace] = ()
    record: Mapping[str, Any] | None = None
    """Fields that have a value, as the connector gets them; None if nothing is sent."""
    request: Preview | None = None
    related: Sequence[Preview] = ()
    """Further requests of the record, such as that for its note, each with its reason."""
    events: Sequence[str] = ()
    """Types of events that the route takes."""
    when: RouteCondition | None = None
    """Its `when`; None if it has none."""


@dataclass(frozen=True, slots=True, repr=False)
class EventDryRun:
    """Result of a dry run of one event."""

    event: Event
    why: str | None
    """Reason why the event is unrecognised, or why no route takes it."""
    routes: Sequence[RouteDryRun]
    """In the order of the configuration; empty for an event that is not recognised."""


def dry_run_events(body: bytes, config: Config, now: float) -> list[EventDryRun]:
    """Dry-run each event of a body as if its signature were good."""
    try:
        document = decode(body)
    except ValueError:
        document = None
    if isinstance(document, list) and document:
        return [dry_run_event(javascript_json.stringify(each), each, config, now) for each in document]
    return [dry_run_event(body, document, config, now)]


def dry_run_event(
    payload: bytes,
    document: Any,
    config: Config,
    now: float,
    event_id: str | None = None,
) -> EventDryRun:
    """Dry-run one event; `document` is the payload's JSON value, or None if it is not JSON.

    Without `event_id` the event gets a stand-in that must not be shown, because only the store has the key of ids.
    """
    chatbot = config.chatbot_by_serial.get(serial_number(document) or "")
    routed, why = route_trial(payload, document, chatbot, now, event_id)
    if routed.event.state is not EventState.ACCEPTED or chatbot is None:
        return EventDryRun(routed.event, why, ())
    deliveries = {each.route: each for each in routed.deliveries}
    routes = [_route_dry_run(each, deliveries.get(each.name), routed.event, config) for each in chatbot.routes]
    return EventDryRun(routed.event, why, routes)


def route_trial(
    payload: bytes,
    document: Any,
    chatbot: Chatbot | None,
    now: float,
    event_id: str | None = None,
) -> tuple[RoutedEvent, str | None]:
    """Route one event as if it were received now; return as well why it would not be delivered at all.

    See `dry_run_event` for the arguments.
    """
    verified = Verified(payload, document, Form.RAW, chatbot.name if chatbot else None)
    routed = route_event(verified, chatbot, now, STAND_IN)
    if event_id:
        routed = routed._replace(event=routed.event._replace(id=event_id))
    if routed.event.state is EventState.TEST:
        return routed, "it is a test: it would be stored and answered as one, and not delivered"
    if routed.event.state is not EventState.ACCEPTED or chatbot is None:
        return routed, why_unrecognised(document, chatbot)
    return routed, None if routed.deliveries else "no route takes it: it would be stored, and not delivered"


def _route_dry_run(route: Route, delivery: NewDelivery | None, event: Event, config: Config) -> RouteDryRun:
    values = event_variables(event)
    events = tuple(each for each in EVENT_TYPES if each in route.events)
    result = partial(RouteDryRun, route.name, route.destination, events=events, when=_condition(route, values))
    if delivery is None:
        return result(state=SKIPPED, why=why_skipped(route, event))
    if delivery.problem is not None:
        return result(state=FAILS, why=delivery.problem)
    fields: list[FieldTrace] = []
    try:
        record = build_record(trial_delivery(event, route), config.chatbots.get, fields)
        destination = config.destinations[route.destination]
        request, related = preview_request(destination, record), related_requests(destination, record)
    except UnmappableError as error:
        return result(state=FAILS, why=error.detail, fields=fields)
    except ExpressionError as error:
        return result(state=FAILS, why=error.message, fields=fields)
    return result(state=MATCHES, fields=fields, record=record.fields, request=request, related=related)


def _condition(route: Route, values: Mapping[str, Any]) -> RouteCondition | None:
    if route.when_source is None:
        return None
    names = _EXPRESSIONS.names(route.when_source)
    return RouteCondition(route.when_source, {name: values[name] for name in names if name in values})


def preview_request(destination: Destination, record: Record) -> Preview:
    """Return the connector's request. Raises ExpressionError for any fault of the connector."""
    return _with_hidden_url(_from_connector(lambda: destination.connector.preview([record])), destination)


def related_requests(destination: Destination, record: Record) -> Sequence[Preview]:
    """Return the connector's further requests for a record. Raises ExpressionError for any fault of the connector."""
    previews = _from_connector(lambda: destination.connector.related_previews(record))
    return [_with_hidden_url(each, destination) for each in previews]


def _with_hidden_url(request: Preview, destination: Destination) -> Preview:
    """Mask a URL that comes from a variable, because the URL of a hook is its only secret."""
    for text in hidden_texts(destination.settings, destination.hidden):
        request = replace(request, url=request.url.replace(text, MASK))
    return request


def _from_connector(read: Callable[[], T]) -> T:
    try:
        return read()
    except ExpressionError:
        raise
    except Exception as error:  # a connector may be anybody's code
        raise ExpressionError(f"the connector raised {type(error).__name__} instead of showing its request") from error


def why_skipped(route: Route, event: Event) -> str:
    """Return the reason why a route skips an event."""
    if event.type not in route.events:
        return f"it takes only {', '.join(sorted(route.events))}"
    return "its `when` does not hold"


def trial_delivery(event: Event, route: Route) -> Delivery:
    """Return the delivery as the lane would read it from the store."""
    memo: Mapping[str, str] = {}
    return Delivery(0, event.id, event.chatbot or "", event.payload, event.received_at, route.name, 0, 0, None, memo)


WIDTH: Final = 60
"""Maximum number of characters of a value."""


def value_text(value: Any, width: int = WIDTH) -> str:
    """Write a value as JSON, cut off at its maximum length."""
    text = _as_json(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def json_text(value: object) -> str:
    """Write a value for people: a text as it is, any other value as indented JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def changed_texts(before: Any, after: Any, width: int = WIDTH) -> tuple[str, str]:
    """Write two different values so that the part in which they differ is visible."""
    texts = _as_json(before), _as_json(after)
    start = max(0, _common_length(*texts) - width // 2) if max(map(len, texts)) > width else 0
    one, other = (_window(text, start, width) for text in texts)
    return one, other


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _common_length(one: str, other: str) -> int:
    """Return the length of the common beginning of two texts."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _window(text: str, start: int, width: int) -> str:
    """Return a part of a text, with an ellipsis at each end where text is left out."""
    part = text[start : start + width]
    return f"{'…' if start else ''}{part}{'…' if start + width < len(text) else ''}"
