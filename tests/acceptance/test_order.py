"""Leads of one contact arrive in the order in which they came, whatever fails; others do not wait for them."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, chatbot, http, marked, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

LEADS = 20
OTHERS = 30
POISON = "poison@example.com"
RETRY = {"initial": "50ms", "max": "100ms", "jitter": 0}


async def test_a_contacts_leads_stay_in_order_and_others_do_not_wait(tmp_path: Path) -> None:
    stuck = True

    def decide(record: Any) -> tuple[int, Any]:
        return (500 if stuck and record["email"] == POISON else 201), {}

    async with Sandbox(key="lead", seed=7) as failing, Deciding(decide) as picky:
        for fault in (Fault.answers(500), Fault.disconnects(written=True), Fault.disconnects(written=False)):
            failing.faults.share(fault, 0.15)
        destinations = {
            "failing": http(failing.url, retry=RETRY),
            "picky": http(picky.url, retry=RETRY, concurrency=2),
        }
        wanted = settings(destinations, chatbot([marked(name) for name in destinations]))
        async with Program(tmp_path, wanted, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            await _through_failures(failing, program, sender)
            poisoned = await _beside_a_stuck_contact(picky, program, sender)
            stuck = False
            await until(
                lambda: len(picky.taken()) == OTHERS + len(poisoned),
                lambda: f"the stuck contact's leads; {program.told()}",
            )
            assert [record["lead"] for record in picky.taken()[OTHERS:]] == [each["SessionID"] for each in poisoned]


async def _through_failures(crm: Sandbox, program: Program, sender: Sender) -> None:
    """One contact by e-mail, in any case, and one by phone alone, however it is written."""
    addresses, phones = ("Ada@example.com", "ada@EXAMPLE.com"), ("+1 202 555 0100", "+1 (202) 555-0100")
    by_mail = [lead(Content="failing", Email=addresses[at % 2]) for at in range(LEADS)]
    by_phone = [lead(Content="failing", Email="", PhoneNumber=phones[at % 2]) for at in range(LEADS)]
    for pair in zip(by_mail, by_phone, strict=True):
        for each in pair:
            await sender.deliver(each)
    await until(lambda: len(crm.records) == 2 * LEADS, lambda: f"{len(crm.records)} arrived; {program.told()}")
    calls = [orjson.loads(call.body)["lead"] for call in crm.ledger]
    for what, sent in (("one e-mail", by_mail), ("one phone number", by_phone)):
        numbers = [each["SessionID"] for each in sent]
        arrived = [number for number in calls if number in numbers]
        assert arrived == sorted(arrived), f"the calls with leads of {what} were out of order"


async def _beside_a_stuck_contact(crm: Deciding, program: Program, sender: Sender) -> list[dict[str, Any]]:
    """Send leads of a contact whose first one always fails, then leads of others; give the contact's."""
    poisoned = [lead(Content="picky", Email=POISON) for _ in range(3)]
    for each in poisoned:
        await sender.deliver(each)
    # With nothing else to do the lane pauses: three failures in a row.
    await until(lambda: any(line["destination"] == "picky" for line in program.events("lane_paused")), "a pause")
    await asyncio.gather(*(sender.deliver(lead(Content="picky")) for _ in range(OTHERS)))
    await until(
        lambda: len(crm.taken()) == OTHERS,
        lambda: f"{len(crm.taken())} of {OTHERS} others arrived; {program.told()}",
        seconds=10,
    )
    numbers = {each.document["lead"] for each in crm.received if each.document["email"] == POISON}
    assert numbers == {poisoned[0]["SessionID"]}, "a later lead of the contact went before an earlier one"
    return poisoned
