"""The contract itself: a connector that breaks a promise fails the test that is about that promise."""

import asyncio
import inspect
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from connectors.base import (
    Blame,
    Connector,
    Delivered,
    DestinationSettings,
    Finding,
    MappedRoute,
    Outcome,
    Reason,
    Record,
    Rejected,
    Retry,
)
from connectors.gohighlevel import GoHighLevelConnector
from connectors.http import HttpConnector
from connectors.testing import Sandbox
from connectors.testing.contract import ConnectorContract
from connectors.testing.gohighlevel import GoHighLevelFake

ROOT = Path(__file__).parent.parent.parent
TOKEN = "pit-token-of-the-fake"
LEAST = 25


class Broken(GoHighLevelConnector):
    """Changes each outcome of a good connector."""

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        return [
            self.changed(record, outcome)
            for record, outcome in zip(records, await super().deliver(records), strict=True)
        ]

    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        return outcome


class Trusting(Broken):
    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        return outcome if isinstance(outcome, Rejected) else Delivered(status=outcome.status)


class Hasty(Broken):
    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        return Rejected(Reason.REFUSED, "no", status=outcome.status) if isinstance(outcome, Retry) else outcome


class Accusing(Broken):
    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        return replace(outcome, blame=Blame.RECORD) if isinstance(outcome, Retry) else outcome


class Impatient(Broken):
    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        return replace(outcome, after=None) if isinstance(outcome, Retry) else outcome


class Capping(Broken):
    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        return replace(outcome, after=min(outcome.after or 0, 3600)) if isinstance(outcome, Retry) else outcome


class Talkative(Broken):
    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        logging.getLogger("crm").info("wrote %s", record.fields.get("email"))
        if isinstance(outcome, Delivered):
            return outcome
        return replace(outcome, detail=f"{TOKEN}: {record.fields.get('email')}")


class Lengthy(Broken):
    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        return [*await super().deliver(records), Delivered()]


class Raising(Broken):
    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Delivered):
            return outcome
        raise RuntimeError(outcome.detail)


class Deaf(Broken):
    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        try:
            return await super().deliver(records)
        except asyncio.CancelledError:
            return [Retry(Reason.TIMEOUT, "cancelled")] * len(records)


class Careless(Broken):
    async def close(self) -> None:
        pass


class Writing(Broken):
    async def probe(self, wanted: Sequence[MappedRoute]) -> Sequence[Finding]:
        url = self._client.base / "contacts" / "upsert"
        await self._client.call("POST", url, {"email": "probe@example.com", "locationId": self._location_id})
        return ()


class Stubborn(Broken):
    async def _deliver_one(self, record: Record) -> Outcome:
        outcome = await super()._deliver_one(record)
        for _ in range(8):
            if isinstance(outcome, Retry):
                outcome = await super()._deliver_one(record)
        return outcome


class Secretive(DestinationSettings):
    access_token: str = Field(description="In clear.")
    timeout: int = 3


class Undocumented(Broken):
    destination_settings = Secretive  # type: ignore[assignment]  # that it is another one is the point


class Shared(Broken):
    seen: dict[str, Outcome] = {}  # noqa: RUF012 - the mistake that is looked for

    def changed(self, record: Record, outcome: Outcome) -> Outcome:
        return self.seen.setdefault(record.id, outcome)


class Contract(ConnectorContract[GoHighLevelFake]):
    def fake(self) -> GoHighLevelFake:
        return GoHighLevelFake(token=TOKEN, location_id="here")

    def settings(self, fake: GoHighLevelFake) -> dict[str, Any]:
        return {"access_token": TOKEN, "location_id": "here", "base_url": fake.origin, "allow_private": True}

    def fields(self, number: int) -> dict[str, Any]:
        return {"email": self.event(number)["Email"], "phone": self.event(number)["PhoneNumber"]}

    def held(self, fake: GoHighLevelFake) -> list[object]:
        return [each["email"] for each in fake.contacts]


