"""Traces of the real program: what a collector is sent, and that nothing depends on there being one."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.telemetry.export import FLUSH_SECONDS
from tests.acceptance.configured import ENVIRONMENT, KEY, http, settings
from tests.acceptance.destination import Deciding, Decision
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead, signature, written
from tests.acceptance.waiting import until
from tests.telemetry.collector import Collector, Taken

PERSONAL = {
    "FirstName": "Wilhelmina",
    "LastName": "Featherstonehaugh",
    "Email": "wilhelmina.f@example.net",
    "PhoneNumber": "+49 30 9018 20277",
    "Content": "Ask for the corner office, and bring the contract along.",
    "SessionID": 7731950264,
    "URI": "https://www.example.org/pricing?campaign=spring",
}
UNASKED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "", "OTEL_TRACES_EXPORTER": ""}
"""Keeps what this machine's own environment asks for out of a test."""


def children(spans: list[Taken], parent: Taken) -> list[Taken]:
    return [each for each in spans if each.parent == parent.id]


async def test_a_leads_trace_leads_through_two_processes_and_tells_nothing_of_it(tmp_path: Path) -> None:
    down = True

    def decide(document: Any) -> Decision:
        # A destination's own words often quote what they are about.
        return (503, {"error": f"no room for {document}"}) if down else (201, {"id": document["email"]})

    async with Collector() as collector, Deciding(decide) as crm:
        url = f"{crm.url}?for={{{{ fields.email }}}}&key=a-key-in-the-address"
        destination = http(url, retry={"initial": "2s", "jitter": 0}, headers={"X-Key": "a-key-in-a-header"})
        variables = {**ENVIRONMENT, **collector.variables, "OTEL_SERVICE_NAME": "bridge-of-acme"}
        async with Program(tmp_path, settings({"crm": destination}), variables) as program, Sender(program) as sender:
            await program.start()
            document = lead(**PERSONAL)
            body = written(document)
            signed = signature(body)
            answer = await sender.post(body, signed)
            assert answer is not None
            assert answer.succeeded
            assert await sender.post(body, signature(body, "another-key-of-good-length")) is not None
            await until(lambda: len(program.events("attempt")) == 1, f"an attempt; {program.told()}")
            # What has ended is sent before the process is: nothing waits for the next batch.
            assert await program.stop() == 0
            (before,) = collector.named("deliver crm")
            down = False
            await program.start()
            (delivery,) = await program.deliveries()
            await program.run("lanes", "resume", "crm")
            await until(lambda: len(crm.received) == 2 or not program.alive, f"the next attempt; {program.told()}")
            await program.settled()
            assert await program.stop() == 0
            event = program.events("received")[0]["event_id"]

    spans = [each for each in collector.spans() if each.trace == event]
    assert {each.service for each in spans} == {"bridge-of-acme"}
    (request,) = [each for each in spans if not each.parent]
    assert (request.name, request.kind) == ("POST /webhook", "server")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/webhook",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "leadbridge.chatbot": "website",
        "leadbridge.result": "accepted",
        "leadbridge.event.id": event,
    }
    (accept,) = children(spans, request)
    assert (accept.name, accept.kind, accept["leadbridge.deliveries"]) == ("accept", "producer", 1)
    assert request.began <= accept.began <= accept.ended <= request.ended
    first, second = children(spans, accept)
    assert first == before
    assert (first.name, first.kind, first.failed) == ("deliver crm", "consumer", True)
    assert first.attributes == {
        "messaging.system": "leadbridge",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": "crm",
        "messaging.message.id": event,
        "leadbridge.chatbot": "website",
        "leadbridge.route": "crm",
        "leadbridge.connector": "http",
        "leadbridge.delivery.id": delivery["id"],
        "leadbridge.attempt": 1,
        "leadbridge.outcome": "retry",
        "error.type": "server_error",
    }
    assert (second["leadbridge.attempt"], second["leadbridge.outcome"], second.failed) == (2, "delivered", False)
    port = int(re.findall(r":(\d+)/", crm.url)[0])
    for attempt, status in ((first, 503), (second, 201)):
        (call,) = children(spans, attempt)
        assert (call.name, call.kind, call["http.response.status_code"]) == ("POST", "client", status)
        assert (call["server.address"], call["server.port"], call["url.scheme"]) == ("127.0.0.1", port, "http")
        assert attempt.began <= call.began <= call.ended <= attempt.ended

    (refused,) = collector.spans(leadbridge_result="mismatch")
    assert (refused.trace != event, refused["http.response.status_code"], refused.failed) == (True, 401, False)
    secrets = [signed, signed.partition("v1=")[2], KEY, "a-key-in", crm.url.rpartition("/")[2], "no room for"]
    every_byte = b"\n".join(collector.bodies)
    for value in [*PERSONAL.values(), document["CreateTime"], document["SerialNumber"], *secrets]:
        assert str(value).encode() not in every_byte, value
    assert b"traceparent" not in every_byte


