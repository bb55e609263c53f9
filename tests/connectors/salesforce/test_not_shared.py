"""Duplicates that are not shared with the user: a rule finds them, and nobody can write into them."""

from dataclasses import replace

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.salesforce import SalesforceConnector
from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.salesforce.building import FIELDS, leads, record, route


async def test_a_lead_is_saved_beside_it_where_the_rule_allows_that(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    made = route(remark="Content")
    await target.deliver(leads(2, made))
    org.duplicates.mode = "alert"
    hidden, shared = org.leads
    org.org.hidden.add(hidden.id)
    first, second, third = await target.deliver(
        [replace(each, id=f"{each.id}-again") for each in leads(2, made)] + [record(made=made)]
    )
    assert isinstance(first, Delivered)
    assert first.warning == f"saved beside Lead {hidden.id}, which a duplicate rule found"
    assert isinstance(second, Delivered)
    assert second.remote_id == shared.id
    assert isinstance(third, Delivered)
    assert third.warning is None
    assert [each.fields["Description"] for each in org.leads] == ['said "hello"'] * 4
    assert (hidden.writes, len(org.leads)) == (1, 4)


async def test_a_rule_that_blocks_makes_it_wait_for_the_rights(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    await target.deliver([record()])
    org.duplicates.mode = "block"
    org.org.hidden.add(org.leads[0].id)
    (waiting,) = await target.deliver([record()])
    assert isinstance(waiting, Retry)
    assert (waiting.blame, "give the user the rights" in waiting.detail) == (Blame.RECORD, True)


async def test_a_route_that_saves_duplicates_is_not_blocked_by_it(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    """The header lets a rule run with the user's eyes: it must not refuse a lead for what nobody here may know of."""
    made = route(duplicates="allow")
    await target.deliver([record(made=made)])
    org.duplicates.mode = "block"
    (refused,) = await target.deliver([record(made=made)])
    org.org.hidden.add(org.leads[0].id)
    (saved,) = await target.deliver([record({**FIELDS, "FirstName": "Dave"}, made)])
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.CONFLICT
    assert isinstance(saved, Delivered)
    assert [each.fields["FirstName"] for each in org.leads] == ["David", "Dave"]
