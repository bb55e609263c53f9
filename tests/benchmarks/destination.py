"""A destination: answers every request after a fixed delay, and knows when each one arrived.

Run as `python -m tests.benchmarks.destination SECONDS`; it prints its port and takes lines: `count` gives the number of
requests answered, `take` gives a JSON object of what came since the last `take`.
"""

import asyncio
import re
import sys
import time
from typing import cast

import orjson
import uvloop

_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SESSION = re.compile(rb'"session": ?(\d+)')


class _Book:
    """What has come."""

    def __init__(self) -> None:
        self.answered = 0
        self._clear()

    def _clear(self) -> None:
        self.arrivals: list[tuple[int, float]] = []
        self.last_answer = 0.0
        self.sample = b""

    def take(self) -> bytes:
        taken = {"arrivals": self.arrivals, "last_answer": self.last_answer, "sample": self.sample.decode("latin-1")}
        self._clear()
        return orjson.dumps(taken)


class _Connection(asyncio.Protocol):
    def __init__(self, book: _Book, delay: float) -> None:
        self._book = book
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport = None  # type: ignore[assignment] - set before anything is received

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
        self._book.sample = data
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
