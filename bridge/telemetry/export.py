"""Export of spans: OpenTelemetry's SDK as its environment variables configure it, with bounds.

A thread of the SDK sends spans in batches. Its queue is bounded (OTEL_BSP_MAX_QUEUE_SIZE, 2,048 spans). Further spans
are dropped, so that neither a dead collector nor a burst of leads costs memory or time.
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
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Tracer, TraceState
from opentelemetry.util.types import Attributes

from bridge.telemetry.event_trace import ROOT, next_ids

FLUSH_SECONDS = 3.0
"""Seconds for sending the last spans at a stop. With the time of the lanes it stays below a container engine's 30 s."""
LIBRARY = "opentelemetry"

log = structlog.get_logger()

CallSoon = Callable[[Callable[[], object]], Any]
"""Schedules a call in the event loop, from any thread."""


class SpanExport:
    """Tracer whose spans are sent to the collector. Create it in the running loop.

    It is not the global tracer of the process, so plug-ins may use OpenTelemetry as they like.
    """

    def __init__(self) -> None:
        call_soon = asyncio.get_running_loop().call_soon_threadsafe
        _take_sdk_log(call_soon)
        self._provider = TracerProvider(id_generator=EventIds(), resource=_resource(), shutdown_on_exit=False)
        self._provider.sampler = EventSampler(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(ReportingExporter(OTLPSpanExporter(), call_soon)))
        self.tracer: Tracer = self._provider.get_tracer("leadbridge", metadata.version("leadbridge"))
        # `ReportingExporter` logs its failures from now on.
        logging.getLogger(f"{LIBRARY}.exporter").setLevel(logging.CRITICAL)

    async def close(self) -> None:
        """Send the last spans, for at most `FLUSH_SECONDS`."""
        # A daemon thread, like the SDK's own: a collector that hangs must not keep the process from ending.
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, FLUSH_SECONDS)
        if last.is_alive():
            log.warning("traces_cut_off", after=FLUSH_SECONDS)


class EventIds(RandomIdGenerator):
    """Generator of ids: those in `next_ids`, otherwise random ones."""

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        return next_ids.get()[0] or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        return next_ids.get()[1] or super().generate_span_id()


class EventSampler(Sampler):
    """Sampler that decides on an attempt as on the root of its event's trace, so that all processes agree.

    The process of an attempt does not know whether the `accept` span, its parent, was sampled. The id of the trace
    decides, as it did there.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the decision of the configured sampler."""
        parent = ROOT if kind is SpanKind.CONSUMER else parent_context
        return self._sampler.should_sample(parent, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Return the description of the configured sampler."""
        return self._sampler.get_description()


class ReportingExporter(SpanExporter):
    """Exporter that logs when sending begins to fail, and when it works again."""

    def __init__(self, exporter: SpanExporter, call_soon: CallSoon) -> None:
        self._exporter = exporter
        self._call_soon = call_soon
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; called in the SDK's thread."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed != self._failing:
            self._failing = failed
            _in_loop(self._call_soon, _log_failure if failed else _log_recovery)
        return result

    def shutdown(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()


def _log_failure() -> None:
    log.warning(
        "traces_not_sent",
        error="the collector does not take them: check it and the OTEL_EXPORTER_OTLP_ variables. Leads are delivered, "
        "their traces are dropped meanwhile",
    )


def _log_recovery() -> None:
    log.info("traces_sent_again")


class SdkLog(logging.Handler):
    """Handler that logs each kind of message of the SDK once, without its values, which may be secret headers."""

    def __init__(self, call_soon: CallSoon) -> None:
        super().__init__()
        self._call_soon = call_soon
        self._logged: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Log a message if its kind is new."""
        if (kind := str(record.msg)) not in self._logged:
            self._logged.add(kind)
            _in_loop(self._call_soon, partial(log.warning, "opentelemetry", says=kind))


def _in_loop(call_soon: CallSoon, write: Callable[[], object]) -> None:
    """Write a log line in the loop's thread, like all others, unless the loop has ended."""
    with contextlib.suppress(RuntimeError):
        call_soon(write)


def _take_sdk_log(call_soon: CallSoon) -> None:
    """Replace the handlers of the SDK's log, which would write to standard error."""
    logger = logging.getLogger(LIBRARY)
    logger.handlers = [SdkLog(call_soon)]
    logger.propagate = False
    logging.getLogger(f"{LIBRARY}.exporter").setLevel(logging.NOTSET)


def _resource() -> Resource:
    """Describe this service. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override its name."""
    own = Resource({SERVICE_NAME: "leadbridge", SERVICE_VERSION: metadata.version("leadbridge")})
    return Resource.create(own.merge(OTELResourceDetector().detect()).attributes)
