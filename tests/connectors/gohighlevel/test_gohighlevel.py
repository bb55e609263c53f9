"""The `gohighlevel` connector: under the contract, and what is its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from multidict import CIMultiDict

from connectors.base import (
    Blame,
    Delivered,
    Outcome,
    Reason,
    Record,
    Rejected,
    Retry,
    SettingError,
    Severity,
    WrittenRecord,
)
from connectors.gohighlevel import GoHighLevelConnector
from connectors.gohighlevel.answers import quotas
from connectors.gohighlevel.requests import contact
from connectors.gohighlevel.settings import GoHighLevelRoute, GoHighLevelSettings
from connectors.testing import Fault
from connectors.testing.contract import ConnectorContract
from connectors.testing.gohighlevel import GoHighLevelFake
from connectors.testing.subject import Subject
from connectors.testing.write_clauses import WriteClauses
from tests.connectors.building import NOW, context, record

TOKEN = "pit-token-of-the-fake"
LOCATION = "location-of-the-fake"
JSON = {"Content-Type": "application/json"}


def fake(**changes: Any) -> GoHighLevelFake:
    return GoHighLevelFake(**{"token": TOKEN, "location_id": LOCATION, **changes})


def settings(crm: GoHighLevelFake) -> dict[str, Any]:
    return {"access_token": TOKEN, "location_id": LOCATION, "base_url": crm.origin, "allow_private": True}


def connector(crm: GoHighLevelFake, **changes: Any) -> GoHighLevelConnector:
    return GoHighLevelConnector(GoHighLevelSettings.model_validate({**settings(crm), **changes}), context())


async def deliver(crm: GoHighLevelFake, *records: Record, route: dict[str, Any] | None = None) -> list[Outcome]:
    target = connector(crm)
    made = GoHighLevelRoute.model_validate(route or {})
    found = list(await target.deliver([replace(each, route=made) for each in records]))
    await target.close()
    return found


class Described(Subject[GoHighLevelFake]):
    connector = GoHighLevelConnector

    def fake(self) -> GoHighLevelFake:
        return fake()

    def settings(self, fake: GoHighLevelFake) -> dict[str, Any]:
        return settings(fake)

    def fields(self, number: int) -> dict[str, Any]:
        event = self.event(number)
        return {
            "firstName": event["FirstName"],
            "lastName": event["LastName"],
            "email": event["Email"],
            "phone": event["PhoneNumber"],
            "tags": "chatbot, lead",
            "custom.question": event["Content"],
        }

    def conditional(self) -> str:
        return "firstName"

    def keys(self) -> tuple[str, str]:
        return "email", "phone"

    def refused(self) -> dict[str, Any]:
        return {"email": 5, "firstName": "a number is no e-mail"}

    def held(self, fake: GoHighLevelFake) -> list[object]:
        return [{name: value for name, value in each.items() if name != "id"} for each in fake.contacts]


class TestContract(Described, ConnectorContract[GoHighLevelFake]):
    """All clauses."""


class TestWithNotes(Described, WriteClauses[GoHighLevelFake]):
    """Each contact with a note, and with a field that is kept."""

    def route(self) -> dict[str, Any]:
        return {"remark": "Content"}

    def record(self, number: int = 0, fields: Mapping[str, Any] | None = None, **changes: Any) -> Record:
        return super().record(number, fields, **{"if_empty": frozenset({"firstName"}), **changes})

    async def test_a_field_that_is_not_always_written_is_kept(self) -> None:
        pytest.skip("the class without notes runs it")

    def held(self, fake: GoHighLevelFake) -> list[object]:
        return [*super().held(fake), *((each["contactId"], each["body"]) for each in fake.activities["notes"])]


def test_own_fields_and_tags_are_written_as_the_api_wants_them() -> None:
    made = contact(record({"email": "a@b.co", "tags": "a, b,,c", "custom.budget": 7}), LOCATION)
    assert made == {
        "email": "a@b.co",
        "tags": ["a", "b", "c"],
        "customFields": [{"key": "budget", "field_value": 7}],
        "locationId": LOCATION,
    }


@pytest.mark.parametrize("fields", [{}, {"firstName": "Ada"}, {"email": "", "phone": None}])
async def test_a_record_that_could_be_written_twice_is_not_sent(fields: dict[str, Any]) -> None:
    async with fake() as crm:
        target = connector(crm)
        (outcome,) = await target.deliver([record(fields)])
        await target.close()
    assert (type(outcome), outcome.reason) == (Rejected, Reason.MAPPING)  # type: ignore[union-attr]
    assert not crm.ledger


@pytest.mark.parametrize(
    "body",
    [b'{"status": "success"}', b'{"succeded": true}', b'{"contact": {}}', b'{"contact": {"id": ""}}', b'{"id": "x"}'],
)
async def test_only_an_id_of_the_contact_is_a_success(body: bytes) -> None:
    async with fake() as crm:
        crm.faults.share(Fault.answers(200, JSON, body), 1.0, on="upsert")
        target = connector(crm)
        (outcome,) = await target.deliver([record()])
        await target.close()
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.BAD_ANSWER, Blame.UNCLEAR)


async def test_a_phone_that_is_dropped_is_told() -> None:
    async with fake() as crm:
        target = connector(crm)
        await target.deliver([record({"email": "one@example.com"}), record({"phone": "+34600000001"})])
        (outcome,) = await target.deliver([record({"email": "one@example.com", "phone": "+34600000001"})])
        await target.close()
    assert isinstance(outcome, Delivered)
    assert outcome.warning == "phone not accepted: another contact may have it"
    assert outcome.remote_id == "contact1"


async def test_what_is_left_of_the_day_is_told() -> None:
    async with fake(remaining=3) as crm:
        target = connector(crm)
        assert target.quotas() == ()
        await target.deliver([record()])
        await target.close()
    daily, burst = target.quotas()
    assert (daily.name, daily.limit, daily.remaining, daily.reserve) == ("daily", 200_000, 2, 20_000)
    assert (burst.name, burst.remaining, burst.until) == ("burst", 99, NOW + 10)


def test_headers_that_are_no_numbers_are_no_quota() -> None:
    headers = CIMultiDict({"X-RateLimit-Limit-Daily": "many", "X-RateLimit-Daily-Remaining": "-1"})
    assert list(quotas(headers, NOW)) == []


@pytest.mark.parametrize(
    ("changes", "setting", "severity"),
    [
        ({}, (), Severity.NOTE),
        ({"access_token": "another"}, ("access_token",), Severity.ERROR),
        ({"location_id": "another"}, ("location_id",), Severity.ERROR),
    ],
)
async def test_a_probe_names_the_setting(changes: dict[str, Any], setting: tuple[str, ...], severity: Severity) -> None:
    async with fake() as crm:
        target = connector(crm, **changes)
        (finding,) = await target.probe([])
        await target.close()
    assert (finding.setting, finding.severity) == (setting, severity)


@pytest.mark.parametrize("url", ["nonsense", "ftp://example.com", "http://services.example.com"])
def test_an_address_that_cannot_be_used_is_told(url: str) -> None:
    document = {"access_token": TOKEN, "location_id": LOCATION, "base_url": url}
    with pytest.raises(SettingError) as caught:
        GoHighLevelConnector(GoHighLevelSettings.model_validate(document), context())
    assert caught.value.path == ("base_url",)


async def test_an_additional_email_never_replaces_the_primary_one() -> None:
    async with fake() as crm:
        await deliver(crm, record({"email": "main@example.com", "phone": "+34600000001"}))
        crm.contacts[0]["additionalEmails"] = ["more@example.com"]
        (known,) = await deliver(crm, record({"email": "more@example.com", "firstName": "Ann"}))
        (by_phone,) = await deliver(crm, record({"email": "other@example.com", "phone": "+34600000001"}))
        assert isinstance(known, Delivered)
        assert known.warning is None
        assert isinstance(by_phone, Delivered)
        assert "allows no second contact with this phone" in (by_phone.warning or "")
        assert [(each["email"], each["firstName"]) for each in crm.contacts] == [("main@example.com", "Ann")]
        (note,) = crm.activities["notes"]
        assert note["body"].startswith("Not accepted by HighLevel:\nemail: other@example.com")


async def test_a_lead_with_a_phone_only_is_delivered_and_found_again() -> None:
    async with fake() as crm:
        outcomes = [
            *await deliver(crm, record({"phone": "+34600000001"})),
            *await deliver(crm, record({"phone": "+34600000001"})),
        ]
        assert [each.remote_id for each in outcomes if isinstance(each, Delivered)] == ["contact1", "contact1"]


async def test_a_contact_is_found_by_its_phone_in_another_notation() -> None:
    async with fake() as crm:
        outcomes = [
            *await deliver(crm, record({"phone": "+34600000001"})),
            *await deliver(crm, record({"phone": "+34 600 00 00 01", "firstName": "Ann"})),
        ]
        assert [each.remote_id for each in outcomes if isinstance(each, Delivered)] == ["contact1", "contact1"]


@pytest.mark.parametrize("allows", [True, False])
async def test_a_contact_with_the_phone_and_another_e_mail_is_another_person(*, allows: bool) -> None:
    async with fake(allows_duplicates=allows) as crm:
        await deliver(crm, record({"email": "ann@b.co", "phone": "+34600000001", "firstName": "Ann"}))
        ann = dict(crm.contacts[0])
        bob = record({"email": "bob@b.co", "phone": "+34600000001", "firstName": "Bob"})
        await deliver(crm, bob)  # its outcome is lost
        (outcome,) = await deliver(crm, bob)
        assert isinstance(outcome, Delivered), outcome
        assert crm.contacts[0] == ann
        if allows:
            assert [each["firstName"] for each in crm.contacts] == ["Ann", "Bob"]
            assert outcome.remote_id == "contact2"
        else:
            assert len(crm.contacts) == 1
            assert "allows no second contact with this phone" in (outcome.warning or "")
            (note,) = crm.activities["notes"]
            assert "firstName: Bob" in note["body"]
            assert "email: bob@b.co" in note["body"]


async def test_a_contact_with_the_phone_and_no_e_mail_is_the_same_person() -> None:
    async with fake() as crm:
        await deliver(crm, record({"phone": "+34600000001"}))
        await deliver(crm, record({"phone": "+34600000001", "email": "ann@b.co"}))
        assert [(each["phone"], each["email"]) for each in crm.contacts] == [("+34600000001", "ann@b.co")]


async def test_tags_are_added_to_those_of_a_known_contact() -> None:
    async with fake() as crm:
        for tags in ("vip", "chatbot"):
            await deliver(crm, record({"email": "a@b.co", "tags": tags}))
        assert crm.contacts[0]["tags"] == ["vip", "chatbot"]


async def test_a_refused_optional_field_is_dropped_with_a_warning_and_kept_in_a_note() -> None:
    async with fake() as crm:
        (outcome,) = await deliver(crm, record({"email": "a@b.co", "fristName": "Ann", "nope": 1, "firstName": "Ann"}))
        assert isinstance(outcome, Delivered)
        assert outcome.warning == "left out: fristName, nope; its value is in the remark"
        assert crm.contacts[0]["firstName"] == "Ann"
        assert "fristName: Ann" in crm.activities["notes"][0]["body"]


@pytest.mark.parametrize(
    ("content", "calendar", "kinds"),
    [
        ("Monday, December 7, 2026 at 10:00 AM UTC", "cal1", {"events": 1, "notes": 1}),
        ("Monday, December 7, 2026 at 10:00 AM UTC", None, {"tasks": 1}),
        ("next week", "cal1", {"tasks": 1}),
    ],
)
async def test_an_appointment_is_written_once(content: str, calendar: str | None, kinds: dict[str, int]) -> None:
    async with fake() as crm:
        made = record({"email": "a@b.co"}, Type="Appointment", Content=content)
        for _ in range(2):
            (outcome,) = await deliver(crm, made, route={"appointment": {"calendar": calendar}})
            assert isinstance(outcome, Delivered), outcome
        assert {name: len(each) for name, each in crm.activities.items() if each} == kinds
        for each in crm.activities["events"]:
            assert (each["startTime"], each["endTime"]) == ("2026-12-07T10:00:00Z", "2026-12-07T10:30:00Z")
            assert (each["toNotify"], each["contactId"]) == (False, "contact1")


async def test_a_task_belongs_to_the_owner_that_the_contact_has() -> None:
    async with fake() as crm:
        for number, user in enumerate(("ann", "bob")):
            made = record({"email": "a@b.co", "assignedTo": user}, f"r{number}", Type="Appointment", Content="some day")
            (outcome,) = await deliver(crm, replace(made, create_only=frozenset({"assignedTo"})))
            assert isinstance(outcome, Delivered), outcome
        assert [each["assignedTo"] for each in (*crm.contacts, *crm.activities["tasks"])] == ["ann"] * 3


async def test_a_phone_that_the_api_refuses_for_another_contact_is_dropped() -> None:
    async with fake() as crm:
        await deliver(crm, record({"email": "a@b.co"}))
        body = b'{"message": "This location does not allow duplicated contacts.", "meta": {"matchingField": "phone"}}'
        crm.faults.next(Fault())
        crm.faults.next(Fault.answers(400, JSON, body))
        (outcome,) = await deliver(crm, record({"email": "a@b.co", "phone": "+34600000001"}))
        assert isinstance(outcome, Delivered)
        assert outcome.warning == "left out: phone; its value is in the remark"


async def test_an_appointment_has_the_texts_of_the_route() -> None:
    said = {"title": "Demo with {{ FirstName }}", "location": "Main Street 1", "calendar": "cal1"}
    async with fake() as crm:
        made = record({"phone": "+34600000001"}, Type="Appointment", Content="2026-12-07T10:00:00Z")
        await deliver(crm, made, route={"appointment": said})
        (created,) = crm.activities["events"]
    assert (created["title"], created["address"]) == ("Demo with David", "Main Street 1")


async def test_the_contact_of_the_last_delivery_is_known_before_the_search_finds_it() -> None:
    """Otherwise the upsert writes fields that are for a new contact only."""
    async with fake(search_lag=60) as crm:
        (first,) = await deliver(crm, record({"email": "a@example.com", "firstName": "First"}))
        assert isinstance(first, Delivered)
        later = record({"email": "A@example.com", "firstName": "Later"}, "r2")
        written = WrittenRecord(first.remote_id, first.memo)
        await deliver(crm, replace(later, create_only=frozenset({"firstName"}), written=written))
        (kept,) = crm.contacts
        assert kept["firstName"] == "First"
        phone = record({"phone": "+34600000000", "firstName": "B"}, "r3")
        other = replace(phone, written=written)  # an id of somebody else
        (second,) = await deliver(crm, other)
    assert isinstance(second, Delivered)
    assert second.remote_id != first.remote_id


async def test_a_contact_that_was_deleted_since_the_last_delivery_is_searched() -> None:
    async with fake() as crm:
        (first,) = await deliver(crm, record({"email": "a@example.com"}))
        assert isinstance(first, Delivered)
        crm.contacts.clear()
        crm.contacts.append({"id": "imported", "email": "a@example.com", "phone": None})
        written = WrittenRecord(first.remote_id, first.memo)
        (second,) = await deliver(crm, replace(record({"email": "a@example.com"}, "r2"), written=written))
    assert isinstance(second, Delivered)
    assert second.remote_id == "imported"
