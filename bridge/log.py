"""The log: one line of JSON per request and per attempt on standard output, or coloured text in a terminal.

Lines contain ids, names, sizes and reasons, but never a value of an event or a secret.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from typing import Any, BinaryIO, cast

import orjson
import structlog


def configure(lines: BinaryIO | None = None) -> None:
    """Configure the log of the process: JSON into `lines` or standard output, readable text in a terminal.

    Without `lines` it also captures the output of Python and libraries to standard error.
    """
    if lines is None:
        _capture()
    if lines is None and sys.stdout.isatty():
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        structlog.configure(
            processors=[structlog.processors.add_log_level, stamp, _frames, structlog.dev.ConsoleRenderer()],
            logger_factory=structlog.PrintLoggerFactory(),
            cache_logger_on_first_use=True,
        )
        return
    structlog.configure(
        processors=[_line],
        logger_factory=_Lines(lines or sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


def info_logger() -> Callable[..., None]:
    """Return the log's `info`, for the lines of each request: structlog's own way takes twice as long as the line."""
    usual = structlog.get_logger().bind().info
    settings = structlog.get_config()
    processors, lines = settings["processors"], settings["logger_factory"]
    if not isinstance(lines, _Lines):
        return cast("Callable[..., None]", usual)

    def info(event: str, **entry: object) -> None:
        if processors[0] is not _line:  # a test looks at the entries
            usual(event, **entry)
            return
        entry["event"] = event
        lines.msg(_line(None, "info", entry))

    return info


def write_beside_output() -> None:
    """Write the log of a command to standard error: another program may read its output."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def server_log() -> logging.Logger:
    """Return the logger for aiohttp's server: one line with the kind of the fault.

    aiohttp's own text is a traceback with the message of the error, which quotes what was sent.
    """
    logger = logging.getLogger("leadbridge.http")
    if not logger.handlers:
        logger.addHandler(_Kinds("http_fault"))
        logger.propagate = False
    return logger


def _capture() -> None:
    """Capture everything that would reach standard error past this log, since it may quote a request or a secret.

    This covers the libraries' loggers (asyncio's for exceptions in callbacks), warnings, threads that end with an
    exception, and exceptions that cannot be caught, as in a destructor.
    """
    root = logging.getLogger()
    root.handlers = [_Kinds("library_fault")]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.unraisablehook = lambda raised: _uncaught("destructor", raised.exc_value)
    threading.excepthook = lambda raised: _uncaught("thread", raised.exc_value)


def _uncaught(where: str, error: BaseException | None) -> None:
    structlog.get_logger().error("uncaught", where=where, exc_info=error)


class _Kinds(logging.Handler):
    """Handler that writes a library's message as one line: logger, position and kind of the error, never the text."""

    def __init__(self, event: str) -> None:
        super().__init__(logging.WARNING)
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        frames = traceback.extract_tb(error.__traceback__) if error else None
        at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else f"{record.pathname}:{record.lineno}"
        fault = type(error).__qualname__ if error else None
        structlog.get_logger().warning(self._event, logger=record.name, fault=fault, at=at)


def _line(logger: object, level: str, entry: MutableMapping[str, Any]) -> bytes:
    """Return an entry as JSON, in one step instead of several structlog processors, since every request is logged."""
    if "exc_info" in entry:
        _frames(logger, level, entry)
    second, fraction = divmod(time.time(), 1)
    entry["level"] = "error" if level == "exception" else level
    entry["timestamp"] = f"{_to_the_second(second)}.{int(fraction * 1e6):06}Z"
    return orjson.dumps(entry)


@lru_cache(maxsize=1)
def _to_the_second(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _frames(_: object, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by its type and its lines of code, without message and local variables.

    Both may contain a lead's data or a secret.
    """
    given = entry.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        entry["exception"] = type(error).__qualname__
        entry["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return entry


class _Lines:
    """Writer of all lines of one turn of the event loop at once, since a write per line costs more than its content.

    It is a logger and its own factory, as structlog expects. Outside of a loop a line is written at once.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []

    def __call__(self, *_: object) -> "_Lines":
        return self

    def msg(self, line: bytes) -> None:
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write)
            except RuntimeError:
                self._write()

    debug = info = warning = error = critical = exception = msg

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        # A log that cannot be written must not keep a lead from being stored or settled.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(b"\n".join([*lines, b""]))
            self._file.flush()
