"""What sales teams expect: owners, follow-up tasks, deals, companies and lists, each written once."""

import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from connectors.base import Delivered, MappedField, MappedRoute, Record, Retry, SettingError, Severity
from connectors.hubspot.companies import company_domain
from connectors.hubspot.settings import HubSpotRoute
from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, faults
from connectors.testing.subject import MemoryVault
from tests.connectors.building import NOW, context
from tests.connectors.hubspot.building import again, connector, deliver, ids, lead
from tests.connectors.hubspot.test_contacts import calls
from tests.connectors.hubspot.test_contract import HubSpotWrites
from tests.connectors.hubspot.test_held_values import known

OWNERS = {"ann@acme.com": "11", "bob@acme.com": "12", "cy@acme.com": "13"}
EVERYTHING: dict[str, Any] = {
    "remark": "Content",
    "owner": {"round_robin": list(OWNERS)},
    "follow_up": {"subject": "Call {{ FirstName }}", "due": "4h", "priority": "high"},
    "deal": {"stage": "appointmentscheduled", "name": "Chat with {{ FirstName }}", "amount": 1200},
    "company": {"domain": "Email", "name": "{{ LastName }}"},
    "list": 42,
}


def sandbox(**changes: Any) -> HubSpotSandbox:
    return HubSpotSandbox(owners=OWNERS, lists={"42": "MANUAL", "43": "DYNAMIC"}, **changes)


def rich(number: int = 0, email: str | None = None, **event: Any) -> Record:
    """Return a lead with everything, of a chat of its own."""
    return lead(number, EVERYTHING, **{"Email": email or f"lead@firm{number}.com", "SessionID": number + 1, **event})


class TestEverything(HubSpotWrites):
    """An owner, a follow-up task, a deal and a list."""

    def fake(self) -> HubSpotSandbox:
        return sandbox()

    def route(self) -> dict[str, Any]:
        return {name: value for name, value in EVERYTHING.items() if name not in ("company", "remark")}

    def held(self, fake: HubSpotSandbox) -> list[object]:
        emails = {each.id: each.properties["email"] for each in fake.contacts}
        names = [each.properties.get("firstname") for each in fake.contacts]
        of = [
            (kind, emails[each.associations["contacts"][0]])
            for kind in ("tasks", "deals")
            for each in fake.records(kind)
        ]
        return [*emails.values(), *names, *of, *map(emails.get, fake.account.members["42"])]


async def test_a_hundred_leads_with_everything_cost_ten_calls() -> None:
    async with sandbox() as crm:
        target = connector(crm)
        target.open(MemoryVault())
        await target.deliver([rich(200), rich(201), rich(202)])  # the owners are known from here on
        crm.ledger.clear()
        ids(await target.deliver([rich(number) for number in range(100)]))
        await target.close()
        assert [path for _, path in calls(crm)] == [
            "contacts/batch/read",
            "contacts/batch/upsert",
            "companies/search",
            "companies/search",
            "companies/batch/create",
            "/crm/associations/2026-09/companies/contacts/batch/associate/default",
            "notes/batch/create",
            "tasks/batch/create",
            "deals/batch/create",
            "/crm/lists/2026-09/42/memberships/add",
        ]
        numbers = {kind: len(crm.records(kind)) for kind in ("contacts", "companies", "notes", "tasks", "deals")}
        assert set(numbers.values()) == {103}
        contact = crm.contacts[-1]
        of_contact = {
            kind: {each.id: each for each in crm.records(kind)} for kind in ("companies", "deals", "tasks", "notes")
        }
        company, deal, task, note = (known[contact.associations[kind][0]] for kind, known in of_contact.items())
        assert deal.associations == {"contacts": [contact.id], "companies": [company.id]}
        assert company.properties["domain"] == contact.properties["email"].partition("@")[2]
        name = contact.properties["firstname"]
        assert (deal.properties["dealname"], deal.properties["amount"]) == (f"Chat with {name}", "1200")
        assert task.properties["hs_task_subject"] == f"Call {name}"
        assert (task.properties["hs_task_priority"], task.properties["hs_timestamp"]) == (
            "HIGH",
            "2026-11-24T14:00:00Z",
        )
        owner = contact.properties["hubspot_owner_id"]
        assert {each.properties["hubspot_owner_id"] for each in (deal, task, note)} == {owner}


