"""SIGKILL at random moments under load: what was answered with success arrives, once, and in each contact's order.

`LEADBRIDGE_KILLS` sets how often it is killed, for a longer run.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.testing import Arrival, Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("LEADBRIDGE_KILLS", "20"))
SEED = 20
CONTACTS = 12
PAUSE = 0.06
"""Seconds between a contact's leads, about: so that there is always something on its way."""


async def test_every_acknowledged_lead_arrives_once_and_in_order(tmp_path: Path) -> None:
    # Two destinations that can tell a repetition: one by a field of the lead, one by the Idempotency-Key alone.
    by_field, by_key = Sandbox(key="lead", seed=1), Sandbox(key=None, seed=2)
    for crm in (by_field, by_key):
        crm.faults.share(Fault.disconnects(written=True), 0.03)
        crm.faults.share(Fault.disconnects(written=False), 0.03)
        crm.faults.share(Fault.answers(500), 0.03)
    async with by_field, by_key:
        destinations = {
            "by_field": http(by_field.url),
            "by_key": http(by_key.url, idempotency_key="quoted"),
        }
        async with Program(tmp_path, settings(destinations), ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            acknowledged = await _load_and_kills(program, sender)
            await _arrival_of_all(program, acknowledged, by_field, by_key)
            rows = await program.settled()
            assert await program.stop() == 0, f"the end was not in order: {program.told()}"
    states = Counter(row["state"] for row in rows)
    assert states == {"delivered": 2 * len(acknowledged)}, "what the program says of its deliveries"
    for name, crm in (("by_field", by_field), ("by_key", by_key)):
        records = Counter(each.fields["lead"] for each in crm.records)
        lost, strange = acknowledged - records.keys(), records.keys() - acknowledged
        assert not lost, f"{name}: leads that were answered with success and never arrived: {sorted(lost)}"
        assert not strange, f"{name}: leads that nobody sent: {sorted(strange)}"
        doubled = {number: count for number, count in records.items() if count > 1}
        assert not doubled, f"{name}: leads that it holds several times: {doubled}"
        assert _disorder(crm.ledger) == [], f"{name}: a contact's leads came out of order"


async def _load_and_kills(program: Program, sender: Sender) -> set[int]:
    """Send until the program has been killed so often; give the numbers of all leads, each answered with success."""
    chance = random.Random(SEED)
    over = asyncio.Event()
    contacts = [asyncio.create_task(_contact(number, sender, over, SEED + number)) for number in range(CONTACTS)]
    try:
        for number in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 0.7))
            await program.kill()
            if number % 5 == 4:
                # And before it is ready again.
                program.launch()
                await asyncio.sleep(chance.uniform(0.1, 1.0))
                await program.kill()
            await program.start()
        over.set()
        return set().union(*await asyncio.gather(*contacts))
    finally:
        for contact in contacts:
            contact.cancel()
        await asyncio.gather(*contacts, return_exceptions=True)


async def _contact(number: int, sender: Sender, over: asyncio.Event, seed: int) -> set[int]:
    """Send one contact's leads, each after success for the one before."""
    chance = random.Random(seed)
    sent = set()
    while not over.is_set():
        document = lead(Email=f"contact.{number}@example.com")
        await sender.insist(document)
        sent.add(document["SessionID"])
        await asyncio.sleep(chance.uniform(0, 2 * PAUSE))
    return sent


async def _arrival_of_all(program: Program, wanted: set[int], *crms: Sandbox) -> None:
    """Wait until all have arrived; the destinations are well from now on."""
    for crm in crms:
        crm.faults.clear()
    await until(
        lambda: all(len({each.fields["lead"] for each in crm.records}) >= len(wanted) for crm in crms),
        lambda: f"{len(wanted)} leads to arrive: {[len(crm.records) for crm in crms]} records; {program.told()}",
    )


def _disorder(ledger: Iterable[Arrival]) -> list[tuple[str, int, int]]:
    """Give each arrival of a lead after a later one of the same contact: contact, the later lead, the earlier one."""
    newest: dict[str, int] = defaultdict(int)
    wrong = []
    for arrival in ledger:
        record: dict[str, Any] = orjson.loads(arrival.body)
        contact, number = record["email"], int(record["lead"])
        if number < newest[contact]:
            wrong.append((contact, newest[contact], number))
        newest[contact] = max(newest[contact], number)
    return wrong
