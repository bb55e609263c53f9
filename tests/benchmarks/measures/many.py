"""What many chatbots and many destinations cost the program by being there, before any lead comes.

Processor time and not the clock's, since it hardly depends on what else the machine does. The largest count is left
out of a quick run: it takes a minute and some GB of memory.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from bridge.delivery.supervisor import shares
from bridge.store.preparation import driver_for, migrate
from bridge.store.sql import SqlStore
from tests.benchmarks import children
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure
from tests.benchmarks.leads import KEY, SERIAL
from tests.benchmarks.measures.footprint import first_answer
from tests.benchmarks.measures.postgresql import server
from tests.benchmarks.program import NOWHERE, Setup, launched, setup

CHATBOTS = (1_000, 10_000, 100_000)
DESTINATIONS = (100, 1_000, 10_000)
LANES = (100, 1_000, 10_000)
QUICK_ROUNDS = 3
"""So few rounds mean a look only."""
PROCESSES = 3
START_SECONDS = 900.0
RELOAD_SECONDS = 300.0
SETTLE_SECONDS = 10.0
"""How long after the first answer ten thousand lanes may still be looking into their queues for the first time."""
IDLE_SECONDS = 10.0
LEASE_SECONDS = 600.0
"""Longer than the measure takes: no lease of it ends by itself."""


async def measure(bench: Bench) -> list[Figure]:
    """Measure files of chatbots, destinations with a lane each, and what it takes to keep the lanes owned."""
    quick = bench.rounds <= QUICK_ROUNDS
    figures = []
    for count in CHATBOTS[:-1] if quick else CHATBOTS:
        figures += await asyncio.to_thread(_files, bench, count, own=False)
    for count in DESTINATIONS[:-1] if quick else DESTINATIONS:
        figures += await asyncio.to_thread(_files, bench, count, own=True)
    with server() as url:
        driver = driver_for(url)
        await asyncio.to_thread(migrate, driver.engine())
        store = SqlStore(driver)
        try:
            for count in LANES:
                figures += await _lanes(store, url, count)
        finally:
            await store.close()
    return figures


def _files(bench: Bench, count: int, *, own: bool) -> list[Figure]:
    """Start on a file for each chatbot, change one, and wait; `own` gives each a destination of its own."""
    with setup({"crm": NOWHERE}) as made:
        _write(made, count, own=own)
        wire = bench.sender.requests(1)[0].wire
        with launched(made, [str(bench.program)]) as process:
            first_answer(made.port, wire, START_SECONDS)
            started = children.cpu(process.pid)
            _, megabytes = children.memory(process.pid)
            time.sleep(SETTLE_SECONDS)
            idle = _used(process.pid, lambda: time.sleep(IDLE_SECONDS)) / IDLE_SECONDS
            reloaded = _used(process.pid, lambda: _reload(made))
    what = f"{count:,} chatbots{' with a destination each' if own else ''}"
    return [
        Figure(f"start, {what}", "s of a core", started),
        Figure(f"memory, {what}", "MB", megabytes),
        Figure(f"reload after a change of one file, {what}", "s of a core", reloaded),
        Figure(f"doing nothing, {what}", "% of a core", 100 * idle),
    ]


def _write(made: Setup, count: int, *, own: bool) -> None:
    """Put the configuration into a folder of its own, which stands where the file was."""
    common = made.config.read_text()
    made.config.unlink()
    made.config.mkdir()
    (made.config / "common.yaml").write_text(common)
    for number in range(count):
        _file(made, number).write_text(_chatbot(number, own=own))


def _file(made: Setup, number: int) -> Path:
    return made.config / f"chatbot-{number:07}.yaml"


def _chatbot(number: int, *, own: bool, greeting: str = "FirstName") -> str:
    name = f"crm-{number}" if own else "crm"
    destination = f"""\
destinations:
  {name}: {{connector: http, url: "http://127.0.0.1:{NOWHERE}/{number}", allow_private: true}}
"""
    return f"""\
{destination if own else ""}chatbots:
  chatbot-{number}:
    serial_number: {SERIAL}-{number}
    signing_keys: ["{KEY}-{number}"]
    routes:
      - to: {name}
        when: Email or PhoneNumber
        fields:
          email: Email
          name: "{{{{ {greeting} }}}} {{{{ LastName }}}}"
          phone: {{from: PhoneNumber, transform: [{{e164: US}}]}}
          message: "{{{{ Content | truncate(500) }}}}"
"""


def _reload(made: Setup) -> None:
    file = _file(made, 0)
    file.write_text(file.read_text().replace("FirstName", "URI"))
    deadline = time.monotonic() + RELOAD_SECONDS
    while b'"event":"reloaded"' not in (made.folder / "log").read_bytes():
        if time.monotonic() > deadline:
            raise children.ChildError(f"no reload within {RELOAD_SECONDS:.0f} s")
        time.sleep(0.05)


def _used(pid: int, work: Callable[[], Any]) -> float:
    before = children.cpu(pid)
    work()
    return children.cpu(pid) - before


async def _lanes(store: SqlStore, url: str, count: int) -> list[Figure]:
    """Look after the lanes as each process does every two seconds, as one of three that share them."""
    names = [f"crm-{number:07}" for number in range(count)]
    owners = [f"process-{number}" for number in range(PROCESSES)]
    for owner in owners:
        await store.heartbeat(owner, names, time.time(), LEASE_SECONDS)
    for owner in owners:
        membership = await store.heartbeat(owner, names, time.time(), LEASE_SECONDS)
        mine = shares(membership.candidates, membership.holders)[owner]
        await store.claim(owner, sorted(mine), time.time(), LEASE_SECONDS)
    began, used = time.perf_counter(), time.process_time()
    membership = await store.heartbeat(owners[-1], names, time.time(), LEASE_SECONDS)
    thinking = time.process_time()
    mine = shares(membership.candidates, membership.holders)[owners[-1]]
    thinking = time.process_time() - thinking
    renewed = await store.claim(owners[-1], sorted(mine), time.time(), LEASE_SECONDS)
    assert abs(len(renewed) - count / PROCESSES) < 1, "the lanes are not shared"
    what = f"one round of {count:,} lanes, a process of {PROCESSES}"
    figures = [
        Figure(f"{what}", "ms", 1e3 * (time.perf_counter() - began)),
        Figure(f"{what}: processor", "ms", 1e3 * (time.process_time() - used)),
        Figure(f"{what}: its share", "ms", 1e3 * thinking, note="in the event loop"),
    ]
    for owner in owners:
        await store.release(owner)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM lanes")
    return figures