async def test_turns_are_strict_and_survive_restarts() -> None:
    async with sandbox() as crm:
        vault = MemoryVault()
        for start in (0, 7, 14):
            target = connector(crm)  # a new process, or another one that owns the lane now
            target.open(vault)
            await target.deliver([rich(number) for number in range(start, start + 7)])
            await target.close()
        assert Counter(each.properties["hubspot_owner_id"] for each in crm.contacts) == {"11": 7, "12": 7, "13": 7}


async def test_a_retry_keeps_its_owner() -> None:
    async with sandbox() as crm:
        target = connector(crm)
        target.open(MemoryVault())
        crm.faults.next(Fault.answers(502), on="/batch/upsert")
        (lost,) = await target.deliver([rich(0)])
        assert isinstance(lost, Retry)
        await target.deliver([again(rich(0), lost)])
        await target.close()
        assert lost.memo["owner"] == "ann@acme.com"
        assert crm.contacts[0].properties["hubspot_owner_id"] == "11"


async def test_a_contact_keeps_its_owner_and_what_goes_with_it_gets_that_owner() -> None:
    async with sandbox() as crm:
        await known(crm, "lead@firm0.com", hubspot_owner_id="99")
        ids(await deliver(crm, rich(0)))
        written = [*crm.contacts, *crm.notes, *crm.tasks, *crm.records("deals")]
        assert [each.properties["hubspot_owner_id"] for each in written] == ["99"] * 4


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("ANN@acme.com", "11"),
        (77, "77"),
        ({"from": "Type", "lookup": {"Lead": "bob@acme.com"}}, "12"),
        ({"from": "URI", "lookup": {"x": "bob@acme.com"}, "default": "cy@acme.com"}, "13"),
        ({"from": "URI", "lookup": {"x": "bob@acme.com"}}, None),
        ("nobody@acme.com", None),
    ],
)
async def test_an_owner_is_fixed_or_looked_up(owner: Any, expected: str | None) -> None:
    async with sandbox() as crm:
        (outcome,) = await deliver(crm, lead(0, {"owner": owner, "follow_up": {"owner": "cy@acme.com"}}))
        assert isinstance(outcome, Delivered)
        assert ("no active owner" in (outcome.warning or "")) is (owner == "nobody@acme.com")
        assert crm.contacts[0].properties.get("hubspot_owner_id") == expected
        assert crm.tasks[0].properties["hubspot_owner_id"] == "13"


async def test_an_email_is_resolved_once() -> None:
    async with sandbox() as crm:
        target = connector(crm)
        for number in range(3):
            ids(await target.deliver([lead(number, {"owner": "ann@acme.com"})]))
        await target.close()
        assert sum("/owners/" in each.path for each in crm.ledger) == 1


async def test_an_appointment_finds_the_deal_of_its_lead() -> None:
    async with sandbox() as crm:
        first = rich(0)
        later = lead(0, EVERYTHING, Email="lead@firm0.com", SessionID=1, Type="Appointment")
        another = lead(1, EVERYTHING, Email="lead@firm0.com", SessionID=2)
        for number, each in enumerate((first, later, another)):
            ids(await deliver(crm, *[_named(each, f"record-{number}")]))
        assert (len(crm.contacts), len(crm.records("deals")), len(crm.records("companies"))) == (1, 2, 1)
        assert len(crm.tasks) == 3  # two follow-ups, and the appointment whose time a person has to read
        assert len(crm.account.members["42"]) == 1


