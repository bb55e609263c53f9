"""The load generator: raw connections on the event loop, ready-made requests, every answer checked.

Its cost is the same for every side that it measures, and it says how busy it was: near 100 % it would be itself what is
measured.
"""

import asyncio
import collections
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from tests.benchmarks.leads import Request

CONNECTIONS = 64
SUCCESS = b'{"status":"success"}'
STRAGGLER_SECONDS = 10.0
"""How long the last answers of a burst may take before the run fails."""

_HEAD_END = b"\r\n\r\n"


class LoadError(Exception):
    """A burst that measured nothing: a connection was lost, or an answer never came."""


@dataclass(slots=True)
class Burst:
    """What a burst has seen."""

    seconds: float = 0.0
    answered: int = 0
    """Answers within `seconds`."""
    latencies: list[float] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    """The `SessionID`s that were answered with success, those after the end of the burst too."""
    wrong: list[bytes] = field(default_factory=list)
    """Answers that are not exactly what they should be."""
    busy: float = 0.0
    """The share of one core that the generator used."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds


class _Connection(asyncio.Protocol):
    """One keep-alive connection, with at most one request on its way."""

    transport: asyncio.Transport

    def __init__(self, expected: bytes) -> None:
        self._tail = _HEAD_END + expected
        self._received = b""
        self.session = 0
        self.due = 0.0
        self.answered: Callable[[_Connection, bytes | None], None] = _unasked
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: Request, due: float) -> None:
        self.session = request.session
        self.due = due
        self.transport.write(request.wire)

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        if data.startswith(b"HTTP/1.1 200 ") and data.endswith(self._tail) and data.count(_HEAD_END) == 1:
            self._received = b""
            self.answered(self, None)
        elif _is_whole(data):
            self._received = b""
            self.answered(self, data)
        else:
            self._received = data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.answered(self, b"connection lost: " + str(exc).encode())


def _unasked(_: _Connection, __: bytes | None) -> None:
    """Connections may end between bursts; the next burst sees it."""


def _is_whole(data: bytes) -> bool:
    head, ended, body = data.partition(_HEAD_END)
    if not ended:
        return False
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return True


class Load:
    """Connections to one server on this machine, kept over many bursts."""

    def __init__(self, connections: Sequence[_Connection]) -> None:
        self._connections = connections

    @classmethod
    async def connect(cls, port: int, connections: int = CONNECTIONS, expected: bytes = SUCCESS) -> "Load":
        """Open the connections. `expected` is the body that every answer must have."""
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: _Connection(expected), "127.0.0.1", port) for _ in range(connections)
        ]
        return cls([protocol for _, protocol in made])

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.answered = _unasked
            connection.transport.close()

    async def flat_out(self, requests: Sequence[Request], seconds: float) -> Burst:
        """Keep every connection busy for so long, or until the requests run out: the next one goes when an answer has
        come. Answers that come after the end are awaited and checked, but not counted in the rate.
        """
        burst = Burst(seconds)
        waiting = iter(requests)
        idle = asyncio.Event()
        out = 0
        began = ends = 0.0

        def answered(connection: _Connection, wrong: bytes | None) -> None:
            nonlocal out
            now = time.perf_counter()
            out -= 1
            _note(burst, connection, wrong)
            if now < ends:
                burst.answered += 1
                burst.latencies.append(now - connection.due)
                send(connection, now)
            if not out:
                idle.set()

        def send(connection: _Connection, now: float) -> None:
            nonlocal out, ends
            request = next(waiting, None)
            if request is None:
                ends = now
                burst.seconds = now - began
            elif not connection.lost:
                out += 1
                connection.send(request, now)

        async with self._measured(burst, answered):
            began = time.perf_counter()
            ends = began + seconds
            for connection in self._connections:
                send(connection, began)
            await _within(idle.wait(), seconds + STRAGGLER_SECONDS)
        return burst

    async def steady(self, requests: Sequence[Request], rate: float) -> Burst:
        """Send the requests at a fixed rate, and count each latency from the time at which its request was due.

        A request that is due while all connections wait for answers goes when one is free; its wait counts.
        """
        burst = Burst(len(requests) / rate)
        loop = asyncio.get_running_loop()
        free = collections.deque(self._connections)
        queue: collections.deque[tuple[Request, float]] = collections.deque()
        idle = asyncio.Event()
        left = len(requests)

        def answered(connection: _Connection, wrong: bytes | None) -> None:
            nonlocal left
            burst.latencies.append(time.perf_counter() - connection.due)
            burst.answered += 1
            _note(burst, connection, wrong)
            if queue:
                connection.send(*queue.popleft())
            else:
                free.append(connection)
            left -= 1
            if not left:
                idle.set()

        def offer(request: Request, due: float) -> None:
            if free:
                free.popleft().send(request, due)
            else:
                queue.append((request, due))

        async with self._measured(burst, answered):
            pace = threading.Thread(target=_pace, args=(loop, requests, rate, offer), daemon=True)
            pace.start()
            await _within(idle.wait(), burst.seconds + STRAGGLER_SECONDS)
            pace.join(STRAGGLER_SECONDS)
        return burst

    def _measured(self, burst: Burst, answered: Callable[[_Connection, bytes | None], None]) -> "_Measured":
        for connection in self._connections:
            if connection.lost:
                raise LoadError("the server has closed a connection")
            connection.answered = answered
        return _Measured(burst)


class _Measured:
    """Notes how busy this process is, and keeps its garbage collector from halting it."""

    def __init__(self, burst: Burst) -> None:
        self._burst = burst

    async def __aenter__(self) -> None:
        gc.collect()
        gc.disable()
        self._began = time.perf_counter(), time.process_time()

    async def __aexit__(self, *_: object) -> None:
        wall, used = self._began
        self._burst.busy = (time.process_time() - used) / (time.perf_counter() - wall)
        gc.enable()


def _note(burst: Burst, connection: _Connection, wrong: bytes | None) -> None:
    if wrong is None:
        burst.acknowledged.append(connection.session)
    else:
        burst.wrong.append(wrong[:300])


def _pace(
    loop: asyncio.AbstractEventLoop, requests: Sequence[Request], rate: float, offer: Callable[[Request, float], None]
) -> None:
    """Hand each request to the loop when it is due. A thread, because an event loop's timers go by milliseconds."""
    began = time.perf_counter() + 0.01
    for request, due in zip(requests, _times(began, rate), strict=False):
        wait = due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        loop.call_soon_threadsafe(offer, request, due)


def _times(began: float, rate: float) -> Iterator[float]:
    number = 0
    while True:
        yield began + number / rate
        number += 1


async def _within(answers: "collections.abc.Awaitable[object]", seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await answers
    except TimeoutError as error:
        raise LoadError(f"answers are missing after {seconds:.0f} s") from error
