"""How long an ack takes at a fixed rate, counted from the time at which its request was due."""

import asyncio
import statistics
import time

from tests.benchmarks.bench import Bench
from tests.benchmarks.children import Child, own
from tests.benchmarks.destination import answered
from tests.benchmarks.figures import Figure, median_percentile, pooled_percentile
from tests.benchmarks.ledger import Ledger
from tests.benchmarks.load import Burst, Load
from tests.benchmarks.program import NOWHERE, setup

RATES = (200, 500, 1_000)
BESIDE_RATE = 500
DELIVERIES = 1_500
"""Deliveries per second that must be seen meanwhile, for that figure to count."""
MOST_DELIVERIES = 2_000
"""Deliveries per second for which the backlog is made."""
ANSWER_SECONDS = "0.010"
NOTICE_SECONDS = 5.0
"""How long the program may take to notice that an operator has paused or resumed its lanes."""


async def measure(bench: Bench) -> list[Figure]:
    """Measure it without deliveries (both lanes paused, as in `throughput`), beside the bare handler."""
    figures = []
    with setup({"first": NOWHERE, "second": NOWHERE}) as made, own("bare") as bare:
        Ledger(made).pause()
        with bench.serve(made, "ack path, at fixed rates"):
            sides = {"product": await Load.connect(made.port), "bare": await Load.connect(bare.port)}
            for load in sides.values():
                await _burst(bench, load, max(RATES), bench.seconds)
            for rate in RATES:
                rounds: dict[str, list[Burst]] = {name: [] for name in sides}
                for turn in bench.turns(tuple(sides)):
                    for name in turn:
                        rounds[name].append(await _burst(bench, sides[name], rate, bench.seconds))
                figures += _figures(f"ack at {rate} per second", rounds["product"], rounds["bare"], 5.0, 2.5)
    return figures


async def measure_beside_delivery(bench: Bench) -> list[Figure]:
    """Measure it while two lanes work off a backlog, ten calls at once each; beside the same while they are paused.

    The destinations answer after 10 ms: they can be given 2,000 leads per second at the most. Each lead that comes
    meanwhile goes to both as well.
    """
    with own("destination", ANSWER_SECONDS) as first, own("destination", ANSWER_SECONDS) as second:
        targets = (first, second)
        with setup({"first": first.port, "second": second.port}) as made:
            ledger = Ledger(made)
            seconds = bench.rounds * (bench.seconds + 1.0)
            ledger.fill(bench.sender.payloads(int(seconds * MOST_DELIVERIES / len(targets))))
            ledger.pause()
            with bench.serve(made, "ack path beside deliveries"):
                load = await Load.connect(made.port)
                await _burst(bench, load, BESIDE_RATE, bench.seconds)
                paused, delivering, delivered = [], [], []
                for _ in range(bench.rounds):
                    paused.append(await _burst(bench, load, BESIDE_RATE, bench.seconds))
                    ledger.resume()
                    await _moving(targets, wanted=True)
                    before, began = _count(targets), time.perf_counter()
                    delivering.append(await _burst(bench, load, BESIDE_RATE, bench.seconds))
                    delivered.append((_count(targets) - before) / (time.perf_counter() - began))
                    ledger.pause()
                    await _moving(targets, wanted=False)
            if not ledger.pending():
                bench.faults.append("ack beside deliveries: the backlog ran out")
    rate = statistics.median(delivered)
    if rate < DELIVERIES:
        bench.faults.append(f"ack beside deliveries: only {rate:.0f} deliveries per second, not {DELIVERIES}")
    name = f"ack at {BESIDE_RATE} per second beside deliveries"
    return _figures(name, delivering, paused, 10.0, 5.0, f"{rate:.0f} deliveries per second meanwhile; ")


async def _burst(bench: Bench, load: Load, rate: int, seconds: float) -> Burst:
    requests = bench.sender.requests(int(rate * seconds))
    return bench.check(f"ack at {rate} per second", await load.steady(requests, rate))


def _figures(
    name: str, product: list[Burst], reference: list[Burst], mark: float, aim: float, note: str = ""
) -> list[Figure]:
    ours, others = ([[1e3 * each for each in burst.latencies] for burst in side] for side in (product, reference))
    figures = []
    for label, share, limits in (("p50", 0.5, (None, None)), ("p99", 0.99, (mark, aim))):
        measured, beside = median_percentile(ours, share), median_percentile(others, share)
        figures.append(
            Figure(
                name=f"{name}, {label}",
                unit="ms",
                measured=measured,
                reference=beside,
                ratio=measured / beside,
                mark=limits[0],
                aim=limits[1],
                note=f"{note}over all rounds {pooled_percentile(ours, share):.2f} ms",
            )
        )
    return figures


def _count(targets: tuple[Child, ...]) -> int:
    return sum(answered(target) for target in targets)


async def _moving(targets: tuple[Child, ...], *, wanted: bool) -> None:
    """Wait until deliveries go on, or have stopped."""
    deadline = time.monotonic() + NOTICE_SECONDS
    before = _count(targets)
    while time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        now = _count(targets)
        if (now > before) == wanted:
            return
        before = now
    raise TimeoutError("the program does not notice that its lanes were paused or resumed")
