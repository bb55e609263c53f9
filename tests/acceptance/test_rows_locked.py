"""PostgreSQL, and a shell that holds a row of a delivery, of an event and of a lane for longer than a lease lasts."""

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bridge.delivery.supervisor import LEASE_SECONDS
from tests import postgresql
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.destination import Deciding, Decision
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

pytestmark = pytest.mark.long

LANES = ("lane", "delivery", "event", "free")
PAUSE = 0.1
HELD = (
    "SELECT FROM lanes WHERE name = 'lane' FOR UPDATE",
    "SELECT FROM deliveries WHERE destination = 'delivery' AND state = 'pending' FOR UPDATE",
    "SELECT FROM events ORDER BY seq LIMIT 1 FOR UPDATE",
)


@pytest.mark.parametrize("processes", [1, 2])
async def test_only_what_needs_the_row_waits(tmp_path: Path, processes: int) -> None:
    url, gate, sent = postgresql.create(migrated=False), asyncio.Event(), 1

    def taken(_: Any) -> Decision:
        return 200, {}

    async def gated(_: Any) -> Decision:
        await gate.wait()
        return 200, {}

    async with contextlib.AsyncExitStack() as stack:
        crms = {
            name: await stack.enter_async_context(Deciding(gated if name == "delivery" else taken)) for name in LANES
        }
        wanted = settings({name: http(crm.url, concurrency=4) for name, crm in crms.items()})
        wanted["store"]["url"] = url
        programs = []
        for number in range(processes):
            place = tmp_path / str(number)
            place.mkdir()
            programs.append(await stack.enter_async_context(Program(place, wanted, ENVIRONMENT)))
            await programs[-1].start()
        for each in programs:
            await each.at_work()
        sender = await stack.enter_async_context(Sender(programs[0]))
        await sender.deliver(lead())
        await until(lambda: all(crm.calls == 1 for crm in crms.values()), "the first lead's calls")
        await until(lambda: all(crms[name].received for name in LANES if name != "delivery"), "its answers")
        with psycopg.connect(url) as shell:
            for statement in HELD:
                assert shell.execute(statement.encode()).rowcount == 1
            gate.set()
            end = time.monotonic() + LEASE_SECONDS + 3
            while time.monotonic() < end:
                await sender.deliver(lead())
                sent += 1
                await asyncio.sleep(PAUSE)
            for name in ("delivery", "event", "free"):
                await until(lambda name=name: crms[name].calls >= sent, f"all calls of {name}", 3)  # type: ignore[misc]
            lost = [each for program in programs for each in program.events("lane_lost")]
            assert not lost, "a lease was not renewed"
            assert not [each for program in programs for each in program.events("leases_over")]
        await until(lambda: all(crm.calls >= sent for crm in crms.values()), lambda: f"the rest; {programs[0].told()}")
        rows = await programs[0].settled()
        for name in LANES:
            times = Counter(each.document["lead"] for each in crms[name].received)
            assert len(times) == sent, name
            assert set(times.values()) == {1}, f"{name}: sent more than once"
        assert {row["state"] for row in rows} == {"delivered"}
        for each in programs:
            assert await each.stop() == 0, each.told()
