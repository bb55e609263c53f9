"""Switch of tracing: OpenTelemetry's own environment variables, and nothing else.

Without them OpenTelemetry's SDK is not imported, and receiver and lanes start no span.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

if TYPE_CHECKING:
    from bridge.telemetry.export import SpanExport

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
"""The only supported protocol. gRPC's library is as large as all others of the image, and every collector speaks both
protocols."""

_OFF = "or set OTEL_SDK_DISABLED=true"

log = structlog.get_logger()


def start_tracing(environ: Mapping[str, str]) -> "SpanExport | None":
    """Start to trace if the variables ask for it. Call it in the running loop, with the process's environment.

    Never raises: a problem becomes a warning in the log, and leads are received and delivered without traces.
    """
    if not _is_requested(environ):
        return None
    if problem := _unsupported(environ):
        log.warning("not_traced", error=problem)
        return None
    try:
        from bridge.telemetry.export import SpanExport  # noqa: PLC0415 - the SDK is an optional extra, and slow to import
    except ImportError:
        log.warning(
            "not_traced", error=f"OpenTelemetry is not installed: pip install 'leadbridge[opentelemetry]', {_OFF}"
        )
        return None
    try:
        export = SpanExport()
        collector = urlsplit(_value(environ, *ENDPOINTS) or "http://localhost:4318").hostname
    except Exception as error:  # noqa: BLE001 - its message may quote a header of the exporter, which is a secret
        names = ", ".join(sorted(name for name in environ if name.startswith("OTEL_")))
        log.warning(
            "not_traced", error=f"OpenTelemetry refuses one of {names} ({type(error).__name__}): fix it, {_OFF}"
        )
        return None
    log.info("traced", collector=collector)
    return export


def _is_requested(environ: Mapping[str, str]) -> bool:
    if _value(environ, "OTEL_SDK_DISABLED").lower() == "true":
        return False
    exporters = _value(environ, "OTEL_TRACES_EXPORTER").lower()
    return exporters != "none" if exporters else bool(_value(environ, *ENDPOINTS))


def _unsupported(environ: Mapping[str, str]) -> str | None:
    """Return the reason why the requested exporter cannot be used, or None."""
    exporters = _value(environ, "OTEL_TRACES_EXPORTER") or "otlp"
    if "otlp" not in (each.strip().lower() for each in exporters.split(",")):
        return f"OTEL_TRACES_EXPORTER names no supported exporter: set it to otlp, {_OFF}"
    if (_value(environ, *PROTOCOLS) or PROTOCOL).lower() != PROTOCOL:
        return f"traces are sent as {PROTOCOL} only: set {PROTOCOLS[0]} to that, and the endpoint to its port (4318)"
    return None


def _value(environ: Mapping[str, str], *names: str) -> str:
    """Return the first of the variables that has a value; an empty one counts as unset, as in OpenTelemetry."""
    return next((value for name in names if (value := environ.get(name, "").strip())), "")
