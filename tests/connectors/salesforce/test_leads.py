from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from connectors.base import Blame, Delivered, Outcome, Reason, Record, Rejected, Retry
from connectors.salesforce import SalesforceConnector
from connectors.testing import Fault
from connectors.testing.salesforce import SalesforceSandbox, faults
from connectors.testing.salesforce.objects import Field
from tests.connectors.building import NOW, context
from tests.connectors.salesforce.building import FIELDS, KEY, connector, leads, record, route

UPSERT = f"/composite/sobjects/Lead/{KEY}"


def paths(org: SalesforceSandbox) -> list[str]:
    return [each.path.removeprefix("/services/data/v68.0") for each in org.ledger]


def again(records: Sequence[Record], outcomes: Sequence[Outcome] = ()) -> list[Record]:
    memos = [each.memo for each in outcomes] or [{}] * len(records)
    return [replace(each, is_repeat=True, memo=memo) for each, memo in zip(records, memos, strict=True)]


async def test_leads_go_in_one_call(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    records = leads(200)
    outcomes = await target.deliver(records)
    assert paths(org) == ["/sobjects/Lead/describe", UPSERT]
    assert [each.fields[KEY] for each in org.leads] == [each.id for each in records]
    assert outcomes == [Delivered(row.id, f"{org.origin}/{row.id}", status=200) for row in org.leads]
    assert {row.assignments for row in org.leads} == {1}


async def test_a_poisoned_record_does_not_keep_the_others(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.validation_rules.append(lambda _, fields: "No" if fields["Email"] == "lead1@example.com" else None)
    done, refused = await target.deliver(leads(2))
    assert isinstance(done, Delivered)
    words = "FIELD_CUSTOM_VALIDATION_EXCEPTION: No"
    assert refused == Rejected(Reason.REFUSED, words, Blame.RECORD, 200)


async def test_a_refused_optional_field_is_left_out_without_a_remark_too(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    (done,) = await target.deliver([record({**FIELDS, "Email": "no address", "Phone": "+1"})])
    assert isinstance(done, Delivered)
    assert done.warning == "Email refused by Salesforce and left out; the event keeps the value"
    (row,) = org.leads
    assert (row.fields["Email"], row.fields["Phone"], row.fields["Description"]) == (None, "+1", None)


async def test_a_refused_optional_field_is_kept_in_the_remark(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(remark="Content")
    wrong = record({**FIELDS, "Email": "no address", "Interest__c": "Some"}, made)
    outcomes = await target.deliver([wrong, *leads(2, made)])
    assert all(isinstance(each, Delivered) for each in outcomes)
    first = outcomes[0]
    assert isinstance(first, Delivered)
    assert first.warning == "Email, Interest__c refused by Salesforce and left out; the value is in the remark"
    row = next(each for each in org.leads if each.id == first.remote_id)
    assert row.fields["Email"] is None
    assert row.fields["Description"] == 'said "hello"\nEmail: no address\nInterest__c: Some'
    assert paths(org)[1:] == [UPSERT, UPSERT]


async def test_a_retry_neither_assigns_again_nor_loses_what_people_wrote(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(remark="Content")
    known, new = record({"Email": "a@b.co"}, made), record({"Email": "c@d.co"}, made)
    await target.deliver([known])
    org.org.rows.change(org.leads[0], {"Company": "Acme", "Description": 'Called.\n\nsaid "hello"'})
    org.ledger.clear()
    assert all(isinstance(each, Delivered) for each in await target.deliver(again([known, new])))
    assert paths(org) == ["/composite", "/composite"]
    first, second = org.leads
    assert (first.fields["Company"], first.fields["Description"]) == ("Acme", 'Called.\n\nsaid "hello"')
    assert (first.assignments, second.assignments, second.fields["Company"]) == (1, 1, "[not provided]")


async def test_a_key_per_contact_updates_the_lead_that_is_there(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(remark="Content")
    await target.deliver([record({KEY: "Chat-7", "Email": "a@b.co"}, made)])
    await target.deliver([record({KEY: "chat-7", "Phone": "+1"}, made, Content="More")])
    (row,) = org.leads
    assert row.fields["Description"] == 'said "hello"\n\nMore'
    assert (row.fields["Phone"], row.fields["Email"], row.assignments) == ("+1", "a@b.co", 1)


@pytest.mark.parametrize(("assignment", "times"), [("always", 2), ("never", 0), ("created", 1)])
async def test_assignment_runs_as_asked(
    org: SalesforceSandbox, target: SalesforceConnector, assignment: str, times: int
) -> None:
    each = record(made=route(assignment=assignment))
    await target.deliver([each])
    await target.deliver(again([each]))
    assert org.leads[0].assignments == times


async def test_where_nobody_may_ask_what_is_there_leads_go_all_the_same(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    org.faults.share(faults.insufficient_access(), 1.0, on="/describe")
    org.faults.share(faults.invalid_type("Lead"), 1.0, on="/v68.0/composite?")
    org.faults.next(faults.not_found(), on="/v68.0/composite")
    (done,) = await target.deliver(again([record()]))
    assert isinstance(done, Delivered)
    assert org.leads[0].assignments == 0


async def test_a_question_that_fails_for_the_moment_is_asked_again(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    org.faults.next(faults.server_unavailable(), on="/describe")
    org.faults.next(faults.server_unavailable(), on="/v68.0/composite")
    for _ in range(2):
        (outcome,) = await target.deliver(again([record()]))
        assert isinstance(outcome, Retry)
        assert outcome.blame is Blame.UNCLEAR
    assert org.leads == []


@pytest.mark.parametrize(
    ("status", "code", "sent"),
    [(500, "QUERY_TIMEOUT", False), (400, "INVALID_FIELD", True), (403, "INSUFFICIENT_ACCESS", True)],
)
async def test_a_query_inside_may_fail_by_itself(
    org: SalesforceSandbox, target: SalesforceConnector, status: int, code: str, sent: bool
) -> None:
    part = {"referenceId": "q0x0", "httpStatusCode": status, "body": [{"errorCode": code, "message": "m"}]}
    org.faults.next(Fault.answers(200, {}, orjson.dumps({"compositeResponse": [part]})), on="v68.0/composite")
    (outcome,) = await target.deliver(again([record()]))
    assert (isinstance(outcome, Delivered), len(org.leads)) == (sent, int(sent))


async def test_texts_are_cut_to_the_described_length(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    (done,) = await target.deliver([record({**FIELDS, "FirstName": "x" * 50})])
    assert isinstance(done, Delivered)
    assert done.warning == "FirstName was cut to 40 characters"
    assert org.leads[0].fields["FirstName"] == "x" * 40


async def test_locked_rows_are_sent_again_in_smaller_batches(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    records = leads(20)
    for each in records[:8]:
        org.org.locks[each.id] = 1
    assert all(isinstance(each, Delivered) for each in await target.deliver(records))
    sizes = [each.body.count(b'"attributes"') for each in org.ledger][1:]
    assert sizes == [20, 2, 2, 2, 2]


@pytest.mark.parametrize("in_trigger", [True, False])
async def test_rows_that_stay_locked_come_again_apart(
    org: SalesforceSandbox, target: SalesforceConnector, in_trigger: bool
) -> None:
    org.org.lock_in_trigger = in_trigger
    records = leads(40)
    for each in records:
        org.org.locks[each.id] = 9
    outcomes = await target.deliver(records)
    assert {(type(each), each.memo["locked"]) for each in outcomes} == {(Retry, "1")}
    groups = [target.batch_group(each) for each in again(records, outcomes)]
    assert 4 < len(set(groups)) <= 8
    assert len({target.batch_group(each) for each in records}) == 1


async def test_the_whole_call_may_be_locked(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.faults.next(faults.row_lock(), on=UPSERT)
    outcomes = await target.deliver(leads(2))
    assert [type(each) for each in outcomes] == [Retry, Retry]


@pytest.mark.parametrize(
    ("fault", "blame", "reason"),
    [
        (faults.total_limit(), Blame.DESTINATION, Reason.RATE_LIMITED),
        (faults.concurrent_limit(), Blame.DESTINATION, Reason.RATE_LIMITED),
        (faults.invalid_field("X"), Blame.DESTINATION, Reason.REFUSED),
        (faults.api_disabled(), Blame.DESTINATION, Reason.FORBIDDEN),
        (faults.retired(), Blame.DESTINATION, Reason.GONE),
        (faults.not_found(), Blame.DESTINATION, Reason.NOT_FOUND),
        (faults.unknown_exception(), Blame.UNCLEAR, Reason.SERVER_ERROR),
        (faults.gateway_page(), Blame.UNCLEAR, Reason.SERVER_ERROR),
        (faults.gateway_page(504), Blame.UNCLEAR, Reason.SERVER_ERROR),
        (Fault.half_an_answer(), Blame.UNCLEAR, Reason.BAD_ANSWER),
        (faults.lost_answer(), Blame.UNCLEAR, Reason.BAD_ANSWER),
    ],
)
async def test_a_call_that_fails_delivers_nothing(
    org: SalesforceSandbox, target: SalesforceConnector, fault: Fault, blame: Blame, reason: Reason
) -> None:
    org.faults.next(fault, on=UPSERT)
    for outcome in await target.deliver(leads(2)):
        assert isinstance(outcome, Retry)
        assert (outcome.blame, outcome.reason) == (blame, reason)


async def test_a_validation_rule_has_the_last_word(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.validation_rules.append(lambda _, fields: "No free mail" if "lead0" in str(fields["Email"]) else None)
    refused, done = await target.deliver(leads(2, route(remark="Content")))
    assert refused == Rejected(Reason.REFUSED, "FIELD_CUSTOM_VALIDATION_EXCEPTION: No free mail", Blame.RECORD, 200)
    assert isinstance(done, Delivered)


@pytest.mark.parametrize("spelling", ["duplicateResut", "duplicateResult"])
async def test_a_duplicate_is_written_into_its_match(
    org: SalesforceSandbox, target: SalesforceConnector, spelling: Any
) -> None:
    made = route(remark="Content")
    await target.deliver([record(made=made)])
    org.duplicates.mode, org.duplicates.spelling = "block", spelling
    org.ledger.clear()
    twin, other = record({**FIELDS, "Phone": "+1"}, made, Content="More"), leads(1, made)[0]
    done, plain = await target.deliver([twin, other])
    first = org.leads[0]
    warning = f"written into {first.id}, which a duplicate rule found"
    assert done == Delivered(first.id, f"{org.origin}/{first.id}", warning, 200)
    assert isinstance(plain, Delivered)
    assert (first.fields["Phone"], first.fields["Description"]) == ("+1", 'said "hello"\n\nMore')
    assert (first.fields[KEY] != twin.id, first.assignments) == (True, 1)
    assert paths(org) == [UPSERT, "/composite", "/composite", "/composite/sobjects"]


async def test_a_record_that_is_there_is_updated_though_it_has_duplicates(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    first, second = record(), record({**FIELDS, "FirstName": "Dave"})
    await target.deliver([first, second])
    org.duplicates.mode = "alert"
    org.ledger.clear()
    assert all(isinstance(each, Delivered) for each in await target.deliver(again([first, second])))
    assert [each.fields["FirstName"] for each in org.leads] == ["David", "Dave"]
    assert len(org.ledger) == 2


async def test_two_duplicates_of_one_record_do_not_go_together(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    await target.deliver([record()])
    org.duplicates.mode = "alert"
    done, later = await target.deliver([record(), record()])
    assert isinstance(done, Delivered)
    assert isinstance(later, Retry)
    assert (later.blame, later.after) == (Blame.RECORD, 1.0)


async def test_many_duplicates_cost_few_calls(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    await target.deliver(leads(60))
    org.duplicates.mode = "block"
    org.ledger.clear()
    assert all(isinstance(each, Delivered) for each in await target.deliver(leads(60)))
    assert (len(org.ledger), len(org.leads)) == (1 + 3 + 1, 60)


async def test_more_duplicates_than_there_is_time_for_come_again(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    await target.deliver(leads(150))
    org.duplicates.mode = "block"
    outcomes = await target.deliver(leads(150))
    assert [type(each) for each in outcomes] == [Delivered] * 100 + [Retry] * 50


async def test_a_match_of_another_object_is_saved_beside(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    await target.deliver([record()])
    org.duplicates.mode = "alert"
    contact = org.leads[0]
    org.org.rows.change(contact, {"Email": "else@example.com"})
    result = {
        "allowSave": True,
        "matchResults": [{"matchRecords": [{"record": {"attributes": {"type": "Contact"}, "Id": "003A"}}]}],
    }
    problem = {"errorCode": "DUPLICATES_DETECTED", "message": "Use it?", "duplicateResult": result}
    part = {"referenceId": "0", "httpStatusCode": 400, "body": [problem]}
    short = {"success": False, "errors": [{"statusCode": "DUPLICATES_DETECTED", "message": "Use it?", "fields": []}]}
    json = {"Content-Type": "application/json"}
    org.faults.next(Fault.answers(200, json, orjson.dumps([short])), on=UPSERT)
    org.faults.next(Fault.answers(200, json, orjson.dumps({"compositeResponse": [part]})), on="v68.0/composite")
    (done,) = await target.deliver([record()])
    assert isinstance(done, Delivered)
    assert done.warning == "saved beside Contact 003A, which a duplicate rule found"
    assert len(org.leads) == 2


async def test_duplicates_are_saved_or_refused_as_asked(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.duplicates.mode = "alert"
    await target.deliver([record()])
    (allowed,) = await target.deliver([record(made=route(duplicates="allow"))])
    (refused,) = await target.deliver([record(made=route(duplicates="dead_letter"))])
    assert isinstance(allowed, Delivered)
    assert refused == Rejected(Reason.CONFLICT, "DUPLICATES_DETECTED: Use one of these records?", Blame.RECORD, 200)
    assert len(org.leads) == 2


async def test_a_unique_field_leads_to_the_other_record() -> None:
    unique = Field(name="Phone__c", length=40, unique=True)
    async with SalesforceSandbox(now=lambda: NOW, extra_fields={"Lead": [unique]}) as org:
        target = connector(org)
        await target.deliver([record({**FIELDS, "Phone__c": "1"})])
        (done,) = await target.deliver([record({**FIELDS, "Phone__c": "1", "FirstName": "Dave"})])
        await target.close()
    assert isinstance(done, Delivered)
    assert done.remote_id == org.leads[0].id
    assert org.leads[0].fields["FirstName"] == "Dave"


async def test_two_rows_with_one_key_never_share_a_call(target: SalesforceConnector) -> None:
    one, two = record({KEY: "A@b.co"}), record({KEY: " a@B.co"})
    assert target.batch_key(one) == target.batch_key(two)
    assert target.batch_group(one) == target.batch_group(two)
    assert target.batch_group(one) != target.batch_group(record(made=route(object="Contact")))


async def test_what_cannot_be_sent_does_not_keep_the_others(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    refused, done = await target.deliver([record({"LastName": object()}), record()])
    assert isinstance(refused, Rejected)
    assert (refused.reason, type(done)) == (Reason.MAPPING, Delivered)


UNREADABLE = {**FIELDS, "NumberOfEmployees": {"not": "a number"}}  # for which Salesforce refuses the whole call


async def test_a_call_that_is_refused_whole_is_left_for_the_bridge_to_split(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    outcomes = await target.deliver([*leads(3), record(UNREADABLE)])
    assert {(type(each), getattr(each, "blame", None)) for each in outcomes} == {(Rejected, Blame.BATCH)}


@pytest.mark.parametrize("at", [0, 2, 5])
async def test_a_part_of_a_call_that_is_refused_whole_is_split(
    org: SalesforceSandbox, target: SalesforceConnector, at: int
) -> None:
    known, new = leads(3), leads(6)
    await target.deliver(known)
    new[at] = record(UNREADABLE)
    outcomes = await target.deliver(again([*known, *new]))
    wanted = [Delivered] * 3 + [Rejected if number == at else Delivered for number in range(6)]
    assert [type(each) for each in outcomes] == wanted
    assert {each.blame for each in outcomes if isinstance(each, Rejected)} == {Blame.RECORD}
    assert len(org.leads) == 8


@pytest.mark.parametrize("value", [{"not": "a number"}, "many"])
async def test_a_value_that_salesforce_cannot_read_is_named_once_its_record_stands_alone(
    org: SalesforceSandbox, target: SalesforceConnector, value: object
) -> None:
    bad = record({**FIELDS, "Email": "bad@example.com", "NumberOfEmployees": value})
    (alone,) = await target.deliver([bad])
    assert isinstance(alone, Rejected)
    assert alone.detail.startswith("JSON_PARSER_ERROR: Cannot deserialize instance of")
    assert alone.detail.endswith(" [NumberOfEmployees]")


async def test_what_cannot_be_sent_lets_the_others_be_split(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    outcomes = await target.deliver([record({"LastName": object()}), record(UNREADABLE), *leads(3)])
    assert [type(each) for each in outcomes] == [Rejected, Rejected, Delivered, Delivered, Delivered]


async def test_any_object_can_be_written(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    (done,) = await target.deliver([record({"Email": "a@b.co"}, route(object="Contact"))])
    assert isinstance(done, Delivered)
    assert (len(org.contacts), org.contacts[0].fields["LastName"]) == (1, "García")


async def test_every_request_is_paced(org: SalesforceSandbox) -> None:
    paces = []

    @asynccontextmanager
    async def pace() -> AsyncIterator[None]:
        yield
        paces.append(1)

    target = connector(org, context(pace=pace))
    await target.deliver(again([record()]))
    await target.close()
    assert len(paces) == 1 + len(org.ledger)


def test_a_preview_shows_the_upsert_without_secrets() -> None:
    target = connector(None)  # nothing is sent
    shown = target.preview([record(record_id="r1"), record(record_id="r2")])
    assert shown.url == f"https://a.my.salesforce.com/services/data/v68.0{UPSERT}"
    assert shown.headers["Authorization"] == "Bearer ***"
    assert '"r1"' in shown.body
    assert '"r2"' in shown.body
