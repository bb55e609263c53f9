"""Pipedrive: the contract, and what is its own: found people, leads and deals, notes and activities."""

from dataclasses import replace
from typing import Any

import pytest

from connectors.base import (
    Delivered,
    MappedField,
    MappedRoute,
    Reason,
    Record,
    Rejected,
    SettingError,
    WrittenRecord,
)
from connectors.pipedrive import PipedriveConnector
from connectors.pipedrive.settings import PipedriveRoute, PipedriveSettings
from connectors.testing import Fault
from connectors.testing.contract import ConnectorContract
from connectors.testing.pipedrive import PipedriveFake
from tests.connectors.building import EVENT, context

TOKEN = "a-token-of-the-fake"
CUSTOM = "a" * 40


class TestPipedrive(ConnectorContract[PipedriveFake]):
    connector = PipedriveConnector

    def fake(self) -> PipedriveFake:
        return PipedriveFake(token=TOKEN)

    def settings(self, fake: PipedriveFake) -> dict[str, Any]:
        return {"api_token": TOKEN, "base_url": fake.origin, "allow_private": True}

    def route(self) -> dict[str, Any]:
        return {"remark": "Content"}

    def fields(self, number: int) -> dict[str, Any]:
        event = self.event(number)
        return {"name": event["LastName"], "email": event["Email"], "phone": event["PhoneNumber"]}

    def refused(self) -> dict[str, Any]:
        return {"email": "without-a-name@example.com"}

    def conditional(self) -> str:
        return "name"

    def keys(self) -> tuple[str, str]:
        return "email", "phone"

    def held(self, fake: PipedriveFake) -> list[object]:
        every = [*fake.persons, *(each for many in fake.objects.values() for each in many)]
        ids = ("id", "person_id", "lead_id", "deal_id", "origin_id")
        return [{name: value for name, value in each.items() if name not in ids} for each in every]


def record(fields: dict[str, Any] | None = None, record_id: str = "r1", **route: Any) -> Record:
    values = {"name": "David García", "email": "David@example.com"} if fields is None else fields
    event = {**EVENT, **route.pop("event", {})}
    return Record(record_id, values, event, b"{}", PipedriveRoute.model_validate({"title": "Chat", **route}))


def made(fake: PipedriveFake) -> PipedriveConnector:
    settings = {"api_token": TOKEN, "base_url": fake.origin, "allow_private": True}
    return PipedriveConnector(PipedriveSettings.model_validate(settings), context())


async def delivered(fake: PipedriveFake, *records: Record) -> list[Any]:
    target = made(fake)
    outcomes = [(await target.deliver([each]))[0] for each in records]
    await target.close()
    return outcomes


async def test_a_known_person_keeps_its_values_and_gains_new_ones() -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        emails = [{"value": "david@example.com", "primary": True, "label": "work"}]
        phones = [{"value": "600 000 000", "primary": True}]
        fake.persons.append({"id": 7, "name": "D. García", "emails": emails, "phones": phones, "custom_fields": {}})
        fields = {"name": "David García", "email": "DAVID@example.com", "phone": "+34 911 111 111", CUSTOM: "web"}
        (outcome,) = await delivered(fake, record(fields, object="person"))
        fake.ledger.clear()
        (again,) = await delivered(fake, record(fields, object="person"))
        assert again == outcome
        assert [each.method for each in fake.ledger] == ["GET", "GET"]  # nothing is new
    assert outcome == Delivered("7", f"{fake.origin}/person/7", memo={"person": "7"})
    assert fake.persons[0]["emails"] == emails
    assert [each["value"] for each in fake.persons[0]["phones"]] == ["600 000 000", "+34 911 111 111"]
    assert fake.persons[0]["custom_fields"] == {CUSTOM: "web"}
    assert fake.persons[0]["name"] == "David García"


