"""The signals of `serve` while it starts.

Until the loop runs, Python's defaults hold: SIGHUP kills, and SIGTERM does too, or does nothing where the process is
the first one of a container. Importing alone takes half a second. So `hold` is called before anything else is imported
(this module imports next to nothing), and `Reloading` keeps a SIGHUP until there is a bridge to reload.
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
"""The SIGHUPs that came before there was a loop."""


def hold() -> None:
    """Keep SIGHUP for later, and let SIGTERM and SIGINT end the process with status 0: nothing is open yet."""
    signal.signal(signal.SIGHUP, _keep)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


class Reloading:
    """Asks for a reload at each SIGHUP, the earlier ones included."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ask: Callable[[], None] | None = None
        self._is_asked = bool(_held)
        loop.add_signal_handler(signal.SIGHUP, self._asked)

    def begin(self, ask: Callable[[], None]) -> None:
        """Call `ask` from now on, and at once if a signal waits."""
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