def _named(record: Record, record_id: str) -> Record:
    return Record(record_id, record.fields, record.event, record.payload, record.route)


async def test_a_refused_owner_or_amount_is_left_out_with_a_warning() -> None:
    async with sandbox() as crm:
        inner = json.dumps([{"isValid": False, "message": "no", "error": "INVALID_OPTION", "name": "hubspot_owner_id"}])
        body = {"category": "VALIDATION_ERROR", "message": f"Property values were not valid: {inner}"}
        fault = Fault.answers(400, {"Content-Type": "application/json"}, json.dumps(body).encode())
        crm.faults.next(fault, on="/tasks/batch/create")
        (outcome,) = await deliver(crm, rich(0))
        assert isinstance(outcome, Delivered)
        assert "hubspot_owner_id of the follow_up" in (outcome.warning or "")
        assert "hubspot_owner_id" not in crm.tasks[0].properties
        route = {"deal": {"stage": "appointmentscheduled", "amount": "{{ Content }}"}}
        (priced,) = await deliver(crm, lead(1, route, Content="much", SessionID=9))
        assert isinstance(priced, Delivered)
        assert priced.warning == "the deal has no amount, because its text is not a number"


@pytest.mark.parametrize(("list_id", "said"), [("43", "not of type MANUAL"), ("44", "does not exist")])
async def test_a_wrong_list_is_reported_and_the_rest_is_written_once(list_id: str, said: str) -> None:
    async with sandbox() as crm:
        made = lead(0, {**EVERYTHING, "list": list_id}, Email="lead@firm.com")
        (outcome,) = await deliver(crm, made)
        assert said in getattr(outcome, "detail", "")
        assert "correct the setting list" in getattr(outcome, "detail", "")
        crm.ledger.clear()
        await deliver(crm, again(made, outcome))
        assert [len(crm.records(kind)) for kind in ("contacts", "companies", "notes", "tasks", "deals")] == [1] * 5
        assert not any("/batch/create" in each.path for each in crm.ledger)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Ann@Acme.com", "acme.com"),
        ("https://www.acme.co.uk:8443/chat?x", "acme.co.uk"),
        ("ann@gmail.com", ""),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_the_domain_of_a_company(text: str, domain: str) -> None:
    assert company_domain(text) == domain


@pytest.mark.parametrize("fault", [faults.answer_lost(), Fault.answers(502, written=True), Fault.half_an_answer()])
@pytest.mark.parametrize("is_same_process", [True, False])
async def test_a_company_whose_creation_was_not_answered_is_not_created_twice(
    fault: Fault, *, is_same_process: bool
) -> None:
    now = NOW
    async with sandbox(search_lag=10, now=lambda: now) as crm:
        made = context(now=lambda: now)
        target = connector(crm, made)
        crm.faults.next(fault, on="/companies/batch/create")
        (lost,) = await target.deliver([rich(0)])
        assert isinstance(lost, Retry)
        if not is_same_process:
            await target.close()
            target = connector(crm, made)
        (early,) = await target.deliver([again(rich(0), lost)])
        assert isinstance(early, Retry)
        now += 15
        ids(await target.deliver([again(rich(0), early)]))
        await target.close()
        assert [len(crm.records(kind)) for kind in ("contacts", "companies", "notes", "tasks", "deals")] == [1] * 5


