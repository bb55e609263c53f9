"""SIGTERM: what is on its way ends, nothing is lost; a second one does not wait for it."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

SENDERS = 16
CALL_SECONDS = 0.3


async def test_a_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    async with (
        Sandbox(key="lead") as crm,
        Program(tmp_path, settings({"crm": http(crm.url, concurrency=5)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        crm.faults.share(Fault.slow(CALL_SECONDS), 1.0)
        await program.start()
        over = asyncio.Event()
        senders = [asyncio.create_task(_acknowledged(sender, over)) for _ in range(SENDERS)]
        await until(lambda: len(crm.records) >= 10, f"the load to be under way; {program.told()}")
        status = await program.stop()
        over.set()
        accepted = set().union(*await asyncio.gather(*senders))
        assert status == 0, f"exit status {status}: {program.told()}"
        rows = Counter(row["state"] for row in await program.deliveries())
        assert rows.keys() <= {"delivered", "pending"}, rows
        assert rows.total() >= len(accepted) > 0, f"{len(accepted)} were answered with success, and {rows} are kept"
        calls = len(crm.ledger)
        assert rows["delivered"] == calls, f"{calls} calls were made, and {rows['delivered']} are written down"

        crm.faults.clear()
        await program.start()
        await until(lambda: len(crm.records) == rows.total(), f"the others to arrive; {program.told()}")
        assert accepted <= {each.fields["lead"] for each in crm.records}
        assert len(crm.ledger) == rows.total(), "a call that had ended before the stop was made again"


async def _acknowledged(sender: Sender, over: asyncio.Event) -> set[int]:
    """Send until the program is gone; give the leads that were answered with success."""
    accepted = set()
    while not over.is_set():
        document = lead()
        answer = await sender.send(document)
        if answer and answer.succeeded:
            accepted.add(document["SessionID"])
        await asyncio.sleep(0.01)
    return accepted


async def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({"crm": http(crm.url, timeout="60s")}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        crm.faults.next(Fault.slow(60.0, written=False))
        await sender.deliver(lead())
        await until(lambda: crm.ledger, "the call to be on its way")
        program.signal(signal.SIGTERM)
        await until(lambda: program.events("stopping"), f"it to begin to stop; {program.told()}")
        assert await sender.send(lead()) is None, "it takes leads while it stops"
        assert program.alive, "it does not wait for the call that is on its way"
        began = time.monotonic()
        program.signal(signal.SIGTERM)
        await program.ended()
        assert time.monotonic() - began < 3
        await program.start()
        await until(lambda: len(crm.records) == 1, f"the lead to arrive after the restart; {program.told()}")
