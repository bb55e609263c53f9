"""simple-salesforce and the connector send the same request for the same logical call.

The client knows single records only. The connector sends those as parts of composite calls, so its parts are compared
with the client's requests: method, address and body of a part are those of the request that it stands for. Collections,
which the client has no call for, are compared with what a client of their documentation would send.

What differs, and is meant to:

- A part names the record of the part before it (`@{record.id}`), where the client has to know the id already.
- The client ends the addresses of limits, queries and creates with a slash, the connector does not.
- The connector's queries have blanks as `%20`, and the client's as `+`; both are read as blanks.
- The connector shows its secret in the body of a token request, and the client in a header (RFC 6749 section 2.3.1
  has both).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, quote

import orjson
import pytest

from connectors.base import Delivered
from connectors.testing import Arrival
from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.building import Certificates
from tests.connectors.salesforce.building import FIELDS, KEY, appointment, connector, record, route, wanted

if "CI" not in os.environ:  # there it must be installed, and its absence is a failure
    pytest.importorskip("simple_salesforce")

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import exceptions
from simple_salesforce.api import Salesforce

BASE = "/services/data/v68.0"
ID = "chat-7"
Ask = Callable[[Callable[[Any], Any]], Any]


@dataclass
class Sent:
    """What of a request reaches Salesforce's application."""

    method: str
    path: str
    query: dict[str, list[str]]
    document: Any


@pytest.fixture
async def crm(certificates: Certificates) -> AsyncIterator[SalesforceSandbox]:
    async with SalesforceSandbox(tls=certificates.server_context()) as sandbox:
        yield sandbox


@pytest.fixture
async def ask(crm: SalesforceSandbox, certificates: Certificates) -> AsyncIterator[Ask]:
    """Make a client and a call of it, which blocks, in a thread; gives the request that was sent."""
    with requests.Session() as session:
        session.trust_env = False  # a CA bundle in the environment would come before this one
        session.headers["Connection"] = "close"  # so that none is left to the server when the loop ends
        session.verify = str(certificates.ca)

        async def asking(work: Callable[[Any], Any]) -> Sent:
            given: dict[str, Any] = {"session_id": crm.tokens.grant(), "instance_url": crm.origin, "version": "68.0"}

            def call() -> None:
                with suppress(exceptions.SalesforceResourceNotFound):  # nothing is there yet
                    work(Salesforce(session=session, **given))

            await asyncio.to_thread(call)
            return read(crm.ledger[-1])

        yield asking


@pytest.fixture
async def parts(crm: SalesforceSandbox, certificates: Certificates) -> dict[str, Sent]:
    """The parts of the composite calls of an appointment, by their names; a `PATCH` after a look is `written`."""
    made = appointment(fields={**FIELDS, KEY: ID})
    await deliver(crm, certificates, made)
    calls = [read(each).document for each in crm.ledger if each.path == f"{BASE}/composite"]
    looked, written = ({part["referenceId"]: _part(part) for part in call["compositeRequest"]} for call in calls)
    return {**looked, "written": written["record"], "activity": written["activity"]}


async def deliver(crm: SalesforceSandbox, certificates: Certificates, *made: Any) -> None:
    target = connector(crm, tls={"ca": certificates.ca})
    outcomes = await target.deliver(made)
    await target.close()
    assert all(isinstance(each, Delivered) for each in outcomes), outcomes


async def test_describe(crm: SalesforceSandbox, ask: Ask, certificates: Certificates) -> None:
    official = await ask(lambda client: client.Lead.describe())
    await deliver(crm, certificates, record())
    assert read(crm.ledger[1]) == official


async def test_limits(crm: SalesforceSandbox, ask: Ask, certificates: Certificates) -> None:
    official = await ask(lambda client: client.limits())
    target = connector(crm, tls={"ca": certificates.ca})
    await target.probe([wanted()])
    await target.close()
    (ours,) = [each for each in map(read, list(crm.ledger)[1:]) if "limits" in each.path]
    assert with_slash(ours) == official