async def test_a_phone_finds_a_person_in_any_notation_but_never_one_with_another_email() -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        person = {"name": "D", "emails": [], "phones": [{"value": "+34 600 00 00 00"}], "custom_fields": {}}
        fake.persons.append({"id": 1, **person})
        await delivered(fake, record({"name": "D", "phone": "+34600000000"}, object="person"))
        assert len(fake.persons) == 1
        await delivered(fake, record({"name": "E", "phone": "+34600000000", "email": "e@example.com"}, "r2"))
    assert len(fake.persons) == 2


async def test_a_lead_carries_the_delivery_and_each_delivery_has_one() -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        outcomes = await delivered(fake, record(), record(), record(record_id="r2"))
    assert [each["origin_id"] for each in fake.objects["leads"]] == ["r1", "r2"]
    assert outcomes[0].remote_id == outcomes[1].remote_id != outcomes[2].remote_id
    assert len(fake.persons) == 1


async def test_an_open_deal_with_its_title_is_not_created_again() -> None:
    route: dict[str, Any] = {"object": "deal", "pipeline_id": 1, "stage_id": 1}
    async with PipedriveFake(token=TOKEN) as fake:
        await delivered(
            fake,
            record(**route),
            record(record_id="r2", **route),
            record(record_id="r3", **{**route, "title": "Other"}),
        )
    (first, second) = fake.objects["deals"]
    assert first == {"id": 1, "title": "Chat", "person_id": 1, "pipeline_id": 1, "stage_id": 1}
    assert second["title"] == "Other"


async def test_an_appointment_becomes_an_activity_with_its_time_in_utc() -> None:
    event = {"Type": "Appointment", "Content": "Demo on November 25, 2026 at 10:00 AM <b>"}
    settings = {"zone": "Europe/Madrid", "minutes": 90, "location": "https://meet.example.com/"}
    async with PipedriveFake(token=TOKEN) as fake:
        outcomes = await delivered(fake, *[record(event=event, appointment=settings)] * 2)
    (activity,) = fake.objects["activities"]
    assert (activity["due_date"], activity["due_time"], activity["duration"]) == ("2026-11-25", "09:00", "01:30")
    assert activity["type"] == "meeting"
    assert activity["participants"] == [{"person_id": 1, "primary": True}]
    assert activity["location"] == {"value": "https://meet.example.com/"}
    assert "&lt;b&gt;" in activity["note"]
    assert "person_id" not in activity
    assert outcomes[0].memo["meeting"] == outcomes[1].memo["meeting"] == "1"


async def test_an_appointment_without_a_clear_time_becomes_a_task() -> None:
    event = {"Type": "Appointment", "Content": "next week perhaps"}
    async with PipedriveFake(token=TOKEN) as fake:
        await delivered(fake, record(event=event, object="person"))
    (activity,) = fake.objects["activities"]
    assert activity["type"] == "task"
    assert "due_time" not in activity


async def test_a_person_that_was_deleted_since_is_created_again() -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        gone = Record("r1", {"name": "D", "email": "d@example.com"}, EVENT, b"{}", PipedriveRoute(), {"person": "99"})
        (outcome,) = await delivered(fake, gone)
    assert isinstance(outcome, Delivered)
    assert outcome.memo["person"] == "1"


async def test_the_ids_of_what_was_created_survive_a_failure() -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        fake.faults.next(Fault.answers(500), on="/leads")
        (outcome,) = await delivered(fake, record())
    assert not isinstance(outcome, Delivered)
    assert outcome.memo == {"person": "1"}


async def test_a_record_without_email_and_phone_is_not_sent() -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        (outcome,) = await delivered(fake, record({"name": "D"}))
        assert not fake.ledger
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.MAPPING


async def test_a_probe_finds_a_wrong_pipeline_and_stage_and_a_missing_name() -> None:
    route = PipedriveRoute(object="deal", pipeline_id=2, stage_id=3)
    async with PipedriveFake(token=TOKEN) as fake:
        target = made(fake)
        findings = await target.probe([MappedRoute(route, (MappedField("email"),))])
        await target.close()
        assert all(each.method == "GET" for each in fake.ledger)
    assert [(each.field, each.setting) for each in findings] == [
        ("name", ()),
        (None, ("pipeline_id",)),
        (None, ("stage_id",)),
    ]


