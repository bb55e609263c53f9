"""HubSpot's own client for Python and the connector send the same request for the same logical call.

The client is fixed on v3, so the connector is asked for v3 too. What differs is named in `ADDED`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from connectors.http_client.masking import Secrets
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.requests import HubSpotRequest, HubSpotRequests, lead_of
from connectors.testing import Arrival
from connectors.testing.hubspot import HubSpotSandbox, OAuthApp
from tests.connectors.building import context
from tests.connectors.hubspot import building

if "CI" not in os.environ:  # there it must be installed, and its absence is a failure
    pytest.importorskip("hubspot")

from hubspot import HubSpot  # type: ignore[import-untyped]
from hubspot.crm import companies, contacts, deals  # type: ignore[import-untyped]
from hubspot.crm.associations import v4  # type: ignore[import-untyped]
from hubspot.crm.contacts.exceptions import ApiException  # type: ignore[import-untyped]
from hubspot.crm.objects import leads, notes  # type: ignore[import-untyped]

APP = OAuthApp(client_id="client", client_secret="secret", refresh_token="refresh")
CONTACT = "101"
NOTE = {"hs_timestamp": "2026-11-24T10:00:00.000Z", "hs_note_body": "said"}
LINKS = [
    {"to": {"id": CONTACT}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202}]},
]
PRIMARY = [
    {"to": {"id": CONTACT}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 578}]},
]
DEAL = {"dealname": "Chat", "pipeline": "default", "dealstage": "appointmentscheduled"}
DEAL_LINKS = [
    {"to": {"id": CONTACT}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}]},
    {"to": {"id": "104"}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 341}]},
]
LEAD = building.lead(0)
PROPERTIES = dict(LEAD.fields)
FILTERS = [{"filters": [{"propertyName": "phone", "operator": "EQ", "value": "+34 600"}]}]
SORTS = [{"propertyName": "createdate", "direction": "ASCENDING"}]

OFFICIAL: dict[str, Callable[[Any], Any]] = {
    "upsert a batch": lambda client: client.crm.contacts.batch_api.upsert(
        contacts.BatchInputSimplePublicObjectBatchInputUpsert(
            inputs=[
                contacts.SimplePublicObjectBatchInputUpsert(
                    id=PROPERTIES["email"],
                    id_property="email",
                    object_write_trace_id=LEAD.id,
                    properties=PROPERTIES,
                )
            ]
        )
    ),
    "create a contact": lambda client: client.crm.contacts.basic_api.create(
        contacts.SimplePublicObjectInputForCreate(properties=PROPERTIES, associations=[])
    ),
    "update a contact by its id": lambda client: client.crm.contacts.basic_api.update(
        CONTACT, contacts.SimplePublicObjectInput(properties=PROPERTIES)
    ),
    "update a contact by its e-mail": lambda client: client.crm.contacts.basic_api.update(
        PROPERTIES["email"], contacts.SimplePublicObjectInput(properties=PROPERTIES), id_property="email"
    ),
    "search for a phone": lambda client: client.crm.contacts.search_api.do_search(
        contacts.PublicObjectSearchRequest(filter_groups=FILTERS, sorts=SORTS, properties=["phone"], limit=1)
    ),
    "ask for the notes of contacts": lambda client: client.crm.associations.v4.batch_api.get_page(
        "contacts",
        "notes",
        v4.BatchInputPublicFetchAssociationsBatchRequest(
            inputs=[
                v4.PublicFetchAssociationsBatchRequest(id=CONTACT),
                v4.PublicFetchAssociationsBatchRequest(id="103", after="500"),
            ]
        ),
    ),
    "read the bodies of notes": lambda client: client.crm.objects.notes.batch_api.read(
        notes.BatchReadInputSimplePublicObjectId(
            inputs=[{"id": "102"}, {"id": "103"}], properties=["hs_note_body"], properties_with_history=[]
        )
    ),
    "create notes": lambda client: client.crm.objects.notes.batch_api.create(
        notes.BatchInputSimplePublicObjectBatchInputForCreate(
            inputs=[
                notes.SimplePublicObjectBatchInputForCreate(
                    object_write_trace_id="record-0", properties=NOTE, associations=LINKS
                )
            ]
        )
    ),
    "ask for the properties": lambda client: client.crm.properties.core_api.get_all("contacts"),
    "find contacts by their e-mails": lambda client: client.crm.contacts.batch_api.read(
        contacts.BatchReadInputSimplePublicObjectId(
            id_property="email", inputs=[{"id": "a@b.co"}], properties=["email"], properties_with_history=[]
        )
    ),
    "create leads": lambda client: client.crm.objects.leads.batch_api.create(
        leads.BatchInputSimplePublicObjectBatchInputForCreate(
            inputs=[
                leads.SimplePublicObjectBatchInputForCreate(
                    object_write_trace_id=LEAD.id, properties=PROPERTIES, associations=PRIMARY
                )
            ]
        )
    ),
    "update contacts by their ids": lambda client: client.crm.contacts.batch_api.update(
        contacts.BatchInputSimplePublicObjectBatchInput(
            inputs=[
                contacts.SimplePublicObjectBatchInput(id=CONTACT, object_write_trace_id=LEAD.id, properties=PROPERTIES)
            ]
        )
    ),
    "search for companies": lambda client: client.crm.companies.search_api.do_search(
        companies.PublicObjectSearchRequest(
            filter_groups=[{"filters": [{"propertyName": "domain", "operator": "IN", "values": ["b.co"]}]}],
            sorts=SORTS,
            properties=["domain"],
            limit=200,
        )
    ),
    "create companies": lambda client: client.crm.companies.batch_api.create(
        companies.BatchInputSimplePublicObjectBatchInputForCreate(
            inputs=[
                companies.SimplePublicObjectBatchInputForCreate(
                    object_write_trace_id="b.co", properties={"domain": "b.co"}, associations=[]
                )
            ]
        )
    ),
    "create deals": lambda client: client.crm.deals.batch_api.create(
        deals.BatchInputSimplePublicObjectBatchInputForCreate(
            inputs=[
                deals.SimplePublicObjectBatchInputForCreate(
                    object_write_trace_id="record-0-deal", properties=DEAL, associations=DEAL_LINKS
                )
            ]
        )
    ),
    "associate companies with contacts": lambda client: client.crm.associations.v4.batch_api.create_default(
        "companies",
        "contacts",
        v4.BatchInputPublicDefaultAssociationMultiPost(inputs=[{"from": {"id": "102"}, "to": {"id": "103"}}]),
    ),
    "find owners by their e-mail": lambda client: client.crm.owners.owners_api.get_page(
        email="ann@acme.com", limit=100
    ),
    "read an owner": lambda client: client.crm.owners.owners_api.get_by_id(11, id_property="id"),
    "read the pipelines of deals": lambda client: client.crm.pipelines.pipelines_api.get_all("deals"),
    "read a list": lambda client: client.crm.lists.lists_api.get_by_id("42"),
    "add to a list": lambda client: client.crm.lists.memberships_api.add("42", request_body=[CONTACT]),
    "associate notes with leads": lambda client: client.crm.associations.v4.batch_api.create_default(
        "notes",
        "leads",
        v4.BatchInputPublicDefaultAssociationMultiPost(inputs=[{"from": {"id": "102"}, "to": {"id": "103"}}]),
    ),
}
CONNECTOR: dict[str, Callable[[HubSpotRequests], HubSpotRequest]] = {
    "upsert a batch": lambda api: api.upsert([lead_of(LEAD, "")]),
    "create a contact": lambda api: api.create(lead_of(LEAD, "")),
    "update a contact by its id": lambda api: api.update(lead_of(LEAD, ""), CONTACT),
    "update a contact by its e-mail": lambda api: api.update(lead_of(LEAD, ""), PROPERTIES["email"], "email"),
    "search for a phone": lambda api: api.search("phone", "+34 600"),
    "ask for the notes of contacts": lambda api: api.associated("notes", {CONTACT: None, "103": "500"}),
    "read the bodies of notes": lambda api: api.read("notes", ["102", "103"], "hs_note_body"),
    "create notes": lambda api: api.add(
        "notes", [{"objectWriteTraceId": "record-0", "properties": NOTE, "associations": LINKS}]
    ),
    "ask for the properties": lambda api: api.properties("contacts"),
    "find contacts by their e-mails": lambda api: api.find("contacts", "email", ["a@b.co"], ("email",)),
    "create leads": lambda api: api.create_leads([replace(lead_of(LEAD, ""), contact=CONTACT)]),
    "update contacts by their ids": lambda api: api.update_batch([replace(lead_of(LEAD, ""), found=CONTACT)]),
    "search for companies": lambda api: api.search_companies(["b.co"]),
    "create companies": lambda api: api.add(
        "companies", [{"objectWriteTraceId": "b.co", "properties": {"domain": "b.co"}, "associations": []}]
    ),
    "create deals": lambda api: api.add(
        "deals", [{"objectWriteTraceId": "record-0-deal", "properties": DEAL, "associations": DEAL_LINKS}]
    ),
    "associate companies with contacts": lambda api: api.link("companies", [("102", "103")], "contacts"),
    "find owners by their e-mail": lambda api: api.owners("ann@acme.com"),
    "read an owner": lambda api: api.owner("11"),
    "read the pipelines of deals": lambda api: api.pipelines(),
    "read a list": lambda api: api.static_list("42"),
    "add to a list": lambda api: api.add_to_list("42", [CONTACT]),
    "associate notes with leads": lambda api: api.link("notes", [("102", "103")]),
}
ADDED: dict[str, dict[str, Any]] = {
    # The client's model does not allow it to be left out; the API does.
    "read the bodies of notes": {"propertiesWithHistory": []},
    "find contacts by their e-mails": {"propertiesWithHistory": []},
}
"""What the client's request has besides in its body."""


