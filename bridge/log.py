"""The log: one line of JSON per request and per attempt on standard output, or colours in a terminal.

Lines hold ids, names, sizes and reasons; never a value of an event, and never a secret.
"""

import sys

import orjson
import structlog


def configure(*, terminal: bool | None = None) -> None:
    """Set the log up for the process. `terminal` chooses the readable form; by default where one is attached."""
    readable = sys.stdout.isatty() if terminal is None else terminal
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if readable:
        structlog.configure(
            processors=[structlog.processors.add_log_level, stamp, structlog.dev.ConsoleRenderer()],
            cache_logger_on_first_use=True,
        )
        return
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )
