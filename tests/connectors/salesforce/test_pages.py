"""Queries whose answers have several pages."""

import pytest

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.salesforce import SalesforceConnector
from connectors.testing import Fault
from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.salesforce.building import FIELDS, leads, record, route

MADE = route(prefer_contact=True)


async def test_a_contact_on_a_later_page_is_found(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.org.page_size = 2
    made = [org.org.add("Contact", LastName="García", Email=f"lead{number}@example.com") for number in range(6)]
    outcomes = await target.deliver(leads(6, MADE))
    assert {each.remote_id for each in outcomes if isinstance(each, Delivered)} == {each.id for each in made}
    assert not org.leads


async def test_too_many_matches_are_a_dead_letter_that_names_their_number(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    org.org.page_size = 2
    for _ in range(11):
        org.org.add("Contact", LastName="Desk", Email=FIELDS["Email"])
    (outcome,) = await target.deliver([record(made=MADE)])
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.blame) == (Reason.CONFLICT, Blame.BATCH)
    assert "11 records" in outcome.detail
    assert FIELDS["Email"] not in outcome.detail
    assert not org.leads
    assert {each.fields["LastName"] for each in org.contacts} == {"Desk"}


@pytest.mark.parametrize(("status", "code"), [(503, "SERVER_UNAVAILABLE"), (400, "INVALID_QUERY_LOCATOR")])
async def test_a_page_that_fails_is_tried_again(
    org: SalesforceSandbox, target: SalesforceConnector, status: int, code: str
) -> None:
    org.org.page_size = 2
    made = [org.org.add("Contact", LastName="García", Email=f"lead{number}@example.com") for number in range(4)]
    org.faults.next(Fault(status=status, body=b'[{"errorCode":"%s","message":"no"}]' % code.encode()), on="/query/01g")
    first = await target.deliver(leads(4, MADE))
    assert all(isinstance(each, Retry) for each in first)
    assert not org.leads
    again = await target.deliver(leads(4, MADE))
    assert {each.remote_id for each in again if isinstance(each, Delivered)} == {each.id for each in made}
