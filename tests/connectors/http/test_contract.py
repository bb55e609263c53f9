"""The `http` connector under the contract that every connector is under, in each of its ways."""

from typing import Any

import pytest

from connectors.base import Expressions
from connectors.http import HttpConnector
from connectors.testing import Sandbox
from connectors.testing.contract import ConnectorContract
from tests.connectors.building import EXPRESSIONS

TOKEN = "bearer-token-of-the-sandbox"
CLIENT = ("client-id", "client-secret-of-the-sandbox")


class HttpContract(ConnectorContract[Sandbox]):
    connector = HttpConnector

    def fake(self) -> Sandbox:
        return Sandbox(required=["email"], authorization=f"Bearer {TOKEN}")

    def settings(self, fake: Sandbox) -> dict[str, Any]:
        return {
            "url": fake.url,
            "allow_private": True,
            "auth": {"bearer": TOKEN},
            "success": {"when": "answer.ok"},
            "remote_id": "answer.id",
        }

    def fields(self, number: int) -> dict[str, Any]:
        return {"email": self.event(number)["Email"], "name": self.event(number)["LastName"]}

    def refused(self) -> dict[str, Any]:
        return {"name": "without an e-mail"}

    def held(self, fake: Sandbox) -> list[object]:
        return [each.fields for each in fake.records]

    def expressions(self) -> Expressions:
        return EXPRESSIONS


class TestOneByOne(HttpContract):
    """A call for each record, whose answer says whether it was written."""


class TestByStatus(HttpContract):
    """The status alone decides."""

    bare_success = frozenset({200, 201, 202, 203, 204, 205, 208, 226, 299})

    def settings(self, fake: Sandbox) -> dict[str, Any]:
        return {"url": fake.url, "allow_private": True, "auth": {"bearer": TOKEN}}


class TestByAddress(HttpContract):
    """The record's key stands in the address."""

    def fake(self) -> Sandbox:
        return Sandbox(required=["name"], authorization=f"Bearer {TOKEN}")

    def settings(self, fake: Sandbox) -> dict[str, Any]:
        return {**super().settings(fake), "url": f"{fake.url}/{{{{ Email }}}}", "method": "PUT"}

    def refused(self) -> dict[str, Any]:
        return {"email": "without-a-name@example.com"}


class TestInBatches(HttpContract):
    """Several in a call, whose results are found by key, in an order of the API's own."""

    def fake(self) -> Sandbox:
        return Sandbox(authorization=f"Bearer {TOKEN}", required=["email", "name"], shuffled=True)

    def settings(self, fake: Sandbox) -> dict[str, Any]:
        return {
            "url": fake.url,
            "allow_private": True,
            "auth": {"bearer": TOKEN},
            "results": {
                "each": "answer.results",
                "ok": "result.ok",
                "error": "result.error",
                "match": {"record": "fields.email | lower", "result": "result.key"},
            },
            "remote_id": "result.id",
        }

    def refused(self) -> dict[str, Any]:
        return {"email": "without-a-name@example.com"}

    async def test_a_row_without_an_id_is_not_believed(self) -> None:
        pytest.skip("`results.ok` accounts for a record; a missing `remote_id` is a warning")


class TestUnderOAuth(HttpContract):
    """Tokens that are fetched, expire, and are renewed."""

    def fake(self) -> Sandbox:
        return Sandbox(required=["email"], client=CLIENT)

    def settings(self, fake: Sandbox) -> dict[str, Any]:
        oauth2 = {"token_url": fake.token_url, "client_id": CLIENT[0], "client_secret": CLIENT[1]}
        return {**super().settings(fake), "auth": {"oauth2": oauth2}}

    def expire(self, fake: Sandbox) -> None:
        assert fake.tokens is not None
        fake.tokens.expire()

    def tokens(self, fake: Sandbox) -> int:
        assert fake.tokens is not None
        return len(fake.tokens.requests)
