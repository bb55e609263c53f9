"""A lane that has paused comes back by itself, each time, with nobody sending anything more."""

import asyncio
import time
from pathlib import Path
from typing import Any

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

PAUSES = 80


async def test_it_comes_back_from_each_of_many_pauses(tmp_path: Path) -> None:
    """Each call is refused for a moment: whether the lane wakes must not hang on what else happens."""
    async with Sandbox() as crm, Program(tmp_path, settings({"crm": http(crm.url)}), ENVIRONMENT) as program:
        crm.faults.next(Fault.answers(429, {"Retry-After": "0.03"}), times=PAUSES)
        await program.start()
        async with Sender(program) as sender:
            await sender.deliver(lead())
        await _goes_on(crm, program, PAUSES + 1)


async def test_a_retry_comes_at_its_time_each_time(tmp_path: Path) -> None:
    """The same for a record that is tried again without a pause of the lane."""
    retry = {"initial": "30ms", "max": "30ms", "jitter": 0}
    destination = {"results": {"ok": "result.ok", "each": "answer.results", "otherwise": "retry"}, "retry": retry}
    async with (
        Sandbox(key=None, required=["never"]) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, **destination)}), ENVIRONMENT) as program,
    ):
        await program.start()
        async with Sender(program) as sender:
            await sender.deliver(lead())
        await _goes_on(crm, program, PAUSES)


async def test_nothing_is_sent_until_the_time_that_was_asked_for(tmp_path: Path) -> None:
    """Calls that were on their way already, and end well, say nothing about the time that was asked for."""
    asked = 2.0
    others = asyncio.Event()
    calls = 0

    async def decide(_: Any) -> tuple[int, Any, dict[str, str]]:
        nonlocal calls
        calls += 1
        if calls == 1:
            asyncio.get_running_loop().call_later(0.2, others.set)
            return 429, {}, {"Retry-After": f"{asked:g}"}
        await others.wait()
        return 201, {}, {}

    async with (
        Deciding(decide) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, concurrency=4)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        leads = [lead() for _ in range(12)]
        await asyncio.gather(*map(sender.deliver, leads))
        await until(lambda: len(crm.taken()) == len(leads), lambda: f"all to arrive; {program.told()}")
        refused = next(each.at for each in crm.received if each.status == 429)
        early = [each.at - refused for each in crm.received if 0.1 < each.at - refused < asked - 0.1]
        assert not early, f"{len(early)} calls came {[round(each, 2) for each in early]} s after it asked for {asked:g} s"


async def _goes_on(crm: Sandbox, program: Program, calls: int) -> None:
    """Wait until so many calls have come, and no longer than a few seconds for the next one."""
    began = time.time()
    while len(crm.ledger) < calls:
        before = len(crm.ledger)
        since = crm.ledger[-1].at if crm.ledger else began
        await until(
            lambda: len(crm.ledger) > before,  # noqa: B023 - is called before the next round
            lambda: f"call {before + 1}; the lane stands still since {time.time() - since:.1f} s: {program.told()}",  # noqa: B023 - see above
            seconds=5,
        )
