"""The client for Python that most programs use, simple-salesforce, against the sandbox over https."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from connectors.testing.salesforce import Client, SalesforceSandbox
from tests.connectors.building import Certificates
from tests.connectors.testing.salesforce_client import EVENT, KEY, LEAD, UPSERTS, batch, lead

if "CI" not in os.environ:  # there it must be installed, and its absence is a failure
    pytest.importorskip("simple_salesforce")

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.adapters import HTTPAdapter
from simple_salesforce import exceptions
from simple_salesforce.api import Salesforce

PRIVATE_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class ToSandbox(HTTPAdapter):
    """Sends what is meant for salesforce.com to the sandbox: the client makes the address of its login itself."""

    def __init__(self, origin: str) -> None:
        super().__init__()
        self._origin = origin

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = self._origin + urlsplit(request.url or "").path
        return super().send(request, *args, **kwargs)


@pytest.fixture
async def crm(certificates: Certificates) -> AsyncIterator[SalesforceSandbox]:
    pem = PRIVATE_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    app = Client("client", "secret", certificate=pem)
    async with SalesforceSandbox(client=app, version="59.0", tls=certificates.server_context()) as sandbox:
        yield sandbox


@pytest.fixture
async def ask(crm: SalesforceSandbox, certificates: Certificates) -> AsyncIterator[Callable[..., Any]]:
    """Make a client and a call of it, both of which block, in a thread."""
    with requests.Session() as session:
        session.trust_env = False  # a CA bundle in the environment would come before this one
        session.headers["Connection"] = "close"  # so that none is left to the server when the loop ends
        session.verify = str(certificates.ca)
        session.mount("https://acme.my.salesforce.com", ToSandbox(crm.origin))
        session.mount("https://login.salesforce.com", ToSandbox(crm.origin))
        credentials = {"consumer_key": "client", "consumer_secret": "secret", "domain": "acme.my"}

        async def asking(work: Callable[[Any], Any], **other: Any) -> Any:
            return await asyncio.to_thread(lambda: work(Salesforce(session=session, **(other or credentials))))

        yield asking


async def test_client_credentials_and_a_session_that_expires(crm: SalesforceSandbox, ask: Callable[..., Any]) -> None:
    def work(client: Any) -> Any:
        crm.tokens.expire()
        return client.limits(), client.api_usage["api-usage"]

    limits, usage = await ask(work)
    assert limits["DailyApiRequests"]["Remaining"] == 99_999
    assert (usage.used, usage.total) == (1, 100_000)
    assert len(crm.tokens.requests) == 2


async def test_jwt_bearer(crm: SalesforceSandbox, ask: Callable[..., Any]) -> None:
    pem = PRIVATE_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signed = {"username": crm.tokens.client.username, "consumer_key": "client", "privatekey": pem.decode()}
    assert await ask(lambda client: client.limits(), **signed)


async def test_wrong_credentials_without_a_description(crm: SalesforceSandbox, ask: Callable[..., Any]) -> None:
    crm.tokens.describes_errors = False
    wrong = {"consumer_key": "client", "consumer_secret": "wrong", "domain": "acme.my"}
    with pytest.raises(exceptions.SalesforceAuthenticationFailed):
        await ask(lambda client: client.limits(), **wrong)


async def test_a_token_that_was_given(crm: SalesforceSandbox, ask: Callable[..., Any]) -> None:
    given = {"session_id": crm.tokens.grant(), "instance_url": crm.origin}
    assert await ask(lambda client: client.limits(), **given)


async def test_records(crm: SalesforceSandbox, ask: Callable[..., Any]) -> None:
    def work(client: Any) -> None:
        assert client.Lead.upsert(f"{KEY}/k1", LEAD) == 201
        assert client.Lead.upsert(f"{KEY}/k1", {"City": "x"}) == 200
        found = client.Lead.get_by_custom_id(KEY, "k1")
        made = client.Event.create({"WhoId": found["Id"], "Subject": "Appointment", **EVENT})
        assert made["success"]
        assert client.Event.update(made["id"], {"Location": "here"}) == 204
        described = {each["name"] for each in client.Lead.describe()["fields"]}
        assert {"LastName", "Company", KEY} <= described
        assert "Lead" in {each["name"] for each in client.describe()["sobjects"]}
        query = f"SELECT Id, Location FROM Event WHERE WhoId = '{found['Id']}' LIMIT 1"
        assert [each["Location"] for each in client.query_all(query)["records"]] == ["here"]
        assert client.Lead.delete(found["Id"]) == 204
        with pytest.raises(exceptions.SalesforceMalformedRequest) as refused:
            client.Lead.create({"LastName": "x"})
        errors: Any = refused.value.content
        assert errors[0]["errorCode"] == "REQUIRED_FIELD_MISSING"

    await ask(work)
    assert len(crm.events) == 1


async def test_several_matches(ask: Callable[..., Any]) -> None:
    def work(client: Any) -> None:
        for _ in range(2):
            client.Lead.create({**LEAD, "Email": "a@b.co"})
        with pytest.raises(exceptions.SalesforceMoreThanOneRecord):
            client.Lead.get_by_custom_id("Email", "a@b.co")

    await ask(work)


async def test_collections_and_composite(crm: SalesforceSandbox, ask: Callable[..., Any]) -> None:
    parts = [
        {
            "method": "PATCH",
            "url": f"/services/data/v59.0/sobjects/Lead/{KEY}/k1",
            "referenceId": "lead",
            "body": LEAD,
        },
        {
            "method": "POST",
            "url": "/services/data/v59.0/sobjects/Event",
            "referenceId": "event",
            "body": {"WhoId": "@{lead.id}", **EVENT},
        },
    ]

    def work(client: Any) -> None:
        rows: Any = client.restful(UPSERTS[1:], method="PATCH", json=batch(lead("k1"), lead("k2", Email="x")))
        assert [row["success"] for row in rows] == [True, False]
        document = {"allOrNone": True, "compositeRequest": parts}
        answer: Any = client.restful("composite", method="POST", json=document)
        assert [each["httpStatusCode"] for each in answer["compositeResponse"]] == [200, 201]

    await ask(work)
    assert crm.events[0].fields["WhoId"] == crm.leads[0].id
