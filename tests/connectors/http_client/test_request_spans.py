"""Spans of a session's requests, where the bridge traces: how they ended, and nothing of a lead."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from yarl import URL

from connectors.base import request_tracer
from tests.connectors.building import Behaviour, answers, raw_server, sends
from tests.connectors.http_client.test_session import session


@contextlib.contextmanager
def traced() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    token = request_tracer.set(provider.get_tracer("test"))
    try:
        yield exporter
    finally:
        request_tracer.reset(token)


@pytest.mark.parametrize(
    ("behaviour", "status", "error"),
    [
        (answers(b"201 Created", b"{}"), 201, None),
        (answers(b"404 Not Found", b"David is not there"), 404, "404"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), 200, "bad_answer"),
        (sends(b"no HTTP\r\n\r\n"), None, "bad_answer"),
    ],
)
async def test_how_a_request_ended_is_shown(behaviour: Behaviour, status: int | None, error: str | None) -> None:
    async with raw_server(behaviour) as raw, session() as made:
        url = URL(raw.url) / "david@example.com" % {"key": "a-secret"}
        with traced() as spans:
            await made.send("PATCH", url, {"Authorization": "a-secret"}, b"David")
        (span,) = spans.get_finished_spans()
        expected = {
            "http.request.method": "PATCH",
            "http.response.status_code": status,
            "server.address": "127.0.0.1",
            "server.port": raw.port,
            "url.scheme": "http",
            "error.type": error,
        }
        assert (span.name, span.kind) == ("PATCH", SpanKind.CLIENT)
        assert dict(span.attributes or {}) == {name: value for name, value in expected.items() if value is not None}
        assert (span.status.status_code is StatusCode.ERROR) == (error is not None)
        assert not any(word in span.to_json() for word in ("contacts", "david", "secret", "David"))


def errors(spans: InMemorySpanExporter) -> list[object]:
    return [(each.attributes or {}).get("error.type") for each in spans.get_finished_spans()]


async def test_each_try_has_a_span() -> None:
    with socket.socket() as unused, traced() as spans:
        unused.bind(("127.0.0.1", 0))
        async with session(slept=[]) as made:
            await made.send("POST", URL(f"http://127.0.0.1:{unused.getsockname()[1]}/"), {}, b"{}")
    assert errors(spans) == ["unreachable"] * 3


async def test_a_request_that_is_cut_off_has_a_span() -> None:
    asked = asyncio.Event()

    async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with raw_server(silent) as raw, session() as made:
        with traced() as spans:
            sending = asyncio.create_task(made.send("POST", URL(raw.url), {}, b"{}"))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert errors(spans) == ["cut_off"]