async def test_the_senders_trace_is_followed_where_its_signature_holds(tmp_path: Path) -> None:
    theirs, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with (
        Collector() as collector,
        Deciding(lambda _: (200, {})) as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), {**ENVIRONMENT, **collector.variables}) as program,
        Sender(program) as sender,
    ):
        await program.start()
        assert sender._session is not None
        sender._session.headers["traceparent"] = f"00-{theirs}-{parent}-01"
        sender._session.headers["tracestate"] = "vendor=wilhelmina"
        await sender.deliver(lead())
        await sender.post(b"{}", "t=1,v1=00")
        await until(lambda: collector.named("deliver crm"), f"the trace; {program.told()}")
        await program.stop()
    followed, refused = collector.named("POST /webhook")
    assert (followed.trace, followed.parent) == (theirs, parent)
    assert (refused.trace != theirs, refused.parent) == (True, "")
    (accept,) = collector.named("accept")
    (attempt,) = collector.named("deliver crm")
    assert accept.trace == attempt.trace == followed["leadbridge.event.id"]
    assert (accept.links, followed.links) == ([(theirs, followed.id)], [(accept.trace, accept.id)])
    assert (accept.parent, attempt.parent) == ("", accept.id)
    assert b"wilhelmina" not in b"".join(collector.bodies)


async def test_a_dead_collector_harms_nothing_and_is_told_once(tmp_path: Path) -> None:
    async with Collector() as collector, Deciding(lambda _: (200, {})) as crm:
        variables = {**ENVIRONMENT, **collector.variables, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}
        async with Program(tmp_path, settings({"crm": http(crm.url)}), variables) as program, Sender(program) as sender:
            await program.start()
            collector.status = 400
            for count in range(1, 6):
                await sender.deliver(lead())
                await until(lambda: len(collector.bodies) >= count, "a batch to be refused")  # noqa: B023 - at once
            collector.status = 200
            await sender.deliver(lead())
            await until(lambda: program.events("traces_sent_again"), f"the collector to be back; {program.told()}")
            await collector.__aexit__()
            for _ in range(20):
                await sender.deliver(lead())
            await until(lambda: len(program.events("traces_not_sent")) == 2, f"that it has gone; {program.told()}")
            assert {row["state"] for row in await program.settled()} == {"delivered"}
            assert await program.stop() == 0
            assert len(program.events("traces_not_sent")) == 2
            assert program.errors == []


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[int]:
    """Take connections at a port and never answer."""
    open_: set[asyncio.StreamWriter] = set()
    server = await asyncio.start_server(lambda _, writer: open_.add(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in open_:
            each.close()


async def test_a_collector_that_hangs_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    async with hanging() as port, Deciding(lambda _: (200, {})) as crm:
        variables = {
            **ENVIRONMENT,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
        }
        async with Program(tmp_path, settings({"crm": http(crm.url)}), variables) as program, Sender(program) as sender:
            await program.start()
            await sender.deliver(lead())
            await program.settled()
            began = time.monotonic()
            assert await program.stop() == 0
            assert time.monotonic() - began >= FLUSH_SECONDS * 0.9, "the last spans were not waited for"
            assert program.events("traces_cut_off")
            assert program.events("stopped")


async def test_without_the_extra_it_says_what_to_install_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk'] = None\n")
    async with Collector() as collector, Deciding(lambda _: (200, {})) as crm:
        variables = {**ENVIRONMENT, **collector.variables, "PYTHONPATH": str(tmp_path)}
        async with Program(tmp_path, settings({"crm": http(crm.url)}), variables) as program, Sender(program) as sender:
            await program.start()
            (told,) = program.events("not_traced")
            assert "pip install 'leadbridge[opentelemetry]'" in told["error"]
            await sender.deliver(lead())
            assert [row["state"] for row in await program.settled()] == ["delivered"]
    assert collector.bodies == []


@pytest.mark.parametrize("variables", [{}, {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}])
async def test_where_nobody_asks_opentelemetrys_sdk_is_not_imported(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "found = lambda: [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
        "atexit.register(lambda: print('imported', found(), file=sys.stderr))\n"
    )
    async with (
        Deciding(lambda _: (200, {})) as crm,
        Program(
            tmp_path,
            settings({"crm": http(crm.url)}),
            {**ENVIRONMENT, **UNASKED, **variables, "PYTHONPATH": str(tmp_path)},
        ) as program,
        Sender(program) as sender,
    ):
        await program.start()
        await sender.deliver(lead())
        assert [row["state"] for row in await program.settled()] == ["delivered"]
        await program.stop()
        assert program.errors == ["imported []"]
