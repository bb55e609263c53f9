"""Makes a trace of a lead's way, from what is put around receiver, store and lanes.

    POST /webhook > accept > deliver (an attempt) > POST, GET, ... (its requests)
                           > deliver (the next attempt) > ...

All spans are made in the loop's thread. A fault in here is a line in the log, and never keeps a lead from its way.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from time import time_ns
from typing import Any

import structlog
from aiohttp import web
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bridge.config.model import Destination
from bridge.delivery import retry
from bridge.delivery.attempt import AttemptRunner, Observe, refused_whole
from bridge.delivery.batching import BatchItem
from bridge.identity import Identity
from bridge.ingress import receiver
from bridge.ingress.receiver import Intake
from bridge.store.interface import Delivery, QuarantinedRequest, RoutedEvent
from bridge.telemetry import attributes
from bridge.telemetry.export import ROOT, Tracer
from bridge.telemetry.ids import accepted
from bridge.telemetry.switch import Answer, Tracing
from connectors.base import Exchange, Outcome, Reason, on_exchange

log = structlog.get_logger()


@dataclass(slots=True)
class _Seen:
    """What has been learnt of a request while it is being answered; times in nanoseconds since the epoch."""

    began: int
    chatbots: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    routed: Sequence[RoutedEvent] = ()
    """Its events, if it was authentic."""
    new: Sequence[bool] = ()
    """Which of them the commit has added; empty where there was no commit."""
    committing: int = 0
    committed: int = 0


_seen: ContextVar[_Seen | None] = ContextVar("seen", default=None)
"""The request that is being answered in this context."""


class Spans(Tracing):
    """Traces all that its methods are put around. Made in the running loop; raises whatever the SDK raises."""

    def __init__(self) -> None:
        self._tracer = Tracer()

    def answer(self, answer: Answer) -> Answer:
        """See `Tracing`. A GET, which asks only whether somebody is there, leaves no span."""

        async def traced(request: web.BaseRequest) -> web.StreamResponse:
            seen = _Seen(time_ns())
            token = _seen.set(seen)
            status: int = HTTPStatus.INTERNAL_SERVER_ERROR  # as aiohttp answers where `answer` raises
            try:
                response = await answer(request)
                status = response.status
            finally:
                _seen.reset(token)
                if seen.results or attributes.is_fault(status):
                    with _harmless():
                        self._received(request, status, seen)
            return response

        return traced

    def received(self, observe: receiver.Observe) -> receiver.Observe:
        """See `Tracing`."""

        def observed(chatbot: str, result: str) -> None:
            observe(chatbot, result)
            if seen := _seen.get():
                seen.results.add(result)
                if chatbot:
                    seen.chatbots.add(chatbot)

        return observed

    def intake(self, intake: Intake) -> Intake:
        """See `Tracing`."""
        return _TracedIntake(intake)

    def caller(self, attempted: Observe) -> AttemptRunner:
        """See `Tracing`."""
        return _TracedCaller(attempted, self._tracer)

    async def close(self) -> None:
        """See `Tracing`."""
        await self._tracer.close()

    def _received(self, request: web.BaseRequest, status: int, seen: _Seen) -> None:
        """Make the spans of a request that has been answered.

        A request with one event is the beginning of that event's trace. One with several, or whose sender traces
        itself, is in another trace and linked with each event's.
        """
        places = [accepted(each.event.id, sampled=True) for each in seen.routed]
        sender = _sender(request) if places else ROOT
        alone = len(places) == 1 and sender is ROOT
        span = self._tracer.start(
            attributes.request_name(request.method, request.path, status),
            SpanKind.SERVER,
            attributes.request(request.method, request.scheme, request.path, status)
            | attributes.received(seen.chatbots, seen.results, [each.event.id for each in seen.routed]),
            seen.began,
            parent=sender,
            trace=places[0].trace_id if alone else None,
            links=() if alone else [Link(place) for place in places],
        )
        for each, is_new in zip(seen.routed, seen.new, strict=False):
            if is_new:
                self._accepted(each, seen, span, beneath=alone)
        if attributes.is_fault(status):
            span.set_status(StatusCode.ERROR)
        span.end()

    def _accepted(self, routed: RoutedEvent, seen: _Seen, request: Span, *, beneath: bool) -> None:
        """Make the span of an event's commit, at the place under which its attempts stand."""
        place = accepted(routed.event.id, sampled=True)
        self._tracer.start(
            "accept",
            SpanKind.PRODUCER,
            attributes.accept(routed),
            seen.committing,
            parent=set_span_in_context(request, ROOT) if beneath else ROOT,
            trace=place.trace_id,
            span=place.span_id,
            links=() if beneath else [Link(request.get_span_context())],
        ).end(seen.committed)


