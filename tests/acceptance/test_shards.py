"""One destination that is too big for one process: split into shards, it is worked by several of them."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psycopg
import pytest
import yaml

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

PROCESSES = 3
SHARDS = 4
REQUESTS, PER = 100, 10.0
CONTACTS = 40
ROUNDS = 8
TAKEN_OVER_SECONDS = 15.0

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")]


class Cluster:
    """Three programs on one database, one destination, and a sender to each program."""

    def __init__(self, programs: Sequence[Program], senders: Sequence[Sender], crm: Sandbox, url: str) -> None:
        self.programs = programs
        self.senders = senders
        self.crm = crm
        self.sent: dict[str, list[int]] = {}
        """By contact, its leads in the order in which they were acknowledged."""
        self._url = url

    def owners(self) -> dict[str, Program | None]:
        """Give who owns each of the lanes by a lease that is not over."""
        by_pid = {str(each.pid): each for each in self.programs if each.alive}
        with psycopg.connect(self._url) as connection:
            held = connection.execute(
                "SELECT name, split_part(owner, ':', 2) FROM lanes "
                "WHERE lease_until > extract(epoch FROM clock_timestamp())"
            )
            return {name: by_pid.get(pid) for name, pid in held}

    async def shared_by(self, *programs: Program, shards: int = SHARDS) -> None:
        """Wait until these programs share all shards, and say that they are ready."""
        wanted = {f"crm#{number}/{shards}" for number in range(1, shards + 1)} if shards > 1 else {"crm"}
        began = time.monotonic()
        while True:
            owners = await asyncio.to_thread(self.owners)
            counts = Counter(owners.values())
            each_has = min(len(programs), shards) == len(counts) and max(counts.values()) - min(counts.values()) <= 1
            if owners.keys() == wanted and set(counts) <= set(programs) and each_has and await self._ready(*programs):
                return
            if time.monotonic() - began > TAKEN_OVER_SECONDS:
                shares = {name: each and self.programs.index(each) for name, each in owners.items()}
                pytest.fail(f"after {TAKEN_OVER_SECONDS:g} s: {shares}; {programs[0].told()}")
            await asyncio.sleep(0.1)

    async def _ready(self, *programs: Program) -> bool:
        async with aiohttp.ClientSession() as session:
            for program in programs:
                async with session.get(f"{program.admin}/readyz") as answer:
                    if answer.status != 200:
                        return False
        return True

    async def insist(self, contact: str, chance: random.Random) -> None:
        """Send a contact's next lead to one program after another until one answers with success."""
        document = lead(Email=contact)
        async with asyncio.timeout(60):
            while True:
                answer = await chance.choice(self.senders).send(document)
                if answer is not None and answer.succeeded:
                    break
                await asyncio.sleep(0.05)
        self.sent.setdefault(contact, []).append(int(document["SessionID"]))

    async def contact(self, number: int, count: int, pause: float = 0.0) -> None:
        """Send some leads of one contact, each after success for the one before."""
        chance = random.Random(number)
        for _ in range(count):
            await self.insist(f"contact.{number}@example.com", chance)
            await asyncio.sleep(pause)

    async def arrived(self, seconds: float = 60.0) -> None:
        """Wait for all leads, and hold them against what was sent: none lost, none twice, each contact's in order."""
        sent = sorted(each for leads in self.sent.values() for each in leads)
        await until(
            lambda: len({each.fields["lead"] for each in self.crm.records}) >= len(sent),
            lambda: f"{len(sent)} leads to arrive; {len(self.crm.records)} records; {self.programs[0].told()}",
            seconds,
        )
        assert sorted(each.fields["lead"] for each in self.crm.records) == sent
        calls: dict[str, list[int]] = {}
        for call in self.crm.ledger:
            record = orjson.loads(call.body)
            calls.setdefault(record["email"], []).append(record["lead"])
        for contact, leads in self.sent.items():
            # A call may be made again when its process has died; never one before it.
            assert calls[contact] == sorted(calls[contact]), contact
            assert leads == sorted(leads)
        await until(lambda: self._count("state != 'delivered'") == 0, "every delivery to be settled")
        assert self._count("true") == len(sent)
        assert not any(each.events("lane_fault") for each in self.programs)

    def _count(self, which: str) -> int:
        with psycopg.connect(self._url) as connection:
            found = connection.execute(f"SELECT count(*) FROM deliveries WHERE {which}".encode()).fetchone()
            assert found is not None
            return int(found[0])


def configured(crm: Sandbox, url: str, **changes: Any) -> dict[str, Any]:
    wanted = settings({"crm": http(crm.url, idempotency_key="quoted", **changes)})
    wanted["store"]["url"] = url
    return wanted


@contextlib.asynccontextmanager
async def cluster(folder: Path, **changes: Any) -> AsyncIterator[Cluster]:
    from tests.postgresql import database

    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(database(migrated=False))
        # Without a key each call is a record of its own, but for the Idempotency-Key of one that is made again.
        crm = await stack.enter_async_context(Sandbox(key=None))
        programs = []
        for number in range(PROCESSES):
            place = folder / str(number)
            place.mkdir()
            program = Program(place, configured(crm, "${STORE_URL}", **changes), {**ENVIRONMENT, "STORE_URL": url})
            programs.append(await stack.enter_async_context(program))
        await asyncio.gather(*[each.start() for each in programs])
        senders = [await stack.enter_async_context(Sender(each)) for each in programs]
        yield Cluster(programs, senders, crm, url)


