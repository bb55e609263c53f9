from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from multidict import CIMultiDict

from connectors.base import Reason, Record, Retry
from connectors.event_text import Sources
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.salesforce.answers import (
    Part,
    Written,
    read_activities,
    read_collection,
    read_existing,
    read_parts,
    read_write,
)
from connectors.salesforce.errors import SalesforceProblem
from connectors.salesforce.records import Row, Rows
from connectors.salesforce.requests import (
    SalesforceActivity,
    SalesforceRequest,
    SalesforceRequests,
    Selection,
    rule_headers,
    salesforce_activity,
)
from connectors.salesforce.status_codes import ErrorKind
from tests.connectors.building import context
from tests.connectors.salesforce.building import APPOINTMENT, KEY, appointment, record, route

WIRE = SalesforceRequests("68.0")
BASE = "/services/data/v68.0"
SECRETS = Secrets("s3cret")
ACTIVITY = SalesforceActivity("Event", {"Subject": "Appointment"}, "mark")


def row(key: str = "k1", **changes: Any) -> Row:
    made = route(**changes)
    return Row(record({}, made, record_id="r1"), made, key, {})


def document(request: SalesforceRequest) -> Any:
    assert request.body is not None
    return orjson.loads(request.body)


def answer(body: Any, status: int = 200) -> Answer:
    return Answer(status, CIMultiDict(), body if isinstance(body, bytes) else orjson.dumps(body))


def test_an_upsert_has_its_rows_in_order_and_takes_each_for_itself() -> None:
    request = WIRE.upsert(route(), [("k1", {"LastName": "A", "Company": "B"}), ("k2", {})], {"X": "y"})
    assert (request.method, request.path) == ("PATCH", f"{BASE}/composite/sobjects/Lead/{KEY}")
    assert request.headers["X"] == "y"
    assert document(request) == {
        "allOrNone": False,
        "records": [
            {"attributes": {"type": "Lead"}, KEY: "k1", "LastName": "A", "Company": "B"},
            {"attributes": {"type": "Lead"}, KEY: "k2"},
        ],
    }


def test_an_appointment_is_a_record_and_an_event_or_neither() -> None:
    request = WIRE.appointment(row("k 1/é"), None, {"LastName": "A"}, ACTIVITY, {"Sforce-Auto-Assign": "TRUE"})
    assert request.path == f"{BASE}/composite"
    assert document(request) == {
        "allOrNone": True,
        "compositeRequest": [
            {
                "method": "PATCH",
                "url": f"{BASE}/sobjects/Lead/{KEY}/k%201%2F%C3%A9",
                "referenceId": "record",
                "httpHeaders": {"Sforce-Auto-Assign": "TRUE"},
                "body": {"LastName": "A"},
            },
            {
                "method": "POST",
                "url": f"{BASE}/sobjects/Event",
                "referenceId": "activity",
                "body": {"Subject": "Appointment", "WhoId": "@{record.id}"},
            },
        ],
    }


def test_an_appointment_of_a_matched_record_goes_by_its_id() -> None:
    made = document(WIRE.appointment(row(), "00QX", {}, ACTIVITY, {}))["compositeRequest"]
    assert (made[0]["url"], made[1]["body"]["WhoId"]) == (f"{BASE}/sobjects/Lead/00QX", "00QX")
    about = document(WIRE.appointment(row(object="Case"), None, {}, ACTIVITY, {}))["compositeRequest"]
    assert "WhatId" in about[1]["body"]
    assert len(document(WIRE.appointment(row(), None, {}, None, {}))["compositeRequest"]) == 1


def test_a_look_names_the_record_that_it_finds() -> None:
    record_part, activities = document(WIRE.look(row(), None, ACTIVITY))["compositeRequest"]
    assert record_part["url"] == f"{BASE}/sobjects/Lead/{KEY}/k1?fields=Id"
    assert "@{record.Id}" in activities["url"]
    assert unquote(activities["url"]).endswith("SELECT Id, Description FROM Event WHERE WhoId = '@{record.Id}'")


