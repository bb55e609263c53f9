"""Leads that a salesperson has converted: the contact takes their place."""

from dataclasses import replace
from typing import Any

import pytest

from connectors.base import Delivered, Rejected
from connectors.salesforce import SalesforceConnector
from connectors.testing.salesforce import Row, SalesforceSandbox
from tests.connectors.salesforce.building import FIELDS, KEY, appointment, connector, leads, record, route, warned

SHARED = {**FIELDS, KEY: "chat-7"}


@pytest.fixture
async def converted(org: SalesforceSandbox, target: SalesforceConnector) -> tuple[Row, Row]:
    """Give a lead of the chat, and the contact that it was converted into."""
    await target.deliver([record(SHARED, route(remark="Content"), Content="first words")])
    lead = org.leads[0]
    contact = org.org.convert(lead, opportunity=True)
    org.ledger.clear()
    return lead, contact


async def test_its_values_and_remark_are_written_into_the_contact(
    org: SalesforceSandbox, target: SalesforceConnector, converted: tuple[Row, Row]
) -> None:
    lead, contact = converted
    more = {**SHARED, "Phone": "+34600", "City": "Madrid", "Interest__c": "High"}
    (done,) = await target.deliver([record(more, route(remark="Content"), Content="more words")])
    assert isinstance(done, Delivered)
    assert done.remote_id == contact.id
    assert warned(done) == (
        "Interest__c left out because Contact has no such field that the user may write; the value is in the remark; "
        f"the lead {lead.id} was converted; written into its contact {contact.id}"
    )
    assert (contact.fields["Phone"], contact.fields["MailingCity"]) == ("+34600", "Madrid")
    assert contact.fields["Description"] == "first words\n\nmore words\nInterest__c: High"
    assert (len(org.leads), len(org.contacts), lead.writes) == (1, 1, 2)  # written once, converted once


async def test_others_of_the_batch_cost_no_call_more(
    org: SalesforceSandbox, target: SalesforceConnector, converted: tuple[Row, Row]
) -> None:
    _, contact = converted
    made = route(remark="Content")
    others = leads(100, made)
    outcomes = await target.deliver([*others[:50], record(SHARED, made, Content="more"), *others[50:]])
    assert [type(each) for each in outcomes] == [Delivered] * 101
    assert contact.fields["Description"] == "first words\n\nmore"
    # One read, the contact's schema and description, and one call with the new leads and the contact.
    assert len(org.ledger) == 4


async def test_a_conversion_that_the_read_could_not_show_is_followed_after_the_write(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    """As between read and write, and where nothing is read: the first answer says that the lead was converted."""
    made = route(assignment="never")
    first, *others = leads(3, made)
    await target.deliver([first])
    contact = org.org.convert(org.leads[0])
    org.ledger.clear()
    again = replace(first, fields={**first.fields, "Phone": "+1"})
    outcomes = await target.deliver([again, *others])
    assert [warned(each) != "" for each in outcomes] == [True, False, False]
    assert contact.fields["Phone"] == "+1"
    assert len(org.leads) == 3


@pytest.mark.parametrize("content", ["Demo on November 25, 2026 at 10:00 AM UTC", "some day"])
async def test_its_appointment_is_the_contacts_and_the_opportunitys(
    org: SalesforceSandbox, target: SalesforceConnector, converted: tuple[Row, Row], content: str
) -> None:
    lead, contact = converted
    each = appointment(content, {**SHARED, "Phone": "+34600"})
    (done,) = await target.deliver([each])
    assert isinstance(done, Delivered)
    assert done.remote_id == contact.id
    assert f"the lead {lead.id} was converted" in warned(done)
    (activity,) = org.events + org.tasks
    assert activity.fields["WhoId"] == contact.id
    assert activity.fields["WhatId"] == lead.fields["ConvertedOpportunityId"]
    assert contact.fields["Phone"] == "+34600"
    await target.deliver([replace(each, is_repeat=True)])
    assert len(org.events + org.tasks) == 1


async def test_an_appointment_made_before_the_conversion_is_found_after_it(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    each = appointment(fields=SHARED)
    await target.deliver([each])
    org.org.convert(org.leads[0])
    (done,) = await target.deliver([replace(each, is_repeat=True)])
    assert isinstance(done, Delivered)
    assert len(org.events) == 1


async def test_a_lead_whose_contact_cannot_be_read_is_refused(
    org: SalesforceSandbox, target: SalesforceConnector, converted: tuple[Row, Row]
) -> None:
    lead, _ = converted
    org.org.rows.change(lead, {"ConvertedContactId": None})
    for each in (record(SHARED), appointment(fields=SHARED)):
        (refused,) = await target.deliver([each])
        assert isinstance(refused, Rejected)
        assert "CANNOT_UPDATE_CONVERTED_LEAD" in refused.detail


async def test_a_contact_is_never_emptied(org: SalesforceSandbox) -> None:
    target = connector(org)
    await target.deliver([record(SHARED)])
    contact = org.org.convert(org.leads[0])
    org.org.rows.change(contact, {"FirstName": "Dr. David"})
    fields: dict[str, Any] = {**SHARED, "FirstName": "D", "LeadSource": "Web"}
    each = record(fields)
    await target.deliver([replace(each, if_empty=frozenset({"FirstName"}), create_only=frozenset({"LeadSource"}))])
    await target.close()
    assert (contact.fields["FirstName"], contact.fields["LeadSource"]) == ("Dr. David", None)
