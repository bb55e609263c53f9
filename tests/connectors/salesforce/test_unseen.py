"""Records of which nobody can say whether they exist: nothing of them is lost, and nobody is assigned twice."""

from dataclasses import replace

import orjson
import pytest

from connectors.base import Delivered
from connectors.salesforce import SalesforceConnector
from connectors.testing import Fault
from connectors.testing.salesforce import SalesforceSandbox, faults
from connectors.testing.subject import MemoryVault
from tests.connectors.building import NOW, context
from tests.connectors.salesforce.building import FIELDS, KEY, appointment, connector, record, route, warned

SHARED = {KEY: "david@example.com"}


def unanswered() -> Fault:
    """Refuse the query in a composite, as for a user who may write and not read."""
    error = [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no query"}]
    part = {"referenceId": "q0x0", "httpStatusCode": 403, "body": error}
    return Fault.answers(200, {}, orjson.dumps({"compositeResponse": [part]}))


async def test_what_cannot_be_read_is_not_replaced(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    made = route(remark="Content")
    await target.deliver([record({**FIELDS, **SHARED}, made, Content="history")])
    org.faults.next(unanswered(), on="v68.0/composite")
    (done,) = await target.deliver([record({**SHARED, "Phone": "+1"}, made, Content="new words")])
    (row,) = org.leads
    assert (row.fields["Description"], row.fields["Phone"], row.assignments) == ("history", "+1", 1)
    assert (row.fields["Company"], row.fields["LastName"]) == ("Acme", "García")
    assert "the remark is left out" in warned(done)
    assert "assignment rules were not run" in warned(done)


async def test_what_turns_out_to_be_new_is_written_as_new(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.faults.next(unanswered(), on="v68.0/composite")
    (done,) = await target.deliver([record({**SHARED, "Phone": "+1"}, route(remark="Content"))])
    (row,) = org.leads
    assert (row.fields["Description"], row.fields["Company"]) == ('said "hello"', "[not provided]")
    assert (row.assignments, warned(done)) == (1, "")


async def test_a_remark_that_a_refused_field_makes_is_added_to_what_is_there(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(remark="Content")
    await target.deliver([record({**FIELDS, **SHARED}, made, Content="history")])
    (done,) = await target.deliver([record({**SHARED, "Email": "no address"}, made, Content="")])
    assert isinstance(done, Delivered)
    assert org.leads[0].fields["Description"] == "history\n\nEmail: no address"


@pytest.mark.parametrize("is_there", [True, False])
async def test_an_appointments_record_that_cannot_be_looked_for_keeps_what_it_has(
    org: SalesforceSandbox, target: SalesforceConnector, is_there: bool
) -> None:
    if is_there:
        await target.deliver([record({**FIELDS, **SHARED})])
    looks_and_writes = [faults.insufficient_access(), Fault(written=True)]
    for fault in looks_and_writes * (1 if is_there else 2):
        org.faults.next(fault, on="v68.0/composite")
    (done,) = await target.deliver([appointment(fields={**SHARED, "Phone": "+1"})])
    assert isinstance(done, Delivered)
    (row,) = org.leads
    assert (row.fields["Company"], row.assignments) == ("Acme" if is_there else "[not provided]", 1)
    assert len(org.events) == 1


async def test_a_process_that_was_killed_has_assigned_already(org: SalesforceSandbox) -> None:
    made = record(made=route(remark="Content"))
    for _ in range(2):  # the second process knows of no attempt
        target = connector(org, context(now=lambda: NOW))
        target.open(MemoryVault())
        (done,) = await target.deliver([made])
        await target.close()
        assert isinstance(done, Delivered)
    (row,) = org.leads
    assert (row.assignments, row.fields["Description"]) == (1, 'said "hello"')


async def test_what_comes_in_after_the_start_is_not_asked_for(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    target.open(MemoryVault())
    each = record()
    new = {**each.event, "event": {"id": "1" * 32, "received_at": "2026-12-24T10:00:00.000Z"}}
    await target.deliver([replace(each, event=new)])
    assert [each.path.rpartition("/")[2] for each in org.ledger] == ["describe", KEY]
