"""Sending spans: what is told of a collector, how much is kept, and whose name stands on it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from bridge.telemetry import export
from bridge.telemetry.export import SpanExport
from tests.acceptance.waiting import until
from tests.telemetry.collector import Collector


class Scripted(SpanExporter):
    """Answers as it is told."""

    def __init__(self, *results: SpanExportResult) -> None:
        self.results = list(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self.results.pop(0)


def at_once(write: Callable[[], object]) -> None:
    write()


def test_a_collector_that_goes_and_comes_is_told_once_each_time() -> None:
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    told = export.ReportingExporter(Scripted(good, bad, bad, bad, good, good, bad), at_once)
    with capture_logs() as logged:
        for _ in range(7):
            told.export(())
    assert [each["event"] for each in logged] == ["traces_not_sent", "traces_sent_again", "traces_not_sent"]


def test_nothing_is_told_to_a_loop_that_has_ended() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    assert (
        export.ReportingExporter(Scripted(SpanExportResult.FAILURE), loop.call_soon_threadsafe).export(()) is not None
    )


def test_the_sdks_own_words_are_told_once_and_without_their_values() -> None:
    logger = logging.getLogger("opentelemetry.somewhere")
    with capture_logs() as logged:
        export._take_sdk_log(at_once)
        for _ in range(3):
            logger.warning("Header format invalid! %s", "authorization=Basic c2VjcmV0")
        logger.info("what nobody needs to know")
    assert logged == [{"event": "opentelemetry", "says": "Header format invalid! %s", "log_level": "warning"}]


def spans(export: SpanExport, count: int) -> None:
    for _ in range(count):
        export.tracer.start_span("x").end()


async def test_what_does_not_fit_is_dropped_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Collector() as collector:
        variables = {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}
        for name, value in {**collector.variables, **variables, "OTEL_BSP_SCHEDULE_DELAY": "600000"}.items():
            monkeypatch.setenv(name, value)
        with capture_logs() as logged:
            exporting = SpanExport()
            # The thread that sends has no turn meanwhile: it needs the collector, which is in this loop.
            spans(exporting, 200)
            await exporting.close()
        assert len(collector.spans()) < 200
    assert [each["says"] for each in logged if each["event"] == "opentelemetry"] == ["Queue full, dropping %s."]


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "leadbridge"),
        ({"OTEL_SERVICE_NAME": "ours"}, "ours"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs,deployment.environment=test"}, "theirs"),
    ],
)
async def test_the_operators_name_goes_before_ours(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any], name: str
) -> None:
    async with Collector() as collector:
        for variable, value in {**collector.variables, **variables}.items():
            monkeypatch.setenv(variable, value)
        exporting = SpanExport()
        spans(exporting, 1)
        await until(lambda: collector.bodies, "the span")
        await exporting.close()
        assert {each.service for each in collector.spans()} == {name}


async def test_headers_for_the_collector_are_sent_and_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a-secret-of-the-collector")
        for variable, value in collector.variables.items():
            monkeypatch.setenv(variable, value)
        with capture_logs() as logged:
            exporting = SpanExport()
            collector.status = 400
            spans(exporting, 1)
            await exporting.close()
            await until(lambda: logged, "that it is refused")
        assert {each.get("x-key") for each in collector.headers} == {"a-secret-of-the-collector"}
    assert "a-secret" not in str(logged)
