"""Properties that are written only to new contacts, or only where HubSpot holds nothing: what is read, and when."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.config import load
from connectors.base import Blame, Delivered, Reason, Record, Retry
from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, Property, faults
from tests.connectors.hubspot.building import (
    again,
    connector,
    deliver,
    deliver_all,
    ids,
    lead,
    with_fields,
    with_route,
)
from tests.connectors.hubspot.test_contacts import KEY, calls
from tests.connectors.testing.hubspot_client import UPSERT, call
from tests.test_docs import EXAMPLE

READ = ("POST", "contacts/batch/read")
WRITE = ("POST", "contacts/batch/upsert")
JSON = {"Content-Type": "application/json"}


def modest(number: int = 0, *, route: dict[str, Any] | None = None, **event_fields: Any) -> Record:
    """Return a lead whose status is written if empty, and whose stage is written to new contacts only."""
    made = with_fields(lead(number, route, **event_fields), hs_lead_status="NEW", lifecyclestage="lead")
    return replace(made, if_empty=frozenset({"hs_lead_status", "website"}), create_only=frozenset({"lifecyclestage"}))


async def known(crm: HubSpotSandbox, *emails: str, **values: str) -> None:
    """Create contacts whose status is in progress."""
    properties = {"hs_lead_status": "IN_PROGRESS", **values}
    inputs = [{"id": each, "idProperty": "email", "properties": {"email": each, **properties}} for each in emails]
    assert (await call(crm, UPSERT, {"inputs": inputs})).status == 200
    crm.ledger.clear()


def held(crm: HubSpotSandbox, email: str, *names: str) -> list[str | None]:
    (found,) = [each for each in crm.contacts if each.properties.get("email") == email]
    return [found.properties.get(name) for name in names]


async def test_a_thousand_leads_with_conditional_fields_cost_twenty_calls() -> None:
    async with HubSpotSandbox() as crm:
        await known(crm, *(f"lead{number}@example.com" for number in range(0, 100, 2)))
        target = connector(crm)
        ids(await deliver_all(target, [modest(number) for number in range(1000)]))
        await target.close()
        assert len(crm.ledger) <= 24
        assert {
            tuple(held(crm, f"lead{number}@example.com", "hs_lead_status", "lifecyclestage")) for number in (0, 98)
        } == {("IN_PROGRESS", None)}
        assert held(crm, "lead999@example.com", "hs_lead_status", "lifecyclestage") == ["NEW", "lead"]


async def test_nothing_is_read_where_every_field_is_written_always() -> None:
    async with HubSpotSandbox() as crm:
        ids(await deliver(crm, lead(0), lead(1)))
        assert calls(crm) == [WRITE]


async def test_a_batch_reads_only_the_leads_that_need_it() -> None:
    async with HubSpotSandbox() as crm:
        await known(crm, "lead0@example.com", "lead1@example.com", firstname="")
        ids(await deliver(crm, modest(0), with_fields(lead(1), hs_lead_status="OPEN")))
        assert calls(crm) == [READ, WRITE]
        assert [each["id"] for each in json.loads(crm.ledger[0].body)["inputs"]] == ["lead0@example.com"]
        assert held(crm, "lead0@example.com", "hs_lead_status", "firstname") == ["IN_PROGRESS", "Lead 0"]
        assert held(crm, "lead1@example.com", "hs_lead_status") == ["OPEN"]


async def test_an_empty_property_of_a_known_contact_is_filled() -> None:
    async with HubSpotSandbox() as crm:
        await known(crm, "lead0@example.com")
        ids(await deliver(crm, with_fields(modest(0), website="https://example.com")))
        assert held(crm, "lead0@example.com", "website", "hs_lead_status") == ["https://example.com", "IN_PROGRESS"]


@pytest.mark.parametrize("version", ["2026-09", "v3"])
@pytest.mark.parametrize("echoes", [True, False])
async def test_a_contact_found_by_a_secondary_email_keeps_its_primary_one(version: str, *, echoes: bool) -> None:
    async with HubSpotSandbox(echoes_trace_ids=echoes) as crm:
        await known(crm, "main@example.com", hs_additional_emails="lead0@example.com;other@example.com")
        outcomes = await deliver(crm, modest(0), modest(1), api_version=version)
        first = crm.contacts[0]
        assert ids(outcomes) == [first.id, crm.contacts[1].id]
        assert (first.properties["email"], first.properties["firstname"]) == ("main@example.com", "Lead 0")
        assert first.properties["hs_lead_status"] == "IN_PROGRESS"
        sent = [each for arrival in list(crm.ledger)[1:] for each in json.loads(arrival.body)["inputs"]]
        assert [("email" in each["properties"], each["id"]) for each in sent] == [
            (True, "lead1@example.com"),
            (False, first.id),
        ]


async def test_two_addresses_of_one_contact_never_share_a_batch() -> None:
    async with HubSpotSandbox() as crm:
        await known(crm, "lead0@example.com", hs_additional_emails="lead1@example.com")
        target = connector(crm)
        first, second = await target.deliver([modest(0), modest(1)])
        assert isinstance(first, Delivered)
        assert isinstance(second, Retry)
        assert (second.reason, second.blame) == (Reason.CONFLICT, Blame.RECORD)
        ids(await target.deliver([again(modest(1), second)]))
        await target.close()
        assert len(crm.contacts) == 1


async def test_a_lost_answer_changes_nothing() -> None:
    async with HubSpotSandbox() as crm:
        await known(crm, "lead0@example.com")
        target = connector(crm)
        crm.faults.next(Fault())
        crm.faults.next(faults.answer_lost())
        batch = [modest(0), modest(1)]
        lost = await target.deliver(batch)
        assert all(isinstance(each, Retry) for each in lost)
        ids(await target.deliver([again(each, outcome) for each, outcome in zip(batch, lost, strict=True)]))
        await target.close()
        assert held(crm, "lead0@example.com", "hs_lead_status", "lifecyclestage") == ["IN_PROGRESS", None]
        assert held(crm, "lead1@example.com", "hs_lead_status", "lifecyclestage") == ["NEW", "lead"]
        assert len(crm.contacts) == 2


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.answers(502), 502),
        (Fault.answers(200, JSON, b"{}"), 200),
        (Fault.answers(207, JSON, b'{"results":[],"numErrors":1,"errors":[{"category":"OTHER"}]}'), 207),
        (Fault.answers(200, JSON, b'{"results":[{"id":"1"}]}'), 200),
        (Fault.answers(429, JSON, b'{"errorType":"RATE_LIMIT","policyName":"SECONDLY"}'), 429),
    ],
)
async def test_nothing_is_written_if_it_is_unknown_what_exists(fault: Fault, status: int) -> None:
    async with HubSpotSandbox() as crm:
        await known(crm, "lead0@example.com")
        crm.faults.next(fault)
        outcomes = await deliver(crm, modest(0), modest(1))
        assert all(isinstance(each, Retry) and each.status == status for each in outcomes)
        assert len(crm.ledger) == 1


async def test_a_custom_key_and_a_conflict_respect_what_is_held() -> None:
    async with HubSpotSandbox(properties=KEY) as crm:
        await known(crm, "lead0@example.com", lead_key="k0")
        await known(crm, "lead1@example.com")
        route = {"match": "lead_key"}
        by_key = with_fields(modest(0, route=route), lead_key="k0")
        by_conflict = with_fields(modest(1, route=route), lead_key="k1")
        ids(await deliver(crm, by_key, by_conflict))
        for number in (0, 1):
            found = held(crm, f"lead{number}@example.com", "hs_lead_status", "lifecyclestage", "lead_key", "firstname")
            assert found == ["IN_PROGRESS", None, f"k{number}", f"Lead {number}"]
        assert len(crm.contacts) == 2


async def test_a_lead_with_a_phone_only_respects_what_is_held() -> None:
    async with HubSpotSandbox() as crm:
        phone = "+34600000000"
        await known(crm, "lead0@example.com", phone=phone)
        ids(await deliver(crm, modest(1, Email="", PhoneNumber=phone)))
        ids(await deliver(crm, modest(2, Email="", PhoneNumber="+34600000001")))
        assert [each.properties["hs_lead_status"] for each in crm.contacts] == ["IN_PROGRESS", "NEW"]
        assert len(crm.contacts) == 2


async def test_lead_objects_respect_what_is_held() -> None:
    async with HubSpotSandbox(properties={"leads": [Property(name="chat", unique=True)]}) as crm:
        route = {"object": "leads", "match": "chat"}

        def made(name: str, email: str = "lead0@example.com", chat: str = "c0") -> Record:
            fields = {"hs_lead_name": name, "chat": chat}
            return replace(
                with_route(lead(0, Email=email), **route), fields=fields, if_empty=frozenset({"hs_lead_name"})
            )

        ids(await deliver(crm, made("First")))
        ids(await deliver(crm, made("Second"), replace(made("Other", "o@example.com", "c1"), id="other")))
        assert [each.properties["hs_lead_name"] for each in crm.records("leads")] == ["First", "Other"]


async def test_the_example_does_not_overwrite_an_existing_customer() -> None:
    """The route of `config.example.yaml` itself, with a customer who writes again without a name."""
    route = load(EXAMPLE, {}).chatbots["acme-website"].routes[0]
    made = lead(0, Email="Customer@Example.com", FirstName="", LastName="", URI="https://shop.example.net/chat")
    mapping = route.mapping
    record = replace(
        made,
        fields=mapping.apply(made.event),
        route=route.settings,
        create_only=mapping.create_only,
        if_empty=mapping.if_empty,
    )
    own = {
        "firstname": "Ana",
        "lastname": "García",
        "website": "https://garcia.example",
        "hs_lead_status": "IN_PROGRESS",
        "lifecyclestage": "customer",
    }
    async with HubSpotSandbox() as crm:
        await known(crm, "customer@example.com", **own)
        ids(await deliver(crm, record))
        (contact,) = crm.contacts
        assert {name: contact.properties[name] for name in own} == own
        assert len(crm.notes) == 1
