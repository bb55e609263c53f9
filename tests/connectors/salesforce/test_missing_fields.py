"""Fields that the org does not have, or that its user may not write: only the leads that fill them are concerned."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from connectors.base import Blame, Delivered, Outcome, Record, Retry, SettingError
from connectors.salesforce import SalesforceConnector
from connectors.testing import Fault
from connectors.testing.salesforce import SalesforceSandbox, faults
from tests.connectors.building import NOW, context
from tests.connectors.salesforce.building import FIELDS, KEY, appointment, connector, leads, record, route

UPSERT = f"/composite/sobjects/Lead/{KEY}"


def with_field(records: Sequence[Record], name: str, *numbers: int) -> list[Record]:
    """Give the records, some of them with one field more."""
    return [
        replace(each, fields={**each.fields, name: "x"}) if number in numbers else each
        for number, each in enumerate(records)
    ]


def warnings(outcomes: Sequence[Outcome]) -> list[str | None]:
    assert all(isinstance(each, Delivered) for each in outcomes), outcomes
    return [each.warning for each in outcomes if isinstance(each, Delivered)]


async def test_a_field_that_is_not_there_is_not_sent(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    made = route(remark="Content")
    told = warnings(await target.deliver(with_field(leads(5, made), "Nope__c", 2)))
    left = "Nope__c left out because Lead has no such field that the user may write; the value is in the remark"
    assert told == [None, None, left, None, None]
    assert org.leads[2].fields["Description"] == 'said "hello"\nNope__c: x'
    assert len(org.ledger) == 2


async def test_where_nobody_may_ask_for_fields_the_refusal_names_them(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    org.faults.share(faults.insufficient_access(), 1.0, on="/describe")
    told = warnings(await target.deliver(with_field(leads(5), "Nope__c", 1, 3)))
    left = "Nope__c refused by Salesforce and left out; the event keeps the value"
    assert told == [None, left, None, left, None]
    assert len(org.leads) == 5


async def test_new_and_known_records_of_one_call_are_refused_apart(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    """They are two collections of one call; a field that one of them may not have keeps no record of the other."""
    org.faults.share(faults.insufficient_access(), 1.0, on="/describe")
    keyed = [replace(each, fields={**each.fields, KEY: f"k{number}"}) for number, each in enumerate(leads(4))]
    await target.deliver(keyed[:2])
    org.ledger.clear()
    told = warnings(await target.deliver(with_field(keyed, "Nope__c", 3)))
    left = "Nope__c refused by Salesforce and left out; the event keeps the value"
    assert told == [None, None, None, left]
    assert (len(org.leads), {each.assignments for each in org.leads}) == (4, {1})


async def test_a_refused_field_that_cannot_be_left_out_is_its_records_trouble(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(object="Event")  # which has no such fields, and nobody may ask
    org.faults.share(faults.insufficient_access(), 1.0, on="/describe")
    rows = [record({"Subject": "A"}, made), record({"Subject": "A", "Company": "B"}, made)]
    org.faults.next(faults.invalid_field("Company"), on="/composite/sobjects")
    first, second = await target.deliver(rows)
    assert not (isinstance(first, Retry) and "INVALID_FIELD" in first.detail)
    assert isinstance(second, Retry)
    assert second.blame is Blame.RECORD
    assert "INVALID_FIELD" in second.detail


async def test_a_field_that_has_been_taken_away_is_noticed_at_the_first_refusal() -> None:
    now = [NOW]
    async with SalesforceSandbox(now=lambda: now[0]) as org:
        target = connector(org, context(now=lambda: now[0]))
        await target.deliver(leads(1))
        now[0] += 3600
        del org.org.objects["Lead"].fields["Phone"]  # type: ignore[attr-defined]  # as an administrator does
        told = warnings(await target.deliver(with_field(leads(3), "Phone", 0)))
        again = warnings(await target.deliver(with_field(leads(3), "Phone", 0)))
        await target.close()
    assert [each is not None for each in told] == [True, False, False]
    assert [each is not None for each in again] == [True, False, False]
    paths = [each.path.rpartition("/")[2] for each in org.ledger]
    assert paths == ["describe", KEY, KEY, "describe", KEY, KEY]


async def test_a_field_that_has_been_made_is_soon_written() -> None:
    now = [NOW]
    async with SalesforceSandbox(now=lambda: now[0]) as org:
        target = connector(org, context(now=lambda: now[0]))
        field = org.org.objects["Lead"].fields.pop("Phone")  # type: ignore[attr-defined]  # not made yet
        assert warnings(await target.deliver(with_field(leads(1), "Phone", 0))) != [None]
        org.org.objects["Lead"].fields["Phone"] = field  # type: ignore[index]  # as an administrator does
        now[0] += 601
        assert warnings(await target.deliver(with_field(leads(1), "Phone", 0))) == [None]
        await target.close()
    assert org.leads[1].fields["Phone"] == "x"


async def test_an_appointment_goes_without_it_too(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.faults.share(faults.insufficient_access(), 1.0, on="/describe")
    told = warnings(await target.deliver([appointment(fields={**FIELDS, "Nope__c": "x"})]))
    assert told == ["Nope__c refused by Salesforce and left out; the event keeps the value"]
    assert len(org.events) == 1


async def test_a_field_in_two_spellings_and_an_id_keep_nobody(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    wrong = record({**FIELDS, "lastname": "Other", "Id": "00Q"})
    told = warnings(await target.deliver([wrong, *leads(2)]))
    assert [each is not None for each in told] == [True, False, False]
    assert org.leads[0].fields["LastName"] == "García"


@pytest.mark.parametrize("name", ["Id", "ID"])
def test_an_id_is_no_external_id(name: str) -> None:
    with pytest.raises(SettingError) as caught:
        connector(None).check_route(route(external_id=name), ["LastName"])
    assert caught.value.path == ("external_id",)


@pytest.mark.parametrize("fields", [["LastName", "Id"], ["LastName", "lastname"]])
def test_a_field_that_a_record_cannot_have_is_no_field(fields: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        connector(None).check_route(route(), fields)
    assert caught.value.path == ("fields", fields[1])


def refusing(code: str) -> Fault:
    """Refuse one record, in a row of its own."""
    row = f'[{{"success": false, "errors": [{{"statusCode": "{code}", "message": "words", "fields": []}}]}}]'
    return Fault.answers(200, {"Content-Type": "application/json"}, row.encode())


@pytest.mark.parametrize("code", ["INSUFFICIENT_ACCESS_OR_READONLY", "NOT_FOUND", "INVALID_TYPE"])
async def test_a_lone_record_does_not_hold_the_lane(
    org: SalesforceSandbox, target: SalesforceConnector, code: str
) -> None:
    org.faults.next(refusing(code), on=UPSERT)
    (outcome,) = await target.deliver([record()])
    assert isinstance(outcome, Retry)
    assert outcome.blame is Blame.RECORD


async def test_what_the_org_says_of_its_object_holds_the_lane(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(external_id="Interest__c")  # no External ID
    for each in (record(made=made), appointment(made=made)):
        (outcome,) = await target.deliver([each])
        assert isinstance(outcome, Retry)
        assert outcome.blame is Blame.DESTINATION
