"""Signals of `serve` during its start.

Until the loop runs, Python's defaults apply: SIGHUP ends the process, and SIGTERM does too, or nothing in the first
process of a container. Imports alone take half a second. So `hold` is called before other imports (this module has
almost none), and `Reloading` keeps a SIGHUP until there is a bridge to reload.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

_held: list[int] = []
"""SIGHUPs received before there was a loop."""


def hold() -> None:
    """Keep SIGHUP for later, and let SIGTERM and SIGINT end the process with status 0: nothing is open yet."""
    signal.signal(signal.SIGHUP, _keep)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


class Reloading:
    """Requests a reload at each SIGHUP, including earlier ones."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ask: Callable[[], None] | None = None
        self._is_asked = bool(_held)
        loop.add_signal_handler(signal.SIGHUP, self._asked)

    def begin(self, ask: Callable[[], None]) -> None:
        """Call `ask` from now on, and at once if a signal has arrived."""
        self._ask = ask
        if self._is_asked:
            ask()

    def _asked(self) -> None:
        self._is_asked = True
        if self._ask:
            self._ask()


def _keep(number: int, _: FrameType | None) -> None:
    _held.append(number)


def _end(_: int, __: FrameType | None) -> None:
    os._exit(0)
