"""What an operator does beside a running `serve`: it notices, and nothing of it can make a lead lost or doubled."""

import asyncio
import time
from pathlib import Path
from typing import Any

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, marked, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

NOTICED_SECONDS = 2.0
BUSY_SECONDS = 2.0
"""What a busy machine may take on top, so that the test does not fail for it."""


async def test_a_lane_is_paused_and_resumed(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Sandbox() as other,
        Program(tmp_path, settings({"crm": http(crm.url), "other": http(other.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        assert (await program.run("db", "migrate")).status == 0
        done = await program.run("lanes", "pause", "crm", "--reason", "they move")
        assert done.status == 0, f"a lane cannot be paused before the first start: {done.errors}"
        await program.start()
        await sender.deliver(lead())
        await until(lambda: len(other.records) == 1, lambda: f"the lead to arrive elsewhere; {program.told()}")
        await program.kill()
        await program.start()
        await sender.deliver(lead())
        await until(lambda: len(other.records) == 2, lambda: f"the lead to arrive elsewhere; {program.told()}")
        rows = {row["destination"]: row for row in (await program.run("lanes", "list", "--json")).json()}
        assert (rows["crm"]["state"], rows["crm"]["reason"], rows["crm"]["pending"]) == ("paused", "they move", 2)
        assert (rows["other"]["state"], rows["other"]["pending"]) == ("running", 0)
        assert not crm.ledger, "a paused lane made a call"

        assert (await program.run("lanes", "resume", "crm")).status == 0
        await until(
            lambda: len(crm.records) == 2,
            lambda: f"`lanes resume` to be noticed; {program.told()}",
            seconds=NOTICED_SECONDS + BUSY_SECONDS,
        )
        assert (await program.run("lanes", "pause", "crm")).status == 0
        deadline = time.monotonic() + NOTICED_SECONDS + BUSY_SECONDS
        while await _arrives(crm, sender):
            assert time.monotonic() < deadline, f"`lanes pause` is not noticed: {program.told()}"


async def _arrives(crm: Sandbox, sender: Sender) -> bool:
    """Send a lead, and tell whether it arrives within the time that it needs at the most where nothing is wrong."""
    before = len(crm.records)
    await sender.deliver(lead())
    deadline = time.monotonic() + 0.7
    while len(crm.records) == before and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return len(crm.records) > before


async def test_discarded_deliveries_are_not_sent_and_can_be_replayed(tmp_path: Path) -> None:
    """One waits while its lane is paused; of the other one the call is on its way, and ends well, after all."""
    over = asyncio.Event()

    async def slow(_: Any) -> tuple[int, Any]:
        await over.wait()
        return 201, {}

    async with Sandbox() as held, Deciding(slow) as called:
        destinations = {"held": http(held.url), "called": http(called.url, timeout="60s")}
        wanted = settings(destinations, chatbot([marked(name) for name in destinations]))
        async with Program(tmp_path, wanted, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            held.faults.next(Fault.answers(503, {"Retry-After": "3600"}))
            waiting, kept = lead(Content="held"), lead(Content="held")
            await sender.deliver(waiting)
            await until(lambda: program.events("lane_paused"), lambda: f"the lane to pause; {program.told()}")
            await sender.deliver(kept)
            await sender.deliver(lead(Content="called"))
            await until(lambda: called.calls, "the call to be on its way")
            ids = [row["id"] for row in sorted(await program.deliveries(), key=lambda row: row["id"])]
            first, _, in_the_air = ids
            done = await program.run("deliveries", "discard", str(first), str(in_the_air))
            assert done.status == 0, done.errors
            over.set()
            await until(lambda: called.received, "the call to end")
            # A lane that has paused by itself is resumed in the same way as one that an operator has paused.
            assert (await program.run("lanes", "resume", "held")).status == 0
            await until(lambda: len(held.records) == 1, lambda: f"the other lead to arrive; {program.told()}")
            assert held.records[0].fields["lead"] == kept["SessionID"], "a discarded lead was sent"
            states = {row["id"]: row["state"] for row in await program.settled()}
            assert [states[each] for each in ids] == ["discarded", "delivered", "discarded"]

            done = await program.run("deliveries", "replay", str(first), str(in_the_air))
            assert done.status == 0, done.errors
            await until(lambda: len(called.received) == 2, lambda: f"what was replayed to be sent; {program.told()}")
            await until(lambda: len(held.records) == 2, lambda: f"what was replayed to be sent; {program.told()}")
            assert {row["state"] for row in await program.settled()} == {"delivered"}
            (story,) = await program.stories([in_the_air])
            assert [each["number"] for each in story["attempts"]] == [1, 2]
