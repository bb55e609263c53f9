"""A destination: answers every request after a fixed delay, and knows when each one arrived.

Run as `python -m tests.benchmarks.destination SECONDS`; it prints its port and takes lines: `count` gives the number of
requests answered, `take` gives what came since the last `take`. `answered` and `take` ask such a child.
"""

import asyncio
import re
import sys
import time
from dataclasses import dataclass
from typing import cast

import orjson
import uvloop

from tests.benchmarks.children import Child

Arrivals = list[tuple[int, float]]
"""Each request's `SessionID` and the time of its arrival, in seconds since the epoch."""

ASK_SECONDS = 5.0

_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SESSION = re.compile(rb'"session": ?(\d+)')


@dataclass(slots=True)
class Taken:
    """What came to a destination since it was last asked."""

    arrivals: Arrivals
    last_answer: float

    @property
    def began(self) -> float:
        """When the first request arrived."""
        return self.arrivals[0][1]


def answered(target: Child) -> int:
    """Count the requests that a destination has answered."""
    target.ask("count")
    return int(target.line(ASK_SECONDS))


def take(target: Child) -> Taken:
    """Have what came to a destination since it was last asked."""
    target.ask("take")
    arrivals, last_answer = orjson.loads(target.line(ASK_SECONDS))
    return Taken([(session, at) for session, at in arrivals], last_answer)


class _Book:
    """What has come."""

    def __init__(self) -> None:
        self.answered = 0
        self.arrivals: Arrivals = []
        self.last_answer = 0.0

    def take(self) -> bytes:
        taken = orjson.dumps([self.arrivals, self.last_answer])
        self.arrivals = []
        return taken


class _Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, book: _Book, delay: float) -> None:
        self._book = book
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        data = self._received + data if self._received else data
        head_end = data.find(b"\r\n\r\n") + 4
        found = _LENGTH.search(data, 0, head_end)
        if head_end < 4 or len(data) < head_end + (int(found[1]) if found else 0):
            self._received = data
            return
        self._received = b""
        session = _SESSION.search(data, head_end)
        self._book.arrivals.append((int(session[1]) if session else 0, now))
        if self._delay:
            self._loop.call_later(self._delay, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        self._transport.write(_ANSWER)
        self._book.answered += 1
        self._book.last_answer = time.time()


async def _main(delay: float) -> None:
    loop = asyncio.get_running_loop()
    book = _Book()
    server = await loop.create_server(lambda: _Connection(book, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = book.take().decode() if line.strip() == "take" else str(book.answered)
        print(answer, flush=True)


if __name__ == "__main__":
    uvloop.run(_main(float(sys.argv[1])))
