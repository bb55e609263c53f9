"""Work for the reader's process that shows where it is done, and what becomes of it when it goes wrong there."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from bridge.admin.sources import Sources


def own_pid(_: Sources) -> int:
    return os.getpid()


def stand_still() -> None:
    time.sleep(60)


def say(_: Sources) -> str:
    print("a library says something", flush=True)
    return "said"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise ValueError("a lead's own words")


def fill_memory() -> None:
    bytearray(2**30)


def broken(connection: Connection) -> None:
    connection.execute(text("SELECT 1 FROM what_is_not_there"))


@dataclass
class Elsewhere:
    """Goes wrong, but not in the process that it is of."""

    what: Callable[[], None]
    pid: int

    def __call__(self, _: Sources) -> str:
        if os.getpid() != self.pid:
            self.what()
        return "done again"
