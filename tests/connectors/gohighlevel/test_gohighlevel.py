"""The `gohighlevel` connector: under the contract, and what is its own."""

from typing import Any

import pytest
from multidict import CIMultiDict

from connectors.base import Blame, Delivered, Reason, Rejected, Retry, SettingError, Severity
from connectors.gohighlevel import GoHighLevelConnector
from connectors.gohighlevel.answers import quotas
from connectors.gohighlevel.requests import contact
from connectors.gohighlevel.settings import GoHighLevelSettings
from connectors.testing import Fault
from connectors.testing.contract import ConnectorContract
from connectors.testing.gohighlevel import GoHighLevelFake
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


class TestContract(ConnectorContract[GoHighLevelFake]):
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

    def refused(self) -> dict[str, Any]:
        return {"email": "a@b.co", "fristName": "mistyped"}

    def held(self, fake: GoHighLevelFake) -> list[object]:
        return [{name: value for name, value in each.items() if name != "id"} for each in fake.contacts]


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
        crm.faults.share(Fault.answers(200, JSON, body), 1.0)
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
