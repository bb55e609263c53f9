"""What a lead costs from its receipt to its CRM, on PostgreSQL, in processor time: of the program and of the database.

At fixed rates that the machine carries, because then the time that others take of it hardly shows. One over the sum is
what a core carries.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import psycopg

from tests.benchmarks import children
from tests.benchmarks.bench import Bench, Served
from tests.benchmarks.children import Child, own
from tests.benchmarks.destination import answered
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Load
from tests.benchmarks.measures.postgresql import server
from tests.benchmarks.program import setup

PROCESSES = (1, 3)
RATES = (100, 300)
CONNECTIONS = 60
ANSWER_SECONDS = "0.05"
SHARED_SECONDS = 6.0
"""How long processes that start together need until each has its lanes."""
DRAIN_SECONDS = 30.0


async def measure(bench: Bench) -> list[Figure]:
    """Measure one process and three, each lead going to two destinations."""
    figures = []
    for count in PROCESSES:
        figures += await _measure(bench, count)
    return figures


async def _measure(bench: Bench, count: int) -> list[Figure]:
    figures = []
    with server() as url, contextlib.ExitStack() as stack:
        targets = {name: stack.enter_context(own("destination", ANSWER_SECONDS)) for name in ("first", "second")}
        ports = {name: target.port for name, target in targets.items()}
        made = [stack.enter_context(setup(ports, store=url)) for _ in range(count)]
        served = [stack.enter_context(bench.serve(each, "a lead on PostgreSQL")) for each in made]
        loads = [await Load.connect(each.port, CONNECTIONS // count) for each in made]
        await asyncio.sleep(SHARED_SECONDS)
        sent = 0
        for rate in RATES:
            program, database = _used(served), _database(url)
            leads = 0
            for _ in range(bench.rounds):
                leads += await _send(bench, loads, rate)
                await asyncio.to_thread(_arrive, list(targets.values()), sent + leads)
            sent += leads
            what = f"a lead to two destinations at {rate} per second, {count} process{'' if count == 1 else 'es'}"
            figures += [
                Figure(f"{what}: program", "ms of a core", 1e3 * (_used(served) - program) / leads),
                Figure(f"{what}: database", "ms of a core", 1e3 * (_database(url) - database) / leads),
            ]
    return figures


async def _send(bench: Bench, loads: Sequence[Load], rate: int) -> int:
    requests = bench.sender.requests(int(rate * bench.seconds))
    parts = [requests[number :: len(loads)] for number in range(len(loads))]
    bursts = await asyncio.gather(
        *(load.steady(part, rate / len(loads)) for load, part in zip(loads, parts, strict=True))
    )
    return sum(len(bench.check("a lead on PostgreSQL", burst).acknowledged) for burst in bursts)


def _arrive(targets: Sequence[Child], leads: int) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while any(answered(target) < leads for target in targets):
        if time.monotonic() > deadline:
            raise children.ChildError(f"not all of {leads} leads have arrived within {DRAIN_SECONDS:.0f} s")
        time.sleep(0.05)


def _used(served: Sequence[Served]) -> float:
    return sum(each.cpu() for each in served)


def _database(url: str) -> float:
    """Give what all the server's processes have used; those that have ended meanwhile are not among them."""
    with psycopg.connect(url) as connection:
        asked = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid != pg_backend_pid()").fetchall()
    return sum(children.cpu(pid) for (pid,) in asked)
