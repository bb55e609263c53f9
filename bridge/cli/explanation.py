"""What would become of an event, worked out by the same steps that a real one goes through. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bridge.config import Config, Route
from bridge.event import EVENT_TYPES, Event, EventState, Form, Verified, decode, serial_number
from bridge.identity import STAND_IN
from bridge.ingress import javascript_json
from bridge.ingress.routing import route as route_event
from bridge.ingress.routing import why_unrecognised
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.mapping import FieldTrace, variables
from bridge.mapping.record import Spoiled, make_record
from bridge.store.interface import Delivery, NewDelivery
from connectors.base import Connector, ExpressionError, Preview, Record

MATCHES = "matches"
SKIPPED = "skipped"
FAILS = "fails"
"""The delivery would be a dead letter."""


_EXPRESSIONS: Final = JinjaExpressions()


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """A route's `when`, and what it is about in one event."""

    source: str
    values: Mapping[str, Any]
    """The value of each variable that it uses."""


@dataclass(frozen=True, slots=True, repr=False)
class RouteFate:
    """What one route makes of an event."""

    route: str
    destination: str
    state: str
    """`MATCHES`, `SKIPPED` or `FAILS`."""
    why: str | None = None
    """Why it is skipped or fails."""
    fields: Sequence[FieldTrace] = ()
    record: Mapping[str, Any] | None = None
    """What the connector is given: the fields that have a value; None where nothing is sent."""
    request: Preview | None = None
    events: Sequence[str] = ()
    """The types of events that it takes."""
    when: Asked | None = None
    """What it asks besides; None where it asks nothing."""


@dataclass(frozen=True, slots=True, repr=False)
class Fate:
    """What becomes of one event."""

    event: Event
    why: str | None
    """Why it is unrecognised, or why no route gets it."""
    routes: Sequence[RouteFate]
    """In the order of the configuration; empty for an event that is not recognised."""


def foretell(body: bytes, config: Config, now: float) -> list[Fate]:
    """Say what becomes of each event of a body, were it authentic."""
    try:
        document = decode(body)
    except ValueError:
        document = None
    if isinstance(document, list) and document:
        return [foretell_one(javascript_json.stringify(each), each, config, now) for each in document]
    return [foretell_one(body, document, config, now)]


def foretell_one(
    payload: bytes,
    document: Any,  # noqa: ANN401 - any JSON value
    config: Config,
    now: float,
    event_id: str | None = None,
) -> Fate:
    """Say what becomes of one event; `document` is the payload's JSON value, None where it is not JSON.

    Its id is `event_id`, or a stand-in that must not be shown: only a store knows what ids are made with.
    """
    chatbot = config.chatbot_by_serial.get(serial_number(document) or "")
    verified = Verified(payload, document, Form.RAW, chatbot.name if chatbot else None)
    routed = route_event(verified, chatbot, now, STAND_IN)
    if event_id:
        routed = routed._replace(event=routed.event._replace(id=event_id))
    if routed.event.state is EventState.TEST:
        return Fate(routed.event, "it is a test: it would be stored and answered as one, and not delivered", ())
    if routed.event.state is not EventState.ACCEPTED or chatbot is None:
        return Fate(routed.event, why_unrecognised(document, chatbot), ())
    made = {each.route: each for each in routed.deliveries}
    fates = [_route_fate(each, made.get(each.name), routed.event, config) for each in chatbot.routes]
    return Fate(routed.event, None if made else "no route takes it: it would be stored, and not delivered", fates)


def _route_fate(route: Route, made: NewDelivery | None, event: Event, config: Config) -> RouteFate:
    values = variables(event)
    events = tuple(each for each in EVENT_TYPES if each in route.events)
    fate = partial(RouteFate, route.name, route.destination, events=events, when=_asked(route, values))
    if made is None:
        return fate(state=SKIPPED, why=_why_skipped(route, event))
    if made.problem is not None:
        return fate(state=FAILS, why=made.problem)
    fields = route.mapping.trace(values)
    try:
        record = make_record(_delivery(event, route), config.chatbots.get)
        request = _preview(config.destinations[route.destination].connector, record)
    except Spoiled as error:
        return fate(state=FAILS, why=error.detail, fields=fields)
    except ExpressionError as error:
        return fate(state=FAILS, why=error.message, fields=fields)
    return fate(state=MATCHES, fields=fields, record=record.fields, request=request)


def _asked(route: Route, values: Mapping[str, Any]) -> Asked | None:
    if route.when_source is None:
        return None
    names = _EXPRESSIONS.names(route.when_source)
    return Asked(route.when_source, {name: values[name] for name in names if name in values})


def _preview(connector: Connector, record: Record) -> Preview:
    """Have the connector show its request. Raises ExpressionError, for whatever is wrong with it."""
    try:
        return connector.preview([record])
    except ExpressionError:
        raise
    except Exception as error:  # a connector may be anybody's code
        raise ExpressionError(f"the connector raised {type(error).__name__} instead of showing its request") from error


def _why_skipped(route: Route, event: Event) -> str:
    if event.type not in route.events:
        return f"it takes only {', '.join(sorted(route.events))}"
    return "its `when` does not hold"


def _delivery(event: Event, route: Route) -> Delivery:
    """Make the delivery as the store would give it to the lane."""
    memo: Mapping[str, str] = {}
    return Delivery(0, event.id, event.chatbot or "", event.payload, event.received_at, route.name, 0, 0, None, memo)


WIDTH: Final = 60
"""Characters of a value, at most."""


def shown(value: Any, width: int = WIDTH) -> str:  # noqa: ANN401 - any JSON value
    """Write a value as JSON, its end cut off where it is too long."""
    text = _written(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def shown_change(before: Any, after: Any, width: int = WIDTH) -> tuple[str, str]:  # noqa: ANN401 - any JSON values
    """Write two values that differ, and see to it that what differs is not cut off."""
    texts = _written(before), _written(after)
    start = max(0, _alike(*texts) - width // 2) if max(map(len, texts)) > width else 0
    one, other = (_window(text, start, width) for text in texts)
    return one, other


def _written(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False)


def _alike(one: str, other: str) -> int:
    """Count the characters in which two texts begin alike."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _window(text: str, start: int, width: int) -> str:
    """Show a part of a text, with an ellipsis for what is left out at either end."""
    part = text[start : start + width]
    return f"{'…' if start else ''}{part}{'…' if start + width < len(text) else ''}"
