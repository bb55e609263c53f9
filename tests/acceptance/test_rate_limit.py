"""A rate limit that an account's chatbots share: never exceeded, and used while there is something to send."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.testing.hubspot import HubSpotSandbox, Limits
from tests.acceptance.configured import chatbot, settings
from tests.acceptance.crms import HUBSPOT_FIELDS, VARIABLES, hubspot
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

pytestmark = pytest.mark.long

REQUESTS = 100
PER = 10.0
CHATBOTS = 4
WATCHED = 2 * PER
"""Seconds in which calls are counted, with a backlog all the time."""
BACKLOG = 260
ROUTE = {"to": "hubspot", "fields": HUBSPOT_FIELDS}


async def test_four_chatbots_use_the_limit_of_one_account_and_never_exceed_it(tmp_path: Path) -> None:
    serials = [f"serial-number-of-chatbot-{number}" for number in range(CHATBOTS)]
    async with HubSpotSandbox(limits=Limits(ten_secondly=REQUESTS)) as crm:
        limit = {"requests": REQUESTS, "per": f"{PER:g}s"}
        configured = settings({"hubspot": hubspot(crm, rate_limit=limit, batch={"size": 1})})
        configured["chatbots"] = {f"website-{serial}": chatbot([ROUTE], serial_number=serial) for serial in serials}
        async with Program(tmp_path, configured, VARIABLES) as program, Sender(program) as sender:
            await program.start()
            leads = [lead(SerialNumber=serials[at % CHATBOTS]) for at in range(BACKLOG)]
            await asyncio.gather(*map(sender.deliver, leads))
            await until(
                lambda: crm.ledger and crm.ledger[-1].at > crm.ledger[0].at + WATCHED + 0.5,
                lambda: f"calls for {WATCHED:g} s; {len(crm.ledger)} came: {program.told()}",
            )
            attempts = program.events("attempt")
            pauses = program.events("lane_paused")
    times = [each.at for each in crm.ledger]
    watched = sum(at <= times[0] + WATCHED for at in times)
    assert watched < BACKLOG, "the backlog was not large enough"
    assert {each["outcome"] for each in attempts} == {"delivered"}, "a call was refused"
    assert not pauses
    most = max(sum(start <= at < start + PER for at in times) for start in times)
    assert most <= REQUESTS, f"{most} calls in {PER:g} s"
    longest = max(later - earlier for earlier, later in pairwise(times))
    used = watched / (REQUESTS * WATCHED / PER)
    assert used >= 0.95, f"{used:.1%} of the limit were used; the longest gap was {longest:.2f} s"
