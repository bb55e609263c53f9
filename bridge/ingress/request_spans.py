"""Spans of requests to the webhook, and of the commits of their events.

    POST /webhook > accept > deliver (an attempt) > POST, GET, ... (its requests)
                           > deliver (the next attempt) > ...

Names and attributes are those of OpenTelemetry's semantic conventions for HTTP and for messaging, where a lane is a
queue; others begin with `leadbridge.`. Of a lead they hold its ids only: no field, no path, no query, no header and no
address of the sender. Where the conventions ask for one of these (`url.path`), it is left out.
"""

from collections.abc import Sequence
from contextvars import ContextVar, Token
from http import HTTPStatus
from time import time_ns
from typing import Self

from aiohttp import web
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bridge.store.interface import RoutedEvent
from bridge.telemetry.event_trace import (
    ERROR_ATTRIBUTE,
    ROOT,
    Attributes,
    accept_span,
    fault_guard,
    span_ids,
    without_none,
)

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""Methods that a span names. Another one is text of a stranger, and `_OTHER` by the conventions."""


class RequestTrace:
    """Facts about a request while it is answered. Its spans are made when the context ends.

    They cannot start earlier: their trace is known when the body was read and routed.
    """

    def __init__(self, tracer: Tracer, request: web.BaseRequest) -> None:
        self.status: int = HTTPStatus.INTERNAL_SERVER_ERROR  # aiohttp's answer to an exception
        self._tracer = tracer
        self._request = request
        self._start = time_ns()
        self._chatbots: set[str] = set()
        self._results: set[str] = set()
        self._routed: Sequence[RoutedEvent] = ()
        self._new: Sequence[bool] = ()
        self._commit_start = self._commit_end = 0
        self._token: Token[RequestTrace | None]

    def __enter__(self) -> Self:
        """Make this the trace of the current request."""
        self._token = current_request.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Make the spans. A health check (GET) has no result and leaves none."""
        current_request.reset(self._token)
        if self._results or self._failed:
            with fault_guard():
                self._make_spans()

    def commit_starts(self, routed: Sequence[RoutedEvent]) -> None:
        """Note the events of an authentic request before their commit."""
        self._routed, self._commit_start = routed, time_ns()

    def commit_ended(self, new: Sequence[bool]) -> None:
        """Note which events the commit added."""
        self._new, self._commit_end = new, time_ns()

    def add_result(self, chatbot: str, result: str) -> None:
        """Note the result of the request, or of one of its events."""
        self._results.add(result)
        if chatbot:
            self._chatbots.add(chatbot)

    @property
    def _failed(self) -> bool:
        """True if the server is to blame; a 4xx is the client's fault."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    def _make_spans(self) -> None:
        """Make the span of the request, and one for each new event.

        A request with one event is the root of that event's trace. One with several, or one whose sender traces too,
        is in another trace and linked with each event's.
        """
        accepted = [accept_span(each.event.id) for each in self._routed]
        sender = _sender(self._request) if accepted else ROOT
        is_root = len(accepted) == 1 and sender is ROOT
        method = self._request.method if self._request.method in METHODS else "_OTHER"
        route = _route(self._request.path, self.status)
        with span_ids(accepted[0].trace_id if is_root else None):
            span = self._tracer.start_span(
                f"{method} {route or ''}".strip(),
                sender,
                SpanKind.SERVER,
                self._attributes(method, route),
                () if is_root else [Link(each) for each in accepted],
                self._start,
            )
        for each, is_new in zip(self._routed, self._new, strict=False):
            if is_new:
                self._make_accept_span(each, span, below=is_root)
        if self._failed:
            span.set_status(StatusCode.ERROR)
        span.end()

    def _make_accept_span(self, routed: RoutedEvent, request: Span, *, below: bool) -> None:
        """Make the span of an event's commit: the parent of its attempts."""
        place = accept_span(routed.event.id)
        with span_ids(place.trace_id, place.span_id):
            span = self._tracer.start_span(
                "accept",
                set_span_in_context(request, ROOT) if below else ROOT,
                SpanKind.PRODUCER,
                _accept_attributes(routed),
                () if below else [Link(request.get_span_context())],
                self._commit_start,
            )
        span.end(self._commit_end)

    def _attributes(self, method: str, route: str | None) -> Attributes:
        """Return what is known of the request without the sender's own words."""
        return without_none(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": self.status,
                "url.scheme": self._request.scheme,
                ERROR_ATTRIBUTE: str(self.status) if self._failed else None,
                "leadbridge.chatbot": ",".join(sorted(self._chatbots)) or None,
                "leadbridge.result": ",".join(sorted(self._results)) or None,
                "leadbridge.event.id": self._routed[0].event.id if len(self._routed) == 1 else None,
            }
        )


current_request: ContextVar[RequestTrace | None] = ContextVar("current_request", default=None)
"""Trace of the request that is answered in this context; None if nothing is traced."""


def note_result(chatbot: str, result: str) -> None:
    """Note the result of the current request for its trace, in the words of the metric `leadbridge_events_total`."""
    if trace := current_request.get():
        trace.add_result(chatbot, result)


def _accept_attributes(routed: RoutedEvent) -> Attributes:
    return without_none(
        {
            "messaging.system": "leadbridge",
            "messaging.operation.name": "accept",
            "messaging.operation.type": "send",
            "messaging.message.id": routed.event.id,
            "leadbridge.chatbot": routed.event.chatbot,
            "leadbridge.event.state": routed.event.state.value,
            "leadbridge.event.type": routed.event.type,
            "leadbridge.deliveries": len(routed.deliveries),
        }
    )


def _route(path: str, status: int) -> str | None:
    """Return the path as the documentation writes it; None for another path, which is text of a stranger."""
    if status == HTTPStatus.NOT_FOUND:
        return None
    return "/webhook" if path == "/webhook" else "/webhooks/{chatbot}"


def _sender(request: web.BaseRequest) -> Context:
    """Return the sender's own span, which an authentic request may name (W3C Trace Context, `traceparent`).

    `tracestate` is ignored: it is free text, and would be exported.
    """
    header = request.headers.get("traceparent")
    if header is None:
        return ROOT
    context = TraceContextTextMapPropagator().extract({"traceparent": header}, ROOT)
    return context if get_current_span(context).get_span_context().is_valid else ROOT
