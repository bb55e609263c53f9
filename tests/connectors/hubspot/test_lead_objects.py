"""HubSpot's lead objects: each at its contact, with its note or meeting at both, and nothing twice."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from connectors.base import Blame, Delivered, Reason, Record, Rejected, Retry, SettingError
from connectors.hubspot.settings import HubSpotRoute
from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, Property, faults
from tests.connectors.hubspot import building
from tests.connectors.hubspot.building import again, connector, deliver, ids, lead, with_route

KEY = Property(name="chat", unique=True)
LEADS = {"object": "leads", "match": "chat"}
NOTED = {**LEADS, "remark": "Content"}
EMPTY = Fault.answers(200, {"Content-Type": "application/json"}, orjson.dumps({"status": "COMPLETE", "results": []}))


def sandbox(**changes: Any) -> HubSpotSandbox:
    return HubSpotSandbox(properties={"leads": [KEY]}, **changes)


def wanted(number: int = 0, route: dict[str, Any] | None = None, *, key: str | None = None, **event: Any) -> Record:
    """Give a record of the lead object of this number."""
    made = with_route(lead(number, **event), **(route or LEADS))
    return replace(made, fields={"hs_lead_name": f"Lead {number}", "chat": key or f"chat-{number}"})


def paths(crm: HubSpotSandbox) -> list[str]:
    return [each.path.removeprefix("/crm/").replace("/2026-09", "") for each in crm.ledger]


READS = ["objects/contacts/batch/read", "objects/leads/batch/read"]


async def test_a_lead_is_created_at_the_contact_that_is_there_which_stays_as_it_is() -> None:
    async with sandbox() as crm:
        await deliver(crm, lead(0, PhoneNumber="+34600"))
        crm.ledger.clear()
        (outcome,) = await deliver(crm, wanted(0, Email="LEAD0@example.com", FirstName="Other"))
        (contact,), (made,) = crm.contacts, crm.records("leads")
        assert (made.associations, contact.writes) == ({"contacts": [contact.id]}, 1)
        assert made.properties["hs_lead_name"] == "Lead 0"
        assert isinstance(outcome, Delivered)
        assert (outcome.remote_id, outcome.memo) == (made.id, {"contact": contact.id})
        assert outcome.remote_url == crm.page_url(made)
        assert paths(crm) == [*READS, "objects/leads/batch/create"]
        (sent,) = orjson.loads(crm.ledger[-1].body)["inputs"]
        assert sent["associations"] == [
            {
                "to": {"id": contact.id},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 578}],
            }
        ]


async def test_a_missing_contact_is_created_with_the_names_of_the_event() -> None:
    async with sandbox() as crm:
        ids(await deliver(crm, wanted(0, FirstName="Ann", LastName="")))
        (contact,) = crm.contacts
        named = {name: contact.properties.get(name) for name in ("email", "firstname", "lastname", "phone")}
        assert named == {"email": "lead0@example.com", "firstname": "Ann", "lastname": None, "phone": None}
        assert crm.records("leads")[0].associations == {"contacts": [contact.id]}


async def test_a_contact_is_found_by_a_secondary_e_mail_too() -> None:
    async with sandbox() as crm:
        await deliver(crm, building.with_fields(lead(0), hs_additional_emails="old@example.com;older@example.com"))
        ids(await deliver(crm, wanted(1, Email="Older@example.com")))
        (contact,) = crm.contacts
        assert (contact.writes, contact.properties["firstname"]) == (1, "Lead 0")


@pytest.mark.parametrize("version", ["2026-09", "2026-03", "v3"])
async def test_a_hundred_cost_few_calls(version: str) -> None:
    async with sandbox() as crm:
        records = [wanted(number) for number in range(100)]
        for calls in (4, 3):  # new ones with new contacts; ones that are there
            crm.ledger.clear()
            outcomes = await deliver(crm, *records, api_version=version)
            by_key = {each.properties["chat"]: each.id for each in crm.records("leads")}
            assert ids(outcomes) == [by_key[f"chat-{number}"] for number in range(100)]
            assert len(crm.ledger) == calls
        emails = {each.id: each.properties["email"] for each in crm.contacts}
        for each in crm.records("leads"):
            number = each.properties["chat"].removeprefix("chat-")
            assert emails[each.associations["contacts"][0]] == f"lead{number}@example.com"
        assert len(crm.contacts) == 100


async def test_what_goes_with_new_leads_is_not_looked_for() -> None:
    async with sandbox() as crm:
        await deliver(crm, *(lead(number, building.REMARK) for number in range(10)))
        crm.ledger.clear()
        records = [replace(wanted(number, NOTED), id=f"lead-{number}") for number in range(10)]
        ids(await deliver(crm, *records))
        notes = ["objects/notes/batch/create", "associations/notes/leads/batch/associate/default"]
        assert paths(crm) == [*READS, "objects/leads/batch/create", *notes]
        assert len(crm.notes) == 20


async def test_a_lead_that_is_there_is_updated() -> None:
    async with sandbox() as crm:
        first = await deliver(crm, wanted(0, key="Chat;7"))
        second = await deliver(crm, building.with_fields(wanted(1, key="Chat;7"), hs_lead_label="HOT"))
        assert ids(first) == ids(second)
        (made,) = crm.records("leads")
        assert (made.properties["hs_lead_name"], made.properties["hs_lead_label"]) == ("Lead 1", "HOT")


STEPS = ["contacts/batch/read", "contacts/batch/upsert", "leads/batch/read", "leads/batch/create", "associate/default"]


@pytest.mark.parametrize("on", STEPS)
async def test_a_lost_answer_makes_nothing_twice(on: str) -> None:
    async with sandbox() as crm:
        record = wanted(0, NOTED)
        crm.faults.next(faults.answer_lost(), on=on)
        (lost,) = await deliver(crm, record)
        assert isinstance(lost, Retry)
        # Once as after a retry, once as after a kill, when nothing is remembered.
        for each in (again(record, lost), record):
            (outcome,) = await deliver(crm, each)
            assert isinstance(outcome, Delivered)
        (contact,), (made,), (note,) = crm.contacts, crm.records("leads"), crm.notes
        assert made.associations == {"contacts": [contact.id], "notes": [note.id]}
        assert note.associations == {"contacts": [contact.id], "leads": [made.id]}


async def test_a_lead_that_has_been_created_meanwhile_is_updated() -> None:
    async with sandbox() as crm:
        (first,) = await deliver(crm, wanted(0))
        crm.faults.next(EMPTY, on="leads/batch/read")
        (second,) = await deliver(crm, building.with_fields(wanted(0), hs_lead_label="HOT"))
        assert ids([first]) == ids([second])
        (made,) = crm.records("leads")
        assert made.properties["hs_lead_label"] == "HOT"
        assert crm.ledger[-1].method == "PATCH"


async def test_a_meeting_is_the_contacts_and_the_leads() -> None:
    async with sandbox() as crm:
        record = wanted(0, LEADS, Type="Appointment", Content="2026-11-25T10:00:00Z")
        (outcome,) = await deliver(crm, record)
        (contact,), (made,), (meeting,) = crm.contacts, crm.records("leads"), crm.meetings
        assert meeting.associations == {"contacts": [contact.id], "leads": [made.id]}
        assert outcome.memo == {"contact": contact.id, "meeting": meeting.id}
        assert isinstance(outcome, Delivered)
        assert outcome.warning is None
        crm.ledger.clear()
        ids(await deliver(crm, again(record, outcome)))
        assert paths(crm) == [*READS, "objects/leads/batch/upsert"]


async def test_what_cannot_be_associated_comes_again_and_the_others_do_not() -> None:
    async with sandbox() as crm:
        records = [wanted(number, NOTED) for number in range(2)]
        await deliver(crm, *(wanted(number) for number in range(2)))
        crm.faults.next(faults.ten_secondly(), on="associate/default")
        limited = await deliver(crm, *records)
        for each in limited:
            assert isinstance(each, Retry)
            assert (each.reason, each.blame) == (Reason.RATE_LIMITED, Blame.DESTINATION)
            assert "the record is written, but not its note, meeting or task" in each.detail
            assert "note" not in each.memo
        ids(await deliver(crm, *(again(*each) for each in zip(records, limited, strict=True))))
        assert len(crm.notes) == 2
        assert all(len(each.associations["leads"]) == 1 for each in crm.notes)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"status": "COMPLETE", "results": []}, Retry),
        (
            {"status": "COMPLETE", "results": [], "errors": [{"category": "VALIDATION_ERROR", "message": "no"}]},
            Rejected,
        ),
    ],
)
async def test_an_association_that_the_answer_does_not_show_is_not_made(body: Any, outcome: type) -> None:
    async with sandbox() as crm:
        fault = Fault.answers(200, {"Content-Type": "application/json"}, orjson.dumps(body))
        crm.faults.next(fault, on="associate/default")
        (told,) = await deliver(crm, wanted(0, NOTED))
        assert type(told) is outcome
        assert not isinstance(told, Delivered)
        assert told.blame is Blame.RECORD


async def test_without_an_e_mail_there_is_no_lead_and_the_others_do_not_wait() -> None:
    async with sandbox() as crm:
        nobody, somebody, refused = await deliver(
            crm, wanted(0, Email=" "), wanted(1), wanted(2, Email="nobody@nowhere", PhoneNumber="+34600")
        )
        assert isinstance(nobody, Rejected)
        assert (nobody.reason, "has no e-mail" in nobody.detail) == (Reason.MAPPING, True)
        assert isinstance(somebody, Delivered)
        assert isinstance(refused, Rejected)
        assert "its contact: it refuses the record" in refused.detail
        assert (len(crm.contacts), len(crm.records("leads"))) == (1, 1)


async def test_a_refused_field_of_a_lead_goes_into_its_note() -> None:
    async with sandbox() as crm:
        (outcome,) = await deliver(crm, building.with_fields(wanted(0), hs_lead_label="LUKEWARM"))
        assert isinstance(outcome, Delivered)
        assert "hs_lead_label" in (outcome.warning or "")
        (note,) = crm.notes
        assert "hs_lead_label: LUKEWARM" in note.properties["hs_note_body"]
        assert note.associations["leads"] == [outcome.remote_id]


@pytest.mark.parametrize("on", ["contacts/batch/read", "leads/batch/read"])
async def test_what_cannot_be_asked_for_now_writes_no_lead(on: str) -> None:
    async with sandbox() as crm:
        for fault, blame in ((Fault.answers(403), Blame.DESTINATION), (Fault.answers(400), Blame.UNCLEAR)):
            crm.faults.next(fault, on=on)
            (outcome,) = await deliver(crm, wanted(0))
            assert isinstance(outcome, Retry)
            assert (outcome.blame, crm.records("leads")) == (blame, [])


@pytest.mark.parametrize(("name", "object_name"), [("lead", "leads"), ("0-136", "leads"), ("Contact", "contacts")])
def test_other_names_of_an_object(name: str, object_name: str) -> None:
    assert HubSpotRoute(object=name, match="chat").object == object_name


def test_a_route_of_leads_needs_their_name() -> None:
    route = HubSpotRoute.model_validate(NOTED)
    with pytest.raises(SettingError, match="hs_lead_name") as told:
        connector().check_route(route, ["chat"])
    assert told.value.path == ("object",)
    connector().check_route(route, ["chat", "hs_lead_name"])


async def test_a_preview_shows_a_lead_at_its_contact() -> None:
    target = connector()
    shown = target.preview([wanted(0)])
    await target.close()
    assert shown.url.endswith("/crm/objects/2026-09/leads/batch/create")
    (sent,) = orjson.loads(shown.body)["inputs"]
    assert sent["associations"][0]["to"] == {"id": "(the contact of lead0@example.com)"}
