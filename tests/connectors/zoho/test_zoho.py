"""The `zoho` connector: under the contract, and what is its own."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from connectors.base import (
    Blame,
    Delivered,
    MappedField,
    MappedRoute,
    Outcome,
    Reason,
    Record,
    Rejected,
    Retry,
    SettingError,
    Severity,
    WrittenRecord,
)
from connectors.testing import Fault
from connectors.testing.batch_clauses import BatchClauses
from connectors.testing.contract import ConnectorContract
from connectors.testing.subject import MemoryVault, Subject
from connectors.testing.write_clauses import WriteClauses
from connectors.testing.zoho import ZohoFake
from connectors.zoho import ZohoConnector
from connectors.zoho.settings import ZohoRoute, ZohoSettings
from tests.connectors.building import context, record

CLIENT = ("1000.client-of-the-fake", "secret-of-the-fake", "1000.refresh-token-of-the-fake")
JSON = {"Content-Type": "application/json"}


def settings(crm: ZohoFake) -> dict[str, Any]:
    return {
        "client_id": CLIENT[0],
        "client_secret": CLIENT[1],
        "refresh_token": CLIENT[2],
        "accounts_url": crm.origin,
        "api_url": crm.origin,
        "allow_private": True,
    }


def connector(crm: ZohoFake, **changes: Any) -> ZohoConnector:
    return ZohoConnector(ZohoSettings.model_validate({**settings(crm), **changes}), context())


def lead(number: int = 0, route: ZohoRoute | None = None, event: dict[str, Any] | None = None, **fields: Any) -> Record:
    values = {"Last_Name": f"Lead {number}", "Company": "-", "Email": f"lead{number}@example.com", **fields}
    made = record({name: value for name, value in values.items() if value is not None}, **(event or {}))
    return replace(made, route=route or ZohoRoute())


async def both(crm: ZohoFake, *batches: list[Record], **changes: Any) -> list[Outcome]:
    """Deliver batches with one connector, and return the outcomes of the last."""
    target, found = connector(crm, **changes), list[Outcome]()
    for batch in batches:
        found = list(await target.deliver(batch))
    await target.close()
    return found


async def outcomes_of(*records: Record, fault: Fault | None = None, **changes: Any) -> tuple[Any, ZohoFake]:
    async with ZohoFake(client=CLIENT) as crm:
        if fault:
            crm.faults.share(fault, 1.0)
        target = connector(crm, **changes)
        found = await target.deliver(records)
        await target.close()
    return found, crm


class Described(Subject[ZohoFake]):
    connector = ZohoConnector

    def fake(self) -> ZohoFake:
        return ZohoFake(client=CLIENT)

    def settings(self, fake: ZohoFake) -> dict[str, Any]:
        return settings(fake)

    def fields(self, number: int) -> dict[str, Any]:
        event = self.event(number)
        return {"Last_Name": event["LastName"], "Company": "none", "Email": event["Email"], "Lead_Status": "New"}

    def conditional(self) -> str:
        return "Lead_Status"

    def refused(self) -> dict[str, Any]:
        return {"Last_Name": "Nobody", "Email": "without-a-company@example.com"}

    def failing(self, answer: Any, status: int) -> Any:
        code = {429: "TOO_MANY_REQUESTS", 503: "INTERNAL_ERROR"}[status]
        return json.loads(json.dumps(answer).replace("MANDATORY_NOT_FOUND", code))

    def held(self, fake: ZohoFake) -> list[object]:
        return [{name: value for name, value in each.items() if name != "id"} for each in fake.leads]

    def expire(self, fake: ZohoFake) -> None:
        fake.expire()

    def tokens(self, fake: ZohoFake) -> int:
        return fake.token_requests


class TestContract(Described, ConnectorContract[ZohoFake]):
    """All clauses."""


class TestWithNotes(Described, WriteClauses[ZohoFake], BatchClauses[ZohoFake]):
    """Each lead with a note, which is no upsert, and with a field that is read before it is written."""

    def route(self) -> dict[str, Any]:
        return {"remark": "Content"}

    def record(self, number: int = 0, fields: Mapping[str, Any] | None = None, **changes: Any) -> Record:
        return super().record(number, fields, **{"if_empty": frozenset({"Lead_Status"}), **changes})

    async def test_a_field_that_is_not_always_written_is_kept(self) -> None:
        pytest.skip("the class without notes runs it")

    def held(self, fake: ZohoFake) -> list[object]:
        return [*super().held(fake), *(each["Note_Content"] for each in fake.activities["Notes"])]


async def test_each_record_of_a_batch_has_a_verdict_of_its_own() -> None:
    long = "x" * 81
    found, crm = await outcomes_of(lead(0), lead(1, Company=None), lead(2, Last_Name=long), lead(3))
    assert [type(each) for each in found] == [Delivered, Rejected, Rejected, Delivered]
    assert found[1].detail == "it answered MANDATORY_NOT_FOUND (Company): required field not found"
    assert found[2].detail == "it answered INVALID_DATA (Last_Name): invalid data"
    assert {each.status for each in found} == {207}
    assert [each["Email"] for each in crm.leads] == ["lead0@example.com", "lead3@example.com"]


async def test_what_could_be_written_twice_is_not_sent_and_keeps_nobody() -> None:
    found, crm = await outcomes_of(lead(0), lead(1, Email=None), lead(2, Email=""), lead(3))
    assert [type(each) for each in found] == [Delivered, Rejected, Rejected, Delivered]
    assert found[1].reason is Reason.MAPPING
    assert "(Email, Phone)" in found[1].detail
    assert len(crm.leads) == 2


async def test_a_lead_with_a_phone_only_is_found_by_it() -> None:
    found, crm = await outcomes_of(lead(0, Email=None, Phone="+34600000000"))
    assert isinstance(found[0], Delivered)
    assert [each["Phone"] for each in crm.leads] == ["+34600000000"]


@pytest.mark.parametrize(
    ("row", "kind", "reason", "blame"),
    [
        ({"code": "DUPLICATE_DATA", "details": {"api_name": "Email"}}, Rejected, Reason.CONFLICT, Blame.RECORD),
        ({"code": "INVALID_DATA"}, Rejected, Reason.REFUSED, Blame.RECORD),
        ({"code": "SOMETHING_NEW", "message": "no"}, Rejected, Reason.REFUSED, Blame.RECORD),
        ({"code": "RECORD_LOCKED"}, Retry, Reason.CONFLICT, Blame.RECORD),
        ({"code": "NO_PERMISSION"}, Retry, Reason.FORBIDDEN, Blame.RECORD),
        ({"code": "INTERNAL_ERROR"}, Retry, Reason.SERVER_ERROR, Blame.UNCLEAR),
        ({"code": "LICENSE_LIMIT_EXCEEDED"}, Retry, Reason.FORBIDDEN, Blame.DESTINATION),
        ({"code": "SUCCESS", "details": {}}, Retry, Reason.BAD_ANSWER, Blame.RECORD),
        ({"code": None}, Retry, Reason.BAD_ANSWER, Blame.RECORD),
        ("SUCCESS", Retry, Reason.BAD_ANSWER, Blame.RECORD),
    ],
)
@pytest.mark.parametrize("status", [200, 202, 207, 400])
async def test_a_code_decides_whatever_the_status(
    status: int, row: object, kind: type, reason: Reason, blame: Blame
) -> None:
    fault = Fault.answers(status, JSON, orjson.dumps({"data": [row]}))
    (found,), _ = await outcomes_of(lead(), fault=fault)
    assert (type(found), found.reason, found.blame) == (kind, reason, blame)


def verdicts(*codes: str) -> Fault:
    rows = [{"code": code, "details": {"id": "1"} if code == "SUCCESS" else {}} for code in codes]
    return Fault.answers(207, JSON, orjson.dumps({"data": rows}))


@pytest.mark.parametrize(
    ("codes", "blame"),
    [
        (["SUCCESS", "NO_PERMISSION"], Blame.RECORD),
        (["SUCCESS", "LICENSE_LIMIT_EXCEEDED"], Blame.RECORD),
        (["INVALID_DATA", "LICENSE_LIMIT_EXCEEDED"], Blame.DESTINATION),
        (["NO_PERMISSION"] * 4, Blame.RECORD),
        (["NO_PERMISSION"] * 5, Blame.DESTINATION),
        (["INVALID_DATA", *["NO_PERMISSION"] * 5], Blame.RECORD),
        (["SUCCESS", *["LICENSE_LIMIT_EXCEEDED"] * 5], Blame.RECORD),
    ],
)
async def test_what_a_record_may_not_holds_the_account_only_with_proof(codes: list[str], blame: Blame) -> None:
    found, _ = await outcomes_of(*map(lead, range(len(codes))), fault=verdicts(*codes))
    assert {each.blame for each in found if isinstance(each, Retry)} == {blame}


@pytest.mark.parametrize("wrong", ["", " ", "secret\n", "se cret", "secr\x00et", "sécret"])
@pytest.mark.parametrize("name", ["client_id", "client_secret", "refresh_token"])
def test_what_can_be_no_credential_is_told(name: str, wrong: str) -> None:
    with pytest.raises(SettingError) as caught:
        connector(ZohoFake(client=CLIENT), **{name: wrong})
    assert caught.value.path == (name,)


@pytest.mark.parametrize("rows", [[], [{"code": "SUCCESS", "details": {"id": "1"}}] * 3])
async def test_verdicts_that_do_not_match_the_records_account_for_none(rows: list[object]) -> None:
    fault = Fault.answers(200, JSON, orjson.dumps({"data": rows}))
    found, _ = await outcomes_of(lead(0), lead(1), fault=fault)
    assert {(type(each), each.reason) for each in found} == {(Retry, Reason.BAD_ANSWER)}


async def test_a_module_that_does_not_exist_holds_the_destination() -> None:
    (found,), _ = await outcomes_of(lead(0, ZohoRoute(module="Leeds")))
    assert isinstance(found, Retry)
    assert found.blame is Blame.DESTINATION
    assert "INVALID_MODULE" in found.detail


async def test_a_refused_refresh_token_is_told_though_the_status_is_200() -> None:
    (found,), _ = await outcomes_of(lead(), refresh_token="another")
    assert (type(found), found.reason, found.blame) == (Retry, Reason.UNAUTHORIZED, Blame.DESTINATION)
    assert "invalid_code" in found.detail


async def test_the_request_is_as_the_api_wants_it() -> None:
    route = ZohoRoute(duplicate_check_fields=("Email", "Phone"), trigger=())
    _, crm = await outcomes_of(lead(0, route))
    (arrival,) = crm.ledger
    assert (arrival.method, arrival.path) == ("POST", "/crm/v8/Leads/upsert")
    document = orjson.loads(arrival.body)
    assert document["duplicate_check_fields"] == ["Email"]
    assert document["trigger"] == []
    assert document["data"][0]["Email"] == "lead0@example.com"


def test_records_of_one_route_and_different_keys_share_a_call() -> None:
    target = connector(ZohoFake(client=CLIENT))
    assert target.batch_group(lead(0)) == target.batch_group(lead(1))
    assert target.batch_group(lead(0)) != target.batch_group(lead(0, ZohoRoute(module="Contacts")))
    assert target.batch_key(lead(0)) == target.batch_key(lead(0, Email="LEAD0@Example.com "))
    assert target.batch_key(lead(0)) != target.batch_key(lead(1))


async def test_a_probe_compares_the_fields() -> None:
    fields = tuple(MappedField(name) for name in ("Last_Name", "Emial"))
    async with ZohoFake(client=CLIENT) as crm:
        target = connector(crm)
        found = await target.probe([MappedRoute(ZohoRoute(), fields), MappedRoute(ZohoRoute(module="Leeds"), ())])
        await target.close()
    assert [(each.severity, each.route, each.field) for each in found] == [
        (Severity.ERROR, 0, "Emial"),
        (Severity.ERROR, 0, "Company"),
        (Severity.WARNING, 1, None),
    ]
    assert found[0].message == "no such field (did you mean `Email`?)"
    assert not crm.leads


@pytest.mark.parametrize("name", ["accounts_url", "api_url"])
def test_an_address_that_cannot_be_used_is_told(name: str) -> None:
    with pytest.raises(SettingError) as caught:
        connector(ZohoFake(client=CLIENT), **{name: "ftp://example.com"})
    assert caught.value.path == (name,)


CONTENT = "Monday, December 7, 2026 at 10:00 AM UTC"


async def test_a_person_with_the_same_phone_keeps_the_email() -> None:
    async with ZohoFake(client=CLIENT) as crm:
        await both(crm, [lead(0, Phone="+34600000000")], [lead(1, Phone="+34600000000")])
        assert [each["Email"] for each in crm.leads] == ["lead0@example.com", "lead1@example.com"]


async def test_a_lead_found_by_its_secondary_email_keeps_the_primary_one() -> None:
    async with ZohoFake(client=CLIENT) as crm:
        await both(crm, [lead(0)])
        crm.leads[0]["Secondary_Email"] = "lead1@example.com"
        later = replace(lead(1, Last_Name="Later", Lead_Status="New"), if_empty=frozenset({"Lead_Status"}))
        (outcome,) = await both(crm, [later])
        assert isinstance(outcome, Delivered)
        assert [(each["Email"], each["Last_Name"], each["Lead_Status"]) for each in crm.leads] == [
            ("lead0@example.com", "Later", "New")
        ]


async def test_a_lead_is_found_by_its_phone_in_another_notation() -> None:
    async with ZohoFake(client=CLIENT) as crm:
        await both(crm, [lead(0, Email=None, Phone="600 00 00 01", Lead_Status="Qualified")])
        later = [lead(number, Email=None, Phone=f"+34600 000 00{number}", Lead_Status="New") for number in range(1, 10)]
        outcomes = await both(crm, [replace(each, if_empty=frozenset({"Lead_Status"})) for each in later])
        assert all(isinstance(each, Delivered) for each in outcomes)
        assert [each["Lead_Status"] for each in crm.leads] == ["Qualified"] + ["New"] * 8


async def test_a_hundred_leads_with_conditional_fields_cost_four_calls_at_most() -> None:
    async with ZohoFake(client=CLIENT) as crm:
        await both(crm, [lead(number, Lead_Status="Qualified") for number in range(0, 100, 2)])
        crm.ledger.clear()
        modes = frozenset({"Lead_Status", "Company"})
        batch = [replace(lead(number, Lead_Status="New"), if_empty=modes) for number in range(100)]
        assert all(isinstance(each, Delivered) for each in await both(crm, batch))
        assert len(crm.ledger) == 4
        assert [each["Lead_Status"] for each in crm.leads] == ["Qualified"] * 50 + ["New"] * 50


async def test_a_refused_optional_field_is_dropped_with_a_warning_and_kept_in_a_note() -> None:
    async with ZohoFake(client=CLIENT) as crm:
        (outcome,) = await both(crm, [lead(0, First_Name="x" * 50, Phone="1" * 40)])
        assert isinstance(outcome, Delivered)
        assert outcome.warning == ("left out because Zoho refuses it: First_Name, Phone; its value is in the remark")
        (note,) = crm.activities["Notes"]
        assert note["Note_Content"].startswith(f"Not accepted by Zoho:\nFirst_Name: {'x' * 50}")


@pytest.mark.parametrize(("content", "kind"), [(CONTENT, "Events"), ("next week", "Tasks")])
async def test_an_appointment_becomes_an_event_or_a_task_once(content: str, kind: str) -> None:
    async with ZohoFake(client=CLIENT) as crm:
        made = lead(0, event={"Type": "Appointment", "Content": content})
        await both(crm, [made], [made])
        assert {name: len(each) for name, each in crm.activities.items() if each} == {kind: 1}
        (found,) = crm.activities[kind]
        assert (found["What_Id"], found["$se_module"]) == ({"id": crm.leads[0]["id"]}, "Leads")
        assert found["Description"].startswith(content)
        if kind == "Events":
            times = (found["Start_DateTime"], found["End_DateTime"])
            assert times == ("2026-12-07T10:00:00+00:00", "2026-12-07T10:30:00+00:00")


async def test_a_hundred_new_leads_with_remarks_cost_two_calls() -> None:
    async with ZohoFake(client=CLIENT) as crm:
        await both(crm, [lead(number, ZohoRoute(remark="Content")) for number in range(100)])
        assert (len(crm.ledger), len(crm.activities["Notes"])) == (2, 100)


async def test_an_event_has_the_texts_and_times_of_the_route() -> None:
    said = {"title": "Demo with {{ FirstName }}", "location": "https://meet.example.com/1", "reminder": "1h"}
    made = ZohoRoute.model_validate({"appointment": said})
    event = {"Type": "Appointment", "Content": "7 de diciembre de 2026 de 10:00 a 11:15 UTC"}
    async with ZohoFake(client=CLIENT) as crm:
        await both(crm, [lead(0, made, event)])
        (created,) = crm.activities["Events"]
    wanted = {
        "Event_Title": "Demo with David",
        "Venue": "https://meet.example.com/1",
        "Start_DateTime": "2026-12-07T10:00:00+00:00",
        "End_DateTime": "2026-12-07T11:15:00+00:00",
        "Remind_At": "2026-12-07T09:00:00+00:00",
    }
    assert created.items() >= wanted.items()


USERS = {"ann@acme.com": "u1", "bob@acme.com": "u2"}
SALES = ZohoRoute.model_validate(
    {
        "owner": {"round_robin": list(USERS)},
        "follow_up": {"subject": "Call {{ FirstName }}", "due": "2d", "priority": "high"},
    }
)


async def test_a_new_lead_has_an_owner_and_a_follow_up_task_once() -> None:
    async with ZohoFake(client=CLIENT, users=USERS) as crm:
        target = connector(crm)
        target.open(MemoryVault())
        first = [lead(number, SALES) for number in range(4)]
        for batch in (first, first, [replace(lead(0, SALES), id="another")]):
            assert all(isinstance(each, Delivered) for each in await target.deliver(batch))
        await target.close()
        assert [each["Owner"]["id"] for each in crm.leads] == ["u1", "u2", "u1", "u2"]
        tasks = crm.activities["Tasks"]
        assert len(tasks) == 5
        assert (tasks[0]["Subject"], tasks[0]["Due_Date"], tasks[0]["Priority"]) == ("Call David", "2026-11-26", "High")
        owners = {each["id"]: each["Owner"]["id"] for each in crm.leads}
        assert all(each["Owner"]["id"] == owners[each["lead"]] for each in tasks)
        assert sum("/users" in each.path for each in crm.ledger) == 1


async def test_an_unknown_owner_is_a_warning() -> None:
    route = ZohoRoute.model_validate({"owner": "nobody@acme.com"})
    async with ZohoFake(client=CLIENT, users=USERS) as crm:
        (outcome,) = await both(crm, [lead(0, route)])
        assert isinstance(outcome, Delivered)
        assert "no active user has the e-mail" in (outcome.warning or "")
        assert "Owner" not in crm.leads[0]


async def test_check_online_finds_a_wrong_owner() -> None:
    route = ZohoRoute.model_validate({"owner": "ann@acme.com", "follow_up": {"owner": "gone@acme.com"}})
    async with ZohoFake(client=CLIENT, users=USERS) as crm:
        target = connector(crm)
        found = await target.probe([MappedRoute(route, (MappedField("Last_Name"), MappedField("Company")))])
        await target.close()
    assert [(each.severity, each.route, each.setting) for each in found] == [
        (Severity.ERROR, 0, ("follow_up", "owner", "value"))
    ]


async def test_the_record_of_the_last_delivery_is_known_before_a_query_finds_it() -> None:
    """Otherwise the upsert writes fields that are for a new record only."""
    async with ZohoFake(client=CLIENT, search_lag=60) as crm:
        first = await both(crm, [lead(0, Lead_Status="First"), lead(1, Lead_Status="First")])
        ids = [each.remote_id for each in first if isinstance(each, Delivered)]
        later = [
            replace(lead(number, Lead_Status="Later"), id=f"later{number}", create_only=frozenset({"Lead_Status"}))
            for number in range(4)
        ]
        written = [*ids, ids[0], "987654321"]  # the third is another person's, the fourth is gone
        found = await both(
            crm, [replace(each, written=WrittenRecord(one)) for each, one in zip(later, written, strict=True)]
        )
    assert all(isinstance(each, Delivered) for each in found)
    assert [each["Lead_Status"] for each in crm.leads] == ["First", "First", "Later", "Later"]


async def test_ids_that_the_module_refuses_leave_the_query() -> None:
    async with ZohoFake(client=CLIENT) as crm:
        await both(crm, [lead(Lead_Status="First")])
        body = b'{"code": "INVALID_DATA", "status": "error", "message": "invalid id", "details": {}}'
        crm.faults.next(Fault.answers(400, JSON, body), on="ids=")
        later = replace(lead(Lead_Status="Later"), id="later", create_only=frozenset({"Lead_Status"}))
        (found,) = await both(crm, [replace(later, written=WrittenRecord("987654321"))])
    assert isinstance(found, Delivered)
    assert [each["Lead_Status"] for each in crm.leads] == ["First"]