@pytest.mark.parametrize(
    ("path", "route", "fields"),
    [
        (("title",), {"title": "{{ Nmae }}"}, ["email"]),
        (("remark",), {"remark": "Contnet"}, ["email"]),
        (("fields",), {}, ["name"]),
    ],
)
async def test_mistakes_of_a_route_are_found(path: tuple[str], route: dict[str, Any], fields: list[str]) -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        target = made(fake)
        with pytest.raises(SettingError) as found:
            target.check_route(PipedriveRoute.model_validate(route), fields)
        await target.close()
    assert found.value.path == path


def test_settings_that_cannot_work_are_found() -> None:
    for changes, path in (({"base_url": "http://acme.example"}, "base_url"), ({"api_token": "a b"}, "api_token")):
        settings = {"api_token": TOKEN, "base_url": "https://acme.pipedrive.com", **changes}
        with pytest.raises(SettingError) as found:
            PipedriveConnector(PipedriveSettings.model_validate(settings), context())
        assert found.value.path == (path,)
    with pytest.raises(ValueError, match="need object: deal"):
        PipedriveRoute(stage_id=1)


def test_a_preview_shows_what_follows_the_search() -> None:
    settings = {"api_token": TOKEN, "base_url": "https://acme.pipedrive.com"}
    target = PipedriveConnector(PipedriveSettings.model_validate(settings), context())
    person, deal, note = target.related_previews(record(object="deal", remark="Content"))
    assert (person.url, person.why) == (
        "https://acme.pipedrive.com/api/v2/persons",
        "a person, if the search finds none",
    )
    assert '"person_id": "[person]"' in deal.body
    assert '"deal_id": "[deal]"' in note.body
    assert note.why == "a note, because the route has a `remark`"
    assert TOKEN not in str((person, deal, note))


async def twice(fake: PipedriveFake, first: Record, second: Record, between: Any = None) -> list[Any]:
    """Deliver two records of one contact, the second with what the first left there."""
    target = made(fake)
    (before,) = await target.deliver([first])
    if between:
        between(fake.persons)
    assert isinstance(before, Delivered)
    written = WrittenRecord(before.remote_id, before.memo)
    (after,) = await target.deliver([replace(second, written=written)])
    await target.close()
    return [before, after]


PHONE = {"name": "D", "phone": "+34600000000"}


@pytest.mark.parametrize(
    ("first", "second", "persons"),
    [
        (None, {"name": "D", "email": "david@EXAMPLE.com"}, 1),
        (PHONE, {"name": "D", "phone": "600 00 00 00"}, 1),
        (PHONE, {"name": "D", "phone": "+34 600 00 00 00"}, 1),
        (PHONE, {"name": "E", "phone": "+34600000000", "email": "e@example.com"}, 2),
        ({**PHONE, "email": "d@example.com"}, {"name": "E", "email": "e@example.com"}, 2),
    ],
)
async def test_the_person_of_the_last_delivery_is_known_before_the_search_finds_it(
    first: dict[str, Any] | None, second: dict[str, Any], persons: int
) -> None:
    async with PipedriveFake(token=TOKEN, search_lag=60) as fake:
        await twice(fake, record(first, object="deal"), record(second, "r2", object="deal"))
    assert len(fake.persons) == persons


@pytest.mark.parametrize("between", [list.clear, lambda persons: persons[0].update(is_deleted=True)])
async def test_a_person_that_was_deleted_meanwhile_is_searched_and_created(between: Any) -> None:
    async with PipedriveFake(token=TOKEN) as fake:
        _, outcome = await twice(fake, record(), record(record_id="r2"), between)
    assert isinstance(outcome, Delivered)
    assert len([each for each in fake.persons if not each.get("is_deleted")]) == 1
