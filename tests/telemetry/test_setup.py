"""Which variables ask for traces, and what is said where they ask for something that is not here."""

import os
import sys
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from bridge.telemetry.setup import start_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


async def begun(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> tuple[bool, list[str]]:
    """Say whether it traces under these variables, and what it warns of."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with capture_logs() as logged:
        export = start_tracing(variables)
        if export:
            await export.close()
    warned = [str(each["error"]) for each in logged if each["event"] == "not_traced"]
    return export is not None, warned


@pytest.mark.parametrize(
    "variables",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": " OTLP "},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_SDK_DISABLED": "false"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    ],
)
async def test_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    assert await begun(monkeypatch, variables) == (True, [])


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
async def test_it_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    assert await begun(monkeypatch, variables) == (False, [])


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "zipkin"}, "set it to otlp"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL to that"),
        ({**ENDPOINT, "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "refuses one of OTEL_BSP_MAX_QUEUE_SIZE, OTEL_EXPORTER"),
    ],
)
async def test_what_is_not_here_is_said(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], told: str
) -> None:
    traces, (warned,) = await begun(monkeypatch, variables)
    assert not traces
    assert told in warned


async def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bridge.telemetry.export", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    traces, (warned,) = await begun(monkeypatch, ENDPOINT)
    assert not traces
    assert "pip install 'leadbridge[opentelemetry]'" in warned
