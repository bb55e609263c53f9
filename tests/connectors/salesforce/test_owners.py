"""Owners of leads, events and tasks; follow-up tasks; campaigns; and contacts that are preferred to leads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.base import Delivered, Outcome, Retry, SettingError
from connectors.salesforce import SalesforceConnector
from connectors.testing import Fault
from connectors.testing.salesforce import Row, SalesforceSandbox, faults
from connectors.testing.subject import MemoryVault
from tests.connectors.building import NOW
from tests.connectors.salesforce.building import (
    FIELDS,
    KEY,
    appointment,
    connector,
    leads,
    record,
    route,
    wanted,
    warned,
)
from tests.connectors.salesforce.test_burst import deliver

CREATE = "/services/data/v68.0/composite/sobjects"


def users(org: SalesforceSandbox, *names: str, active: bool = True) -> list[Row]:
    return [
        org.org.add("User", Username=f"{name}@acme.com.sales", Email=f"{name}@acme.com", IsActive=active)
        for name in names
    ]


def owners(rows: Sequence[Row]) -> list[str]:
    return [each.fields["OwnerId"] for each in rows]


@pytest.mark.parametrize("named", ["anna@acme.com", "ANNA@acme.com.sales", "id"])
async def test_an_owner_gets_new_leads_events_and_tasks(
    org: SalesforceSandbox, target: SalesforceConnector, named: str
) -> None:
    (anna,) = users(org, "anna")
    made = route(owner=anna.id if named == "id" else named)
    outcomes = await target.deliver([*leads(2, made), appointment(made=made), appointment("some day", made=made)])
    assert [warned(each) for each in outcomes] == [""] * 4
    assert set(owners([*org.leads, *org.events, *org.tasks])) == {anna.id}
    assert {each.assignments for each in org.leads} == {0}  # a rule would replace the owner
    before = len(org.ledger)
    await target.deliver(leads(2, made))
    assert len(org.ledger) == before + 1  # users are cached


async def test_an_existing_lead_keeps_its_owner(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    anna, ben = users(org, "anna", "ben")
    await target.deliver([record({**FIELDS, KEY: "k"}, route(owner="anna@acme.com"))])
    await target.deliver([record({**FIELDS, KEY: "k", "Phone": "+1"}, route(owner="ben@acme.com"))])
    await target.deliver([appointment(fields={KEY: "k"}, made=route(owner="ben@acme.com"))])
    assert owners(org.leads) == [anna.id]
    assert owners(org.events) == [ben.id]
    assert org.leads[0].fields["Phone"] == "+1"


async def test_a_field_chooses_the_owner(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    anna, ben = users(org, "anna", "ben")
    choice = {"from": "{{ URI | url_host }}", "lookup": {"acme.de": "anna@acme.com"}, "default": "ben@acme.com"}
    made = route(owner=choice)
    outcomes = await target.deliver([record(made=made, URI=host) for host in ("https://acme.de/x", "acme.fr")])
    assert [warned(each) for each in outcomes] == ["", ""]
    assert owners(org.leads) == [anna.id, ben.id]


async def test_a_round_robin_survives_restarts_and_a_retry_keeps_the_owner(org: SalesforceSandbox) -> None:
    everybody = users(org, "anna", "ben", "cleo")
    made = route(owner={"round_robin": [each.fields["Email"] for each in everybody]})
    records, vault = leads(31, made), MemoryVault()
    for batch in (records[:10], records[10:]):  # each by a process of its own
        target = connector(org)
        target.open(vault)
        org.faults.next(Fault.answers(503), on=f"{CREATE}/Lead")
        outcomes = await target.deliver(batch)
        assert all(isinstance(each, Retry) for each in outcomes)
        again = [
            replace(each, is_repeat=True, memo=outcome.memo) for each, outcome in zip(batch, outcomes, strict=True)
        ]
        await target.deliver(again)
        await target.close()
    counts = Counter(owners(org.leads))
    assert set(counts) == {each.id for each in everybody}
    assert max(counts.values()) - min(counts.values()) <= 1


async def test_an_owner_that_is_no_active_user_costs_no_lead(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    (gone,) = users(org, "gone", active=False)
    (unknown,) = await target.deliver([record(made=route(owner="nobody@acme.com"))])
    assert warned(unknown).startswith("nobody@acme.com is no active user")
    outcomes = await target.deliver(
        [record(made=route(owner=gone.id)), appointment(made=route(owner=gone.id), fields=FIELDS)]
    )
    assert len(org.leads) == 3
    assert "OwnerId refused by Salesforce and left out" in warned(outcomes[0])
    assert "OwnerId of the appointment refused by Salesforce and left out" in warned(outcomes[1])


async def test_users_that_cannot_be_queried_now_are_asked_again(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    users(org, "anna")
    org.faults.next(faults.server_unavailable(), on="v68.0/composite")
    (outcome,) = await target.deliver([record(made=route(owner="anna@acme.com"))])
    assert isinstance(outcome, Retry)
    assert org.leads == []


async def test_a_lead_gets_one_follow_up_task(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    anna, ben = users(org, "anna", "ben")
    task = {"subject": "Call {{ FirstName }}", "due": "2d", "priority": "high", "owner": "ben@acme.com"}
    made = route(owner="anna@acme.com", follow_up=task, remark="Content")
    records = leads(200, made)
    outcomes = await target.deliver(records)
    assert [warned(each) for each in outcomes] == [""] * 200
    assert len(org.tasks) == 200
    assert {each.fields["WhoId"] for each in org.tasks} == {each.id for each in org.leads}
    assert (
        org.tasks[0].fields.items()
        >= {
            "Subject": "Call David",
            "Priority": "High",
            "ActivityDate": "2026-11-26",
            "OwnerId": ben.id,
            "Description": f'said "hello"\n\nLeadbridge {records[0].id}',
        }.items()
    )
    assert set(owners(org.leads)) == {anna.id}
    assert len(org.ledger) == 4  # schema, users, leads, tasks
    again = [replace(each, is_repeat=True, memo=outcome.memo) for each, outcome in zip(records, outcomes, strict=True)]
    assert all(isinstance(each, Delivered) for each in await target.deliver(again))
    assert len(org.tasks) == 200


@pytest.mark.parametrize("times", [1, 2])
async def test_a_lost_answer_doubles_no_task_and_no_member(
    org: SalesforceSandbox, target: SalesforceConnector, times: int
) -> None:
    campaign = org.org.add("Campaign", Name="Fair").id
    made = route(follow_up={}, campaign=campaign)
    records = leads(3, made)
    org.faults.next(Fault(written=True), on="v68.0/composite")
    org.faults.next(faults.lost_answer(), on="v68.0/composite")  # tasks and members are parts of this call
    outcomes: Sequence[Outcome] = await target.deliver(records)
    assert {type(each) for each in outcomes} == {Retry}
    assert (len(org.tasks), len(org.members)) == (3, 3)
    for _ in range(times):
        outcomes = await target.deliver([replace(each, is_repeat=True) for each in records])
    assert {type(each) for each in outcomes} == {Delivered}
    assert (len(org.leads), len(org.tasks), len(org.members)) == (3, 3, 3)
    assert {each.assignments for each in org.leads} == {1}


async def test_a_task_that_is_refused_is_a_warning(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.validation_rules.append(lambda name, _: "No tasks today" if name == "Task" else None)
    (done,) = await target.deliver([record(made=route(follow_up={}))])
    expected = "the follow-up task was not created: FIELD_CUSTOM_VALIDATION_EXCEPTION: No tasks today"
    assert warned(done) == expected
    assert len(org.leads) == 1


async def test_a_task_goes_without_an_inactive_owner(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    (gone,) = users(org, "gone", active=False)
    (done,) = await target.deliver([record(made=route(follow_up={"owner": gone.id}))])
    assert warned(done) == "OwnerId of the follow-up task refused by Salesforce and left out"
    assert len(org.tasks) == 1


async def test_a_task_whose_existence_is_unknown_is_not_created_again(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    each = record(made=route(follow_up={}))
    await target.deliver([each])
    org.faults.next(Fault(written=True), times=2, on="v68.0/composite")
    org.faults.next(faults.server_unavailable(), on="v68.0/composite")
    (later,) = await target.deliver([replace(each, is_repeat=True)])
    assert isinstance(later, Retry)
    assert later.detail.startswith("it is unknown whether the follow-up task exists")
    org.faults.next(Fault(written=True), times=2, on="v68.0/composite")
    org.faults.next(faults.insufficient_access(), on="v68.0/composite")
    (done,) = await target.deliver([replace(each, is_repeat=True)])
    assert "let the user query Task" in warned(done)
    assert len(org.tasks) == 1


async def test_leads_become_members_of_a_campaign(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    campaign = org.org.add("Campaign", Name="Fair").id
    made = route(campaign={"id": campaign, "status": "Responded"})
    outcomes = await target.deliver([*leads(2, made), appointment(made=made)])
    assert [warned(each) for each in outcomes] == [""] * 3
    assert [each.fields["LeadId"] for each in org.members] == [each.id for each in org.leads]
    assert {each.fields["Status"] for each in org.members} == {"Responded"}
    again = await target.deliver([record({**FIELDS, KEY: org.leads[0].fields[KEY]}, made)])
    assert [warned(each) for each in again] == [""]  # a member already
    assert len(org.members) == 3


async def test_a_wrong_status_or_campaign_is_a_warning(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    campaign = org.org.add("Campaign", Name="Fair").id
    (wrong,) = await target.deliver([record(made=route(campaign={"id": campaign, "status": "Went"}))])
    assert "Status of the membership of the campaign refused" in warned(wrong)
    (missing,) = await target.deliver([record(made=route(campaign="701000000000001AAA"))])
    assert "the membership of the campaign was not created" in warned(missing)
    assert (len(org.leads), len(org.members)) == (2, 1)


async def test_a_known_contact_is_written_and_others_become_leads(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    contact = org.org.add("Contact", LastName="García", Email="David@Example.com", Description="VIP")
    by_phone = org.org.add("Contact", LastName="Kim", MobilePhone="600 11 12 22")
    made = route(prefer_contact=True, remark="Content", follow_up={}, company="Acme")
    known = record({**FIELDS, "Phone": "+34 600 000 000"}, made)
    phone = record({"LastName": "K", "Phone": "+34 600 111 222", "City": "Madrid"}, made)
    outcomes = await target.deliver([*leads(3, made), known, phone])
    assert [warned(each) for each in outcomes] == [""] * 5
    assert [each.remote_id for each in outcomes if isinstance(each, Delivered)][3:] == [contact.id, by_phone.id]
    assert contact.fields["Description"] == 'VIP\n\nsaid "hello"'
    assert by_phone.fields["MailingCity"] == "Madrid"
    assert (len(org.leads), len(org.contacts), len(org.tasks)) == (3, 2, 5)
    assert {each.fields["WhoId"] for each in org.tasks[3:]} == {contact.id, by_phone.id}
    assert len(org.ledger) == 5  # two schemas, one read, one write, one for the tasks
    (done,) = await target.deliver([appointment(made=made)])
    assert isinstance(done, Delivered)
    assert (done.remote_id, org.events[0].fields["WhoId"]) == (contact.id, contact.id)


async def test_the_newest_of_several_contacts_is_taken(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    for day, name in (("2026-01-01", "Old"), ("2026-02-01", "New")):
        row = org.org.add("Contact", LastName=name, Email="david@example.com")
        org.org.rows.change(row, {"CreatedDate": f"{day}T00:00:00.000+0000"})
    (done,) = await target.deliver([record(made=route(prefer_contact=True))])
    newest = org.contacts[1]
    assert warned(done) == f"written into {newest.id}, the newest of 2 contacts with this e-mail"


async def test_contacts_that_may_not_be_queried_are_leads(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.faults.next(faults.insufficient_access(), on="v68.0/composite")
    (done,) = await target.deliver([record(made=route(prefer_contact=True))])
    assert warned(done) == "contacts were not searched; let the user query Contact"
    assert len(org.leads) == 1


async def test_a_member_may_be_a_contact(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    campaign = org.org.add("Campaign", Name="Fair").id
    contact = org.org.add("Contact", LastName="García", Email="david@example.com")
    (done,) = await target.deliver([record(made=route(prefer_contact=True, campaign=campaign))])
    assert warned(done) == ""
    assert [(each.fields["ContactId"], each.fields["LeadId"]) for each in org.members] == [(contact.id, None)]


async def test_lost_answers_double_nothing_with_everything_switched_on() -> None:
    async with SalesforceSandbox(now=lambda: NOW, seed=5) as org:
        campaign = org.org.add("Campaign", Name="Fair").id
        everybody = users(org, "anna", "ben")
        made = route(
            remark="Content",
            owner={"round_robin": ["anna@acme.com", "ben@acme.com"]},
            follow_up={"subject": "Call {{ FirstName }}"},
            campaign=campaign,
            prefer_contact=True,
        )
        known = [org.org.add("Contact", LastName="C", Email=f"lead{number}@example.com") for number in range(20)]
        org.faults.share(faults.lost_answer(), 0.05)
        target = connector(org)
        records = leads(300, made)
        meetings = [
            appointment(made=made, fields={**FIELDS, "Email": f"a{number}@b.co"}, Email=f"a{number}@b.co")
            for number in range(30)
        ]
        outcomes = await deliver(target, [*records, *meetings])
        await target.close()
    assert {type(each) for each in outcomes.values()} == {Delivered}
    assert sum(each.fault is not None for each in org.ledger) > 5
    people = {each.id for each in (*org.leads, *known)}
    assert Counter(each.fields[KEY] for each in org.leads) == Counter(each.id for each in (*records[20:], *meetings))
    assert len(org.events) == 30
    met = {each.fields["WhoId"] for each in org.events}
    assert Counter(each.fields["WhoId"] for each in org.tasks) == Counter(people - met)
    assert Counter(each.fields["LeadId"] or each.fields["ContactId"] for each in org.members) == Counter(people)
    assert set(owners(org.leads)) == {each.id for each in everybody}


async def test_the_check_names_the_line_of_a_wrong_owner_and_campaign(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    users(org, "anna")
    made = route(
        owner={"round_robin": ["anna@acme.com", "typo@acme.com"]},
        follow_up={"owner": {"from": "Type", "lookup": {"Lead": "nobody@acme.com"}, "default": "anna@acme.com"}},
        campaign="701000000000001AAA",
    )
    found = {each.setting: each.message for each in await target.probe([wanted(made)])}
    assert set(found) == {("owner", "round_robin", 1), ("follow_up", "owner", "lookup", "Lead"), ("campaign",)}
    assert found[("owner", "round_robin", 1)].startswith("typo@acme.com is no active user")
    assert "there is no campaign 701000000000001AAA" in found[("campaign",)]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"owner": {"from": "Typ", "lookup": {"a": "b"}}}, ("owner", "from")),
        ({"follow_up": {"owner": {"from": "{{ Nothing }}", "lookup": {"a": "b"}}}}, ("follow_up", "owner", "from")),
        ({"follow_up": {"subject": "{{ Nothing }}"}}, ("follow_up", "subject")),
        ({"appointment": {"title": "{{ Nothing }}"}}, ("appointment", "title")),
        ({"appointment": {"location": "{{ Nothing"}}, ("appointment", "location")),
    ],
)
def test_templates_are_checked_with_the_configuration(settings: dict[str, Any], path: tuple[str, ...]) -> None:
    with pytest.raises(SettingError) as caught:
        connector(None).check_route(route(**settings), ["LastName"])
    assert caught.value.path == path


@pytest.mark.parametrize(
    "settings",
    [
        {"owner": {"round_robin": ["a"], "from": "Type", "lookup": {"a": "b"}}},
        {"owner": {"lookup": {"a": "b"}}},
        {"owner": {}},
        {"campaign": "123"},
        {"object": "Case", "campaign": "701000000000001AAA"},
        {"object": "Contact", "prefer_contact": True},
        {"follow_up": {"due": "soon"}},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        route(**settings)
