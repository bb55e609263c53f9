"""Into Salesforce with the real program: few calls for many leads, and nothing twice when answers are lost."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.testing import Arrival, Fault
from connectors.testing.salesforce import SalesforceSandbox, faults
from tests.acceptance.configured import chatbot, settings
from tests.acceptance.crms import (
    KEY,
    SALESFORCE_FIELDS,
    VARIABLES,
    appointment,
    burst,
    salesforce,
    send_at_once,
    stories,
)
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

LEADS = 1_000
POISONED = range(3, LEADS, 150)
CHATS = 40
CALLS_AT_ONCE = 50
ROUTE = {"to": "salesforce", "external_id": KEY, "fields": SALESFORCE_FIELDS}
LINGER = {"batch": {"linger": "2s"}}


async def test_a_burst_of_a_thousand_leads_costs_half_a_dozen_calls(tmp_path: Path) -> None:
    async with SalesforceSandbox() as crm:
        configured = settings({"salesforce": salesforce(crm, **LINGER)}, chatbot([ROUTE]))
        async with Program(tmp_path, configured, VARIABLES) as program, Sender(program) as sender:
            await program.start()
            await send_at_once(program, sender, burst(LEADS, ()))
            told = await stories(program)
    assert Counter(each["state"] for each in told) == {"delivered": LEADS}
    assert len(_writes(crm)) <= 6, [each.path for each in crm.ledger]
    assert sorted(each["remote_id"] for each in told) == sorted(each.id for each in crm.leads)


def _no_bad_mail(_: str, fields: Mapping[str, Any]) -> str | None:
    """A rule of the org's administrator: what breaks it is refused whatever field is left out."""
    return "No such mail" if "@" not in str(fields.get("Email") or "") else None


async def test_poisoned_leads_of_a_burst_die_alone_with_salesforces_reason(tmp_path: Path) -> None:
    async with SalesforceSandbox() as crm:
        crm.org.validation_rules.append(_no_bad_mail)
        configured = settings({"salesforce": salesforce(crm, **LINGER)}, chatbot([ROUTE]))
        async with Program(tmp_path, configured, VARIABLES) as program, Sender(program) as sender:
            await program.start()
            await send_at_once(program, sender, burst(LEADS, POISONED))
            told = await stories(program)
    assert len(POISONED) == 7
    assert Counter(each["state"] for each in told) == {"delivered": 993, "dead": 7}
    assert len(crm.leads) == 993
    dead = [each for each in told if each["state"] == "dead"]
    assert {each["reason"] for each in dead} == {"refused"}
    assert all("No such mail" in each["detail"] for each in dead), [each["detail"] for each in dead]
    assert len(_writes(crm)) <= 6 + 5 * 15, [each.path for each in crm.ledger]


async def test_lost_answers_make_no_lead_event_task_or_member_twice(tmp_path: Path) -> None:
    """With an owner, a follow-up task and a campaign; a lead and its appointment are one lead."""
    async with SalesforceSandbox(seed=5) as crm:
        people = [crm.org.add("User", Username=name, Email=name) for name in ("anna@acme.com", "ben@acme.com")]
        crm.faults.share(faults.lost_answer(), 0.05)
        fields = {**SALESFORCE_FIELDS, KEY: "{{ SerialNumber }}-{{ SessionID }}"}
        route = {
            **ROUTE,
            "fields": fields,
            "remark": "Content",
            "owner": {"round_robin": [each.fields["Email"] for each in people]},
            "follow_up": {"subject": "Call {{ FirstName }}"},
            "campaign": crm.org.add("Campaign", Name="Chat").id,
        }
        destination = salesforce(crm, batch={"size": 2}, concurrency=4)
        async with (
            Program(tmp_path, settings({"salesforce": destination}, chatbot([route])), VARIABLES) as program,
            Sender(program) as sender,
        ):
            await program.start()
            leads = [lead() for _ in range(CHATS)]
            await asyncio.gather(*map(sender.deliver, leads))
            # Every other one says when it is.
            made = [appointment(each, dated=at % 2 == 0) for at, each in enumerate(leads)]
            await asyncio.gather(*map(sender.deliver, made))
            told = await stories(program)
    lost = sum(each.fault is not None for each in crm.ledger)
    assert lost >= 4, f"{lost} of {len(crm.ledger)} answers were lost"
    assert Counter(each["state"] for each in told) == {"delivered": 2 * CHATS}
    emails = {each.id: each.fields["Email"] for each in crm.leads}
    assert sorted(emails.values()) == sorted(each["Email"] for each in leads)
    assert sorted(emails[each.fields["WhoId"]] for each in crm.events) == sorted(each["Email"] for each in leads[::2])
    calls = [each for each in crm.tasks if each.fields["Subject"].startswith("Call ")]
    unread = [each for each in crm.tasks if each not in calls]
    assert sorted(emails[each.fields["WhoId"]] for each in unread) == sorted(each["Email"] for each in leads[1::2])
    assert sorted(emails[each.fields["WhoId"]] for each in calls) == sorted(emails.values())
    assert sorted(emails[each.fields["LeadId"]] for each in crm.members) == sorted(emails.values())
    owners = Counter(each.fields["OwnerId"] for each in crm.leads)
    assert set(owners) == {each.id for each in people}
    assert max(owners.values()) - min(owners.values()) <= lost + 1, "a lost answer may cost a turn"


async def test_an_expired_token_is_renewed_once_for_fifty_calls(tmp_path: Path) -> None:
    async with SalesforceSandbox() as crm:
        destination = salesforce(crm, batch={"size": 1}, concurrency=CALLS_AT_ONCE)
        configured = settings({"salesforce": destination}, chatbot([ROUTE]))
        async with Program(tmp_path, configured, VARIABLES) as program, Sender(program) as sender:
            await program.start()
            await program.at_work()  # else whether the first lead exists is asked, in a call of its own
            await sender.deliver(lead())
            await until(lambda: crm.leads, "the first lead")
            crm.tokens.expire()
            # So slow that all of them are under way before the first is refused.
            crm.faults.share(Fault.slow(1.5), 1.0)
            await send_at_once(program, sender, burst(CALLS_AT_ONCE, ()))
            told = await stories(program)
    assert Counter(each["state"] for each in told) == {"delivered": CALLS_AT_ONCE + 1}
    # All with the first token, then all again with the second.
    by_token = Counter(each.headers["Authorization"] for each in _writes(crm))
    assert list(by_token.values()) == [1 + CALLS_AT_ONCE, CALLS_AT_ONCE]
    assert len(crm.tokens.requests) == 2, "one for the first lead, and one for all the others"


def _writes(crm: SalesforceSandbox) -> list[Arrival]:
    """Give the calls that a burst costs: all but what is asked once, however many leads there are."""
    return [each for each in crm.ledger if not each.path.endswith("/describe")]
