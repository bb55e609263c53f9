"""Single records at the HubSpot sandbox, their values, their associations, and search."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connectors.testing.hubspot import HubSpotSandbox, ObjectType, Property
from tests.building import Clock
from tests.connectors.testing.hubspot_client import CONTACTS, UPSERT, activity, call, reasons, upserts

BIKES = ObjectType(
    name="bikes",
    singular="bike",
    type_id="2-7",
    properties=(Property(name="frame", unique=True), Property(name="colours", type="enumeration", field="checkbox")),
)


@pytest.fixture
async def crm() -> AsyncIterator[HubSpotSandbox]:
    async with HubSpotSandbox(objects=[BIKES]) as sandbox:
        yield sandbox


async def contact(crm: HubSpotSandbox, email: str = "a@b.co", **values: Any) -> str:
    await call(crm, UPSERT, upserts(email, **values))
    return crm.contacts[-1].id


async def test_create_and_conflict(crm: HubSpotSandbox) -> None:
    created = await call(crm, CONTACTS, {"properties": {"email": "A@b.co"}})
    assert (created.status, created.document["properties"]["email"]) == (201, "a@b.co")
    assert created.document["url"].endswith(f"/contacts/891936587/record/0-1/{created.document['id']}")
    assert crm.page_url(crm.contacts[0]) == created.document["url"]
    again = await call(crm, CONTACTS, {"properties": {"email": "a@b.co"}, "associations": []})
    assert (again.status, set(again.document)) == (409, {"status", "message", "correlationId", "category"})
    assert again.document["message"] == f"Contact already exists. Existing ID: {crm.contacts[0].id}"


async def test_update_by_id_by_e_mail_and_by_a_secondary_one(crm: HubSpotSandbox) -> None:
    contact_id = await contact(crm, hs_additional_emails="old@b.co")
    for number, way in enumerate((contact_id, "A%40b.co?idProperty=email", "old%40b.co?idProperty=email")):
        changed = {"properties": {"phone": str(number)}}
        assert (await call(crm, f"{CONTACTS}/{way}", changed, method="PATCH")).status == 200
        assert crm.contacts[0].properties["phone"] == str(number)
    assert len(crm.contacts) == 1


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("x%40y.co?idProperty=email", "resource not found"),
        ("999", "resource not found"),
        ("x%40y.co", "Object not found.  objectId are usually numeric."),
    ],
)
async def test_what_is_absent(crm: HubSpotSandbox, way: str, message: str) -> None:
    for method, document in (("PATCH", {"properties": {}}), ("GET", None)):
        answer = await call(crm, f"{CONTACTS}/{way}", document, method=method)
        assert (answer.status, answer.document["category"]) == (404, "OBJECT_NOT_FOUND")
        assert answer.document["message"] == message


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"email": "a@b"}, "INVALID_EMAIL"),
        ({"email": "a@b.test"}, "INVALID_EMAIL"),
        ({"email": "a@b.c"}, "INVALID_EMAIL"),
        ({"nothing": "1"}, "PROPERTY_DOESNT_EXIST"),
        ({"hs_object_id": "1"}, "READ_ONLY_VALUE"),
        ({"createdate": "2026-11-24T10:00:00Z"}, "READ_ONLY_VALUE"),
        ({"hs_lead_status": "new"}, "INVALID_OPTION"),
        ({"annualrevenue": "much"}, "INVALID_DECIMAL"),
        ({"closedate": "tomorrow"}, "INVALID_LONG"),
        ({"closedate": "2026-11-24T10:00:00"}, "INVALID_LONG"),
        ({"closedate": "1795600000"}, "INVALID_DATE"),
        ({"first_visit": "24/11/2026"}, "INVALID_DATE"),
        ({"first_visit": "1795600000000"}, "INVALID_DATE"),
        ({"message": "x" * 65_537}, "INVALID_STRING_LENGTH"),
    ],
)
async def test_values_that_are_refused(crm: HubSpotSandbox, values: dict[str, str], code: str) -> None:
    answer = await call(crm, CONTACTS, {"properties": {"lastname": "x", **values}})
    (reason,) = reasons(answer.document)
    assert (answer.status, reason["error"], crm.contacts) == (400, code, [])
    assert reason["name"] in values


@pytest.mark.parametrize(("value", "status"), [("Núñez", 201), ("Lead 0", 400), ("Jean-Luc", 400), ("", 201)])
async def test_a_rule_of_the_administrator_may_take_letters_only(value: str, status: int) -> None:
    rule = Property(name="firstname", only_letters=True)
    async with HubSpotSandbox(properties={"contacts": [rule]}) as crm:
        answer = await call(crm, "/crm/v3/objects/contacts", {"properties": {"lastname": "x", "firstname": value}})
        assert answer.status == status
        if status == 400:
            (reason,) = reasons(answer.document)
            assert (reason["error"], reason["message"], reason["name"]) == (
                "INVALID_ALPHA",
                "Enter only letters",
                "firstname",
            )


async def test_there_is_no_upsert_of_a_single_record(crm: HubSpotSandbox) -> None:
    absent, document = f"{CONTACTS}/a%40b.co?idProperty=email", {"properties": {"email": "a@b.co"}}
    for path, method, status in (
        (absent, "PATCH", 404),
        (absent, "PUT", 405),
        (f"{CONTACTS}/upsert", "POST", 405),
    ):
        assert (await call(crm, path, document, method=method)).status == status
    assert crm.contacts == []


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("closedate", "2026-11-24T11:00:00.250+01:00", "2026-11-24T10:00:00.250Z"),
        ("closedate", "1795600000000", "2026-11-25T09:46:40Z"),
        ("first_visit", "2026-11-24", "2026-11-24"),
        ("first_visit", "1795564800000", "2026-11-25"),
        ("annualrevenue", "-1.5", "-1.5"),
        ("hubspot_owner_id", "77", "77"),
        ("message", "x" * 65_536, "x" * 65_536),
        ("phone", "anything", "anything"),
    ],
)
async def test_values_that_are_kept(crm: HubSpotSandbox, name: str, sent: str, kept: str) -> None:
    assert (await call(crm, CONTACTS, {"properties": {"lastname": "x", name: sent}})).status == 201
    assert crm.contacts[0].properties[name] == kept


async def test_an_empty_value_clears(crm: HubSpotSandbox) -> None:
    contact_id = await contact(crm, phone="1")
    await call(crm, f"{CONTACTS}/{contact_id}", {"properties": {"phone": ""}}, method="PATCH")
    assert "phone" not in crm.contacts[0].properties
    read = await call(crm, f"{CONTACTS}/{contact_id}?properties=phone,nothing&properties=city")
    assert (read.document["properties"]["phone"], read.document["properties"]["city"]) == (None, None)
    assert "nothing" not in read.document["properties"]


async def test_an_e_mail_that_was_given_up_is_free_again(crm: HubSpotSandbox) -> None:
    contact_id = await contact(crm, "a@b.co")
    await call(crm, f"{CONTACTS}/{contact_id}", {"properties": {"email": "c@d.co"}}, method="PATCH")
    assert await contact(crm, "a@b.co") != contact_id


async def test_an_e_mail_that_is_also_a_secondary_one_stays(crm: HubSpotSandbox) -> None:
    contact_id = await contact(crm, "a@b.co", hs_additional_emails="a@b.co")
    await call(crm, f"{CONTACTS}/{contact_id}", {"properties": {"hs_additional_emails": ""}}, method="PATCH")
    assert await contact(crm, "a@b.co") == contact_id


async def test_a_lifecycle_stage_moves_forward_only(crm: HubSpotSandbox) -> None:
    stages = []
    for stage in ("customer", "lead", "", "lead"):
        await contact(crm, lifecyclestage=stage)
        stages.append(crm.contacts[0].properties.get("lifecyclestage"))
    assert stages == ["customer", "customer", None, "lead"]


async def test_a_contact_needs_a_name_or_an_e_mail(crm: HubSpotSandbox) -> None:
    answer = await call(crm, CONTACTS, {"properties": {"phone": "1"}})
    assert (answer.status, answer.document["category"]) == (400, "VALIDATION_ERROR")
    assert (await call(crm, CONTACTS, {"properties": {"phone": "1", "lastname": "x"}})).status == 201


async def test_notes_meetings_tasks_and_calls(crm: HubSpotSandbox) -> None:
    contact_id = await contact(crm)
    for kind, type_id, body in (
        ("notes", 202, "hs_note_body"),
        ("meetings", 200, "hs_meeting_title"),
        ("tasks", 204, "hs_task_subject"),
        ("calls", 194, "hs_call_title"),
    ):
        made = await call(crm, f"/crm/objects/2026-09/{kind}", activity(contact_id, type_id, **{body: "said"}))
        (record,) = crm.records(kind)
        assert (made.status, record.properties[body], record.associations) == (201, "said", {"contacts": [contact_id]})
    found = await call(crm, f"{CONTACTS}/{contact_id}?associations=notes,meetings&associations=tasks,calls,deals")
    names = {name: each["results"][0]["type"] for name, each in found.document["associations"].items()}
    assert names == {
        "notes": "contact_to_note",
        "meetings": "contact_to_meeting_event",
        "tasks": "contact_to_task",
        "calls": "contact_to_call",
    }
    assert (crm.notes + crm.meetings + crm.tasks)[0].properties["hs_timestamp"] == "2026-11-24T10:00:00Z"
    assert (await call(crm, f"{CONTACTS}/{contact_id}?associations=cars")).status == 400


@pytest.mark.parametrize(
    ("path", "multi_status", "number"),
    [
        ("/crm/associations/2026-09", 200, str),
        ("/crm/associations/2026-03", 207, str),
        ("/crm/v4/associations", 207, int),
    ],
)
async def test_associations_are_read_in_batches(path: str, multi_status: int, number: type) -> None:
    async with HubSpotSandbox(association_page=2) as crm:
        contact_id = await contact(crm)
        for _ in range(3):
            await call(crm, "/crm/objects/2026-09/notes", activity(contact_id, 202))
        first, second, third = (number(each.id) for each in crm.notes)
        read = f"{path}/contacts/notes/batch/read"
        page = await call(crm, read, {"inputs": [{"id": contact_id}, {"id": "9"}]})
        (result,) = page.document["results"]
        assert (page.status, result["from"]) == (multi_status, {"id": contact_id})
        assert [each["toObjectId"] for each in result["to"]] == [first, second]
        assert result["to"][0]["associationTypes"][0]["typeId"] == 201
        (none,) = page.document["errors"]
        assert (page.document["numErrors"], none["context"]["fromObjectId"]) == (1, ["9"])
        assert none["message"] == "No note is associated with contact 9."
        after = result["paging"]["next"]["after"]
        rest = await call(crm, read, {"inputs": [{"id": contact_id, "after": after}]})
        assert (rest.status, "paging" in rest.document["results"][0]) == (200, False)
        assert [each["toObjectId"] for each in rest.document["results"][0]["to"]] == [third]
        assert (await call(crm, read, {})).status == 400
        for inputs in ([], [{"id": "1"}] * 1001, [{"id": "1", "after": "x"}]):
            assert (await call(crm, read, {"inputs": inputs})).status == 400
        assert (await call(crm, f"{path}/contacts/cars/batch/read", {"inputs": [{"id": "1"}]})).status == 400
        assert (await call(crm, read)).status == 405
        assert (await call(crm, f"{path}/contacts/notes", {})).status == 404


async def test_creating_is_not_idempotent(crm: HubSpotSandbox) -> None:
    note = activity(await contact(crm), 202)
    for _ in range(2):
        await call(crm, "/crm/objects/2026-09/notes", note)
    assert len(crm.notes) == 2


def changed(change: dict[str, Any], *, link: dict[str, Any] | None = None, kind: dict[str, Any] | None = None) -> Any:
    note = activity("101", 202)
    note |= change
    if note["associations"]:
        note["associations"][0] |= link or {}
        note["associations"][0]["types"][0] |= kind or {}
    return note


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (changed({"properties": {"hs_note_body": "x"}}), "Some required properties were not set"),
        (changed({"properties": {"hs_timestamp": ""}}), "Some required properties were not set"),
        (changed({"properties": {"hs_timestamp": 1_795_600_000_000}}), "Invalid input JSON"),
        (changed({}, kind={"associationTypeId": 4711}), "One or more associations are invalid"),
        (changed({}, kind={"associationTypeId": 200}), "expected: 0-47. For definition 0-200"),
        (changed({}, kind={"associationTypeId": "202"}), "Invalid input JSON"),
        (changed({}, kind={"associationCategory": "MINE"}), "Invalid input JSON"),
        (changed({}, kind={"associationCategory": "USER_DEFINED"}), "One or more associations are invalid"),
        (changed({}, link={"to": {"id": "9"}}), "One or more associations are invalid"),
        (changed({}, link={"to": {}}), "Some required fields were not set: [id]"),
        (changed({}, link={"to": None}), "Some required fields were not set: [to]"),
        (changed({"associations": {}}), "Invalid input JSON"),
        (changed({"properties": {"hs_timestamp": "1795600000000", "hs_note_body": "x" * 65_537}}), "not valid"),
    ],
)
async def test_notes_that_are_refused(crm: HubSpotSandbox, note: Any, words: str) -> None:
    assert await contact(crm) == "101"
    answer = await call(crm, "/crm/objects/2026-09/notes", note)
    assert (answer.status, crm.notes) == (400, [])
    assert words in answer.document["message"]


async def test_the_default_association_needs_no_type_and_can_be_repeated(crm: HubSpotSandbox) -> None:
    contact_id = await contact(crm)
    note = await call(crm, "/crm/objects/2026-09/notes", {"properties": {"hs_timestamp": "1795600000000"}})
    path = f"/crm/objects/2026-09/notes/{note.document['id']}/associations/default/contacts/{contact_id}"
    for _ in range(2):
        answer = await call(crm, path, method="PUT")
        assert answer.status == 200
        assert answer.document["results"][0]["associationSpec"]["associationTypeId"] == 202
    assert crm.notes[0].associations == {"contacts": [contact_id]}
    assert (await call(crm, path.replace(contact_id, "9"), method="PUT")).status == 400


@pytest.mark.parametrize(
    ("path", "multi_status"),
    [("/crm/associations/2026-09", 200), ("/crm/associations/2026-03", 207), ("/crm/v4/associations", 207)],
)
async def test_default_associations_are_made_in_batches(crm: HubSpotSandbox, path: str, multi_status: int) -> None:
    contact_id = await contact(crm)
    note = await call(crm, "/crm/objects/2026-09/notes", {"properties": {"hs_timestamp": "1795600000000"}})
    note_id, associate = note.document["id"], f"{path}/notes/contacts/batch/associate/default"

    def pair(one: str, other: str) -> dict[str, Any]:
        return {"from": {"id": one}, "to": {"id": other}}

    for _ in range(2):
        good = await call(crm, associate, {"inputs": [pair(note_id, contact_id)]})
        assert (good.status, crm.notes[0].associations) == (200, {"contacts": [contact_id]})
        assert good.document["results"][0] == {
            **pair(note_id, contact_id),
            "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202},
        }
    mixed = await call(crm, associate, {"inputs": [pair(note_id, contact_id), pair("9", contact_id)]})
    assert (mixed.status, mixed.document["numErrors"], len(mixed.document["results"])) == (multi_status, 1, 2)
    (error,) = mixed.document["errors"]
    assert error["context"]["INVALID_OBJECT_IDS"] == ["NOTE=9 is not valid"]
    for inputs in ([], [{"from": {"id": "1"}}], [{"from": {}, "to": {"id": "1"}}], [{"from": 1, "to": 2}]):
        assert (await call(crm, associate, {"inputs": inputs})).status == 400
    assert (await call(crm, associate)).status == 405


async def test_other_objects(crm: HubSpotSandbox) -> None:
    contact_id = await contact(crm)
    lead = {"properties": {"hs_lead_name": "x"}}
    assert (await call(crm, "/crm/objects/2026-09/leads", lead)).status == 400
    lead |= {"associations": activity(contact_id, 578)["associations"]}
    assert (await call(crm, "/crm/objects/2026-09/leads", lead)).status == 201
    bike = {"inputs": [{"id": "f1", "idProperty": "frame", "properties": {"colours": "red;blue"}}]}
    for path in ("bikes", "2-7"):
        assert (await call(crm, f"/crm/objects/2026-09/{path}/batch/upsert", bike)).status == 200
    assert [each.properties["frame"] for each in crm.records("bikes")] == ["f1"]
    answer = await call(crm, "/crm/objects/2026-09/cars", {"properties": {}})
    assert (answer.status, answer.document["message"]) == (400, "Unable to infer object type from: cars")


@pytest.mark.parametrize(("version", "status"), [("2026-09", 400), ("2026-03", 201)])
async def test_the_rules_of_an_administrator_apply_since_2026_09(version: str, status: int) -> None:
    async with HubSpotSandbox(required={"contacts": ["company"]}) as crm:
        path = f"/crm/objects/{version}/contacts"
        answer = await call(crm, path, {"properties": {"email": "a@b.co"}})
        assert answer.status == status
        if status == 400:
            assert answer.document["context"] == {"properties": ["company"]}
        assert (await call(crm, path, {"properties": {"email": "c@d.co", "company": "x"}})).status == 201


async def test_a_unique_value_of_another_record(crm: HubSpotSandbox) -> None:
    path = "/crm/objects/2026-09/bikes"
    assert (await call(crm, path, {"properties": {"frame": "f1"}})).status == 201
    answer = await call(crm, path, {"properties": {"frame": "f1"}})
    assert (answer.status, answer.document["category"]) == (400, "VALIDATION_ERROR")
    assert "already has that value" in answer.document["message"]


def looking(name: str, operator: str = "EQ", **value: Any) -> dict[str, Any]:
    return {"filterGroups": [{"filters": [{"propertyName": name, "operator": operator, **value}]}]}


async def test_search_lags_behind_writes() -> None:
    clock = Clock()
    async with HubSpotSandbox(now=clock, search_lag=10.0) as crm:
        wanted = looking("phone", value="1")
        await contact(crm, phone="1")
        totals = [(await call(crm, f"{CONTACTS}/search", wanted)).document["total"]]
        clock.now += 10
        totals.append((await call(crm, f"{CONTACTS}/search", wanted)).document["total"])
        await contact(crm, phone="2")
        totals.append((await call(crm, f"{CONTACTS}/search", wanted)).document["total"])
        clock.now += 10
        totals.append((await call(crm, f"{CONTACTS}/search", wanted)).document["total"])
    assert totals == [0, 1, 1, 0]


async def test_search_sees_what_was_there_before_several_writes() -> None:
    clock = Clock()
    async with HubSpotSandbox(now=clock, search_lag=10.0) as crm:
        await contact(crm, phone="1")
        for seconds, phone in ((12, "2"), (2, "3"), (1, "4")):
            clock.now += seconds
            await contact(crm, phone=phone)
        seen = await call(crm, f"{CONTACTS}/search", {"properties": ["phone"]})
        clock.now += 8
        later = await call(crm, f"{CONTACTS}/search", {"properties": ["phone"]})
    phones = [each.document["results"][0]["properties"]["phone"] for each in (seen, later)]
    assert phones == ["1", "2"]
    assert len(crm.contacts[0].versions) == 4


async def test_search() -> None:
    clock = Clock()
    async with HubSpotSandbox(now=clock) as crm:
        for number in range(3):
            await contact(crm, f"lead{number}@b.co", annualrevenue=str(number * 50))
        note = activity(crm.contacts[1].id, 202, hs_note_body="said")
        await call(crm, "/crm/objects/2026-09/notes", note)

        async def total(document: dict[str, Any], kind: str = "contacts") -> int:
            clock.now += 1
            answer = await call(crm, f"/crm/objects/2026-09/{kind}/search", document)
            return int(answer.document["total"])

        assert await total(looking("email", value="LEAD1@b.co")) == 1
        assert await total(looking("email", "IN", values=["lead1@b.co", "lead2@b.co"])) == 2
        assert await total(looking("email", "NEQ", value="lead1@b.co")) == 2
        assert await total(looking("annualrevenue", "GTE", value="50")) == 2
        assert await total(looking("phone", "HAS_PROPERTY")) == 0
        assert await total(looking("phone", "NOT_HAS_PROPERTY")) == 3
        assert await total(looking("email", "CONTAINS_TOKEN", value="*lead*")) == 3
        assert await total(looking("associations.contact", value=crm.contacts[1].id), "notes") == 1
        assert await total({"query": "lead2"}) == 1
        clock.now += 1
        page = await call(crm, f"{CONTACTS}/search", {"limit": 2, "properties": ["email"]})
        assert (len(page.document["results"]), page.document["paging"]) == (2, {"next": {"after": "2"}})


@pytest.mark.parametrize(
    "document",
    [
        looking("nothing", value="1"),
        looking("email", "LIKE", value="1"),
        looking("email"),
        looking("email", "IN"),
        {"filterGroups": [{}]},
        {"filterGroups": {}},
        {"limit": 201},
        {"limit": "x"},
        {"filterGroups": [{"filters": []}] * 6},
    ],
)
async def test_searches_that_are_refused(crm: HubSpotSandbox, document: dict[str, Any]) -> None:
    assert (await call(crm, f"{CONTACTS}/search", document)).status == 400
