"""Leads of one contact arrive in the order in which they came, whatever fails; others do not wait for them."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

LEADS = 20
OTHERS = 30
RETRY = {"initial": "50ms", "max": "100ms", "jitter": 0}


async def test_they_arrive_in_order_through_failures(tmp_path: Path) -> None:
    async with (
        Sandbox(key="lead", seed=7) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, retry=RETRY)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        for fault in (Fault.answers(500), Fault.disconnects(written=True), Fault.disconnects(written=False)):
            crm.faults.share(fault, 0.15)
        await program.start()
        # One contact by e-mail, in any case, and one by phone alone, however it is written.
        by_mail = [lead(Email=("Ada@example.com", "ada@EXAMPLE.com")[at % 2]) for at in range(LEADS)]
        by_phone = [
            lead(Email="", PhoneNumber=("+1 202 555 0100", "+1 (202) 555-0100")[at % 2]) for at in range(LEADS)
        ]
        for pair in zip(by_mail, by_phone, strict=True):
            for each in pair:
                await sender.deliver(each)
        await until(lambda: len(crm.records) == 2 * LEADS, lambda: f"{len(crm.records)} arrived; {program.told()}")
        calls = [orjson.loads(call.body)["lead"] for call in crm.ledger]
        for what, sent in (("one e-mail", by_mail), ("one phone", by_phone)):
            numbers = [each["SessionID"] for each in sent]
            arrived = [number for number in calls if number in numbers]
            assert arrived == sorted(arrived), f"the calls with leads of {what} were out of order"


async def test_others_do_not_wait_for_a_contact_whose_lead_fails(tmp_path: Path) -> None:
    stuck = True

    def decide(record: Any) -> tuple[int, Any]:
        return (500 if stuck and record["email"] == "poison@example.com" else 201), {}

    async with (
        Deciding(decide) as crm,
        Program(tmp_path, settings({"crm": http(crm.url, retry=RETRY, concurrency=2)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        poisoned = [lead(Email="poison@example.com") for _ in range(3)]
        for each in poisoned:
            await sender.deliver(each)
        # With nothing else to do the lane pauses: three failures in a row.
        await until(lambda: program.events("lane_paused"), f"the lane to pause; {program.told()}")
        others = [lead() for _ in range(OTHERS)]
        await asyncio.gather(*map(sender.deliver, others))
        await until(
            lambda: len(crm.taken()) == OTHERS,
            lambda: f"{len(crm.taken())} of {OTHERS} others arrived; {program.told()}",
            seconds=10,
        )
        numbers = {each.document["lead"] for each in crm.received if each.document["email"] == "poison@example.com"}
        assert numbers == {poisoned[0]["SessionID"]}, "a later lead of the contact went before an earlier one"
        stuck = False
        await until(lambda: len(crm.taken()) == OTHERS + len(poisoned), f"the contact's own leads; {program.told()}")
        assert [record["lead"] for record in crm.taken()[-3:]] == [each["SessionID"] for each in poisoned]