class Doubling(ConnectorContract[Sandbox]):
    """An API without a key, written into without a look."""

    connector = HttpConnector

    def fake(self) -> Sandbox:
        return Sandbox(key=None)

    def settings(self, fake: Sandbox) -> dict[str, Any]:
        return {"url": fake.url, "allow_private": True, "success": {"when": "answer.ok"}}

    def fields(self, number: int) -> dict[str, Any]:
        return {"email": self.event(number)["Email"]}

    def held(self, fake: Sandbox) -> list[object]:
        return [each.fields for each in fake.records]


def clauses_of(contract: type[ConnectorContract[Any]]) -> list[str]:
    return [name for name, _ in inspect.getmembers(contract, inspect.iscoroutinefunction) if name.startswith("test_")]


async def run(contract: ConnectorContract[Any], name: str, request: pytest.FixtureRequest) -> None:
    """Run one of the tests as pytest would, with the first of its parameters."""
    test = getattr(contract, name)
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    arguments = {mark.args[0]: next(iter(mark.args[1])) for mark in marks}
    fixtures = [each for each in inspect.signature(test).parameters if each not in arguments]
    await test(**arguments, **{each: request.getfixturevalue(each) for each in fixtures})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Trusting, "test_no_error_is_a_success"),
        (Trusting, "test_a_success_without_a_word_is_not_believed"),
        (Trusting, "test_a_success_with_a_body_that_makes_no_sense_is_not_believed"),
        (Trusting, "test_a_page_for_people_is_not_a_success"),
        (Hasty, "test_a_failing_server_kills_no_lead"),
        (Hasty, "test_refused_credentials_hold_the_destination"),
        (Hasty, "test_a_fault_at_any_request_costs_and_doubles_nothing"),
        (Accusing, "test_too_many_requests_hold_the_destination"),
        (Accusing, "test_a_destination_that_is_not_there_is_held"),
        (Accusing, "test_a_time_out_at_any_request_costs_and_doubles_nothing"),
        (Accusing, "test_a_401_among_many_is_nobodys_fault"),
        (Impatient, "test_seconds_to_wait_are_obeyed"),
        (Impatient, "test_a_date_to_wait_for_is_obeyed"),
        (Capping, "test_a_long_wait_is_not_cut_short"),
        (Talkative, "test_no_secret_is_shown"),
        (Talkative, "test_no_personal_data_is_logged"),
        (Talkative, "test_no_personal_data_is_in_a_detail_of_the_connectors_own"),
        (Lengthy, "test_a_lead_is_delivered"),
        (Raising, "test_no_error_is_a_success"),
        (Deaf, "test_cancelled_at_any_request_it_works_on"),
        (Careless, "test_nothing_is_left_open"),
        (Writing, "test_a_probe_writes_nothing"),
        (Stubborn, "test_refused_credentials_are_not_hammered"),
        (Undocumented, "test_every_setting_is_documented"),
        (Undocumented, "test_secrets_are_declared_as_such"),
        (Undocumented, "test_settings_do_not_stand_in_the_bridges_way"),
        (Undocumented, "test_it_says_in_a_line_what_it_does"),
        (Shared, "test_two_destinations_know_nothing_of_each_other"),
    ],
)
async def test_a_broken_promise_is_found(kind: type[Connector], name: str, request: pytest.FixtureRequest) -> None:
    contract = type("TestBroken", (Contract,), {"connector": kind})()
    with pytest.raises((pytest.fail.Exception, RuntimeError)):
        await run(contract, name, request)


@pytest.mark.parametrize(
    "name",
    [
        "test_the_same_lead_twice_is_held_once",
        "test_killed_after_any_request_it_doubles_nothing",
        "test_cancelled_at_any_request_it_works_on",
        "test_a_fault_at_any_request_costs_and_doubles_nothing",
        "test_a_time_out_at_any_request_costs_and_doubles_nothing",
    ],
)
async def test_a_lead_that_is_written_twice_is_found(name: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.fail.Exception, match="must hold"):
        await run(Doubling(), name, request)


def test_an_author_gets_many_tests_for_a_few_lines() -> None:
    assert len(clauses_of(ConnectorContract)) >= LEAST