def test_two_hundred_keys_are_asked_for_in_one_call() -> None:
    keys = [f"k{number}" for number in range(199)] + ["o'k\\n\n"]
    parts = document(WIRE.select([Selection("Lead", KEY, keys, ("Description",))]))["compositeRequest"]
    assert [part["referenceId"] for part in parts] == ["q0x0", "q0x1", "q0x2", "q0x3", "q0x4"]
    asked = unquote(parts[4]["url"])
    assert asked.startswith(f"{BASE}/query?q=SELECT Id, {KEY}, Description FROM Lead WHERE {KEY} IN ('k160', ")
    assert asked.endswith(r"'o\'k\\n\n')")
    by_id = unquote(document(WIRE.select([Selection("Lead", "Id", ["1"])]))["compositeRequest"][0]["url"])
    assert by_id.endswith("SELECT Id FROM Lead WHERE Id IN ('1')")


def test_two_selections_of_two_hundred_are_one_call_too() -> None:
    keys = [f"k{number}" for number in range(200)]
    both = [Selection("Lead", KEY, keys), Selection("Contact", "Email", keys, ("Phone",), newest_first=True)]
    parts = document(WIRE.select(both))["compositeRequest"]
    assert [part["referenceId"] for part in parts] == ["q0x0", "q0x1", "q1x0", "q1x1"]
    assert unquote(parts[2]["url"]).endswith(") ORDER BY CreatedDate DESC")


@pytest.mark.parametrize(
    ("assignment", "new", "known"),
    [("created", "TRUE", "FALSE"), ("always", "TRUE", "TRUE"), ("never", "FALSE", "FALSE")],
)
def test_assignment_rules_run_when_the_route_says(assignment: str, new: str, known: str) -> None:
    made = route(assignment=assignment)
    assert rule_headers(made, is_new=True) == {"Sforce-Auto-Assign": new}
    assert rule_headers(made, is_new=False)["Sforce-Auto-Assign"] == known


def test_duplicates_are_allowed_where_the_route_says() -> None:
    allowed = {"Sforce-Duplicate-Rule-Header": "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true"}
    assert rule_headers(route(duplicates="allow"), is_new=True).items() > allowed.items()
    assert rule_headers(route(), is_new=True, allow=True).items() > allowed.items()
    assert rule_headers(route(), is_new=False).items() > allowed.items()
    for is_new in (True, False):
        refusing = rule_headers(route(duplicates="dead_letter"), is_new=is_new)
        assert "Sforce-Duplicate-Rule-Header" not in refusing


def planned(made: Record) -> SalesforceActivity:
    found = Rows(Sources(context())).row(made, None)
    assert isinstance(found, Row), found
    return salesforce_activity(found)


def test_an_appointment_becomes_an_event_or_a_task() -> None:
    event = planned(appointment(APPOINTMENT, made=route(appointment={"minutes": 45}), record_id="r1"))
    assert (event.object, event.mark) == ("Event", "Leadbridge r1")
    assert event.fields == {
        "Subject": "Appointment: David García",
        "Description": f"{APPOINTMENT}\n\nLeadbridge r1",
        "StartDateTime": "2026-11-25T10:00:00Z",
        "EndDateTime": "2026-11-25T10:45:00Z",
    }
    task = planned(appointment("é" * 40_000, record_id="r1"))
    assert (task.object, task.fields["ActivityDate"]) == ("Task", "2026-11-24")
    assert len(task.fields["Description"]) == 32_000
    assert task.fields["Description"].endswith("Leadbridge r1")
    bare = planned(appointment("", record_id="r1", CreateTime="some day", FirstName="", LastName=""))
    assert bare.fields == {
        "Subject": "Appointment",
        "Description": "Leadbridge r1",
        "ActivityDate": "2026-11-24",  # when it was received
    }


