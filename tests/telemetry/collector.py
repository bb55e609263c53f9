"""A collector of OpenTelemetry on this machine: takes traces as OTLP over HTTP, and keeps every byte."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, slots=True)
class Taken:
    """A span as it came."""

    name: str
    kind: str
    """`server`, `producer`, `consumer`, `client`."""
    trace: str
    id: str
    parent: str
    """Empty for a root."""
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    """Traces and spans."""
    service: str

    def __getitem__(self, name: str) -> Any:
        """Give an attribute, None where it is not there."""
        return self.attributes.get(name)


class Collector:
    """Serves until its context ends; what it answers may be changed meanwhile."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        """All that has come, refused or not."""
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self._runner: web.ServerRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Begin to serve; after an end, at the same port."""
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving."""
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """What has a program send its traces here, soon after they end."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    def spans(self, **attributes: Any) -> list[Taken]:
        """Give the spans that have come, or those with these attributes (`_` stands for a dot), by their beginning."""
        wanted = {name.replace("_", "."): value for name, value in attributes.items()}
        found = [
            each
            for body in self.bodies
            for each in _read(body)
            if all(each[name] == value for name, value in wanted.items())
        ]
        return sorted(found, key=lambda each: each.began)

    def named(self, name: str) -> list[Taken]:
        """Give the spans of a name."""
        return [each for each in self.spans() if each.name == name]

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.read())
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, status=self.status, content_type="application/x-protobuf")


def _read(body: bytes) -> Iterator[Taken]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Taken(
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    attributes=_attributes(span.attributes),
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    service=about["service.name"],
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
