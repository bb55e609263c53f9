"""What a trace tells, of a bridge in this process; tests/acceptance/test_traces.py shows the real program's."""

import asyncio
import sys
import types
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import Tracer
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs
from yarl import URL

from bridge.delivery.attempt import AttemptRunner
from bridge.delivery.batching import BatchItem
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Delivery
from bridge.store.sql import SqlStore
from bridge.telemetry.export import SpanExport
from connectors.base import Blame, Delivered, Outcome, Reason, Record, Rejected, RouteSettings, request_tracer
from connectors.http_client.answer import Answer
from connectors.http_client.session import _end_span
from tests.building import NOW, Clock, FakeConnector, destination, event, lead
from tests.telemetry.bridge import Bridge, bridge
from tests.telemetry.collector import Collector, Taken


async def one_request(_: Sequence[Record]) -> None:
    """Do as a connector does that sends one request."""
    span = request_tracer.get().start_span("POST", kind=SpanKind.CLIENT)
    _end_span(span, "POST", URL("https://api.example.com/david"), Answer(200, {}, b""))


def outcomes(taken: Sequence[Taken]) -> list[str | None]:
    return [each["leadbridge.outcome"] for each in taken]


async def test_a_batch_is_one_call_for_many_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables, batch=10) as made:
            made.connector.before = one_request
            assert await made.post([lead() for _ in range(5)]) == 200
            await made.called(5)
            assert len(made.connector.calls) == 1
        (request,) = collector.named("POST /webhook")
        accepts, attempts = collector.named("accept"), collector.named("deliver crm")
        traces = {each.trace for each in accepts}
        assert len(traces) == len(accepts) == 5
        assert request.trace not in traces
        assert set(request.links) == {(each.trace, each.id) for each in accepts}
        assert [each.links for each in accepts] == [[(request.trace, request.id)]] * 5
        assert {(each.trace, each.parent) for each in attempts} == {(each.trace, each.id) for each in accepts}
        (call,) = collector.named("POST")
        (first,) = (each for each in attempts if each.id == call.parent)
        others = [each for each in attempts if each is not first]
        assert [each.links for each in others] == [[(first.trace, first.id)]] * 4
        assert {each["messaging.batch.message_count"] for each in attempts} == {5}
        assert outcomes(attempts) == ["delivered"] * 5
        assert "leadbridge.event.id" not in request.attributes


async def test_a_batch_that_is_split_has_one_attempt_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(records: Sequence[Record]) -> Sequence[Outcome]:
        poisoned = any(record.fields["email"] == "poison@b.co" for record in records)
        return [Rejected(Reason.REFUSED, "no", Blame.BATCH) if poisoned else Delivered()] * len(records)

    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables, batch=10) as made:
            made.connector.answer = answer
            await made.post([*[lead() for _ in range(3)], lead(Email="poison@b.co")])
            await made.called(4 + 4 + 2)
        by_trace = Counter(
            each.trace for each in collector.named("deliver crm") if each["leadbridge.outcome"] != "split"
        )
        assert sorted(by_trace.values()) == [1] * 4
        counted = Counter(outcomes(collector.named("deliver crm")))
        assert counted == {"split": 2, "delivered": 3, "rejected": 1}


async def test_the_same_event_again_is_in_its_trace_and_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables) as made:
            document = lead()
            assert [await made.post(document, "/webhooks/acme") for _ in range(2)] == [200, 200]
        first, again = collector.named("POST /webhooks/{chatbot}")
        assert (first["leadbridge.result"], again["leadbridge.result"]) == ("accepted", "duplicate")
        assert first.trace == again.trace
        (accept,) = collector.named("accept")
        assert accept.parent == first.id


async def test_what_the_store_could_not_commit_is_a_fault_in_the_events_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> list[bool]:
        raise StoreUnavailableError("no space left")

    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables) as made:
            document = lead()
            with monkeypatch.context() as patched:
                patched.setattr(SqlStore, "accept", full)
                assert await made.post(document) == 503
            assert await made.post(document) == 200
        lost, kept = collector.named("POST /webhook")
        assert (lost.trace, lost.failed, lost["error.type"]) == (kept.trace, True, "503")
        assert lost["leadbridge.result"] == "unavailable"
        assert len(collector.named("accept")) == 1


async def test_strangers_cannot_write_into_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables) as made:
            assert await made.ask("GET", "/webhook") == 200
            assert await made.ask("PURGE", "/webhook", headers={"Host": "graffiti", "User-Agent": "graffiti"}) == 405
            assert await made.ask("POST", "/graffiti?graffiti=1", data=b"graffiti") == 404
            assert await made.ask("POST", "/webhooks/graffiti", data=b"{}") == 404
            forged = {"X-Webhook-Signature": "t=1,v1=graffiti", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
            assert await made.post(lead(), key=b"graffiti", headers=forged) == 401
        assert [each.name for each in collector.spans()] == ["_OTHER /webhook", "POST", "POST", "POST /webhook"]
        assert "1" * 32 not in {each.trace for each in collector.spans()}
        assert b"graffiti" not in b"".join(collector.bodies).lower()


@pytest.mark.parametrize(
    "header", ["", "00-1-2-3", f"00-{'0' * 32}-{'2' * 16}-01", f"ff-{'1' * 32}-{'2' * 16}-01", "é"]
)
async def test_a_traceparent_that_is_none_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables) as made:
            assert await made.post(lead(), headers={"traceparent": header}) == 200
        (request,) = collector.named("POST /webhook")
        assert (request.trace, request.parent) == (request["leadbridge.event.id"], "")


