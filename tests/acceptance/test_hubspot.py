"""Into HubSpot with the real program: few calls for many leads, and nothing twice when answers are lost."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, Property, StoredObject, faults
from tests.acceptance.configured import chatbot, settings
from tests.acceptance.crms import (
    APP,
    AS_UNLIMITED,
    HUBSPOT_FIELDS,
    UNLIMITED,
    VARIABLES,
    appointment,
    burst,
    hubspot,
    hubspot_app,
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
ROUTE = {"to": "hubspot", "fields": HUBSPOT_FIELDS}
LINGER = {"batch": {"linger": "2s"}}


@pytest.mark.parametrize(("remark", "most"), [({}, 12), ({"remark": "Content"}, 24)], ids=["leads", "with notes"])
async def test_a_burst_of_a_thousand_leads_costs_a_dozen_calls(
    tmp_path: Path, remark: dict[str, str], most: int
) -> None:
    """And a dozen more where each has a note, which HubSpot takes in calls of their own."""
    async with HubSpotSandbox() as crm:
        configured = settings({"hubspot": hubspot(crm, **LINGER)}, chatbot([{**ROUTE, **remark}]))
        async with Program(tmp_path, configured, VARIABLES) as program, Sender(program) as sender:
            await program.start()
            await send_at_once(program, sender, burst(LEADS, ()))
            told = await stories(program)
    assert Counter(each["state"] for each in told) == {"delivered": LEADS}
    assert len(crm.ledger) <= most, [each.path for each in crm.ledger]
    assert len(crm.notes) == (LEADS if remark else 0)
    assert sorted(each["remote_id"] for each in told) == sorted(each.id for each in crm.contacts)


async def test_poisoned_leads_of_a_burst_die_alone_with_hubspots_reason(tmp_path: Path) -> None:
    async with HubSpotSandbox() as crm:
        configured = settings({"hubspot": hubspot(crm, **LINGER)}, chatbot([ROUTE]))
        async with Program(tmp_path, configured, VARIABLES) as program, Sender(program) as sender:
            await program.start()
            await send_at_once(program, sender, burst(LEADS, POISONED))
            told = await stories(program)
    assert len(POISONED) == 7
    assert Counter(each["state"] for each in told) == {"delivered": 993, "dead": 7}
    assert len(crm.contacts) == 993
    dead = [each for each in told if each["state"] == "dead"]
    assert {each["reason"] for each in dead} == {"refused"}
    assert all("is invalid" in each["detail"] for each in dead), [each["detail"] for each in dead]
    assert len(crm.ledger) <= 12 + 7 * 15, [each.path for each in crm.ledger]


async def test_lost_answers_make_nothing_twice(tmp_path: Path) -> None:
    """With an owner, a follow-up task, a deal, and a company for four leads; an appointment has those of its lead."""
    owners = {"anna@acme.com": "11", "ben@acme.com": "12"}
    async with HubSpotSandbox(limits=UNLIMITED, seed=5, owners=owners) as crm:
        crm.faults.share(faults.answer_lost(), 0.05)
        route = {
            **ROUTE,
            "remark": "Content",
            "owner": {"round_robin": list(owners)},
            "follow_up": {"subject": "Call {{ FirstName }}"},
            "deal": {"stage": "appointmentscheduled"},
            "company": {"domain": "firm-{{ SessionID // 4 }}.com"},
        }
        destination = hubspot(crm, batch={"size": 2}, concurrency=4, rate_limit=AS_UNLIMITED)
        async with (
            Program(tmp_path, settings({"hubspot": destination}, chatbot([route])), VARIABLES) as program,
            Sender(program) as sender,
        ):
            await program.start()
            leads = [lead() for _ in range(CHATS)]
            await asyncio.gather(*map(sender.deliver, leads))
            await asyncio.gather(*(sender.deliver(appointment(each, dated=True)) for each in leads))
            told = await stories(program)
    lost = sum(each.fault is not None for each in crm.ledger)
    assert lost >= 4, f"{lost} of {len(crm.ledger)} answers were lost"
    assert Counter(each["state"] for each in told) == {"delivered": 2 * CHATS}
    emails = sorted(each["Email"] for each in leads)
    contacts = {each.id: each.properties["email"] for each in crm.contacts}
    assert sorted(contacts.values()) == emails
    for kind in ("notes", "meetings", "tasks", "deals"):
        assert _whose(crm.records(kind), contacts) == emails, kind
    domains = [each.properties["domain"] for each in crm.records("companies")]
    assert sorted(domains) == sorted({f"firm-{each['SessionID'] // 4}.com" for each in leads})
    assert all(len(each.associations["companies"]) == 1 for each in crm.contacts)
    assert {each.properties["hubspot_owner_id"] for each in crm.contacts} == set(owners.values())


async def test_each_chat_has_one_lead_object_at_its_contact_though_answers_are_lost(tmp_path: Path) -> None:
    async with HubSpotSandbox(properties={"leads": [Property(name="chat", unique=True)]}, limits=UNLIMITED) as crm:
        crm.faults.share(faults.answer_lost(), 0.05)
        fields = {"hs_lead_name": "{{ FirstName }} {{ LastName }}", "chat": "{{ SerialNumber }}-{{ SessionID }}"}
        routes = [ROUTE, {"to": "hubspot", "object": "leads", "match": "chat", "fields": fields, "remark": "Content"}]
        destination = hubspot(crm, batch={"size": 4}, concurrency=4, rate_limit=AS_UNLIMITED)
        async with (
            Program(tmp_path, settings({"hubspot": destination}, chatbot(routes)), VARIABLES) as program,
            Sender(program) as sender,
        ):
            await program.start()
            leads = [lead() for _ in range(CHATS)]
            await asyncio.gather(*map(sender.deliver, leads))
            await asyncio.gather(*(sender.deliver(appointment(each, dated=True)) for each in leads))
            told = await stories(program)
    assert sum(each.fault is not None for each in crm.ledger) >= 4
    assert Counter(each["state"] for each in told) == {"delivered": 4 * CHATS}
    contacts = {each.id: each.properties["email"] for each in crm.contacts}
    assert sorted(contacts.values()) == sorted(each["Email"] for each in leads)
    assert _whose(crm.records("leads"), contacts) == sorted(contacts.values())
    # The contact's own meeting is that of the first route, which has no remark.
    of_leads = [each for each in (*crm.notes, *crm.meetings) if "leads" in each.associations]
    whose = {each.id: each.associations["contacts"] for each in crm.records("leads")}
    assert Counter(each.kind for each in of_leads) == {"notes": CHATS, "meetings": CHATS}
    assert all(whose[each.associations["leads"][0]] == each.associations["contacts"] for each in of_leads)
    assert (len(crm.notes), len(crm.meetings), crm.tasks) == (CHATS, 2 * CHATS, [])


async def test_an_expired_token_is_renewed_once_for_fifty_calls(tmp_path: Path) -> None:
    async with HubSpotSandbox(oauth=APP, limits=UNLIMITED) as crm:
        destination = hubspot(
            crm, oauth=hubspot_app(), batch={"size": 1}, concurrency=CALLS_AT_ONCE, rate_limit=AS_UNLIMITED
        )
        configured = settings({"hubspot": destination}, chatbot([ROUTE]))
        async with Program(tmp_path, configured, VARIABLES) as program, Sender(program) as sender:
            await program.start()
            await sender.deliver(lead())
            await until(lambda: crm.contacts, "the first lead")
            crm.credentials.expire()
            # So slow that all of them are under way before the first is refused.
            crm.faults.share(Fault.slow(1.5), 1.0)
            await send_at_once(program, sender, burst(CALLS_AT_ONCE, ()))
            told = await stories(program)
    assert Counter(each["state"] for each in told) == {"delivered": CALLS_AT_ONCE + 1}
    # All with the first token, then all again with the second.
    assert Counter(each.headers["Authorization"] for each in crm.ledger) == {
        "Bearer access-1": 1 + CALLS_AT_ONCE,
        "Bearer access-2": CALLS_AT_ONCE,
    }
    assert len(crm.credentials.requests) == 2, "one for the first lead, and one for all the others"


def _whose(activities: list[StoredObject], contacts: dict[str, str]) -> list[str]:
    """Give the contacts' e-mail addresses, each as often as it has one of the activities."""
    return sorted(contacts[each] for activity in activities for each in activity.associations["contacts"])
