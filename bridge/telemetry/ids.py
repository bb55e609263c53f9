"""Which trace a span belongs to. Pure but for chance.

An event's id has 16 bytes, as a trace's id has: they are the same. So every process knows at any time which trace an
attempt belongs to, nothing is stored for it, and who has an event's id, from the log or the dashboard, has its trace.
"""

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, TraceFlags


class Ids(RandomIdGenerator):
    """Gives the ids that have been set, and random ones where none are. Used by one thread, set before each span."""

    def __init__(self) -> None:
        self.trace: int | None = None
        self.span: int | None = None

    def generate_trace_id(self) -> int:
        """Give the id of a new trace."""
        return self.trace or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Give the id of a new span."""
        return self.span or super().generate_span_id()


def accepted(event_id: str, *, sampled: bool) -> SpanContext:
    """Give the place of an event's `accept` span, under which all its attempts stand, whether or not it was exported.

    The span's id is the second half of the event's: that is made of a hash, as is what samplers look at (W3C Trace
    Context, section "trace-id": its right-most 7 bytes are to be random).
    """
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(int(event_id, 16), int(event_id[16:], 16), is_remote=True, trace_flags=flags)
