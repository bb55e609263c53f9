"""A CRM that tells a repetition by its Idempotency-Key alone, and costs little: it shares two cores with the program.

Run as `python -m tests.chaos.keyed SEED`; it prints its port, and gives for each line that it reads what has arrived
since the one before. About one request in fifty goes wrong: 500 without the write, or closed after it.
"""

import asyncio
import random
import re
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import orjson
import uvloop

from tests.benchmarks.children import Child

ASK_SECONDS = 20.0
_REFUSED, _CLOSED = 0.01, 0.01
"""The shares of requests that go wrong in each of the two ways."""
_GOOD = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
_BAD = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_STAMPED = 35
"""SO_TIMESTAMPNS, which Python has no name for: the kernel says of what is read when it came (socket(7))."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key: *([^\r]+)\r", re.IGNORECASE)
_LEAD = re.compile(rb'"lead": ?"?(\d+)')


class Arrived(NamedTuple):
    """A request."""

    lead: int
    key: str
    at: float
    """When it reached this machine, in seconds since the epoch."""
    written: bool
    """Whether a record has come of it, unless there was one under its key."""


def take(crm: Child) -> list[Arrived]:
    """Have what has arrived since the last time."""
    crm.ask("take")
    return [Arrived(*each) for each in orjson.loads(crm.line(ASK_SECONDS))]


class _Crm:
    """Serves connections, one request after the other on each."""

    def __init__(self, seed: int) -> None:
        self.arrived: list[Arrived] = []
        self._chance = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._received: dict[socket.socket, bytes] = {}

    async def serve(self, listener: socket.socket) -> None:
        """Take connections until cancelled."""
        while True:
            connection, _ = await self._loop.sock_accept(listener)
            connection.setsockopt(socket.SOL_SOCKET, _STAMPED, 1)
            self._received[connection] = b""
            self._loop.add_reader(connection, self._read, connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            data, beside, _, _ = connection.recvmsg(65_536, 1_024)
        except ConnectionError:
            data, beside = b"", []
        if not data:
            self._close(connection)
            return
        data = self._received[connection] + data
        head_end = data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data, 0, head_end)
        if head_end < 4 or not length or len(data) < head_end + int(length[1]):
            self._received[connection] = data
            return
        self._received[connection] = b""
        key, lead = _KEY.search(data, 0, head_end), _LEAD.search(data, head_end)
        assert key, "a request without a key"
        assert lead, "a request without a lead"
        drawn = self._chance.random()
        self.arrived.append(Arrived(int(lead[1]), key[1].decode(), _at(beside), drawn >= _REFUSED))
        if _REFUSED <= drawn < _REFUSED + _CLOSED:
            self._close(connection)
            return
        try:
            connection.send(_BAD if drawn < _REFUSED else _GOOD)
        except ConnectionError:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection)
        del self._received[connection]
        connection.close()


def _at(beside: Sequence[tuple[int, int, bytes]]) -> float:
    """Give when the kernel got what was read last: this process may have waited for its turn to read it."""
    for level, kind, value in beside:
        if (level, kind) == (socket.SOL_SOCKET, _STAMPED):
            seconds, nanoseconds = struct.unpack("qq", value)
            return float(seconds + nanoseconds / 1e9)
    return time.time()


async def _main(seed: int) -> None:
    crm = _Crm(seed)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, _STAMPED, 1)
        serving = asyncio.create_task(crm.serve(listener))
        print(listener.getsockname()[1], flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(orjson.dumps(crm.arrived, default=tuple).decode(), flush=True)
            crm.arrived.clear()
        serving.cancel()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