async def test_lost_answers_double_nothing() -> None:
    """One answer in twenty is lost, before or after the write, with owner, task, deal, company and list switched on."""
    now, dice = NOW, random.Random(7)
    async with sandbox(search_lag=5, now=lambda: now, seed=3) as crm:
        target = connector(crm, context(now=lambda: now))
        target.open(MemoryVault())
        for written in (True, False):
            crm.faults.share(Fault.disconnects(written=written), 0.05)
        waiting, settled = [rich(number) for number in range(100)], 0
        for _ in range(60):
            batch = [waiting.pop(0) for _ in range(min(len(waiting), dice.randrange(1, 40)))]
            if not batch:
                break
            for each, outcome in zip(batch, await target.deliver(batch), strict=True):
                settled += isinstance(outcome, Delivered)
                if not isinstance(outcome, Delivered):
                    assert isinstance(outcome, Retry), outcome
                    waiting.append(again(each, outcome))
            now += 20
        await target.close()
        assert settled == 100
        for kind in ("contacts", "companies", "notes", "tasks", "deals"):
            assert len(crm.records(kind)) == 100, kind
        assert len(crm.account.members["42"]) == len(set(crm.account.members["42"])) == 100
        assert all(len(each.associations["companies"]) == 1 for each in crm.contacts)


def wanted(**route: Any) -> MappedRoute:
    return MappedRoute(HubSpotRoute.model_validate(route), (MappedField("email", text=True),))


async def probed(crm: HubSpotSandbox, **route: Any) -> Mapping[tuple[str | int, ...], str]:
    target = connector(crm)
    found = await target.probe([wanted(**route)])
    await target.close()
    assert not any(each.route for each in found if each.severity is not Severity.NOTE)
    return {each.setting: each.message for each in found if each.severity is Severity.ERROR}


async def test_check_online_finds_wrong_owners_stages_and_lists() -> None:
    async with sandbox() as crm:
        assert await probed(crm, **EVERYTHING) == {}
        wrong = {
            "owner": {"round_robin": ["ann@acme.com", "nobody@acme.com", "99"]},
            "follow_up": {"owner": "gone@acme.com"},
            "deal": {"pipeline": "other", "stage": "closedwon"},
            "list": "44",
        }
        found = await probed(crm, **wrong)
        assert found.keys() == {
            ("owner", "round_robin", 1),
            ("owner", "round_robin", 2),
            ("follow_up", "owner", "value"),
            ("deal", "pipeline"),
            ("list",),
        }
        assert "default" in found["deal", "pipeline"]
        stage = await probed(crm, deal={"stage": "Won"}, list="43")
        assert stage.keys() == {("deal", "stage"), ("list",)}
        assert "closedwon" in stage["deal", "stage"]
        assert "MANUAL" in stage["list",]


async def test_missing_scopes_are_found() -> None:
    scopes = ["crm.objects.contacts.read", "crm.objects.contacts.write", "crm.objects.deals.read"]
    async with HubSpotSandbox(scopes=scopes, owners=OWNERS, lists={"42": "MANUAL"}) as crm:
        found = await probed(crm, **EVERYTHING)
        missing = found["access_token",]
        for scope in ("companies.read", "companies.write", "deals.write", "owners.read"):
            assert f"crm.objects.{scope}" in missing
        assert "crm.lists.write" in missing


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ({"owner": {"from": "Emial"}}, ("owner", "from")),
        ({"follow_up": {"owner": {"from": "{{ Nope }}"}}}, ("follow_up", "owner", "from")),
        ({"follow_up": {"subject": "{{ Nope }}"}}, ("follow_up", "subject")),
        ({"deal": {"stage": "x", "name": "{{ Nope }}"}}, ("deal", "name")),
        ({"company": {"domain": "{{ Nope }}"}}, ("company", "domain")),
    ],
)
def test_a_text_that_cannot_be_compiled_is_told(route: dict[str, Any], path: tuple[str, ...]) -> None:
    target = connector()
    with pytest.raises(SettingError) as caught:
        target.check_route(HubSpotRoute.model_validate(route), ["email"])
    assert caught.value.path == path


async def test_nothing_more_is_asked_without_these_settings() -> None:
    async with sandbox() as crm:
        ids(await deliver(crm, *[lead(number) for number in range(100)]))
        assert [path for _, path in calls(crm)] == ["contacts/batch/upsert"]
