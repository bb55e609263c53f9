"""How much memory the program takes while it does nothing, and how soon after its start it answers."""

import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks import children
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import SUCCESS
from tests.benchmarks.program import NOWHERE, Setup, setup

IDLE_SECONDS = 0.5
START_SECONDS = 15.0


async def measure(bench: Bench) -> list[Figure]:
    """Measure both for a first start, which makes the store, and for one on a store that is there."""
    first: list[_Start] = []
    again: list[_Start] = []
    bare: list[_Start] = []
    for _ in range(bench.rounds):
        with setup({"first": NOWHERE, "second": NOWHERE}) as made:
            first.append(_start(bench, made))
            again.append(_start(bench, made))
        bare.append(_start_bare(bench))
    return [
        _memory("memory idle, after a first start", first, bare),
        _memory("memory idle, after a restart", again, bare),
        _seconds("first start to first answer", first, bare),
        _seconds("restart to first answer", again, bare),
    ]


@dataclass(frozen=True, slots=True)
class _Start:
    """What one start took."""

    seconds: float
    rss: float
    pss: float


def _memory(name: str, starts: Sequence[_Start], bare: Sequence[_Start]) -> Figure:
    ours, reference = (statistics.median(each.rss for each in side) for side in (starts, bare))
    note = f"RSS; PSS is {statistics.median(each.pss for each in starts):.1f} MB"
    return Figure(name, "MB", ours, reference, ours / reference, 90.0, 70.0, note=note)


def _seconds(name: str, starts: Sequence[_Start], bare: Sequence[_Start]) -> Figure:
    ours, reference = (statistics.median(each.seconds for each in side) for side in (starts, bare))
    return Figure(name, "s", ours, reference, ours / reference, 1.0, 0.8)


def _start(bench: Bench, made: Setup) -> _Start:
    wire = bench.sender.requests(1)[0].wire
    began = time.perf_counter()
    with bench.launch(made) as served:
        first_answer(made.port, wire)
        seconds = time.perf_counter() - began
        time.sleep(IDLE_SECONDS)
        return _Start(seconds, *children.memory(served.pid))


def _start_bare(bench: Bench) -> _Start:
    wire = bench.sender.requests(1)[0].wire
    began = time.perf_counter()
    with children.own("bare") as bare:
        first_answer(bare.port, wire)
        return _Start(time.perf_counter() - began, *children.memory(bare.pid))


def first_answer(port: int, wire: bytes, seconds: float = START_SECONDS) -> None:
    """Send a signed lead until it is answered with success, for so long: from the start of a process on."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), START_SECONDS) as connection:
                connection.sendall(wire)
                answer = connection.recv(65_536)
        except ConnectionError:
            time.sleep(0.002)
            continue
        if answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(SUCCESS):
            return
        raise children.ChildError(f"the first request was answered: {answer[:300]!r}")
    raise children.ChildError("the program does not answer")
