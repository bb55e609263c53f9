"""Calls of a batch: the page of a lead shows its own item of the request and of the answer, and nobody else's."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from connectors.base import Exchange, Outcome, Record
from connectors.testing import Fault
from connectors.testing.salesforce import SalesforceSandbox
from connectors.testing.zoho import ZohoFake
from connectors.zoho.settings import ZohoRoute
from tests.connectors.google_sheets import test_google_sheets as sheets
from tests.connectors.http_client.test_exchanges import logged
from tests.connectors.salesforce import building as salesforce
from tests.connectors.zoho import test_zoho as zoho

Deliver = Callable[[Sequence[Record]], Awaitable[Sequence[Outcome]]]
COUNT = 4
REFUSED = "no address of 3"
"""Stands in the e-mail of the last lead, which Salesforce refuses."""


OTHER = "planted@example.com"
PLANTED = Fault.answers(500, {"Content-Type": "application/json"}, f'{{"message": "{OTHER} is wrong"}}'.encode())


def email_of(number: int) -> str:
    return REFUSED if number == COUNT - 1 else f"lead{number}@example.com"


@asynccontextmanager
async def salesforce_batch(fault: Fault | None) -> AsyncIterator[tuple[Deliver, list[Record]]]:
    route = salesforce.route(follow_up={"subject": "Call"}, campaign={"id": "701000000000001AAA"})
    records = [
        salesforce.record({**salesforce.FIELDS, "Email": email_of(each)}, route, record_id=f"id-{each}")
        for each in range(COUNT)
    ]
    async with SalesforceSandbox() as crm:
        target = salesforce.connector(crm)
        if fault:
            crm.faults.share(fault, 1.0, "/composite/sobjects/")
        yield target.deliver, records
        await target.close()


@asynccontextmanager
async def zoho_batch(fault: Fault | None) -> AsyncIterator[tuple[Deliver, list[Record]]]:
    route = ZohoRoute(remark="Content")
    records = [
        replace(
            zoho.lead(each, route, {"Content": f"words of {email_of(each)}"}, Email=email_of(each)), id=f"id-{each}"
        )
        for each in range(COUNT)
    ]
    async with ZohoFake(client=zoho.CLIENT) as crm:
        target = zoho.connector(crm)
        if fault:
            crm.faults.share(fault, 1.0, "/upsert")
        yield target.deliver, records
        await target.close()


@asynccontextmanager
async def sheets_batch(fault: Fault | None) -> AsyncIterator[tuple[Deliver, list[Record]]]:
    records = [sheets.record(each, {"Email": email_of(each)}) for each in range(COUNT)]
    async with sheets.sheet_fake() as fake:
        target = sheets.made(fake)
        if fault:
            fake.faults.share(fault, 1.0, ":append")
        yield target.deliver, records
        await target.close()


BATCHES = {"salesforce": salesforce_batch, "zoho": zoho_batch, "google_sheets": sheets_batch}


def check_nobody_else(number: int, exchanges: Sequence[Exchange]) -> None:
    texts = " ".join(f"{each.url} {each.sent} {each.received}" for each in exchanges)
    for other in set(range(COUNT)) - {number}:
        assert email_of(other) not in texts
    assert OTHER not in texts


@pytest.mark.parametrize("name", BATCHES)
async def test_a_lead_of_a_batch_shows_its_own_items(name: str) -> None:
    async with BATCHES[name](None) as (deliver, records):
        with logged(*(each.id for each in records)) as log:
            await deliver(records)
    for number, record in enumerate(records):
        exchanges = log.of(record.id)
        check_nobody_else(number, exchanges)
        written = next(each for each in exchanges if email_of(number) in (each.sent or ""))
        assert written.received
        assert written.shared
        assert len(written.received) < len(records) * 400


@pytest.mark.parametrize("name", BATCHES)
async def test_a_batch_that_fails_as_a_whole_shows_what_was_sent(name: str) -> None:
    async with BATCHES[name](PLANTED) as (deliver, records):
        with logged(*(each.id for each in records)) as log:
            await deliver(records)
    for number, record in enumerate(records):
        exchanges = log.of(record.id)
        check_nobody_else(number, exchanges)
        assert [(each.status, each.received) for each in exchanges[-1:]] == [(500, None)]
        assert email_of(number) in (exchanges[-1].sent or "")
