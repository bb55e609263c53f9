"""Starts spans and sends them: OpenTelemetry's SDK as its variables set it up, kept from doing harm.

Spans are sent in batches by a thread of the SDK. Its queue is bounded (OTEL_BSP_MAX_QUEUE_SIZE, 2,048 spans): what
does not fit is dropped, so that neither a dead collector nor a burst of leads costs memory or time.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind, set_span_in_context

from bridge.telemetry.attributes import Attributes
from bridge.telemetry.ids import Ids, accepted

FLUSH_SECONDS = 3.0
"""How long the last spans may take at a stop; with the lanes' time to end it stays under a container engine's 30."""
LIBRARY = "opentelemetry"

log = structlog.get_logger()

Tell = Callable[[Callable[[], object]], Any]
"""Has the loop call something soon; may be called in any thread."""

ROOT = Context()
"""No span around: what is in Python's own context is for plugins."""


class Tracer:
    """Starts spans, all in the loop's thread, and has them exported. Made in the running loop.

    It is not made the process's global tracer: what plugins do with OpenTelemetry is their own.
    """

    def __init__(self) -> None:
        tell = asyncio.get_running_loop().call_soon_threadsafe
        _listen(tell)
        self._ids = Ids()
        self._provider = TracerProvider(id_generator=self._ids, resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Told(OTLPSpanExporter(), tell)))
        self._tracer = self._provider.get_tracer("leadbridge", metadata.version("leadbridge"))
        # From here on `_Told` tells what is worth it.
        logging.getLogger(f"{LIBRARY}.exporter").setLevel(logging.CRITICAL)

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        at: int,
        *,
        parent: Context = ROOT,
        trace: int | None = None,
        span: int | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        """Start a span.

        Args:
            name: Of few different ones.
            kind: What the span is to its neighbours.
            attributes: See there.
            at: Nanoseconds since the epoch.
            parent: The span above it; none for the first one of a trace.
            trace: The trace's id, where it is known before; with a parent it is the parent's all the same.
            span: The span's id, where it is known before.
            links: Other spans that belong to it.
        """
        self._ids.trace, self._ids.span = trace, span
        told = {key: value for key, value in attributes.items() if value is not None}
        return self._tracer.start_span(name, parent, kind, told, links, at)

    def under(self, event_id: str) -> Context:
        """Give what stands above the attempts of an event, and whether they are exported.

        That is the sampler's to say, of the trace's id: every process says the same of one lead.
        """
        place = accepted(event_id, sampled=False)
        decision = self._provider.sampler.should_sample(ROOT, place.trace_id, "accept").decision
        sampled = accepted(event_id, sampled=decision is Decision.RECORD_AND_SAMPLE)
        return set_span_in_context(NonRecordingSpan(sampled), ROOT)

    async def close(self) -> None:
        """Send what is left, for `FLUSH_SECONDS` at most."""
        # A daemon, like the SDK's own: a collector that hangs must not keep the process from ending.
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, FLUSH_SECONDS)
        if last.is_alive():
            log.warning("traces_cut_off", after=FLUSH_SECONDS)


class _Told(SpanExporter):
    """An exporter that says when it begins to fail, and when it is well again, but not each time between."""

    def __init__(self, exporter: SpanExporter, tell: Tell) -> None:
        self._exporter = exporter
        self._tell = tell
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans; called in the SDK's thread."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed != self._failing:
            self._failing = failed
            _in_loop(self._tell, _lost if failed else _found)
        return result

    def shutdown(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()


def _lost() -> None:
    log.warning(
        "traces_not_sent",
        error="the collector does not take them; look at it and at the OTEL_EXPORTER_OTLP_ variables. Leads go on, "
        "traces are dropped meanwhile",
    )


def _found() -> None:
    log.info("traces_sent_again")


class _Once(logging.Handler):
    """Writes each kind of line of the SDK's log once, and without its values: they may be headers with secrets."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if (kind := str(record.msg)) not in self._told:
            self._told.add(kind)
            _in_loop(self._tell, partial(log.warning, "opentelemetry", says=kind))


def _in_loop(tell: Tell, write: Callable[[], object]) -> None:
    """Write a line in the loop's thread, as all are written, unless the loop has ended."""
    with contextlib.suppress(RuntimeError):
        tell(write)


def _listen(tell: Tell) -> None:
    """Take what the SDK writes into Python's log, which would go to standard error."""
    logger = logging.getLogger(LIBRARY)
    logger.handlers = [_Once(tell)]
    logger.propagate = False
    logging.getLogger(f"{LIBRARY}.exporter").setLevel(logging.NOTSET)


def _resource() -> Resource:
    """Say what is traced: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before our own name."""
    ours = Resource({SERVICE_NAME: "leadbridge", SERVICE_VERSION: metadata.version("leadbridge")})
    return Resource.create(ours.merge(OTELResourceDetector().detect()).attributes)
