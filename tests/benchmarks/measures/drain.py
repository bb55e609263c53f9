"""How fast a lane works off a backlog, one HTTP call per lead, beside a bare client loop that sends the same."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field

from tests.benchmarks.bench import Bench
from tests.benchmarks.children import Child, own
from tests.benchmarks.destination import answered, take
from tests.benchmarks.figures import Figure
from tests.benchmarks.ledger import Ledger
from tests.benchmarks.program import setup

CONCURRENCIES = (10, 50)
ANSWER_SECONDS = 0.005
DRAIN_SECONDS = 30.0


async def measure(bench: Bench) -> list[Figure]:
    """Measure it for several numbers of calls under way at once."""
    return [await _measure(bench, concurrency) for concurrency in CONCURRENCIES]


async def _measure(bench: Bench, concurrency: int) -> Figure:
    with (
        own("destination", str(ANSWER_SECONDS)) as target,
        own("bare_client", str(target.port), str(concurrency)) as client,
        setup({"paced": target.port}, concurrency) as made,
    ):
        product, reference = _Product(bench, Ledger(made), target), _Reference(client, target)
        sides: tuple[_Product | _Reference, ...] = (product, reference)
        # The first backlog, to get warm on, is there before the program is.
        warm = int(bench.seconds * concurrency * 30)
        product.fill(warm)
        with bench.serve(made, f"a lane, {concurrency} calls at once") as served:
            await product.work_off(warm)
            await reference.drain(warm)
            count = max(int(bench.seconds * product.rates.pop()), 10 * concurrency)
            reference.rates.clear()
            began = served.cpu()
            for turn in bench.turns(sides):
                for side in turn:
                    await side.drain(count)
            cpu = (served.cpu() - began) / (count * bench.rounds)
    return Figure(
        name=f"drain into a {1e3 * ANSWER_SECONDS:.0f} ms destination, {concurrency} at once",
        unit="1/s",
        measured=statistics.median(product.rates),
        reference=statistics.median(reference.rates),
        ratio=statistics.median(ours / bare for ours, bare in zip(product.rates, reference.rates, strict=True)),
        mark=0.6,
        aim=0.8,
        judged="ratio",
        better="higher",
        note=f"bursts of {count}; {cpu * 1e6:.0f} µs of processor each",
    )


@dataclass(slots=True)
class _Product:
    """The lane: from the first arrival at the destination to the commit of the last outcome."""

    bench: Bench
    ledger: Ledger
    target: Child
    rates: list[float] = field(default_factory=list)
    goal: int = 0
    """How many requests the destination has answered once the backlog is worked off."""

    async def drain(self, count: int) -> None:
        self.fill(count)
        await self.work_off(count)

    def fill(self, count: int) -> None:
        self.goal = answered(self.target) + count
        self.ledger.fill(self.bench.sender.payloads(count))

    async def work_off(self, count: int) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        # The store is asked only at the end, so that asking takes nothing from the lane.
        while answered(self.target) < self.goal or self.ledger.pending():
            if time.monotonic() > deadline:
                raise TimeoutError("the lane does not work its backlog off")
            await asyncio.sleep(0.005)
        ended = time.time()
        taken = take(self.target)
        if len(taken.arrivals) != count:
            self.bench.faults.append(f"drain: {len(taken.arrivals)} requests for {count} leads")
        self.rates.append(count / (ended - taken.began))


@dataclass(slots=True)
class _Reference:
    """The bare loop: from the first arrival to the last answer."""

    client: Child
    target: Child
    rates: list[float] = field(default_factory=list)

    async def drain(self, count: int) -> None:
        self.client.ask(str(count))
        self.client.line(DRAIN_SECONDS)
        taken = take(self.target)
        self.rates.append(count / (taken.last_answer - taken.began))
