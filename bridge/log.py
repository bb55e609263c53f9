"""The log: one line of JSON per request and per attempt on standard output, or colours in a terminal.

Lines hold ids, names, sizes and reasons; never a value of an event, and never a secret.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, BinaryIO

import orjson
import structlog


def configure(lines: BinaryIO | None = None) -> None:
    """Set the log up for the process: JSON into `lines`, or to standard output, readable if that is a terminal.

    Without `lines` it also takes what Python and the libraries would print to standard error.
    """
    if lines is None:
        _capture()
    if lines is None and sys.stdout.isatty():
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        structlog.configure(
            processors=[structlog.processors.add_log_level, stamp, _frames, structlog.dev.ConsoleRenderer()],
            cache_logger_on_first_use=True,
        )
        return
    structlog.configure(
        processors=[_line],
        logger_factory=_Lines(lines or sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


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
    """Take the ways by which a text reaches standard error past this log: it may quote a request or a secret.

    These are the libraries' loggers (asyncio's for what a callback raises), warnings, threads that end by an
    exception, and exceptions that nobody can catch, as in a destructor.
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
    """Writes what a library logs as one line: who logged it, where, and the kind of the error; never the text."""

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
    """Give an entry as JSON: what structlog has a processor each for, in one, since each request and attempt logs."""
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
    """Write an exception as its type and the lines of code that it went through.

    Without its message and without local variables: both may hold a lead's data, or a secret.
    """
    given = entry.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        entry["exception"] = type(error).__qualname__
        entry["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return entry


class _Lines:
    """Writes the lines of one turn of the event loop in one go: a write for each costs more than making it.

    A logger and its own factory, as structlog wants them. Outside of a loop a line is written at once.
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
