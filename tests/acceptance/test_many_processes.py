"""Several processes on one PostgreSQL: each accepts, each works its share, and what one leaves another takes over."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import psycopg
import pytest

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

LANES = ("one", "two", "three", "four", "five", "six")
TAKEN_OVER_SECONDS = 10.0
STOPPED_SECONDS = 15.0
CONTACTS = 9
PAUSE = 0.05

pytestmark = pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")


class Cluster:
    """Three programs on one database, and a sender to each."""

    def __init__(self, programs: Sequence[Program], senders: Sequence[Sender], url: str) -> None:
        self.programs = programs
        self.senders = senders
        self._url = url

    async def owners(self) -> Mapping[str, Program]:
        """Give who owns each lane by a lease that is not over."""
        return await asyncio.to_thread(self._owners)

    def _owners(self) -> Mapping[str, Program]:
        by_pid = {str(each.pid): each for each in self.programs if each.alive}
        with psycopg.connect(self._url) as connection:
            held = connection.execute(
                "SELECT name, split_part(owner, ':', 2) FROM lanes "
                "WHERE lease_until > extract(epoch FROM clock_timestamp())"
            )
            return {name: by_pid[pid] for name, pid in held if pid in by_pid}

    async def shared_by(self, *programs: Program, seconds: float = TAKEN_OVER_SECONDS) -> None:
        """Wait until these programs, and no others, own the lanes, as equally as it goes."""
        began = time.monotonic()
        while True:
            owners = await self.owners()
            counts = Counter(owners.values())
            even = max(counts.values(), default=0) - min((counts[each] for each in programs), default=0) <= 1
            if owners.keys() == set(LANES) and counts.keys() == set(programs) and even:
                return
            if time.monotonic() - began > seconds:
                shares = {self.programs.index(each): count for each, count in counts.items()}
                pytest.fail(f"after {seconds:g} s the lanes are shared so: {shares}; {programs[0].told()}")
            await asyncio.sleep(0.1)

    async def insist(self, number: int) -> int:
        """Send a lead to one program after another until one answers with success."""
        chance = random.Random(number)
        document = lead(Email=f"contact.{number}@example.com")
        async with asyncio.timeout(60):
            while True:
                sender = chance.choice(self.senders)
                answer = await sender.send(document)
                if answer is not None and answer.succeeded:
                    return int(document["SessionID"])
                await asyncio.sleep(PAUSE)


@contextlib.asynccontextmanager
async def cluster(folder: Path, url: str, crms: Sequence[Sandbox]) -> AsyncIterator[Cluster]:
    wanted = settings({name: http(crm.url) for name, crm in zip(LANES, crms, strict=True)})
    wanted["store"]["url"] = "${STORE_URL}"
    async with contextlib.AsyncExitStack() as stack:
        programs = []
        for number in range(3):
            place = folder / str(number)
            place.mkdir()
            programs.append(await stack.enter_async_context(Program(place, wanted, {**ENVIRONMENT, "STORE_URL": url})))
        # Together: one makes the tables, and the others find them made.
        await asyncio.gather(*[each.start() for each in programs])
        senders = [await stack.enter_async_context(Sender(each)) for each in programs]
        yield Cluster(programs, senders, url)


async def test_nothing_is_lost_or_doubled_when_processes_die_sleep_and_are_restarted(tmp_path: Path) -> None:
    from tests.postgresql import database

    crms = [Sandbox(key="lead", seed=number) for number in range(len(LANES))]
    for crm in crms:
        crm.faults.share(Fault.disconnects(written=True), 0.02)
        crm.faults.share(Fault.answers(500), 0.02)
    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(database(migrated=False))
        for crm in crms:
            await stack.enter_async_context(crm)
        made = await stack.enter_async_context(cluster(tmp_path, url, crms))
        first, second, third = made.programs
        await made.shared_by(first, second, third)
        for each in made.programs:
            await each.at_work(TAKEN_OVER_SECONDS)  # it learns what others own when it next looks after its own

        over = asyncio.Event()
        contacts = [asyncio.create_task(_contact(number, made, over)) for number in range(CONTACTS)]
        try:
            await asyncio.sleep(1)
            await first.kill()
            await made.shared_by(second, third)

            await first.start()
            await made.shared_by(first, second, third)

            second.signal(signal.SIGSTOP)
            stopped = time.monotonic()
            await made.shared_by(first, third)
            await asyncio.sleep(STOPPED_SECONDS - (time.monotonic() - stopped))
            second.signal(signal.SIGCONT)
            await made.shared_by(first, second, third)

            for each in made.programs:
                assert await each.stop() == 0, f"the end was not in order: {each.told()}"
                await each.start()
            await made.shared_by(first, second, third)
            over.set()
            acknowledged = set().union(*await asyncio.gather(*contacts))
        finally:
            for contact in contacts:
                contact.cancel()
            await asyncio.gather(*contacts, return_exceptions=True)
        assert not any(each.events("lane_fault") for each in made.programs)
        await _arrival_of_all(made, acknowledged, crms)


async def test_the_commands_reach_whichever_process_owns_the_lane(tmp_path: Path) -> None:
    from tests.postgresql import database

    crms = [Sandbox(key="lead", seed=number) for number in range(len(LANES))]
    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(database(migrated=False))
        for crm in crms:
            await stack.enter_async_context(crm)
        made = await stack.enter_async_context(cluster(tmp_path, url, crms))
        first = made.programs[0]
        await made.shared_by(*made.programs)
        assert (await first.run("db", "migrate")).status == 0
        checked = await first.run("db", "check")
        assert checked.status == 0, checked.errors
        assert "postgresql" in checked.output

        await made.senders[1].deliver(lead())
        assert [row["state"] for row in await first.settled()] == ["delivered"] * len(LANES)

        assert (await first.run("lanes", "pause", *LANES)).status == 0
        for sender in made.senders:
            await sender.deliver(lead())
        waiting = await first.deliveries("--state", "pending")
        assert len(waiting) == len(LANES) * len(made.senders)
        assert (await first.run("deliveries", "discard", str(waiting[0]["id"]))).status == 0
        assert {row["state"] for row in (await first.run("lanes", "list", "--json")).json()} == {"paused"}
        assert (await first.run("lanes", "resume", *LANES)).status == 0
        states = Counter(row["state"] for row in await first.settled())
        assert states == {"delivered": len(LANES) * 4 - 1, "discarded": 1}
        assert (await first.run("deliveries", "replay", str(waiting[0]["id"]))).status == 0
        assert {row["state"] for row in await first.settled()} == {"delivered"}

        await made.senders[0].post(b'{"SerialNumber": "59001dd73709417321c58b11693183a2"}', "t=1,v1=00")
        assert len((await first.run("quarantine", "list", "--json")).json()) == 1
        assert len((await first.run("events", "list", "--json")).json()) == 4
        assert (await first.run("explain", "--stored", "10")).status == 0


async def _contact(number: int, made: Cluster, over: asyncio.Event) -> set[int]:
    """Send one contact's leads, each after success for the one before, to whichever program."""
    sent: set[int] = set()
    while not over.is_set():
        sent.add(await made.insist(number))
        await asyncio.sleep(PAUSE)
    return sent


async def _arrival_of_all(made: Cluster, acknowledged: set[int], crms: Sequence[Sandbox]) -> None:
    for crm in crms:
        crm.faults.clear()
    await until(
        lambda: all(len({each.fields["lead"] for each in crm.records}) >= len(acknowledged) for crm in crms),
        lambda: f"{len(acknowledged)} leads to arrive: {[len(crm.records) for crm in crms]} records",
    )
    with psycopg.connect(made._url) as connection:
        await until(
            lambda: not connection.execute("SELECT 1 FROM deliveries WHERE state != 'delivered' LIMIT 1").fetchall(),
            "every delivery to be settled",
        )
        assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (len(LANES) * len(acknowledged),)
    for name, crm in zip(LANES, crms, strict=True):
        records = Counter(each.fields["lead"] for each in crm.records)
        assert records.keys() == acknowledged, f"{name}: lost or strange: {records.keys() ^ acknowledged}"
        assert max(records.values()) == 1, f"{name}: a lead that it holds several times"
