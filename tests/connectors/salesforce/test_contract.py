"""The `salesforce` connector under the contract that every connector is under: with leads, and with appointments."""

import json
import re
from typing import Any

import pytest

from connectors.base import Expressions
from connectors.salesforce import SalesforceConnector
from connectors.testing.contract import ConnectorContract
from connectors.testing.salesforce import SalesforceSandbox
from connectors.testing.salesforce.tokens import Client
from tests.connectors.building import EXPRESSIONS
from tests.connectors.salesforce.building import KEY

NAMES = ("LastName", "FirstName", "Email", "Company", "Description", KEY)


class TestLeads(ConnectorContract[SalesforceSandbox]):
    """One row of a collection upsert for each record, keyed by e-mail, and a follow-up task."""

    connector = SalesforceConnector

    def fake(self) -> SalesforceSandbox:
        return SalesforceSandbox(client=Client("client", "secret-of-the-sandbox"))

    def settings(self, fake: SalesforceSandbox) -> dict[str, Any]:
        return {
            "login_url": fake.origin,
            "client_id": "client",
            "client_secret": "secret-of-the-sandbox",
            "allow_private": True,
            "max_answer": "1MiB",
        }

    def route(self) -> dict[str, Any]:
        return {"external_id": KEY, "remark": "Content", "follow_up": {"subject": "Call"}}

    def conditional(self) -> str:
        return "FirstName"

    def fields(self, number: int) -> dict[str, Any]:
        event = self.event(number)
        names = {KEY: "Email", "FirstName": "FirstName", "LastName": "LastName", "Email": "Email"}
        return {name: event[source] for name, source in names.items()} | {"Company": "Acme"}

    def refused(self) -> dict[str, Any]:
        return {"LastName": "A", "Company": "B", "NumberOfEmployees": {"not": "a number"}}

    def failing(self, answer: Any, status: int) -> Any:
        code = {429: "REQUEST_LIMIT_EXCEEDED", 503: "SERVER_UNAVAILABLE"}[status]
        return json.loads(re.sub(r'"(errorCode|statusCode)": "\w+"', rf'"\1": "{code}"', json.dumps(answer)))

    def expire(self, fake: SalesforceSandbox) -> None:
        fake.tokens.expire()

    def tokens(self, fake: SalesforceSandbox) -> int:
        return len(fake.tokens.requests)

    def held(self, fake: SalesforceSandbox) -> list[object]:
        keys = {each.id: each.fields[KEY] for each in fake.leads}
        leads = [{name: each.fields[name] for name in NAMES} for each in fake.leads]
        return [*leads, *(("task", keys[each.fields["WhoId"]], each.fields["Subject"]) for each in fake.tasks)]

    def expressions(self) -> Expressions:
        return EXPRESSIONS


class TestAppointments(TestLeads):
    """A lead and an event in one transaction, keyed by the event."""

    def fields(self, number: int) -> dict[str, Any]:
        return {name: value for name, value in super().fields(number).items() if name != KEY}

    def conditional(self) -> str:
        pytest.skip("each event has a lead of its own")

    def event(self, number: int) -> dict[str, Any]:
        return {
            **super().event(number),
            "Type": "Appointment",
            "Content": f"Demo number {number} on November 25, 2026 at 10:00 AM UTC",
        }

    def held(self, fake: SalesforceSandbox) -> list[object]:
        leads = {each.id: each.fields[KEY] for each in fake.leads}
        events = [(leads[each.fields["WhoId"]], each.fields["Description"]) for each in fake.events]
        return [*super().held(fake), *events]
