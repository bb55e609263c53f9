from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Reason, Record, Rejected
from connectors.event_text import Sources
from connectors.salesforce.descriptions import append_texts, cut, units
from connectors.salesforce.records import UNSEEN, Existing, Row, Rows, body, external_key
from connectors.salesforce.schema import ObjectSchema, read_shape
from connectors.testing.salesforce.objects import Field, standard_objects
from tests.connectors.building import context
from tests.connectors.salesforce.building import KEY, appointment, record, route

LEAD = standard_objects(Field(name=KEY, length=60, external_id=True, unique=True), {}, on_activities=False)["Lead"]


def shape(**changes: Any) -> ObjectSchema:
    described = {**LEAD.describe("68.0"), **changes}
    made = read_shape(described)
    assert made is not None
    return made


def described(text: str) -> Existing:
    return Existing("1", {"description": text})


def row(made: Record, known: ObjectSchema | None = None) -> Row:
    found = Rows(Sources(context())).row(made, known)
    assert isinstance(found, Row), found
    return found


def fields(made: Record, existing: Existing | None = None, known: ObjectSchema | None = None) -> dict[str, Any]:
    return body(row(made, known), existing, known)[0]


def test_the_key_is_what_is_mapped_or_else_the_records_own_id() -> None:
    assert external_key(record(record_id="r1")) == "r1"
    assert external_key(record({KEY: " 31305 "}, record_id="r1")) == "31305"
    assert external_key(record({KEY.lower(): 31305}, record_id="r1")) == "31305"
    assert external_key(record({KEY: " "}, record_id="r1")) == "r1"
    assert KEY not in fields(record({KEY: "k", "LastName": "A"}))


@pytest.mark.parametrize(
    ("mapped", "again", "certain"),
    [({}, False, True), ({}, True, False), ({KEY: "a@b.co"}, False, False), ({KEY: "x-" + "0" * 32}, False, True)],
)
def test_a_record_is_certainly_new_where_its_key_is_its_events_own(
    mapped: dict[str, Any], again: bool, certain: bool
) -> None:
    assert row(record(mapped, is_repeat=again)).certain is certain


def test_a_key_that_is_too_long_for_its_field_is_refused() -> None:
    refused = Rows(Sources(context())).row(record({KEY: "k" * 61}), shape())
    assert refused == Rejected(Reason.MAPPING, f"{KEY} takes 60 characters, its value has 61")


@pytest.mark.parametrize(
    ("event", "last_name"),
    [
        ({}, "García"),
        ({"LastName": " "}, "David"),
        ({"LastName": "", "FirstName": ""}, "david"),
        ({"LastName": "", "FirstName": "", "Email": ""}, "+34 600 000 000"),
        ({"LastName": "", "FirstName": "", "Email": "", "PhoneNumber": ""}, "Unknown"),
    ],
)
def test_a_new_lead_without_a_last_name_gets_the_next_best(event: dict[str, Any], last_name: str) -> None:
    sent = fields(record({"FirstName": "David"}, **event))
    assert (sent["LastName"], sent["Company"]) == (last_name, "[not provided]")
    assert ("FirstName" in sent) == (last_name != "David")


def test_a_record_that_exists_keeps_its_names() -> None:
    assert fields(record({"Phone": "1"}, LastName=""), Existing("00Q")) == {"Phone": "1"}


def test_fallbacks_are_the_routes() -> None:
    made = route(last_name="Lead", company="Web")
    sent = fields(record({}, made, LastName="", FirstName="", Email="", PhoneNumber=""))
    assert sent == {"LastName": "Lead", "Company": "Web"}
    assert fields(record({}, route(object="Contact"))) == {"LastName": "García"}
    assert fields(record({"Name": "x"}, route(object="Account"))) == {"Name": "x"}


@pytest.mark.parametrize(
    ("source", "said"), [("Content", 'said "hello"'), ("{{ Content }} ({{ URI }})", 'said "hello" (www.example.com)')]
)
def test_a_remark_is_a_field_or_a_template(source: str, said: str) -> None:
    assert fields(record({}, route(remark=source)))["Description"] == said


def test_a_remark_that_cannot_be_made_refuses_the_record() -> None:
    refused = Rows(Sources(context())).row(record({}, route(remark="Contnt")), None)
    assert refused == Rejected(Reason.MAPPING, "remark: unknown field `Contnt` of the event (did you mean `Content`?)")
    assert isinstance(Rows(Sources(context())).row(record({}, route(remark="{{ Nothing }}")), None), Rejected)


def test_a_remark_is_added_to_what_is_there_once() -> None:
    made = record({"Description": "From the web"}, route(remark="Content"))
    assert fields(made)["Description"] == 'From the web\n\nsaid "hello"'
    assert fields(made, described("Called him"))["Description"] == 'Called him\n\nFrom the web\n\nsaid "hello"'
    assert fields(made, described('From the web\n\nsaid "hello"'))["Description"] == 'From the web\n\nsaid "hello"'


def test_an_object_without_a_description_goes_without_the_remark() -> None:
    sent, warnings = body(row(record({}, route(object="Thing__c", remark="Content"))), None, None)
    assert (sent, len(warnings)) == ({}, 1)


def test_an_appointments_remark_is_not_the_leads() -> None:
    assert "Description" not in fields(appointment(made=route(remark="Content")))


def test_texts_are_cut_to_their_length_and_others_are_not() -> None:
    long = {"FirstName": "é" * 41, "Email": "e" * 90, "LeadSource": "s" * 300, "NumberOfEmployees": 7}
    sent, warnings = body(row(record(long), shape()), None, shape())
    assert (sent["FirstName"], sent["Email"], len(sent["LeadSource"])) == ("é" * 40, "e" * 90, 300)
    assert warnings == ("FirstName was cut to 40 characters",)
    assert fields(record(long))["FirstName"] == "é" * 41


