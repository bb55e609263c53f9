"""Durable acks per second, flat out: beside a handler that only reads the body and answers, and with encryption."""

import base64
import contextlib
import os
import statistics

from tests.benchmarks.bench import Bench
from tests.benchmarks.children import own
from tests.benchmarks.figures import Figure
from tests.benchmarks.ledger import Ledger
from tests.benchmarks.load import Burst, Load
from tests.benchmarks.program import NOWHERE, setup

MOST_PER_SECOND = 60_000
"""Requests made for the first burst of a side; each later burst gets twice what the one before has used."""
WARM_SECONDS = 0.5


class _Side:
    """One of the two, and what its bursts have seen."""

    def __init__(self, bench: Bench, load: Load, name: str) -> None:
        self._bench = bench
        self._load = load
        self._name = name
        self._expected = float(MOST_PER_SECOND)
        self.bursts: list[Burst] = []
        self.acknowledged: list[int] = []

    async def burst(self, seconds: float) -> Burst:
        requests = self._bench.sender.requests(int(self._expected * seconds) + 1_000)
        burst = self._bench.check(self._name, await self._load.flat_out(requests, seconds))
        self._expected = 2.0 * burst.rate
        self.acknowledged += burst.acknowledged
        return burst


async def measure(bench: Bench) -> list[Figure]:
    """Measure it while an operator's pause keeps both lanes from delivering.

    So the figure is the ack path's alone; what deliveries cost it is measured in `latency`. The pause spares the ack
    path nothing: each event is stored with its two deliveries, and both lanes are woken by each commit.
    """
    with setup({"first": NOWHERE, "second": NOWHERE}) as made, own("bare") as bare:
        ledger = Ledger(made)
        ledger.pause()
        with bench.serve(made, "ack path, flat out") as served:
            product = _Side(bench, await Load.connect(made.port), "throughput")
            reference = _Side(bench, await Load.connect(bare.port), "bare handler")
            for side in (product, reference):
                await side.burst(WARM_SECONDS)
            began = served.cpu(), len(product.acknowledged)
            for turn in bench.turns((product, reference)):
                for side in turn:
                    side.bursts.append(await side.burst(bench.seconds))
            cpu, acks = served.cpu() - began[0], len(product.acknowledged) - began[1]
        if missing := ledger.missing(product.acknowledged):
            bench.faults.append(f"throughput: {missing} acknowledged leads are not in the store with both deliveries")
    return [_figure(product.bursts, reference.bursts, cpu / acks)]


async def measure_encrypted(bench: Bench) -> list[Figure]:
    """Measure it with encryption beside the same program without, in turns."""
    sides: list[_Side] = []
    with contextlib.ExitStack() as stack:
        ledgers: list[Ledger] = []
        for name, key in (("encrypted", base64.b64encode(os.urandom(32)).decode()), ("in clear", None)):
            made = stack.enter_context(setup({"first": NOWHERE, "second": NOWHERE}, encryption_key=key))
            ledgers.append(Ledger(made))
            ledgers[-1].pause()
            stack.enter_context(bench.serve(made, f"ack path, {name}"))
            sides.append(_Side(bench, await Load.connect(made.port), name))
            await sides[-1].burst(WARM_SECONDS)
        for turn in bench.turns(sides):
            for side in turn:
                side.bursts.append(await side.burst(bench.seconds))
        for side, ledger in zip(sides, ledgers, strict=True):
            if missing := ledger.missing(side.acknowledged):
                bench.faults.append(f"encrypted: {missing} acknowledged leads are not in the store")
    encrypted, clear = (side.bursts for side in sides)
    return [
        Figure(
            name="durable acks, encrypted",
            unit="1/s",
            measured=statistics.median(burst.rate for burst in encrypted),
            reference=statistics.median(burst.rate for burst in clear),
            ratio=statistics.median(ours.rate / other.rate for ours, other in zip(encrypted, clear, strict=True)),
            mark=0.90,
            judged="ratio",
            better="higher",
            note="the reference is the same program without encryption",
        )
    ]


def _figure(product: list[Burst], reference: list[Burst], cpu: float) -> Figure:
    busy = statistics.median(burst.busy for burst in product), statistics.median(burst.busy for burst in reference)
    return Figure(
        name="durable acks, 64 connections",
        unit="1/s",
        measured=statistics.median(burst.rate for burst in product),
        reference=statistics.median(burst.rate for burst in reference),
        ratio=statistics.median(ours.rate / bare.rate for ours, bare in zip(product, reference, strict=True)),
        mark=0.40,
        aim=0.55,
        judged="ratio",
        better="higher",
        note=f"{cpu * 1e6:.0f} µs of processor each; generator {busy[0]:.0%} busy, {busy[1]:.0%} for the reference",
    )
