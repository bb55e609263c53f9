"""More than the machine carries: waiting has a bound, then the sender has to come again; what is owed costs nothing.

`LEADBRIDGE_PENDING` sets how many deliveries are owed, for a longer run; the figures are printed (`pytest -s`).
"""

import asyncio
import contextlib
import os
import resource
import shutil
import sqlite3
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import SUCCESS, Sender, lead, signature, written
from tests.acceptance.trouble import locked
from tests.acceptance.waiting import until
from tests.benchmarks.children import memory
from tests.benchmarks.figures import percentile
from tests.chaos.pending import multiply

pytestmark = pytest.mark.alone

CROWD = 6_000
"""Senders at once: more than the program lets wait for the store (5,000)."""
CROWD_SECONDS = 30.0
"""The bound on how long any of them may wait for an answer."""
LOCKED_SECONDS = 1.0
GROWTH_MB = 40.0
"""By how much memory may grow from the second crowd to the third."""

FEW = 1_000
MANY = int(os.environ.get("LEADBRIDGE_PENDING", "30000"))
POSTS = 300
BATCHES = 200
BATCH = 80
ALLOWED = 2.0
"""How many times as much a cost may be with many pending deliveries: the machine may be busy with other things."""


@dataclass(frozen=True)
class Told:
    """What one of the crowd was answered."""

    number: int
    status: int
    body: bytes
    retry_after: bool
    seconds: float


@pytest.fixture
def many_files() -> None:
    """A limit on open files that a crowd fits into."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if usual < CROWD + 200:
        if most < CROWD + 200:
            pytest.skip(f"this user may open {most} files only")
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def test_a_crowd_is_served_or_told_to_come_again_and_memory_stays(tmp_path: Path, many_files: None) -> None:
    async with Sandbox(key="lead") as crm:
        wanted = settings({"crm": http(crm.url, rate_limit={"requests": 20, "per": "1s"})})
        async with Program(tmp_path, wanted, ENVIRONMENT, log=tmp_path / "log") as program:
            await program.start()
            sizes, succeeded = [memory(program.pid)[0]], set()
            for locks in (False, True, True):
                told = await _crowd(program, locked(program) if locks else contextlib.nullcontext())
                sizes.append(memory(program.pid)[0])
                succeeded |= _judged(told, sizes, refusals=locks)
            kept = _kept(program.store)
            assert program.alive, program.told()
    assert succeeded <= kept, f"{len(succeeded - kept)} were answered with success and are not in the store"
    assert sizes[-1] - sizes[2] < GROWTH_MB, f"memory after each crowd: {sizes}"


async def _crowd(program: Program, trouble: contextlib.AbstractContextManager[None]) -> list[Told]:
    """Let all send at once, each on a connection of its own; the trouble ends while they wait."""
    streams = [await asyncio.open_connection("127.0.0.1", program.port) for _ in range(CROWD)]
    leads = [lead() for _ in streams]
    bodies = [written(each) for each in leads]
    wires = [
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (signature(body).encode(), len(body), body)
        for body in bodies
    ]
    try:
        with trouble:
            answers = [
                asyncio.create_task(_ask(each, wire, document["SessionID"]))
                for each, wire, document in zip(streams, wires, leads, strict=True)
            ]
            await asyncio.wait(answers, timeout=LOCKED_SECONDS)
        return await asyncio.gather(*answers)
    finally:
        for _, writer in streams:
            writer.transport.abort()


async def _ask(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], wire: bytes, number: int) -> Told:
    reader, writer = streams
    began = time.monotonic()
    writer.write(wire)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    return Told(number, int(head[9:12]), body, b"\r\nretry-after: " in head, time.monotonic() - began)


def _judged(told: list[Told], sizes: list[float], *, refusals: bool) -> set[int]:
    """Check the answers; give the numbers of the leads that were answered with success."""
    counts = Counter(each.status for each in told)
    slowest = max(each.seconds for each in told)
    half = statistics.median(each.seconds for each in told)
    print(f"{CROWD} at once: {dict(counts)}, median {half:.2f} s, slowest {slowest:.2f} s, RSS {sizes[-1]:.0f} MB")
    assert set(counts) <= {200, 503}, counts
    assert all(each.retry_after for each in told if each.status == 503), "503 without Retry-After"
    assert all(each.body == SUCCESS for each in told if each.status == 200)
    assert not any(b"success" in each.body for each in told if each.status == 503)
    assert slowest < CROWD_SECONDS, f"an answer took {slowest:.1f} s"
    assert counts[200], counts
    assert not refusals or counts[503], f"more than may wait, and none was told to come again: {counts}"
    return {each.number for each in told if each.status == 200}


def _kept(store: Path) -> set[int]:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return {row[0] for row in connection.execute("SELECT json_extract(payload, '$.SessionID') FROM events")}


@dataclass(frozen=True)
class Costs:
    """What things cost with so many deliveries pending, in seconds."""

    pending: int
    ack: float
    """An answer, sent one after the other: the median."""
    ack_most: float
    """The same: the one that 99 of 100 are not above."""
    batch: float
    """Reading what is due next, with its payloads: the median, at random places of the queue."""
    start: float
    """From the start of the process until it is ready."""
    megabytes: float


async def test_what_is_owed_costs_the_sender_and_the_next_batch_nothing(tmp_path: Path) -> None:
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
    few, many = await _costs(tmp_path / "few", FEW), await _costs(tmp_path / "many", MANY)
    print(f"\n{few}\n{many}")
    assert many.ack < ALLOWED * few.ack + 0.001, f"an answer: {few} {many}"
    assert many.batch < ALLOWED * few.batch + 0.0005, f"the next batch: {few} {many}"


async def _costs(folder: Path, count: int) -> Costs:
    async with Sandbox(key="lead") as crm:
        # So slow that the queue is as long at the end as it was at the beginning.
        wanted = settings({"crm": http(crm.url, rate_limit={"requests": 20, "per": "1s"})})
        async with Program(folder, wanted, ENVIRONMENT) as program, Sender(program) as sender:
            crm.faults.share(Fault.answers(503, {"Retry-After": "1"}), 1.0)
            await program.start()
            await sender.deliver(lead())
            assert await program.stop() == 0
            multiply(program.store, count)
            crm.faults.clear()
            batch = await _batch_seconds(program.store, count)
            began = time.monotonic()
            await program.start()
            start = time.monotonic() - began
            await until(lambda: crm.records, lambda: f"the first of many to arrive; {program.told()}")
            seconds = []
            for _ in range(POSTS):
                began = time.monotonic()
                await sender.deliver(lead())
                seconds.append(time.monotonic() - began)
            used, _ = memory(program.pid)
    shutil.rmtree(folder)
    return Costs(count, statistics.median(seconds), percentile(seconds, 0.99), batch, start, used)


async def _batch_seconds(path: Path, count: int) -> float:
    """Read the queue as a lane does, here and there in it."""
    store = SqlStore(SqliteDriver(make_url(f"sqlite:///{path}")))
    try:
        seconds = []
        for at in range(BATCHES):
            after = (count - BATCH) * at // BATCHES
            began = time.perf_counter()
            dues = await store.due("crm", after, BATCH)
            read = await store.read("crm", [due.id for due in dues])
            seconds.append(time.perf_counter() - began)
            assert len(read) == BATCH
        return statistics.median(seconds)
    finally:
        await store.close()
