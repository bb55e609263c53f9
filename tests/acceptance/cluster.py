"""Three programs on one PostgreSQL, each with its share of the same lanes."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import psycopg
import pytest

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead

LANES = ("one", "two", "three", "four", "five", "six")
TAKEN_OVER_SECONDS = 10.0
PAUSE = 0.05


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
