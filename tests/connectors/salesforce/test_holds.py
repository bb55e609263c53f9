"""Whether Salesforce still holds what it was given."""

from connectors.base import Delivered, RemoteRecord
from connectors.salesforce import SalesforceConnector
from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.salesforce.building import leads, record, route

ROUTE = route()


async def test_what_is_there_and_what_is_not(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    outcomes = await target.deliver(leads(90))
    made = [each.remote_id or "" for each in outcomes if isinstance(each, Delivered)]
    assert len(made) == 90
    gone = org.org.find(org.org.object("Lead"), made[1])
    org.org.delete(gone)
    held = list(await target.holds([RemoteRecord(each, ROUTE) for each in made]))
    assert held == [True, False] + [True] * 88


async def test_an_id_that_is_none_is_not_taken_for_gone(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    (outcome,) = await target.deliver(leads(1))
    assert isinstance(outcome, Delivered)
    held = await target.holds(
        [RemoteRecord(outcome.remote_id or "", ROUTE), RemoteRecord(outcome.remote_id or "", route(object="None__c"))]
    )
    assert list(held) == [True, None]


async def test_a_lead_that_was_written_into_a_contact_is_there(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    contact = org.org.add("Contact", LastName="García", Email="david@example.com")
    made = route(prefer_contact=True)
    (outcome, *_) = await target.deliver([record(made=made), *leads(1, made)])
    assert isinstance(outcome, Delivered)
    ids = [contact.id, org.leads[0].id]
    assert list(await target.holds([RemoteRecord(each, made) for each in ids])) == [True, True]
    org.org.delete(contact)
    assert list(await target.holds([RemoteRecord(each, made) for each in ids])) == [False, True]
