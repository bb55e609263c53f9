"""What a million pending deliveries cost the sender, the next batch, the start and the memory, beside a thousand.

On the embedded engine and on PostgreSQL. Meanwhile the program delivers what is pending, as slowly as one destination
that takes `ANSWER_SECONDS` for each lead lets it: so the queue is as long at the end as it was at the beginning.
"""

import asyncio
import contextlib
import os
import statistics
import time
from dataclasses import dataclass, field

from bridge.config import load
from bridge.event import Form, Verified, decode
from bridge.ingress.routing import route
from bridge.store.preparation import driver_for, migrate
from bridge.store.sql import SqlStore
from tests.benchmarks import children
from tests.benchmarks.bench import Bench, Served
from tests.benchmarks.children import own
from tests.benchmarks.figures import Figure, median_percentile, pooled_percentile
from tests.benchmarks.load import Burst, Load
from tests.benchmarks.measures.footprint import first_answer
from tests.benchmarks.measures.postgresql import server
from tests.benchmarks.program import Setup, setup
from tests.chaos.pending import multiply, multiply_in_database

FEW, MANY = 1_000, 1_000_000
RATE = 200
ANSWER_SECONDS = "0.05"
BATCH = 80
BATCHES = 40
"""Batches of a round, each the next one of the queue, as a lane takes them."""
DESTINATION = "first"
SETTLE_SECONDS = 3.0
"""How long the program has for itself after its start."""


async def measure(bench: Bench) -> list[Figure]:
    """Measure both engines, one after the other."""
    return [*await _measure(bench, "embedded"), *await _measure(bench, "PostgreSQL")]


@dataclass(slots=True)
class _Side:
    """A store with so many pending deliveries, and what was seen of it."""

    made: Setup
    start: float = 0.0
    megabytes: float = 0.0
    bursts: list[Burst] = field(default_factory=list)
    batches: list[list[float]] = field(default_factory=list)
    """The seconds of each batch, by round."""


async def _measure(bench: Bench, engine: str) -> list[Figure]:
    with contextlib.ExitStack() as stack, own("destination", ANSWER_SECONDS) as target:
        sides = []
        for count in (FEW, MANY):
            store = stack.enter_context(server()) if engine == "PostgreSQL" else None
            made = stack.enter_context(setup({DESTINATION: target.port}, concurrency=1, store=store))
            await _fill(bench, made, count)
            sides.append(_Side(made))
        loads = []
        served: list[Served] = []
        for side in sides:
            began = time.perf_counter()
            served.append(stack.enter_context(bench.launch(side.made)))
            await asyncio.to_thread(first_answer, side.made.port, bench.sender.requests(1)[0].wire)
            side.start = time.perf_counter() - began
            await asyncio.sleep(SETTLE_SECONDS)
            loads.append(await Load.connect(side.made.port))
        for number in range(bench.rounds):
            for at in (0, 1) if number % 2 else (1, 0):
                burst = await loads[at].steady(bench.sender.requests(int(RATE * bench.seconds)), RATE)
                sides[at].bursts.append(bench.check(f"ack beside pending deliveries, {engine}", burst))
                sides[at].batches.append(await _batches(sides[at].made))
        for side, process in zip(sides, served, strict=True):
            side.megabytes, _ = children.memory(process.pid)
    return _figures(engine, *sides)


async def _fill(bench: Bench, made: Setup, count: int) -> None:
    """Accept one lead as the receiver does, then copy it."""
    chatbot = load(made.config, os.environ).chatbots["website"]
    (payload,) = bench.sender.payloads(1)
    driver = driver_for(made.store)
    await asyncio.to_thread(migrate, driver.engine())
    store = SqlStore(driver)
    verified, identity = Verified(payload, decode(payload), Form.RAW, chatbot.name), await store.identity(None)
    await store.accept([route(verified, chatbot, time.time(), identity)])
    await store.close()
    if made.store.startswith("sqlite"):
        await asyncio.to_thread(multiply, made.database, count)
    else:
        await asyncio.to_thread(multiply_in_database, made.store, count)


async def _batches(made: Setup) -> list[float]:
    """Read the queue as a lane does, from its beginning on."""
    store = SqlStore(driver_for(made.store))
    seconds = []
    after = 0
    try:
        for _ in range(BATCHES):
            began = time.perf_counter()
            dues = await store.due(DESTINATION, after, BATCH)
            await store.read(DESTINATION, [due.id for due in dues])
            seconds.append(time.perf_counter() - began)
            after = dues[-1].id if len(dues) == BATCH else 0
    finally:
        await store.close()
    # The first one opens the connection.
    return seconds[1:]


def _figures(engine: str, few: _Side, many: _Side) -> list[Figure]:
    return [
        _ratio(
            f"ack at {RATE} per second, {MANY:,} pending, {engine}, p99",
            [[1e3 * each for each in burst.latencies] for burst in many.bursts],
            [[1e3 * each for each in burst.latencies] for burst in few.bursts],
            0.99,
        ),
        _ratio(
            f"the next {BATCH} of {MANY:,} pending, {engine}, median",
            [[1e3 * each for each in batch] for batch in many.batches],
            [[1e3 * each for each in batch] for batch in few.batches],
            0.5,
        ),
        Figure(
            f"memory, {MANY:,} pending, {engine}",
            "MB",
            many.megabytes,
            few.megabytes,
            many.megabytes / few.megabytes,
            200.0,
        ),
        Figure(
            f"start to first answer, {MANY:,} pending, {engine}",
            "s",
            many.start,
            few.start,
            many.start / few.start,
            2.0,
        ),
    ]


def _ratio(name: str, ours: list[list[float]], others: list[list[float]], share: float) -> Figure:
    measured, reference = median_percentile(ours, share), median_percentile(others, share)
    return Figure(
        name,
        "ms",
        measured,
        reference,
        statistics.median(
            median_percentile([a], share) / median_percentile([b], share) for a, b in zip(ours, others, strict=True)
        ),
        1.5,
        judged="ratio",
        note=f"the reference has {FEW:,} pending; over all rounds {pooled_percentile(ours, share):.2f} ms",
    )