async def test_three_processes_share_one_destination_and_its_limit_when_one_of_them_dies(tmp_path: Path) -> None:
    limit = {"requests": REQUESTS, "per": f"{PER:g}s"}
    async with cluster(tmp_path, shards=SHARDS, rate_limit=limit) as made:
        first, second, third = made.programs
        await made.shared_by(first, second, third)
        # More than the limit lets through while the test lasts, so that it is what bounds the calls all the time.
        await asyncio.gather(*[made.contact(number, ROUNDS) for number in range(CONTACTS)])
        await until(lambda: all(each.events("attempt") for each in made.programs), "each process to deliver")
        await until(lambda: len(made.crm.ledger) > REQUESTS, "a full span of the limit")

        killed = set((await asyncio.to_thread(made.owners)).values())
        assert first in killed
        await first.kill()
        at = time.time()
        await made.shared_by(second, third)
        await made.arrived()
        lanes = {each.get("lane") for each in (*second.events("attempt"), *third.events("attempt"))}
        assert lanes == {f"crm#{number}/{SHARDS}" for number in range(1, SHARDS + 1)}
        delivered = [len(each.events("attempt")) for each in made.programs]
        assert min(delivered) >= 10, delivered

    times = [each.at for each in made.crm.ledger]
    assert times[0] < at < times[-1]
    most = max(sum(start <= each < start + PER for each in times) for start in times)
    assert most <= REQUESTS, f"{most} calls in {PER:g} s"
    before = [each for each in times if times[0] <= each < times[0] + PER]
    assert len(before) >= 0.85 * REQUESTS, f"{len(before)} calls in the first {PER:g} s"


async def test_the_number_of_shards_changes_with_the_last_process_and_nothing_is_lost(tmp_path: Path) -> None:
    async with cluster(tmp_path, shards=1) as made:
        first = made.programs[0]
        await made.shared_by(*made.programs, shards=1)
        contacts = [asyncio.create_task(made.contact(number, 40, 0.1)) for number in range(9)]
        for shards in (5, 2):
            # One after the other, as an operator would; the others go on by the old number meanwhile.
            for program in made.programs:
                _rewrite(program, shards)
                assert await program.stop() == 0, program.told()
                await program.start()
            await made.shared_by(*made.programs, shards=shards)
        assert first.events("shards_wait")
        # And by a reload of all at about the same time.
        for program in made.programs:
            _rewrite(program, 3)
        await made.shared_by(*made.programs, shards=3)
        await asyncio.gather(*contacts)
        await made.arrived()
        (shown,) = (await first.run("lanes", "list", "--json")).json()
        assert (shown["state"], len(shown["shards"])) == ("running", 3)


async def test_commands_are_about_the_whole_destination(tmp_path: Path) -> None:
    async with cluster(tmp_path, shards=SHARDS) as made:
        first = made.programs[0]
        await made.shared_by(*made.programs)
        assert (await first.run("lanes", "pause", "crm", "--reason", "moving")).status == 0
        (shown,) = (await first.run("lanes", "list", "--json")).json()
        assert (shown["state"], shown["reason"], len(shown["shards"])) == ("paused", "moving", SHARDS)
        await asyncio.gather(*[made.contact(number, 1) for number in range(12)])
        assert len(await first.deliveries("--state", "pending")) == 12
        assert not made.crm.ledger
        assert (await first.run("lanes", "resume", "crm")).status == 0
        await made.arrived()
        (shown,) = (await first.run("lanes", "list", "--json")).json()
        assert (shown["state"], shown["pending"]) == ("running", 0)
        assert {each["state"] for each in shown["shards"]} == {"running"}
        table = (await first.run("lanes", "list")).output
        assert f"#{SHARDS}/{SHARDS}" in table


async def test_one_process_with_an_embedded_store_works_all_shards(tmp_path: Path) -> None:
    async with Sandbox(key=None) as crm:
        program = Program(tmp_path, configured(crm, "sqlite:///leadbridge.db", shards=SHARDS), ENVIRONMENT)
        async with program, Sender(program) as sender:
            await program.start()
            for number in range(40):
                await sender.deliver(lead(Email=f"contact.{number % 10}@example.com"))
            _rewrite(program, 6)
            for number in range(40):
                await sender.deliver(lead(Email=f"contact.{number % 10}@example.com"))
            assert {row["state"] for row in await program.settled()} == {"delivered"}
            await until(lambda: len(program.events("shards_in_force")) == 2, program.told)
            by_contact: dict[str, list[int]] = {}
            for call in crm.ledger:
                record = orjson.loads(call.body)
                by_contact.setdefault(record["email"], []).append(record["lead"])
            assert len(crm.records) == 80
            assert all(leads == sorted(leads) and len(leads) == 8 for leads in by_contact.values())
            assert await program.stop() == 0
            await program.start()
            (shown,) = (await program.run("lanes", "list", "--json")).json()
            assert len(shown["shards"]) == 6


def _rewrite(program: Program, shards: int) -> None:
    """Change the configuration, as an editor does."""
    wanted = yaml.safe_load(program.config.read_text())
    wanted["destinations"]["crm"]["shards"] = shards
    new = program.config.with_suffix(".new")
    new.write_text(yaml.safe_dump(wanted, sort_keys=False))
    new.rename(program.config)
