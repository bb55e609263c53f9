"""Batches at the HubSpot sandbox: what one bad record does to the others, and how results find their inputs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connectors.testing.hubspot import HubSpotSandbox, Property
from tests.connectors.testing.hubspot_client import UPSERT, activity, call, reasons, upserts

KEY = Property(name="lead_key", label="Lead key", unique=True)


@pytest.fixture
async def crm() -> AsyncIterator[HubSpotSandbox]:
    async with HubSpotSandbox(properties={"contacts": [KEY]}) as sandbox:
        yield sandbox


def emails(crm: HubSpotSandbox) -> list[str]:
    return [each.properties["email"] for each in crm.contacts]


async def test_an_upsert_creates_then_updates_and_lower_cases_e_mails(crm: HubSpotSandbox) -> None:
    first = await call(crm, UPSERT, upserts("Ann@B.co", firstname="Ann"))
    (result,) = first.document["results"]
    assert (first.status, first.document["status"], result["new"]) == (200, "COMPLETE", True)
    assert result["properties"]["email"] == "ann@b.co"
    assert "errors" not in first.document
    again = await call(crm, UPSERT, upserts("aNN@b.co", phone="1"))
    assert again.document["results"][0]["new"] is False
    (contact,) = crm.contacts
    assert (contact.writes, contact.properties["firstname"], contact.properties["phone"]) == (2, "Ann", "1")


async def test_results_come_in_another_order(crm: HubSpotSandbox) -> None:
    sent = [f"lead{number}@b.co" for number in range(20)]
    answer = await call(crm, UPSERT, upserts(*sent, traced=True))
    got = [each["properties"]["email"] for each in answer.document["results"]]
    assert got != sent
    assert sorted(got) == sorted(sent)
    for each in answer.document["results"]:
        assert sent[int(each["objectWriteTraceId"][1:])] == each["properties"]["email"]


async def test_results_may_come_without_trace_ids() -> None:
    async with HubSpotSandbox(echoes_trace_ids=False) as crm:
        answer = await call(crm, UPSERT, upserts("a@b.co", traced=True))
    assert "objectWriteTraceId" not in answer.document["results"][0]


@pytest.mark.parametrize(
    ("path", "switch", "status"),
    [
        ("/crm/objects/2026-09/contacts/batch/upsert", None, 200),
        ("/crm/objects/2026-09/contacts/batch/upsert", 207, 207),
        ("/crm/objects/2026-03/contacts/batch/upsert", None, 207),
        ("/crm/v3/objects/contacts/batch/upsert", None, 207),
        ("/crm/v3/objects/contacts/batch/upsert", 200, 200),
    ],
)
async def test_with_trace_ids_only_the_bad_record_fails(path: str, switch: int | None, status: int) -> None:
    async with HubSpotSandbox(multi_status=switch) as crm:
        batch = upserts("a@b.co", "nothing", "c@d.co", traced=True)
        answer = await call(crm, path, batch)
    assert (answer.status, answer.document["numErrors"], emails(crm)) == (status, 1, ["a@b.co", "c@d.co"])
    (error,) = answer.document["errors"]
    assert (error["status"], error["category"], error["context"]) == (
        "error",
        "VALIDATION_ERROR",
        {"objectWriteTraceId": ["t1"]},
    )
    (reason,) = reasons(error)
    assert (reason["error"], reason["message"]) == ("INVALID_EMAIL", "Email address nothing is invalid")
    assert reason["portalId"] == 891936587


async def test_without_trace_ids_one_bad_record_refuses_all(crm: HubSpotSandbox) -> None:
    batch = upserts("a@b.co", "c@d.co", "e@f.co")
    batch["inputs"][0]["properties"] |= {"missing": "1"}
    batch["inputs"][2]["properties"] |= {"missing": "1", "createdate": "2026-11-24", "hs_lead_status": "x"}
    answer = await call(crm, UPSERT, batch)
    assert (answer.status, answer.document["category"], crm.contacts) == (400, "VALIDATION_ERROR", [])
    codes = [each["error"] for each in reasons(answer.document)]
    assert codes == ["PROPERTY_DOESNT_EXIST", "PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE", "INVALID_OPTION"]
    listed = answer.document["errors"]
    assert [each["code"] for each in listed] == ["PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE", "INVALID_OPTION"]
    assert listed[0]["context"] == {"propertyName": ["missing"]}


async def test_a_single_input_without_a_trace_id_makes_it_all_or_none(crm: HubSpotSandbox) -> None:
    batch = upserts("a@b.co", "nothing", traced=True)
    del batch["inputs"][0]["objectWriteTraceId"]
    assert ((await call(crm, UPSERT, batch)).status, crm.contacts) == (400, [])


async def test_equal_ids_refuse_the_whole_batch_without_regard_to_case(crm: HubSpotSandbox) -> None:
    answer = await call(crm, UPSERT, upserts("A@b.co", "c@d.co", "a@B.co", traced=True))
    assert (answer.status, answer.document["context"]) == (400, {"ids": ["a@b.co"]})
    assert answer.document["message"] == "Duplicate IDs found in batch input: [a@b.co]. IDs must be unique"
    assert crm.contacts == []


@pytest.mark.parametrize(
    "change",
    [
        {"objectWriteTraceId": "t1"},
        {"idProperty": "lead_key"},
        {"idProperty": "phone"},
        {"idProperty": "nothing"},
        {"properties": {"email": None}},
        {"properties": {"annualrevenue": 1}},
        {"properties": {"hs_email_optout": True}},
        {"properties": None},
        {"properties": []},
        {"id": None},
        {"id": 5},
        {"objectWriteTraceId": 5},
    ],
)
async def test_what_cannot_be_read_refuses_the_whole_batch(crm: HubSpotSandbox, change: dict[str, Any]) -> None:
    batch = upserts("a@b.co", "c@d.co", traced=True)
    batch["inputs"][0] |= change
    answer = await call(crm, UPSERT, batch)
    assert (answer.status, answer.document["status"], crm.contacts) == (400, "error", [])


@pytest.mark.parametrize(("count", "status"), [(0, 400), (1, 200), (100, 200), (101, 400)])
async def test_up_to_100_inputs(crm: HubSpotSandbox, count: int, status: int) -> None:
    answer = await call(crm, UPSERT, upserts(*[f"lead{number}@b.co" for number in range(count)], traced=True))
    assert (answer.status, len(crm.contacts)) == (status, count if status == 200 else 0)


async def test_a_property_that_is_not_unique_cannot_identify(crm: HubSpotSandbox) -> None:
    batch = {"inputs": [{"id": "x", "idProperty": "dealname", "properties": {"dealname": "x"}}]}
    answer = await call(crm, "/crm/objects/2026-09/deals/batch/upsert", batch)
    assert answer.status == 400
    assert answer.document["message"] == "Unable to perform update/upsert by non-unique 0-3 property dealname"


async def test_by_a_custom_key(crm: HubSpotSandbox) -> None:
    def batch(**values: str) -> dict[str, Any]:
        return {"inputs": [{"id": "k1", "idProperty": "lead_key", "objectWriteTraceId": "t", "properties": values}]}

    created = await call(crm, UPSERT, batch(firstname="Ann"))
    assert created.document["results"][0]["properties"]["lead_key"] == "k1"
    await call(crm, UPSERT, batch(email="a@b.co"))
    (contact,) = crm.contacts
    assert (contact.properties["firstname"], contact.properties["email"]) == ("Ann", "a@b.co")


@pytest.mark.parametrize("named", [True, False])
async def test_the_e_mail_of_another_contact_is_a_conflict(named: bool) -> None:
    async with HubSpotSandbox(properties={"contacts": [KEY]}, names_existing=named) as crm:
        await call(crm, UPSERT, upserts("a@b.co"))
        values = {"email": "A@b.co"}
        one = {"id": "k1", "idProperty": "lead_key", "objectWriteTraceId": "0", "properties": values}
        (error,) = (await call(crm, UPSERT, {"inputs": [one]})).document["errors"]
        existing = crm.contacts[0].id
        assert error["category"] == "CONFLICT"
        assert error["context"] == {"objectWriteTraceId": ["0"], **({"existingId": [existing]} if named else {})}
        assert error["message"] == "Contact already exists" + (f". Existing ID: {existing}" if named else "")
        del one["objectWriteTraceId"]
        assert (await call(crm, UPSERT, {"inputs": [one]})).status == 409


async def test_two_of_a_batch_that_want_the_same_e_mail(crm: HubSpotSandbox) -> None:
    inputs = [
        {"id": key, "idProperty": "lead_key", "objectWriteTraceId": key, "properties": {"email": "a@b.co"}}
        for key in ("k1", "k2")
    ]
    untraced = [{name: value for name, value in each.items() if name != "objectWriteTraceId"} for each in inputs]
    assert ((await call(crm, UPSERT, {"inputs": untraced})).status, crm.contacts) == (409, [])
    answer = await call(crm, UPSERT, {"inputs": inputs})
    assert (len(crm.contacts), answer.document["errors"][0]["context"]["objectWriteTraceId"]) == (1, ["k2"])


async def test_a_secondary_e_mail_identifies_the_same_contact(crm: HubSpotSandbox) -> None:
    await call(crm, UPSERT, upserts("a@b.co", hs_additional_emails="Old@b.co;older@b.co"))
    await call(crm, UPSERT, upserts("OLDER@b.co", phone="1"))
    (contact,) = crm.contacts
    assert (contact.properties["email"], contact.properties["phone"]) == ("a@b.co", "1")


async def test_a_batch_of_notes(crm: HubSpotSandbox) -> None:
    await call(crm, UPSERT, upserts("a@b.co"))
    contact_id = crm.contacts[0].id
    path = "/crm/objects/2026-09/notes/batch"
    good, absent = activity(contact_id, 202, hs_note_body="said"), activity("9", 202)
    answer = await call(crm, f"{path}/create", {"inputs": [good, absent]})
    assert (answer.status, answer.document["message"], crm.notes) == (400, "One or more associations are invalid", [])
    inputs = [{**good, "objectWriteTraceId": "a"}, {**absent, "objectWriteTraceId": "b"}]
    answer = await call(crm, f"{path}/create", {"inputs": inputs})
    (note,) = crm.notes
    assert (answer.status, answer.document["results"][0]["id"]) == (200, note.id)
    assert answer.document["errors"][0]["context"]["INVALID_OBJECT_IDS"] == ["CONTACT=9 is not valid"]
    assert (await call(crm, f"{path}/create", {"inputs": [good]})).status == 201
    assert (note.associations, crm.contacts[0].associations["notes"][0]) == ({"contacts": [contact_id]}, note.id)
    read = await call(crm, f"{path}/read", {"inputs": [{"id": note.id}], "properties": ["hs_note_body", "nothing"]})
    assert read.document["results"][0]["properties"]["hs_note_body"] == "said"


async def test_activities_are_upserted_by_a_property_with_unique_values_only() -> None:
    """What is created so has no associations, for an upsert names none."""
    mark = Property(name="lead_mark", unique=True)
    async with HubSpotSandbox(properties={"notes": [mark]}) as crm:
        for kind, status in (("notes", 200), ("meetings", 400)):
            one = {"id": "m1", "idProperty": "lead_mark", "properties": {"hs_timestamp": "1795600000000"}}
            for _ in range(2):
                answer = await call(crm, f"/crm/objects/2026-09/{kind}/batch/upsert", {"inputs": [one]})
                assert answer.status == status
        (note,) = crm.notes
        assert (note.writes, note.associations, crm.meetings) == (2, {}, [])


async def test_a_batch_read_names_what_does_not_exist(crm: HubSpotSandbox) -> None:
    await call(crm, UPSERT, upserts("a@b.co"))
    wanted = {"idProperty": "email", "inputs": [{"id": "A@b.co"}, {"id": "x@y.co"}], "properties": ["phone"]}
    answer = await call(crm, "/crm/v3/objects/contacts/batch/read", wanted)
    assert (answer.status, answer.document["results"][0]["properties"]["phone"]) == (207, None)
    (error,) = answer.document["errors"]
    assert (error["category"], error["context"]) == ("OBJECT_NOT_FOUND", {"ids": ["x@y.co"]})


async def test_a_batch_update_does_not_create(crm: HubSpotSandbox) -> None:
    await call(crm, UPSERT, upserts("a@b.co"))
    batch = upserts("a@b.co", "x@y.co", traced=True, phone="1")
    answer = await call(crm, "/crm/objects/2026-09/contacts/batch/update", batch)
    assert (answer.document["numErrors"], crm.contacts[0].properties["phone"], len(crm.contacts)) == (1, "1", 1)
    assert answer.document["errors"][0]["context"] == {"objectWriteTraceId": ["t1"], "ids": ["x@y.co"]}