class _TracedIntake:
    """Notes for the request that is being answered what the store has taken, and when."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def accept(self, routed: Sequence[RoutedEvent]) -> list[bool]:
        """See `Intake`."""
        seen = _seen.get() or _Seen(0)
        seen.routed, seen.committing = routed, time_ns()
        new = await self._intake.accept(routed)
        seen.new, seen.committed = new, time_ns()
        return new

    async def quarantine(self, request: QuarantinedRequest, identity: Identity) -> bool:
        """See `Intake`."""
        return await self._intake.quarantine(request, identity)


class _TracedCaller(AttemptRunner):
    """Makes the calls of lanes, with a span for each attempt and beneath it one for each request of the connector.

    A batch is one call for many attempts, each in another trace: its requests stand beneath the first of them, which
    the others are linked with.
    """

    def __init__(self, attempted: Observe, tracer: Tracer) -> None:
        super().__init__(attempted)
        self._tracer = tracer

    async def deliver(
        self,
        destination: Destination,
        batch: Sequence[BatchItem],
        clock: Callable[[], float],
        log: Any,  # noqa: ANN401 - as in `Caller`
    ) -> tuple[Sequence[Outcome], retry.CallTiming]:
        """See `AttemptRunner`."""
        began = time_ns()
        first, span = 0, None
        with _harmless():
            first, span = self._first(destination, batch, began)
        if span is None:
            return await super().deliver(destination, batch, clock, log)
        token = on_exchange.set(partial(self._exchanged, set_span_in_context(span, ROOT)))
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes, call = await super().deliver(destination, batch, clock, log)
        finally:
            on_exchange.reset(token)
            with _harmless():
                if not outcomes:
                    _end(span, attributes.CUT_OFF, attributes.CUT_OFF)
                elif len(batch) > 1 and refused_whole(outcomes):
                    # Nothing has been tried yet: it is split, and its parts are tried now.
                    _end(span, "split", attributes.outcome_fault(outcomes[0]))
                else:
                    _settle(span, outcomes[first])
                    link = Link(span.get_span_context())
                    for number, (each, outcome) in enumerate(zip(batch, outcomes, strict=True)):
                        if number != first:
                            _settle(self._attempt(destination, each.delivery, len(batch), began, [link]), outcome)
        return outcomes, call

    def spoiled(self, destination: Destination, delivery: Delivery, reason: Reason) -> None:
        """See `AttemptRunner`."""
        with _harmless():
            _end(self._deliver(destination, delivery, {}, time_ns()), "spoiled", reason.value)

    def _first(self, destination: Destination, batch: Sequence[BatchItem], began: int) -> tuple[int, Span | None]:
        """Start the span of the first attempt of a batch whose trace is sampled; give its place in the batch too."""
        for number, each in enumerate(batch):
            span = self._attempt(destination, each.delivery, len(batch), began)
            if span.is_recording():
                return number, span
        return 0, None

    def _attempt(
        self, destination: Destination, delivery: Delivery, size: int, began: int, links: Sequence[Link] = ()
    ) -> Span:
        return self._deliver(destination, delivery, attributes.attempt(delivery, size), began, links)

    def _deliver(
        self,
        destination: Destination,
        delivery: Delivery,
        more: attributes.Attributes,
        began: int,
        links: Sequence[Link] = (),
    ) -> Span:
        return self._tracer.start(
            f"deliver {destination.name}",
            SpanKind.CONSUMER,
            attributes.delivery(destination, delivery) | more,
            began,
            parent=self._tracer.under(delivery.event_id),
            links=links,
        )

    def _exchanged(self, parent: Context, exchange: Exchange) -> None:
        """Make the span of a connector's request that has just ended."""
        with _harmless():
            ended = time_ns()
            span = self._tracer.start(
                attributes.exchange_name(exchange),
                SpanKind.CLIENT,
                attributes.exchange(exchange),
                ended - int(exchange.duration * 1e9),
                parent=parent,
            )
            _end(span, None, attributes.exchange_fault(exchange), ended)


def _settle(span: Span, outcome: Outcome) -> None:
    _end(span, attributes.outcome_word(outcome), attributes.outcome_fault(outcome))


def _end(span: Span, outcome: str | None, fault: str | None, at: int | None = None) -> None:
    if outcome:
        span.set_attribute("leadbridge.outcome", outcome)
    if fault:
        span.set_attribute("error.type", fault)
        span.set_status(StatusCode.ERROR)
    span.end(at)


def _sender(request: web.BaseRequest) -> Context:
    """Give the sender's own span, which an authentic request may name (W3C Trace Context, `traceparent`).

    Its `tracestate` is left alone: it is free text, and would be exported.
    """
    header = request.headers.get("traceparent")
    if header is None:
        return ROOT
    context = TraceContextTextMapPropagator().extract({"traceparent": header}, ROOT)
    return context if get_current_span(context).get_span_context().is_valid else ROOT


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """Keep a fault of tracing from what is traced."""
    try:
        yield
    except Exception:
        log.exception("trace_fault")
