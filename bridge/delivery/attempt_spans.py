"""Spans of attempts, each in the trace of its event. See `bridge.ingress.request_spans` for names and attributes.

A text of the destination is never an attribute, because it may hold the lead.
"""

import contextlib
from collections.abc import Sequence
from time import time_ns
from typing import Self

from opentelemetry.context import attach, detach
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind, StatusCode, Tracer, set_span_in_context

from bridge.config.model import Destination
from bridge.store.interface import Delivery
from bridge.telemetry.event_trace import (
    ERROR_ATTRIBUTE,
    OUTCOME_ATTRIBUTE,
    ROOT,
    Attributes,
    accept_span,
    fault_guard,
    without_none,
)
from connectors.base import Delivered, Outcome, Reason, request_tracer

CUT_OFF = "cut_off"
"""Outcome of an attempt without an end of its own: the process stopped, or the call took too long."""


class AttemptSpans:
    """Spans of a call, one for each of its deliveries.

    A batch is one call for many traces. The connector's requests are below the first attempt whose trace is sampled,
    and the other attempts link to that one.
    """

    def __init__(self, tracer: Tracer, destination: Destination, deliveries: Sequence[Delivery]) -> None:
        self._tracer = tracer
        self._destination = destination
        self._deliveries = deliveries
        self._start = time_ns()
        self._first = 0
        self._span: Span | None = None
        self._settled = False
        self._current = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the first sampled span; spans inside are its children."""
        with fault_guard():
            for number, delivery in enumerate(self._deliveries):
                span = self._start_span(delivery)
                if span.is_recording():
                    self._first, self._span = number, span
                    self._current.callback(detach, attach(set_span_in_context(span)))
                    self._current.callback(request_tracer.reset, request_tracer.set(self._tracer))
                    break
        return self

    def __exit__(self, *_: object) -> None:
        """End the span of a call without outcomes."""
        self._current.close()
        if self._span and not self._settled:
            with fault_guard():
                _end(self._span, CUT_OFF, CUT_OFF)

    def settle(self, outcomes: Sequence[Outcome], *, split: bool) -> None:
        """End all spans with their outcomes. A batch that is split has one span, since its parts are tried next."""
        self._settled = True
        if self._span is None:
            return
        with fault_guard():
            if split:
                _end(self._span, "split", _error(outcomes[0]))
                return
            _settle(self._span, outcomes[self._first])
            links = [Link(self._span.get_span_context())]
            for number, (delivery, outcome) in enumerate(zip(self._deliveries, outcomes, strict=True)):
                if number != self._first:
                    _settle(self._start_span(delivery, links), outcome)

    def _start_span(self, delivery: Delivery, links: Sequence[Link] = ()) -> Span:
        size = len(self._deliveries)
        attempt = {
            "leadbridge.attempt": delivery.attempts + 1,
            "messaging.batch.message_count": size if size > 1 else None,
        }
        return _start_span(self._tracer, self._destination, delivery, without_none(attempt), links, self._start)


def trace_spoiled(tracer: Tracer, destination: Destination, delivery: Delivery, reason: Reason) -> None:
    """Make the span of a delivery that became a dead letter without a call."""
    with fault_guard():
        _end(_start_span(tracer, destination, delivery, {}, (), time_ns()), "spoiled", reason.value)


def _start_span(
    tracer: Tracer,
    destination: Destination,
    delivery: Delivery,
    more: Attributes,
    links: Sequence[Link],
    start: int,
) -> Span:
    """Start a span below the event's `accept` span, which another process may have made."""
    attributes: dict[str, str | int | None] = {
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
    parent = set_span_in_context(NonRecordingSpan(accept_span(delivery.event_id)), ROOT)
    name = f"deliver {destination.name}"
    return tracer.start_span(name, parent, SpanKind.CONSUMER, without_none(attributes) | more, links, start)


def _settle(span: Span, outcome: Outcome) -> None:
    _end(span, type(outcome).__name__.lower(), _error(outcome))


def _error(outcome: Outcome) -> str | None:
    """Return the code of a failure without its detail, which may be the destination's words."""
    return None if isinstance(outcome, Delivered) else outcome.reason.value


def _end(span: Span, outcome: str, error: str | None) -> None:
    span.set_attribute(OUTCOME_ATTRIBUTE, outcome)
    if error:
        span.set_attribute(ERROR_ATTRIBUTE, error)
        span.set_status(StatusCode.ERROR)
    span.end()
