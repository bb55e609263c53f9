from dataclasses import replace

import orjson
import pytest

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.salesforce import SalesforceConnector
from connectors.testing import Fault
from connectors.testing.salesforce import SalesforceSandbox, faults
from connectors.testing.salesforce.call import read_options
from connectors.testing.salesforce.rows import Row
from tests.connectors.building import NOW
from tests.connectors.salesforce.building import APPOINTMENT, FIELDS, KEY, appointment, connector, record, route


async def test_an_appointment_is_a_lead_and_an_event(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    each = appointment()
    (done,) = await target.deliver([each])
    (lead,), (event,) = org.leads, org.events
    assert done == Delivered(lead.id, f"{org.origin}/{lead.id}", status=200, memo={"activity": event.id})
    assert event.fields["WhoId"] == lead.id
    assert event.fields["StartDateTime"] == "2026-11-25T10:00:00.000+0000"
    assert event.fields["EndDateTime"] == "2026-11-25T10:30:00.000+0000"
    assert event.fields["Description"] == f"{APPOINTMENT}\n\nLeadbridge {each.id}"
    assert lead.assignments == 1
    assert [path.path.partition("v68.0")[2] for path in org.ledger] == [
        "/sobjects/Lead/describe",
        "/composite",
        "/composite",
    ]


@pytest.mark.parametrize("content", ["Tomorrow at ten", "", "November 25, 2026 at 10:00 AM"])
async def test_an_appointment_without_a_sure_time_is_a_task(
    org: SalesforceSandbox, target: SalesforceConnector, content: str
) -> None:
    (done,) = await target.deliver([appointment(content)])
    assert isinstance(done, Delivered)
    (task,) = org.tasks
    assert (org.events, task.fields["ActivityDate"], task.fields["WhoId"]) == ([], "2026-11-24", org.leads[0].id)


async def test_the_zone_may_be_configured(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    made = route(appointment={"zone": "Europe/Madrid", "minutes": 60}, remark="{{ Content }} ({{ URI }})")
    await target.deliver([appointment("November 25, 2026 at 10:00 AM", made=made)])
    (event,) = org.events
    assert event.fields["StartDateTime"] == "2026-11-25T09:00:00.000+0000"
    assert event.fields["EndDateTime"] == "2026-11-25T10:00:00.000+0000"
    assert event.fields["Description"].startswith("November 25, 2026 at 10:00 AM (www.example.com)\n\n")
    assert org.leads[0].fields["Description"] is None


def lose_the_write(org: SalesforceSandbox, fault: Fault) -> None:
    """Let the look go well, and the write have a fault."""
    org.faults.next(Fault(written=True), on="v68.0/composite")
    org.faults.next(fault, on="v68.0/composite")


@pytest.mark.parametrize("content", [APPOINTMENT, "some day"])
@pytest.mark.parametrize("again", [True, False])
async def test_a_lost_answer_makes_no_second_one(
    org: SalesforceSandbox, target: SalesforceConnector, content: str, again: bool
) -> None:
    each = appointment(content)
    lose_the_write(org, faults.lost_answer())
    (lost,) = await target.deliver([each])
    assert isinstance(lost, Retry)
    assert (lost.blame, lost.reason) == (Blame.UNCLEAR, Reason.BAD_ANSWER)
    assert len(org.events + org.tasks) == 1
    (done,) = await target.deliver([replace(each, is_repeat=again)])
    assert isinstance(done, Delivered)
    assert (len(org.leads), len(org.events + org.tasks), org.leads[0].assignments) == (1, 1, 1)
    assert done.memo["activity"] == (org.events + org.tasks)[0].id


async def test_an_answer_that_is_lost_before_the_write_leaves_nothing(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    each = appointment()
    lose_the_write(org, Fault.disconnects(written=False))
    assert isinstance((await target.deliver([each]))[0], Retry)
    assert (org.leads, org.events) == ([], [])
    assert isinstance((await target.deliver([replace(each, is_repeat=True)]))[0], Delivered)
    assert (len(org.leads), len(org.events)) == (1, 1)


async def test_a_replay_remembers_what_was_made(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    each = appointment()
    (done,) = await target.deliver([each])
    org.org.rows.change(org.events[0], {"Description": "Moved to Friday"})
    (again,) = await target.deliver([replace(each, is_repeat=True, memo=done.memo)])
    assert again == done
    assert len(org.events) == 1


async def test_an_appointment_finds_the_lead_of_its_chat(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    await target.deliver([record({**FIELDS, KEY: "chat-7"})])
    await target.deliver([appointment(fields={KEY: "Chat-7", "Phone": "+1"})])
    await target.deliver([appointment("2026-12-01T09:00:00Z", fields={KEY: "chat-7", "Phone": "+2"})])
    (lead,) = org.leads
    assert (lead.fields["Phone"], lead.fields["Company"], lead.assignments) == ("+2", "Acme", 1)
    assert {event.fields["WhoId"] for event in org.events} == {lead.id}
    assert len(org.events) == 2


async def test_a_refused_field_goes_into_the_events_description(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    each = appointment(fields={**FIELDS, "Email": "no address"}, made=route(remark="Content"))
    (done,) = await target.deliver([each])
    assert isinstance(done, Delivered)
    assert done.warning == "Email refused by Salesforce and left out; the value is in the remark"
    (event,) = org.events
    assert event.fields["Description"] == f"{APPOINTMENT}\nEmail: no address\n\nLeadbridge {each.id}"
    assert len(org.leads) == 1


async def test_a_refused_lead_leaves_no_event(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.validation_rules.append(lambda name, _: "No leads today" if name == "Lead" else None)
    (refused,) = await target.deliver([appointment()])
    words = "FIELD_CUSTOM_VALIDATION_EXCEPTION: No leads today"
    assert refused == Rejected(Reason.REFUSED, words, Blame.RECORD, 400)
    assert (org.leads, org.events) == ([], [])


async def test_a_refused_event_leaves_no_lead(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.validation_rules.append(lambda name, _: "Not on Wednesdays" if name == "Event" else None)
    (refused,) = await target.deliver([appointment()])
    assert isinstance(refused, Rejected)
    assert refused.detail == "FIELD_CUSTOM_VALIDATION_EXCEPTION: Not on Wednesdays"
    assert (org.leads, org.events) == ([], [])


async def test_a_duplicates_event_is_with_its_match(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    await target.deliver([record()])
    org.duplicates.mode = "block"
    each = appointment()
    lose_the_write(org, Fault(written=True))
    (done,) = await target.deliver([each])
    (lead,), (event,) = org.leads, org.events
    assert isinstance(done, Delivered)
    assert (done.remote_id, event.fields["WhoId"]) == (lead.id, lead.id)
    assert done.warning == f"written into {lead.id}, which a duplicate rule found"
    await target.deliver([replace(each, is_repeat=True)])
    assert (len(org.leads), len(org.events)) == (1, 1)


async def test_an_appointment_is_saved_beside_a_duplicate_that_is_not_shared_with_the_user(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    await target.deliver([record()])
    org.duplicates.mode = "alert"
    hidden = org.leads[0]
    org.org.hidden.add(hidden.id)
    (done,) = await target.deliver([appointment()])
    assert isinstance(done, Delivered)
    assert done.warning == f"saved beside Lead {hidden.id}, which a duplicate rule found"
    assert org.events[0].fields["WhoId"] == done.remote_id == org.leads[1].id
    org.duplicates.mode = "block"
    (blocked,) = await target.deliver([appointment(record_id="another")])
    assert isinstance(blocked, Retry)
    assert (blocked.blame, "give the user the rights" in blocked.detail) == (Blame.RECORD, True)
    assert (len(org.leads), len(org.events)) == (2, 1)


async def test_a_duplicate_is_saved_or_refused_as_asked(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    await target.deliver([record()])
    org.duplicates.mode = "alert"
    (refused,) = await target.deliver([appointment(made=route(duplicates="dead_letter"))])
    (saved,) = await target.deliver([appointment(made=route(duplicates="allow"))])
    assert isinstance(refused, Rejected)
    assert (refused.reason, type(saved)) == (Reason.CONFLICT, Delivered)
    assert (len(org.leads), len(org.events)) == (2, 1)


async def test_who_may_not_look_does_not_write_twice(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    each = appointment()
    org.faults.next(faults.insufficient_access(), on="v68.0/composite")
    (done,) = await target.deliver([each])
    assert isinstance(done, Delivered)
    org.faults.next(faults.insufficient_access(), on="v68.0/composite")
    (held,) = await target.deliver([replace(each, is_repeat=True)])
    assert isinstance(held, Retry)
    assert (held.blame, held.reason) == (Blame.DESTINATION, Reason.FORBIDDEN)
    assert len(org.events) == 1


async def test_who_may_see_leads_and_not_events_does_not_write_twice(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    each = appointment()
    await target.deliver([each])
    seen = {"referenceId": "record", "httpStatusCode": 200, "body": {"Id": org.leads[0].id}}
    refused = [{"errorCode": "INVALID_TYPE", "message": "sObject type 'Event' is not supported."}]
    unseen = {"referenceId": "activities", "httpStatusCode": 400, "body": refused}
    org.faults.next(Fault.answers(200, {}, orjson.dumps({"compositeResponse": [seen, unseen]})), on="v68.0/composite")
    (held,) = await target.deliver([replace(each, is_repeat=True)])
    assert isinstance(held, Retry)
    assert (held.blame, len(org.events)) == (Blame.RECORD, 1)


@pytest.mark.parametrize("fault", [faults.server_unavailable(), faults.gateway_page(), Fault.half_an_answer()])
async def test_a_look_that_fails_for_the_moment_writes_nothing(
    org: SalesforceSandbox, target: SalesforceConnector, fault: Fault
) -> None:
    org.faults.next(fault, on="v68.0/composite")
    (outcome,) = await target.deliver([appointment()])
    assert isinstance(outcome, Retry)
    assert (org.leads, org.events) == ([], [])


async def test_a_key_that_is_not_unique_is_refused() -> None:
    async with SalesforceSandbox(now=lambda: NOW, unique=False) as org:
        target = connector(org)
        for _ in range(2):
            made = standard_lead(org)
            assert made.fields[KEY] == "k"
        (refused,) = await target.deliver([appointment(fields={**FIELDS, KEY: "k"})])
        await target.close()
    assert isinstance(refused, Rejected)
    assert refused.detail.startswith("300: several records have this external id")
    assert org.events == []


def standard_lead(org: SalesforceSandbox) -> Row:
    fields = {"LastName": "A", "Company": "B", KEY: "k"}
    return org.org.create(org.org.object("Lead"), fields, read_options({}, 68.0), "68.0")


async def test_several_in_one_call_are_written_each(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.validation_rules.append(lambda _, fields: "Go" if fields.get("Email") == "go@b.co" else None)
    mixed = [record(), appointment(), record({**FIELDS, "Email": "go@b.co"})]
    first, second, third = await target.deliver(mixed)
    assert (type(first), type(second), type(third)) == (Delivered, Delivered, Rejected)
    assert len({target.batch_group(each) for each in mixed}) == 2


def test_a_preview_shows_lead_and_event() -> None:
    shown = connector(None).preview([appointment()])
    assert shown.url.endswith("/composite")
    assert '"StartDateTime":"2026-11-25T10:00:00Z"' in shown.body
