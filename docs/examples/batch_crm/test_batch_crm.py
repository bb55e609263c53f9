"""Holds the connector `batch_crm` to what every connector is held to: run `python -m pytest` in this folder."""

# ruff: noqa: INP001, D102, S105 - a test beside a plugin, whose methods the contract describes

from typing import Any

from aiohttp import web
from batch_crm import BatchCrm

from connectors.testing.contacts import Reply
from connectors.testing.contract import ConnectorContract
from connectors.testing.fake import FakeApi, json_object

TOKEN = "a-token-of-the-fake"


class BatchCrmFake(FakeApi):
    """The API as its documentation describes it: 200 if all leads are written, 207 if some, 400 if none."""

    def __init__(self) -> None:
        super().__init__()
        self.leads: dict[str, dict[str, Any]] = {}
        self.route("/leads/batch", self._write)

    def _write(self, request: web.Request, body: bytes) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Reply(401, {"message": "wrong token"})
        results = [self._write_one(lead) for lead in json_object(body)["leads"]]
        failed = sum("error" in row for row in results)
        status = 200 if not failed else 400 if failed == len(results) else 207
        return Reply(status, {"results": results[::-1]})  # in no promised order

    def _write_one(self, lead: dict[str, Any]) -> dict[str, Any]:
        if "email" not in lead:
            return {"key": lead["key"], "error": "email is required"}
        self.leads.setdefault(lead["key"], lead)
        return {"key": lead["key"], "id": 1 + list(self.leads).index(lead["key"])}


class TestBatchCrm(ConnectorContract[BatchCrmFake]):
    """The contract, batches included."""

    connector = BatchCrm

    def fake(self) -> BatchCrmFake:
        return BatchCrmFake()

    def settings(self, fake: BatchCrmFake) -> dict[str, Any]:
        return {"api_token": TOKEN, "base_url": fake.origin, "allow_private": True}

    def fields(self, number: int) -> dict[str, Any]:
        event = self.event(number)
        return {"email": event["Email"], "name": event["LastName"]}

    def refused(self) -> dict[str, Any]:
        return {"name": "Nobody without an e-mail"}

    def held(self, fake: BatchCrmFake) -> list[object]:
        return [{**lead, "key": ""} for lead in fake.leads.values()]
