"""How long a lead takes from the bridge to its destination on the same machine, while nothing is behind."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from tests.benchmarks.bench import Bench
from tests.benchmarks.children import Child, own
from tests.benchmarks.destination import Arrivals, take
from tests.benchmarks.figures import Figure, median_percentile, pooled_percentile
from tests.benchmarks.ledger import Ledger
from tests.benchmarks.load import Load
from tests.benchmarks.program import setup

RATE = 500
IDLE_RATE = 20
"""So few per second that each finds everything at rest."""
ARRIVAL_SECONDS = 10.0


async def measure(bench: Bench) -> list[Figure]:
    """Measure from the event's `received_at`, a little before its commit, to the request's arrival in both
    destinations; beside a request of the same size that goes straight to a destination and back.
    """
    with own("destination", "0") as first, own("destination", "0") as second:
        targets = (first, second)
        with setup({"first": first.port, "second": second.port}) as made:
            with bench.serve(made, "from commit to arrival"):
                load = await Load.connect(made.port)
                await _round(bench, load, RATE, targets)
                busy = [await _round(bench, load, RATE, targets) for _ in range(bench.rounds)]
                idle = [await _round(bench, load, IDLE_RATE, targets) for _ in range(bench.rounds)]
            received = Ledger(made).received()
        direct = await _direct(bench, first)
    reference = median_percentile(direct, 0.5), median_percentile(direct, 0.99)
    busy_waits, idle_waits = _waits(busy, received), _waits(idle, received)
    return [
        _figure(f"commit to arrival at {RATE} per second, p50", busy_waits, 0.5, 20.0, reference[0]),
        _figure(f"commit to arrival at {RATE} per second, p99", busy_waits, 0.99, 100.0, reference[1]),
        _figure("commit to arrival, idle, p50", idle_waits, 0.5, 20.0, reference[0]),
    ]


async def _round(bench: Bench, load: Load, rate: int, targets: Sequence[Child]) -> list[Arrivals]:
    requests = bench.sender.requests(max(1, int(rate * bench.seconds)))
    burst = bench.check("commit to arrival", await load.steady(requests, rate))
    wanted = set(burst.acknowledged)
    return [await _arrivals(bench, target, wanted) for target in targets]


async def _arrivals(bench: Bench, target: Child, wanted: set[int]) -> Arrivals:
    arrived: Arrivals = []
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while missing := wanted - {session for session, _ in arrived}:
        if time.monotonic() > deadline:
            bench.faults.append(f"commit to arrival: {len(missing)} leads have not arrived")
            break
        await asyncio.sleep(0.05)
        arrived += take(target).arrivals
    return arrived


async def _direct(bench: Bench, target: Child) -> list[list[float]]:
    load = await Load.connect(target.port, expected=b'{"ok":true}')
    rounds = []
    for _ in range(bench.rounds):
        burst = await load.steady(bench.sender.requests(int(RATE * bench.seconds)), RATE)
        rounds.append([1e3 * each for each in bench.check("straight to the destination", burst).latencies])
    return rounds


def _waits(rounds: list[list[Arrivals]], received: Mapping[int, float]) -> list[list[float]]:
    return [[1e3 * (at - received[session]) for arrivals in each for session, at in arrivals] for each in rounds]


def _figure(name: str, rounds: list[list[float]], share: float, mark: float, reference: float) -> Figure:
    measured = median_percentile(rounds, share)
    note = f"over all rounds {pooled_percentile(rounds, share):.2f} ms; the reference goes there and back"
    return Figure(name, "ms", measured, reference, measured / reference, mark, note=note)