async def test_a_delivery_that_cannot_be_mapped_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"phone": {"from": "PhoneNumber", "required": True}}
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables, fields=fields) as made:
            assert await made.post(lead()) == 200
            await made.until(lambda: bool(collector.named("deliver crm")))
        (spoiled,) = collector.named("deliver crm")
        assert (spoiled["leadbridge.outcome"], spoiled["error.type"], spoiled.failed) == ("spoiled", "mapping", True)
        assert spoiled.parent == collector.named("accept")[0].id
        assert "leadbridge.attempt" not in spoiled.attributes


async def test_a_call_that_is_cut_off_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    called = asyncio.Event()

    async def endless(_: Sequence[Record]) -> None:
        called.set()
        await asyncio.Event().wait()

    connector = FakeConnector()
    connector.before = endless
    made = event()
    delivery = Delivery(7, made.id, "acme", made.payload, NOW, "crm", 2, 0, None, {})
    record = Record("x", {}, {}, made.payload, RouteSettings())
    async with Collector() as collector:
        for name, value in collector.variables.items():
            monkeypatch.setenv(name, value)
        tracing = SpanExport()
        caller = AttemptRunner(tracer=tracing.tracer)
        call = asyncio.create_task(
            caller.deliver(
                destination("crm", connector), [BatchItem(delivery, record, NOW)], Clock(), structlog.get_logger()
            )
        )
        await called.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await tracing.close()
        (attempt,) = collector.named("deliver crm")
        assert (attempt["leadbridge.outcome"], attempt["error.type"], attempt.failed) == ("cut_off", "cut_off", True)
        assert (attempt.trace, attempt["leadbridge.attempt"], attempt["leadbridge.delivery.id"]) == (made.id, 3, 7)


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
async def test_a_sampler_takes_a_lead_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    variables = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables | variables) as made:
            made.connector.before = one_request
            for _ in range(30):
                assert await made.post(lead()) == 200
            await made.called(30)
        by_trace: dict[str, set[str]] = {}
        for each in collector.spans():
            by_trace.setdefault(each.trace, set()).add(each.name)
        assert 3 < len(by_trace) < 27
        assert {frozenset(names) for names in by_trace.values()} == {
            frozenset({"POST /webhook", "accept", "deliver crm", "POST"})
        }


async def test_of_a_batch_the_sampled_are_shown_with_its_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables | variables, batch=40) as made:
            made.connector.before = one_request
            await made.post([lead() for _ in range(40)])
            await made.called(40)
        attempts = collector.named("deliver crm")
        assert 5 < len(attempts) < 35
        assert {each.trace for each in attempts} == {each.trace for each in collector.named("accept")}
        (call,) = collector.named("POST")
        assert [each.id for each in attempts if not each.links] == [call.parent]


async def test_a_fault_of_tracing_keeps_no_lead_from_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("david@example.com")

    monkeypatch.setattr(Tracer, "start_span", broken)
    with capture_logs() as logged:
        async with Collector() as collector:
            async with bridge(tmp_path, monkeypatch, collector.variables) as made:
                made.connector.before = one_request
                assert await made.post(lead()) == 200
                await made.called(1)
            assert collector.bodies == []
    assert {"received", "attempt", "trace_fault"} <= {each["event"] for each in logged}


async def one_lead(made: Bridge) -> set[str]:
    """Give the files whose code runs in the loop's thread while a lead is answered and delivered."""
    files = set()

    def called(frame: types.FrameType, what: str, _: object) -> None:
        if what == "call":
            files.add(frame.f_code.co_filename)

    made.connector.before = one_request
    sys.setprofile(called)
    try:
        assert await made.post(lead()) == 200
        await made.called(1)
    finally:
        sys.setprofile(None)
    return files


async def test_where_nobody_asks_no_span_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    async with bridge(tmp_path, monkeypatch, {}) as made:
        files = await one_lead(made)
    assert any(each.endswith("bridge/ingress/receiver.py") for each in files)
    assert any(each.endswith("bridge/delivery/attempt.py") for each in files)
    assert [each for each in files if "/bridge/telemetry/" in each or "attempt_spans" in each or "/sdk/" in each] == []


async def test_where_somebody_asks_it_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Collector() as collector, bridge(tmp_path, monkeypatch, collector.variables) as made:
        files = await one_lead(made)
    assert any(each.endswith("bridge/delivery/attempt_spans.py") for each in files)
    assert any("opentelemetry/sdk" in each for each in files)


def known_attributes() -> set[str]:
    (folder,) = import_module("opentelemetry.semconv").__path__
    modules = [each.relative_to(folder) for each in Path(folder).glob("**/attributes/*_attributes.py")]
    return {
        value
        for name in (".".join(("opentelemetry.semconv", *each.with_suffix("").parts)) for each in modules)
        for constant, value in vars(import_module(name)).items()
        if constant.isupper() and isinstance(value, str)
    }


async def test_the_names_are_those_of_the_conventions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Collector() as collector:
        async with bridge(tmp_path, monkeypatch, collector.variables, batch=2) as made:
            made.connector.before = one_request
            made.connector.answer = lambda records: [Rejected(Reason.REFUSED, "no")] * len(records)
            await made.post([lead(), lead()])
            await made.called(2)
        names = {name for each in collector.spans() for name in each.attributes}
    assert {name for name in names if not name.startswith("leadbridge.")} <= known_attributes()
    assert "messaging.batch.message_count" in names