def test_an_event_has_all_that_the_route_says() -> None:
    said = {
        "title": "Demo with {{ FirstName }}",
        "type": "Meeting",
        "location": "https://meet.example.com/{{ SessionID }}",
        "reminder": "30m",
        "zone": "Europe/Madrid",
    }
    event = planned(appointment("25 de noviembre de 2026 de 10:00 a 11:15", made=route(appointment=said)))
    assert (
        event.fields.items()
        > {
            "Subject": "Demo with David",
            "Type": "Meeting",
            "Location": "https://meet.example.com/7",
            "StartDateTime": "2026-11-25T09:00:00Z",
            "EndDateTime": "2026-11-25T10:15:00Z",
            "IsReminderSet": True,
            "ReminderDateTime": "2026-11-25T08:30:00Z",
        }.items()
    )


def test_results_are_read_in_the_order_of_the_rows() -> None:
    good = {"id": "00QA", "success": True, "errors": [], "created": True}
    bad = {
        "success": False,
        "errors": [{"statusCode": "REQUIRED_FIELD_MISSING", "message": "m", "fields": ["Company"]}],
    }
    first, second = read_collection(Part(200, [good, bad]), 2, SECRETS)
    assert first == Written("00QA")
    assert isinstance(second, SalesforceProblem)
    assert (second.code, second.fields) == ("REQUIRED_FIELD_MISSING", ("Company",))


def test_a_row_that_was_taken_back_is_not_written_though_it_has_an_id() -> None:
    errors = [{"statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK", "message": "rolled back", "fields": []}]
    (verdict,) = read_collection(Part(200, [{"id": "00QA", "success": False, "errors": errors}]), 1, SECRETS)
    assert isinstance(verdict, SalesforceProblem)
    assert verdict.kind is ErrorKind.HALTED


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        [{"success": True, "id": "1"}],
        [1, 2],
        [{"success": True}, {"success": False, "errors": []}],
        [{"id": "1"}, {"id": "", "success": True}],
        [{"id": "1", "success": "true"}] * 2,
    ],
)
def test_what_does_not_account_for_a_row_is_no_success(body: Any) -> None:
    for verdict in (*read_collection(Part(200, body), 2, SECRETS), *read_collection(None, 2, SECRETS)):
        assert isinstance(verdict, Retry)
        assert verdict.reason is Reason.BAD_ANSWER


def test_parts_are_found_by_their_names() -> None:
    listed = [{"referenceId": "a", "httpStatusCode": 201, "body": {}}, {"referenceId": "b"}, 1]
    assert list(read_parts(answer({"compositeResponse": listed}))) == ["a"]
    assert read_parts(answer([])) == {}
    assert read_parts(answer({"compositeResponse": 1})) == {}


def test_a_part_that_writes_gives_its_id() -> None:
    assert read_write(Part(201, {"id": "1", "success": True}), 200, SECRETS) == Written("1")
    assert read_write(Part(204, None), 200, SECRETS, "00QX") == Written("00QX")
    for silent in (None, Part(204, None), Part(200, {"id": "1", "success": False}), Part(200, [])):
        assert isinstance(read_write(silent, 200, SECRETS), Retry)
    for wrong in (Part(300, ["/a", "/b"]), Part(400, [{"errorCode": "X", "message": "m"}]), Part(400, None)):
        assert isinstance(read_write(wrong, 200, SECRETS), SalesforceProblem)


def test_records_that_exist_are_found_without_regard_to_case() -> None:
    part = Part(200, {"records": [{"Id": "1", KEY: "K1", "Description": "d"}, {"Id": "2", KEY: "k2"}]})
    found = read_existing([part], KEY)
    assert found is not None
    assert {key: (each.id, each.description) for key, each in found.items()} == {"k1": ("1", "d"), "k2": ("2", None)}
    assert read_existing([part, Part(400, [])], KEY) is None
    assert read_existing([part, None], KEY) is None
    assert read_existing([Part(200, {"records": [{"Id": None, KEY: "k"}]})], KEY) is None


def test_an_activity_is_found_by_its_mark() -> None:
    listed = [{"Id": "1", "Description": None}, {"Id": "2", "Description": "Demo\n\nmark"}]
    assert read_activities(Part(200, {"records": listed}), "mark") == "2"
    assert read_activities(Part(200, {"records": listed[:1]}), "mark") is None