async def test_find_a_record(ask: Ask, parts: dict[str, Sent]) -> None:
    """The connector reads its id, and whether it was converted; the client always reads the whole record."""
    official = await ask(lambda client: client.Lead.get_by_custom_id(KEY, ID))
    names = "Id,IsConverted,ConvertedContactId,ConvertedOpportunityId"
    assert parts["record"] == replace(official, query={"fields": [names]})


async def test_query(ask: Ask, parts: dict[str, Sent]) -> None:
    (query,) = parts["activities"].query["q"]
    assert query.startswith("SELECT Id, Description FROM Event WHERE WhoId = '@{record.Id}'")
    official = await ask(lambda client: client.query(query.replace("@{record.Id}", "00Q5g0000000001EAA")))
    asked = {"q": [query.replace("@{record.Id}", "00Q5g0000000001EAA")]}
    assert with_slash(replace(parts["activities"], query=asked)) == official


async def test_upsert(ask: Ask, parts: dict[str, Sent]) -> None:
    official = await ask(lambda client: client.Lead.upsert(f"{KEY}/{ID}", FIELDS))
    assert parts["written"] == official


async def test_create_an_event(crm: SalesforceSandbox, ask: Ask, parts: dict[str, Sent]) -> None:
    values = {**parts["activity"].document, "WhoId": crm.leads[0].id}
    official = await ask(lambda client: client.Event.create(values))
    official.document["WhoId"] = "@{record.id}"
    assert with_slash(parts["activity"]) == official


async def test_upsert_a_collection(crm: SalesforceSandbox, ask: Ask, certificates: Certificates) -> None:
    await deliver(crm, certificates, record({**FIELDS, KEY: ID}))
    rows = [{"attributes": {"type": "Lead"}, KEY: ID, **FIELDS}]
    ours = read(crm.ledger[-1])
    official = await ask(
        lambda client: client.restful(
            f"composite/sobjects/Lead/{KEY}", method="PATCH", json={"allOrNone": False, "records": rows}
        )
    )
    assert ours == official


async def test_create_a_task_and_find_a_contact(crm: SalesforceSandbox, ask: Ask, certificates: Certificates) -> None:
    await deliver(crm, certificates, record(made=route(prefer_contact=True, follow_up={})))
    found, _, created = (read(each) for each in list(crm.ledger)[-3:])
    rows = [
        {
            "attributes": {"type": "Task"},
            **{name: crm.tasks[0].fields[name] for name in created.document["records"][0] if name != "attributes"},
        }
    ]
    official = await ask(
        lambda client: client.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": rows})
    )
    assert created == official
    part = _part(found.document["compositeRequest"][0])
    (query,) = part.query["q"]
    assert query == "SELECT Id, Email FROM Contact WHERE Email IN ('david@example.com') ORDER BY CreatedDate DESC"
    assert with_slash(part) == await ask(lambda client: client.query(query))


async def test_a_token(crm: SalesforceSandbox, certificates: Certificates) -> None:
    class ToSandbox(HTTPAdapter):
        """Sends to the sandbox: the client makes the address of its login itself."""

        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            request.url = f"{crm.origin}/services/oauth2/token"
            return super().send(request, *args, **kwargs)

    def log_in() -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Connection"] = "close"
            session.verify = str(certificates.ca)
            session.mount("https://acme.my.salesforce.com", ToSandbox())
            Salesforce(session=session, consumer_key="client", consumer_secret="secret", domain="acme.my")

    await asyncio.to_thread(log_in)
    await deliver(crm, certificates, record())
    official, ours = crm.tokens.requests
    assert ours == {**official, "client_id": "client", "client_secret": "secret"}


def read(arrival: Arrival) -> Sent:
    path, _, query = arrival.path.partition("?")
    assert arrival.headers["Authorization"].startswith("Bearer ")
    return Sent(arrival.method, path, parse_qs(query), orjson.loads(arrival.body) if arrival.body else None)


def with_slash(sent: Sent) -> Sent:
    return replace(sent, path=f"{sent.path}/")


def _part(part: dict[str, Any]) -> Sent:
    path, _, query = part["url"].partition("?")
    assert query == quote(query, safe="%@{}.=&"), "an address is encoded, but for what stands for an earlier part"
    return Sent(part["method"], path, parse_qs(query), part.get("body"))
