"""Whether traces are asked for: by OpenTelemetry's own variables of the environment, and by nothing else.

Without them nothing is put around receiver and lanes, and nothing of OpenTelemetry is imported.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from bridge.delivery.attempt import AttemptRunner, Observe
from bridge.ingress import receiver
from bridge.ingress.receiver import Intake

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
"""The only one here: gRPC's library is as large as all the rest of the image's, and every collector speaks both."""

log = structlog.get_logger()

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""What answers a request to the webhook endpoint."""


class Tracing:
    """What the wiring puts around receiver, store and lanes to learn of a lead's way: nothing, where nobody asks.

    Each method gives what is to be used in place of what it is given. Here that is the very same.
    """

    def answer(self, answer: Answer) -> Answer:
        """Give what answers the webhook's requests."""
        return answer

    def received(self, observe: receiver.Observe) -> receiver.Observe:
        """Give what the receiver tells of each request."""
        return observe

    def intake(self, intake: Intake) -> Intake:
        """Give what the receiver puts events in."""
        return intake

    def caller(self, attempted: Observe) -> AttemptRunner:
        """Give what makes the calls of all lanes; `attempted` is told of each attempt."""
        return AttemptRunner(attempted)

    async def close(self) -> None:
        """Send what is left, within a bound; call it after all the others have ended."""


def begin(environ: Mapping[str, str]) -> Tracing:
    """Begin to trace if the variables ask for it. Made in the running loop; `environ` is what the SDK reads too.

    Never raises: what keeps it from tracing is a warning in the log, and the leads go their way.
    """
    if not _asked_for(environ):
        return Tracing()
    if problem := _unsuited(environ):
        log.warning("not_traced", error=problem)
        return Tracing()
    try:
        from bridge.telemetry.spans import Spans  # noqa: PLC0415 - an optional extra, and only now is it wanted
    except ImportError:
        log.warning(
            "not_traced", error=f"OpenTelemetry is not installed: pip install 'leadbridge[opentelemetry]', {_OFF}"
        )
        return Tracing()
    try:
        spans = Spans()
        collector = urlsplit(_first(environ, *ENDPOINTS) or "http://localhost:4318").hostname
    except Exception as error:  # noqa: BLE001 - its message may quote a header of the exporter's, which is a secret
        names = ", ".join(sorted(name for name in environ if name.startswith("OTEL_")))
        log.warning(
            "not_traced", error=f"OpenTelemetry refuses one of {names} ({type(error).__name__}): fix it, {_OFF}"
        )
        return Tracing()
    log.info("traced", collector=collector)
    return spans


_OFF = "or set OTEL_SDK_DISABLED=true"


def _asked_for(environ: Mapping[str, str]) -> bool:
    if _first(environ, "OTEL_SDK_DISABLED").lower() == "true":
        return False
    exporters = _first(environ, "OTEL_TRACES_EXPORTER").lower()
    return exporters != "none" if exporters else bool(_first(environ, *ENDPOINTS))


def _unsuited(environ: Mapping[str, str]) -> str | None:
    """Say what is asked for that is not here."""
    exporters = _first(environ, "OTEL_TRACES_EXPORTER") or "otlp"
    if "otlp" not in (each.strip().lower() for each in exporters.split(",")):
        return f"OTEL_TRACES_EXPORTER names no exporter that is here: set it to otlp, {_OFF}"
    if (_first(environ, *PROTOCOLS) or PROTOCOL).lower() != PROTOCOL:
        return f"traces are sent as {PROTOCOL} only: set {PROTOCOLS[0]} to that, and the endpoint to its port (4318)"
    return None


def _first(environ: Mapping[str, str], *names: str) -> str:
    """Give the first of the variables that has a value; an empty one counts as unset, as OpenTelemetry has it."""
    return next((value for name in names if (value := environ.get(name, "").strip())), "")
