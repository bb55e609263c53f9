"""Ids of the trace of an event, and a guard for the code that traces.

An event's id has 16 bytes, as a trace's id has: they are the same. So every process knows the trace of an attempt
without storing anything, and an event's id, from the log or the dashboard, finds its trace.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags

ROOT = Context()
"""Context without a span: spans of plug-ins are no parents of ours."""
OUTCOME_ATTRIBUTE = "leadbridge.outcome"
ERROR_ATTRIBUTE = "error.type"

Attributes = dict[str, str | int]

log = structlog.get_logger()

next_ids: ContextVar[tuple[int | None, int | None]] = ContextVar("next_ids", default=(None, None))
"""Ids of the trace and of the span that start next; None for a random one. See `bridge.telemetry.export.EventIds`."""


@contextlib.contextmanager
def span_ids(trace: int | None, span: int | None = None) -> Iterator[None]:
    """Set the ids of the spans that start inside; a trace's id counts only for a span without a parent."""
    token = next_ids.set((trace, span))
    try:
        yield
    finally:
        next_ids.reset(token)


def accept_span(event_id: str) -> SpanContext:
    """Return the ids of an event's `accept` span, the parent of all its attempts.

    The span's id is the second half of the event's id. That half is made of a hash, as samplers expect (W3C Trace
    Context: the right-most 7 bytes of a trace's id are random).
    """
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(event_id, 16), int(event_id[16:], 16), is_remote=True, trace_flags=sampled)


def without_none(attributes: Mapping[str, str | int | None]) -> Attributes:
    """Return the attributes that have a value."""
    return {name: value for name, value in attributes.items() if value is not None}


@contextlib.contextmanager
def fault_guard() -> Iterator[None]:
    """Log an error of tracing instead of raising it: no lead may fail because of its trace."""
    try:
        yield
    except Exception:
        log.exception("trace_fault")
