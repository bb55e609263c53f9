"""The log: one line of JSON per request and per attempt on standard output, or colours in a terminal.

Lines hold ids, names, sizes and reasons; never a value of an event, and never a secret.
"""

import sys
from typing import BinaryIO

import orjson
import structlog


def configure(lines: BinaryIO | None = None) -> None:
    """Set the log up for the process: JSON into `lines`, or to standard output, readable if that is a terminal."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if lines is None and sys.stdout.isatty():
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
        logger_factory=structlog.BytesLoggerFactory(lines),
        cache_logger_on_first_use=True,
    )