@dataclass
class Sent:
    """What of a request reaches HubSpot's application."""

    method: str
    path: str
    query: dict[str, list[str]]
    document: Any


@pytest.fixture
async def crm() -> AsyncIterator[HubSpotSandbox]:
    async with HubSpotSandbox(oauth=APP, owners={"ann@acme.com": "11"}, lists={"42": "MANUAL"}) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", OFFICIAL)
async def test_the_same_request(crm: HubSpotSandbox, name: str) -> None:
    official = await sent_by_client(crm, OFFICIAL[name])
    ours = await sent_by_connector(crm, CONNECTOR[name])
    if name in ADDED:
        ours.document |= ADDED[name]
    assert ours == official


async def test_the_same_request_for_a_token(crm: HubSpotSandbox) -> None:
    """To another path, though: the client's `/oauth/v1/token` is deprecated, and the connector's has its version."""
    client = HubSpot(host=crm.origin)
    known = {"client_id": "client", "client_secret": "secret", "refresh_token": "refresh"}
    await asyncio.to_thread(lambda: client.oauth.tokens_api.create(grant_type="refresh_token", **known))
    target = building.connector(crm, oauth=known)
    await target.deliver([LEAD])
    await target.close()
    official, ours = crm.credentials.requests
    assert ours == official


async def test_the_connector_sends_what_is_compared_here(crm: HubSpotSandbox) -> None:
    """`deliver` itself: the upsert that the test above compares, and then the note."""
    await building.deliver(crm, building.with_route(LEAD, remark="Content"), api_version="v3")
    upserted, noted = map(read, crm.ledger)
    official = await sent_by_client(crm, OFFICIAL["upsert a batch"])
    assert upserted == official
    (created,) = noted.document["inputs"]
    assert (noted.method, noted.path) == ("POST", "/crm/v3/objects/notes/batch/create")
    assert created["associations"] == [{"to": {"id": crm.contacts[0].id}, "types": LINKS[0]["types"]}]
    assert created.keys() == {"objectWriteTraceId", "properties", "associations"}


async def sent_by_client(crm: HubSpotSandbox, call: Callable[[Any], Any]) -> Sent:
    client = HubSpot(access_token=crm.access_token, host=crm.origin)

    def work() -> None:
        try:
            call(client)
        except ApiException as refused:
            assert refused.status == 404, "nobody is there yet"  # noqa: PT017 - any other is a test that is wrong

    await asyncio.to_thread(work)
    return read(crm.ledger[-1])


async def sent_by_connector(crm: HubSpotSandbox, make: Callable[[HubSpotRequests], HubSpotRequest]) -> Sent:
    settings = building.settings(crm, api_version="v3")
    api = HubSpotRequests(settings)
    calls = HubSpotClient(settings, api, context(), Secrets())
    await calls.send(make(api))
    await calls.close()
    return read(crm.ledger[-1])


def read(arrival: Arrival) -> Sent:
    path, _, query = arrival.path.partition("?")
    assert arrival.headers["Authorization"].startswith("Bearer ")
    assert not arrival.body or arrival.headers["Content-Type"] == "application/json"
    return Sent(arrival.method, path, parse_qs(query), orjson.loads(arrival.body) if arrival.body else None)
