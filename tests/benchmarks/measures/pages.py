"""How soon each page of the dashboard and each answer of the API is there in a store of a million events, and how long
acks take while people load pages.

On the embedded engine and on PostgreSQL, with `PAGES` per second, and with one page after the other, each as soon as
the one before is there. The second figure has no mark: how many pages that is depends on how fast they are. An
operator's pause keeps the lanes from delivering, so that the figures are the ack path's alone.
"""

import asyncio
import contextlib
import itertools
import math
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg

from bridge.store.preparation import driver_for
from bridge.store.transaction import transaction
from tests import counted_tally
from tests.benchmarks.bench import Bench
from tests.benchmarks.children import Child, own
from tests.benchmarks.figures import Figure, median_percentile, pooled_percentile
from tests.benchmarks.fullness import CHATBOTS, DESTINATIONS, Fullness, fill
from tests.benchmarks.load import Load
from tests.benchmarks.measures.postgresql import server
from tests.benchmarks.person import Timed, look, rest, timed
from tests.benchmarks.program import NOWHERE, Setup, setup
from tests.benchmarks.visits import CLIENT_CHATBOTS

LOADS = 5
"""How often everything is asked for; the slowest counts."""
PAGE_MS, CALL_MS = 300.0, 100.0
RATE = 200
BURSTS = 3.0
"""Seconds of a burst of acks for each second that a burst of other measures takes: a p99 needs many."""
TIMES = 3
"""For each burst of other measures there are so many: six of its 600 acks decide, and pauses of the machine are among
them."""
PAGES = 10.0
"""Pages per second: twenty people who each look at one for two seconds."""
ACK_MS = 10.0
AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
TOKEN, CLIENT = "the-token-of-the-benchmark", "the-token-of-a-client"

Latencies = list[list[float]]
"""Milliseconds, by round."""


class Beside(NamedTuple):
    """Acks without pages, and with as many beside them."""

    alone: Latencies
    beside: Latencies
    pages: int


async def measure(bench: Bench) -> list[Figure]:
    """Measure both engines, one after the other."""
    return [*await _measure(bench, "embedded"), *await _measure(bench, "PostgreSQL")]


async def _measure(bench: Bench, engine: str) -> list[Figure]:
    fullness = Fullness()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_own_machine())
        store = stack.enter_context(server()) if engine == "PostgreSQL" else None
        made = stack.enter_context(
            setup(
                dict.fromkeys(DESTINATIONS, NOWHERE),
                store=store,
                chatbots=CHATBOTS,
                admin_token=TOKEN,
                clients={CLIENT: CLIENT_CHATBOTS},
            )
        )
        await asyncio.to_thread(_prepare, bench, made, fullness)
        stack.enter_context(bench.serve(made, f"pages, {engine}"))
        receiving = _backends(store)
        person = stack.enter_context(own("person", str(made.admin), TOKEN, CLIENT, str(fullness.events)))
        times = await asyncio.to_thread(timed, person, min(LOADS, bench.rounds))
        for pid in _backends(store) - receiving:
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        load = await Load.connect(made.port)
        usual, most = await _acks(bench, load, person, PAGES), await _acks(bench, load, person, math.inf)
    return [
        *(_figure(each, engine) for each in times),
        _ack(engine, f"{PAGES:.0f} pages per second are loaded", usual, ACK_MS),
        _ack(engine, "pages are loaded without a pause", most),
    ]


def _prepare(bench: Bench, made: Setup, fullness: Fullness) -> None:
    def run(*command: str) -> None:
        subprocess.run([str(bench.program), *command, "--config", str(made.config)], check=True, capture_output=True)

    run("db", "migrate")
    run("lanes", "pause", *DESTINATIONS)
    driver = driver_for(made.store)
    fill(driver, fullness, time.time())
    with transaction(driver) as connection:
        counted_tally.complete(connection)


@contextlib.contextmanager
def _own_machine() -> Iterator[None]:
    """Have what the database computes for pages step back for everything else, as if it had a machine of its own.

    Each of its processes is a session, and the kernel shares the cores among sessions first (sched(7), "The autogroup
    feature"), so a process that steps back does so within its session only. Needs root; without, the figures are those
    of one machine for both.
    """
    before = None
    with contextlib.suppress(OSError):
        before = AUTOGROUP.read_text()
        AUTOGROUP.write_text("0")
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):
                AUTOGROUP.write_text(before)


def _backends(store: str | None) -> frozenset[int]:
    """Give the database's processes that serve the program."""
    if store is None:
        return frozenset()
    with psycopg.connect(store) as connection:
        found = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'leadbridge'")
        return frozenset(pid for (pid,) in found)


async def _acks(bench: Bench, load: Load, person: Child, rate: float) -> Beside:
    """Take the acks' latencies without and with so many pages per second beside them."""
    sides: dict[bool, Latencies] = {False: [], True: []}
    pages = 0
    seconds = BURSTS * bench.seconds
    await load.steady(bench.sender.requests(RATE), RATE)
    for _ in range(TIMES):
        for looks in itertools.chain.from_iterable(bench.turns((False, True))):
            if looks:
                look(person, rate)
            burst = await load.steady(bench.sender.requests(int(RATE * seconds)), RATE)
            if looks:
                pages += await asyncio.to_thread(rest, person)
            bench.check("ack beside pages", burst)
            sides[looks].append([1e3 * each for each in burst.latencies])
    return Beside(sides[False], sides[True], pages)


def _figure(asked: Timed, engine: str) -> Figure:
    mark = CALL_MS if asked.of_api else PAGE_MS
    name = f"{asked.what}, {engine}"
    return Figure(name, "ms", asked.slowest, mark=mark, note=f"the slowest of several; median {asked.median:.1f} ms")


def _ack(engine: str, what: str, acks: Beside, mark: float | None = None) -> Figure:
    sides = (acks.beside, acks.alone)
    measured, reference = (median_percentile(side, 0.99) for side in sides)
    medians = [f"{median_percentile(side, 0.5):.2f} ms" for side in sides]
    pooled = [f"{pooled_percentile(side, 0.99):.2f} ms" for side in sides]
    return Figure(
        f"ack at {RATE} per second while {what}, {engine}, p99",
        "ms",
        measured,
        reference,
        mark=mark,
        note=f"{acks.pages} pages meanwhile; medians {' and '.join(medians)}; over all rounds {' and '.join(pooled)}",
    )