@given(st.text(max_size=30), st.integers(0, 30))
def test_a_cut_text_is_short_enough_and_a_beginning(text: str, longest: int) -> None:
    short = cut(text, longest)
    assert text.startswith(short)
    assert len(short.encode("utf-16-le")) // 2 <= longest


@pytest.mark.parametrize("said", ["Please do not call me before 5 pm", "Hello\n\nnever call me", "call me not"])
def test_a_remark_that_is_part_of_an_older_text_is_added(said: str) -> None:
    made = record({}, route(remark="Content"), Content="call me")
    assert fields(made, described(said))["Description"] == f"{said}\n\ncall me"
    assert fields(made, described(f"{said}\r\n\r\ncall me"))["Description"] == f"{said}\r\n\r\ncall me"


def test_a_full_description_loses_its_oldest_text() -> None:
    text, warnings = append_texts("old " * 10, ["the newest wish"], 30)
    assert text == ("old " * 10 + "\n\nthe newest wish")[-30:]
    assert (len(text), len(warnings)) == (30, 1)
    assert append_texts(text, ["the newest wish"], 30) == (text, ())
    long, warnings = append_texts("old", ["the newest wish"], 6)
    assert (long, len(warnings)) == ("the ne", 2)
    assert append_texts(long, ["the newest wish"], 6)[0] == long


@given(st.text(max_size=20), st.lists(st.text(max_size=20), min_size=1, max_size=2), st.integers(5, 30))
def test_what_is_written_again_says_nothing_twice(said: str, parts: list[str], longest: int) -> None:
    said = cut(said.replace("\r", "\n").strip(), longest)
    parts = [each.replace("\r", "\n") for each in parts]
    once, _ = append_texts(said, parts, longest)
    assert units(once) <= longest
    assert cut(parts[-1].strip(), longest).strip() in once
    assert append_texts(once, parts[-1:], longest)[0] == once


def test_a_description_that_cannot_be_read_is_left_alone() -> None:
    made = record({"Description": "From the web", "Phone": "1"}, route(remark="Content"))
    for existing in (UNSEEN, Existing("00Q")):
        sent, warnings = body(row(made), existing, None)
        assert (sent, len(warnings)) == ({"Phone": "1"}, 1)


def test_a_field_that_is_not_there_is_left_out() -> None:
    made = row(record({"Nope__c": "x", "phone": "1", "IsConverted": True}, route(remark="Content")), shape())
    assert made.fields == {"phone": "1"}
    assert made.remark == 'said "hello"\nNope__c: x\nIsConverted: True'
    assert len(made.warnings) == 1
    assert row(record({"Nope__c": "x", "Owner__r": {"Key__c": "1"}}), shape()).fields == {"Owner__r": {"Key__c": "1"}}
    assert row(record({"Nope__c": "x"})).fields == {"Nope__c": "x"}


def test_a_field_is_sent_in_one_spelling_and_an_id_is_not() -> None:
    made = row(record({"LastName": "A", "lastname": "B", "Id": "00Q"}), shape())
    assert made.fields == {"LastName": "A"}
    assert len(made.warnings) == 2


def test_what_was_received_before_the_process_began_may_be_there() -> None:
    each = record()
    received = 1_795_514_401.0
    rows = Rows(Sources(context()))
    certain = [getattr(rows.row(each, None, since), "certain", None) for since in (received, received + 1)]
    assert certain == [True, False]
    undated = replace(each, event={**each.event, "event": {"id": "0" * 32}})
    assert getattr(rows.row(undated, None, received), "certain", None) is False


def test_a_refused_field_goes_into_the_remark() -> None:
    complete = row(record({"Email": "x", "LastName": "A", "Company": "B"}, route(remark="Content")))
    assert complete.droppable(("Email", "LastName"), None) == ("Email",)
    sent, warnings = body(complete.without(("Email",)), None, None)
    assert sent == {"LastName": "A", "Company": "B", "Description": 'said "hello"\nEmail: x'}
    assert warnings == ("Email refused by Salesforce and left out; the value is in the remark",)


def test_without_a_remark_the_event_keeps_what_is_left_out() -> None:
    complete = row(record({"Email": "x", "LastName": "A"}))
    assert complete.droppable(("Email", "LastName"), None) == ("Email",)
    lighter = complete.without(("Email",))
    assert (lighter.fields, lighter.remark) == ({"LastName": "A"}, "")
    assert lighter.warnings == ("Email refused by Salesforce and left out; the event keeps the value",)


def test_what_a_new_record_needs_is_not_dropped() -> None:
    required = shape(fields=[{"name": "Email", "nillable": False, "createable": True}])
    assert row(record({"Email": "x"}, route(remark="Content"))).droppable(("Email",), required) == ()


def test_what_has_no_form_in_json_is_refused() -> None:
    assert isinstance(Rows(Sources(context())).row(record({"A": 1 << 70}), None), Rejected)


def test_a_shape_is_read_from_what_describe_says() -> None:
    known = shape()
    email, number, key = known.field("email"), known.field("NumberOfEmployees"), known.field(KEY)
    assert email is not None
    assert number is not None
    assert key is not None
    assert (email.length, number.length, key.external_id, key.unique) == (80, None, True, True)
    assert [each.name for each in known.fields.values() if each.required] == ["LastName", "Company"]
    interest = known.field("Interest__c")
    assert interest is not None
    assert interest.values == frozenset({"High", "Medium", "Low"})
    assert read_shape([]) is None
    assert read_shape({"fields": [{"name": "A"}, 1, {}]}) is not None
