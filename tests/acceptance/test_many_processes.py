"""Several processes on one PostgreSQL: each accepts, each works its share, and what one leaves another takes over."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from connectors.testing import Fault, Sandbox
from tests.acceptance.cluster import LANES, PAUSE, TAKEN_OVER_SECONDS, Cluster, cluster
from tests.acceptance.waiting import until

STOPPED_SECONDS = 15.0
CONTACTS = 9

pytestmark = [pytest.mark.alone, pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")]


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
