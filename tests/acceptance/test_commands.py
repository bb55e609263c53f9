"""Commands beside several processes: whatever one process is asked for, the one that works the lane does."""

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from connectors.testing import Sandbox
from tests.acceptance.cluster import LANES, cluster
from tests.acceptance.sending import lead

STARTED_SECONDS = 30.0
"""Until three programs have shared the lanes, with other tests beside them."""

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")]


async def test_the_commands_reach_whichever_process_owns_the_lane(tmp_path: Path) -> None:
    from tests.postgresql import database

    crms = [Sandbox(key="lead", seed=number) for number in range(len(LANES))]
    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(database(migrated=False))
        for crm in crms:
            await stack.enter_async_context(crm)
        made = await stack.enter_async_context(cluster(tmp_path, url, crms))
        first = made.programs[0]
        await made.shared_by(*made.programs, seconds=STARTED_SECONDS)
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
