"""The `hubspot` connector under the contract that every connector is under, in each of its ways."""

from collections.abc import Mapping
from typing import Any

import pytest

from connectors.base import Expressions, Record, Rejected
from connectors.hubspot import HubSpotConnector
from connectors.testing.batch_clauses import BatchClauses
from connectors.testing.contract import ConnectorContract
from connectors.testing.hubspot import ACCESS_TOKEN, HubSpotSandbox, OAuthApp, Property
from connectors.testing.subject import Subject
from connectors.testing.write_clauses import WriteClauses
from tests.connectors.building import EXPRESSIONS

SECRET = "client-secret-of-the-sandbox"
REFRESH = "refresh-token-of-the-sandbox"


class HubSpotSubject(Subject[HubSpotSandbox]):
    connector = HubSpotConnector

    def fake(self) -> HubSpotSandbox:
        return HubSpotSandbox()

    def settings(self, fake: HubSpotSandbox) -> dict[str, Any]:
        return {"access_token": ACCESS_TOKEN, "base_url": fake.origin, "allow_private": True}

    def fields(self, number: int) -> dict[str, Any]:
        return {"email": self.event(number)["Email"], "firstname": self.event(number)["FirstName"]}

    def refused(self) -> dict[str, Any]:
        return {"email": "nobody@nowhere", "firstname": "without a domain"}

    def conditional(self) -> str:
        return "firstname"

    def held(self, fake: HubSpotSandbox) -> list[object]:
        return [(each.properties["email"], each.properties.get("firstname")) for each in fake.contacts]

    def expressions(self) -> Expressions:
        return EXPRESSIONS


class HubSpotContract(HubSpotSubject, ConnectorContract[HubSpotSandbox]):
    """All clauses."""


class HubSpotWrites(HubSpotSubject, WriteClauses[HubSpotSandbox], BatchClauses[HubSpotSandbox]):
    """The clauses on lost and doubled leads."""


class TestContacts(HubSpotContract):
    """Contacts alone."""


class TestConditionalWrites(HubSpotWrites):
    """Contacts that are read before they are written."""

    def record(self, number: int = 0, fields: Mapping[str, Any] | None = None, **changes: Any) -> Record:
        return super().record(number, fields, **{"if_empty": frozenset({"firstname"}), **changes})

    async def test_a_field_that_is_not_always_written_is_kept(self) -> None:
        pytest.skip("the class with contacts alone runs it")


class TestUnderOAuth(HubSpotContract):
    """Tokens that are fetched, expire, and are renewed."""

    def fake(self) -> HubSpotSandbox:
        app = OAuthApp(client_id="app", client_secret=SECRET, refresh_token=REFRESH)
        return HubSpotSandbox(access_token=None, oauth=app)

    def settings(self, fake: HubSpotSandbox) -> dict[str, Any]:
        oauth = {"client_id": "app", "client_secret": SECRET, "refresh_token": REFRESH}
        return {"oauth": oauth, "base_url": fake.origin, "allow_private": True}

    def expire(self, fake: HubSpotSandbox) -> None:
        fake.credentials.expire()

    def tokens(self, fake: HubSpotSandbox) -> int:
        return len(fake.credentials.requests)


class TestWithNotes(HubSpotContract):
    """Each contact with a note, which is no upsert."""

    def route(self) -> dict[str, Any]:
        return {"remark": "Content"}

    def held(self, fake: HubSpotSandbox) -> list[object]:
        emails = {each.id: each.properties["email"] for each in fake.contacts}
        names = [each.properties.get("firstname") for each in fake.contacts]
        return [*emails.values(), *names, *(("note", emails[each.associations["contacts"][0]]) for each in fake.notes)]


class TestLeadObjects(HubSpotContract):
    """HubSpot's leads, each at a contact, with a note that belongs to both."""

    def conditional(self) -> str:
        return "hs_lead_name"

    def fake(self) -> HubSpotSandbox:
        return HubSpotSandbox(properties={"leads": [Property(name="chat", unique=True)]})

    def fields(self, number: int) -> dict[str, Any]:
        return {"hs_lead_name": self.event(number)["FirstName"], "chat": f"chat-{number}"}

    def route(self) -> dict[str, Any]:
        return {"object": "leads", "match": "chat", "remark": "Content"}

    def refused(self) -> dict[str, Any]:
        return {"hs_lead_name": "", "chat": "chat-0"}

    async def test_a_refused_lead_is_rejected(self) -> None:
        """Its contact stays, without which HubSpot would not have looked at the lead."""
        async with self.running() as run:
            outcome = await run.one(self.record(0, self.refused()))
            assert isinstance(outcome, Rejected)
            assert (len(run.fake.contacts), run.fake.records("leads"), run.fake.notes) == (1, [], [])

    def held(self, fake: HubSpotSandbox) -> list[object]:
        emails = {each.id: each.properties["email"] for each in fake.contacts}
        leads = {each.id: emails[each.associations["contacts"][0]] for each in fake.records("leads")}
        notes = [("note", [leads[each] for each in note.associations.get("leads", [])]) for note in fake.notes]
        names = [each.properties["hs_lead_name"] for each in fake.records("leads")]
        return [*emails.values(), *(("lead", each) for each in leads.values()), *names, *notes]
