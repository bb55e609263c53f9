"""The requests that follow the record's own, as `leadbridge explain` shows them."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from yarl import URL

from connectors.base import Connector, Preview
from connectors.gohighlevel import GoHighLevelConnector
from connectors.hubspot import HubSpotConnector
from connectors.salesforce import SalesforceConnector
from connectors.zoho import ZohoConnector
from tests.connectors.building import context, record

STATED = "Demo on November 25, 2026 at 10:00 AM UTC"
SETTINGS: dict[type[Connector], dict[str, Any]] = {
    HubSpotConnector: {"access_token": "pat-secret"},
    SalesforceConnector: {"login_url": "https://a.my.salesforce.com", "client_id": "c", "client_secret": "secret"},
    ZohoConnector: {"client_id": "c", "client_secret": "secret", "refresh_token": "secret-2"},
    GoHighLevelConnector: {"access_token": "secret", "location_id": "here"},
}
FIELDS = {
    HubSpotConnector: {"email": "a@b.co"},
    SalesforceConnector: {"LastName": "A"},
    ZohoConnector: {"Last_Name": "A", "Email": "a@b.co"},
    GoHighLevelConnector: {"email": "a@b.co"},
}


def previews(kind: type[Connector], route: dict[str, Any], **event: Any) -> list[Preview]:
    connector = kind(kind.destination_settings.model_validate(SETTINGS[kind]), context())
    external = {"external_id": "Key__c"} if kind is SalesforceConnector else {}
    settings = kind.route_settings.model_validate({**external, **route})
    made = replace(record(FIELDS[kind], **event), route=settings)
    return [connector.preview([made]), *connector.related_previews(made)]


@pytest.mark.parametrize("kind", [HubSpotConnector, ZohoConnector, GoHighLevelConnector])
def test_a_remark_is_a_note(kind: type[Connector]) -> None:
    _, note = previews(kind, {"remark": "Content"}, Content="Call me")

    assert note.why == "a note, because the route has a `remark`"
    assert "note" in URL(note.url).path.lower()
    assert "Call me" in note.body
    assert "secret" not in str(note.headers)
    assert len(previews(kind, {}, Content="Call me")) == 1


@pytest.mark.parametrize("kind", [HubSpotConnector, ZohoConnector])
def test_an_appointment_is_a_meeting_if_its_start_is_stated_else_a_task(kind: type[Connector]) -> None:
    _, meeting = previews(kind, {}, Type="Appointment", Content=STATED)
    _, task = previews(kind, {}, Type="Appointment", Content="on Tuesday at 10")
    _, zoned = previews(kind, {"appointment": {"zone": "Europe/Madrid"}}, Type="Appointment", Content="soon")

    assert meeting.why == "a meeting, because the text states its start: 2026-11-25 10:00 UTC"
    assert task.why == (
        "a task, because the text does not state the start of the appointment beyond doubt; for a time without a zone "
        "set `appointment: {zone: …}`"
    )
    assert zoned.why.endswith("beyond doubt")


def test_gohighlevel_needs_a_calendar_for_an_appointment() -> None:
    _, task = previews(GoHighLevelConnector, {}, Type="Appointment", Content=STATED)
    calendar = {"appointment": {"calendar": "cal-1"}}
    _, meeting, note = previews(GoHighLevelConnector, calendar, Type="Appointment", Content=STATED)

    assert task.why == "a task, because the route has no `appointment: {calendar: …}`"
    assert meeting.url.endswith("/calendars/events/appointments")
    assert note.url.endswith("/notes")


def test_hubspot_shows_what_else_a_route_asks_for() -> None:
    route = {
        "follow_up": {"subject": "Call {{ FirstName }}", "due": "1d"},
        "deal": {"pipeline": "p", "stage": "s", "name": "A deal"},
        "company": {"domain": "URI"},
        "list": "42",
    }

    _, company, task, deal, members = previews(HubSpotConnector, route, URI="www.acme.example")

    assert "a search for the company acme.example" in company.why
    assert [task.why, deal.why] == ["the route has `follow_up`", "the route has `deal`"]
    assert orjson.loads(members.body) == ["(the contact)"]


def test_salesforce_writes_an_appointment_with_its_record() -> None:
    (both,) = previews(SalesforceConnector, {}, Type="Appointment", Content=STATED)
    lead, task, member = previews(
        SalesforceConnector, {"follow_up": {"subject": "Call", "due": "1d"}, "campaign": "7015g000000abcdAAA"}
    )

    assert both.why == "with a meeting, because the text states its start: 2026-11-25 10:00 UTC"
    assert not lead.why
    assert task.why == "the follow-up task: the route has it"
    assert "CampaignMember" in member.body
