"""What an operator does beside a running `serve`: it notices, and nothing of it can make a lead lost or doubled."""

import asyncio
import time
from pathlib import Path

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

NOTICED_SECONDS = 2.0
BUSY_SECONDS = 3.0
"""What a busy machine may take on top, so that the test does not fail for it."""


async def test_a_lane_is_paused_and_resumed(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Sandbox() as other,
        Program(tmp_path, settings({"crm": http(crm.url), "other": http(other.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        assert (await program.run("lanes", "pause", "crm", "--reason", "they move")).status == 0
        await _paused(program, sender, crm, other)
        held = len(crm.records)
        rows = {row["destination"]: row for row in (await program.run("lanes", "list", "--json")).json()}
        assert (rows["crm"]["state"], rows["crm"]["reason"]) == ("paused", "they move")
        assert rows["other"]["state"] == "running"
        assert rows["crm"]["pending"] == len(other.records) - held

        assert (await program.run("lanes", "resume", "crm")).status == 0
        await until(
            lambda: len(crm.records) == len(other.records),
            lambda: f"the lane to go on after `lanes resume`; {len(crm.records)} of {len(other.records)} arrived",
            seconds=NOTICED_SECONDS + BUSY_SECONDS,
        )


async def _paused(program: Program, sender: Sender, crm: Sandbox, other: Sandbox) -> None:
    """Send until a lead stays out, and no longer than the program may take to notice the pause."""
    deadline = time.monotonic() + NOTICED_SECONDS + BUSY_SECONDS
    while True:
        await sender.deliver(lead())
        await until(lambda: len(other.records) > len(crm.records) or _equal(crm, other, program), "the lead to arrive")
        if len(other.records) > len(crm.records) and not await _catches_up(crm, other):
            return
        assert time.monotonic() < deadline, f"`lanes pause` is not noticed: {program.told()}"


def _equal(crm: Sandbox, other: Sandbox, program: Program) -> bool:
    return len(crm.records) == len(other.records) == len(program.events("received"))


async def _catches_up(crm: Sandbox, other: Sandbox) -> bool:
    """Give a lead that only came later at this destination the time to arrive."""
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline and len(crm.records) < len(other.records):
        await asyncio.sleep(0.01)
    return len(crm.records) == len(other.records)


async def test_a_pause_outlives_a_restart(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        assert (await program.run("db", "migrate")).status == 0
        assert (await program.run("lanes", "pause", "crm")).status == 0, "a lane can be paused before the first start"
        await program.start()
        await sender.deliver(lead())
        await program.kill()
        await program.start()
        assert [row["state"] for row in await program.deliveries()] == ["pending"]
        assert not crm.ledger, "a paused lane made a call"
        assert (await program.run("lanes", "resume", "crm")).status == 0
        await until(lambda: len(crm.records) == 1, f"the lead to arrive after `lanes resume`; {program.told()}")


async def test_a_command_does_not_stop_a_lane_that_waits_for_its_rate_limit(tmp_path: Path) -> None:
    limit = {"requests": 1, "per": "300ms"}
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url, rate_limit=limit)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        leads = [lead() for _ in range(25)]
        for each in leads:
            await sender.deliver(each)
        (dead, *_) = await program.deliveries("--state", "pending")
        assert (await program.run("deliveries", "discard", str(dead["id"]))).status == 0
        await until(
            lambda: len(crm.records) == len(leads) - 1,
            lambda: f"the others to arrive: {len(crm.records)} have; {program.told()}",
            seconds=15,
        )


async def test_a_discarded_delivery_is_not_sent(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        # It asks to be left alone for a while: time to look around and to decide.
        crm.faults.next(Fault.answers(503, {"Retry-After": "8"}))
        first, second = lead(), lead()
        await sender.deliver(first)
        await until(lambda: program.events("lane_paused"), f"the lane to pause; {program.told()}")
        await sender.deliver(second)
        rows = {row["event"]: row for row in await program.deliveries()}
        assert len(rows) == 2
        oldest = min(rows.values(), key=lambda row: row["id"])
        done = await program.run("deliveries", "discard", str(oldest["id"]))
        assert done.status == 0, done.errors
        await until(lambda: len(crm.records) == 1, f"the other lead to arrive; {program.told()}")
        states = {row["id"]: row["state"] for row in await program.settled()}
        assert states[oldest["id"]] == "discarded"
        assert [each.fields["lead"] for each in crm.records] == [second["SessionID"]]


async def test_one_that_is_discarded_while_its_call_is_on_its_way_can_be_replayed(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url, timeout="20s")}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        crm.faults.next(Fault.slow(6.0))
        document = lead()
        await sender.deliver(document)
        await until(lambda: crm.ledger, "the call to come")
        (row,) = await program.deliveries()
        assert (await program.run("deliveries", "discard", str(row["id"]))).status == 0
        await until(lambda: program.events("attempt"), "the call to end")
        assert [each["state"] for each in await program.deliveries()] == ["discarded"], "the operator has the last word"

        assert (await program.run("deliveries", "replay", str(row["id"]))).status == 0
        await until(lambda: len(crm.ledger) == 2, f"the replayed delivery to be sent; {program.told()}")
        (row,) = await program.settled()
        assert row["state"] == "delivered"
        (story,) = await program.stories([row["id"]])
        numbers = [each["number"] for each in story["attempts"]]
        assert numbers == sorted(set(numbers))
        await sender.deliver(lead(Email=document["Email"]))
        await until(lambda: len(crm.ledger) == 3, f"the contact's next lead to be sent; {program.told()}")
