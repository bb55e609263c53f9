"""The reader's process: makes what people look at, so that their pages take no time of the interpreter that receives.

Started by `bridge.admin.reader` and by nobody else. What comes in and goes out are pickles, each after its length.
First come the store's URL and its keys; `READY` answers them. Then each `Work` is answered with how it ended and what
came of it. The process ends when nothing more can come: when its starter ends, however that happens.
"""

import contextlib
import gc
import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from sqlalchemy import Connection

from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.endpoint import UnansweredError
from bridge.admin.sources import Sources
from bridge.errors import LeadbridgeError, StoreUnavailableError
from bridge.store.driver import Driver
from bridge.store.url import driver_for

LENGTH: Final = 4
"""Bytes of a pickle's length."""
READY: Final = b"ready"
MEMORY: Final = 256 * 1024 * 1024
"""Bytes that the work may take beyond what the process needs by itself."""
_NICEST: Final = 19

T = TypeVar("T")


class End(Enum):
    """How a piece of work ended."""

    DONE = auto()
    """With its value."""
    REFUSED = auto()
    """With an error for a person, which is raised where it was asked for."""
    FAILED = auto()
    """With a fault, of which the place is told: its message may hold a lead's data."""


class Asking:
    """Runs questions on a connection that is kept, and opened again when it is lost."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._connection: Connection | None = None

    def __call__(self, question: Callable[[Connection], T]) -> T:
        """Ask, all from one moment; once more where the connection had gone. Raises StoreUnavailableError."""
        kept = self._connection is not None
        try:
            return self._ask(question)
        except self._driver.errors as error:
            self._drop()
            if not kept:
                raise StoreUnavailableError(
                    f"the store cannot be read: {self._driver.safe_error(error)}; try again"
                ) from error
        return self(question)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        self._connection = self._connection or self._driver.connect()
        with self._driver.snapshot(self._connection):
            return question(self._connection)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*self._driver.errors):
                connection.close()


def main() -> None:
    """Read and answer until the end of the input."""
    # An interrupt at a terminal is meant for the starter, which ends this process when its own work is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _step_back()
    with os.fdopen(os.dup(0), "rb") as incoming, os.fdopen(os.dup(1), "wb") as outgoing:
        # What a library prints must not stand between two answers.
        os.dup2(2, 1)
        with contextlib.suppress(EOFError, BrokenPipeError):
            url, keys = pickle.loads(_take(incoming))  # noqa: S301 - from who has started this process
            sources = Sources(Asking(driver_for(url, keys)), Rendering())
            gc.freeze()
            _bound_memory()
            _give(outgoing, READY)
            while True:
                _give(outgoing, answer(sources, _take(incoming)))


def _step_back() -> None:
    """Run only when nobody else wants to: senders wait for the starter, a person for this process.

    Not by niceness: a nice process is left on its processor until the next tick of the kernel, 4 ms with 250 Hz, where
    an idle one makes room at once (https://man7.org/linux/man-pages/man7/sched.7.html, "SCHED_IDLE").
    """
    os.nice(_NICEST)
    if sys.platform == "linux":
        # A sandbox of system calls may not have it; then niceness has to do.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _bound_memory() -> None:
    """Have the work fail that takes too much memory, before the kernel ends the process that receives leads."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def answer(sources: Sources, pickled: bytes) -> bytes:
    """Do a piece of work; whatever it raises is an answer too."""
    try:
        return pickle.dumps((End.DONE, pickle.loads(pickled)(sources)))  # noqa: S301 - from who has started this process
    except LeadbridgeError as error:
        return pickle.dumps((End.REFUSED, error))
    except MemoryError:
        return pickle.dumps((End.REFUSED, UnansweredError("this takes too much memory and was stopped: ask for less")))
    except Exception as error:  # noqa: BLE001 - the place logs it; without the message, which may hold a lead's data
        way = " < ".join(
            f"{each.filename}:{each.lineno}" for each in reversed(traceback.extract_tb(error.__traceback__))
        )
        return pickle.dumps((End.FAILED, f"{type(error).__name__} at {way}"))


def _take(incoming: BinaryIO) -> bytes:
    """Raises EOFError at the end."""
    length = incoming.read(LENGTH)
    body = incoming.read(int.from_bytes(length)) if len(length) == LENGTH else b""
    if not body:
        raise EOFError
    return body


def _give(outgoing: BinaryIO, body: bytes) -> None:
    outgoing.write(len(body).to_bytes(LENGTH) + body)
    outgoing.flush()
