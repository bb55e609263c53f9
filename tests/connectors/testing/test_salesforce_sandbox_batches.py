"""Several records in one call: sObject Collections and Composite."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.testing.salesforce_client import EVENT, KEY, LEAD, UPSERTS, batch, call, create, lead

UPSERT: dict[str, Any] = {
    "method": "PATCH",
    "url": f"/services/data/v68.0/sobjects/Lead/{KEY}/k1",
    "referenceId": "lead",
    "body": LEAD,
}
APPOINTMENT: dict[str, Any] = {
    "method": "POST",
    "url": "/services/data/v68.0/sobjects/Event",
    "referenceId": "event",
    "body": {"WhoId": "@{lead.id}", "Subject": "Appointment", **EVENT},
}
ROLLED_BACK = [
    {
        "message": "The transaction was rolled back since another operation in the same transaction failed.",
        "errorCode": "PROCESSING_HALTED",
    }
]


@pytest.fixture
async def crm() -> AsyncIterator[SalesforceSandbox]:
    async with SalesforceSandbox() as sandbox:
        yield sandbox


async def composed(crm: SalesforceSandbox, *parts: Any, all_or_none: bool = True) -> Any:
    return await call(crm, "POST", "/composite", {"allOrNone": all_or_none, "compositeRequest": list(parts)})


async def test_rows_come_in_the_order_of_the_request(crm: SalesforceSandbox) -> None:
    await create(crm, **{KEY: "k2"})
    got = await call(crm, "PATCH", UPSERTS, batch(lead("k1"), lead("k2"), lead("k3", Company="")))
    made, known = crm.leads[1], crm.leads[0]
    missing = {"statusCode": "REQUIRED_FIELD_MISSING", "message": "Required fields are missing: [Company]"}
    assert (got.status, got.document) == (
        200,
        [
            {"id": made.id, "success": True, "errors": [], "created": True},
            {"id": known.id, "success": True, "errors": [], "created": False},
            {"success": False, "errors": [{**missing, "fields": ["Company"]}]},
        ],
    )


async def test_200_records_are_one_call(crm: SalesforceSandbox) -> None:
    records = [lead(f"k{number}") for number in range(201)]
    assert (await call(crm, "PATCH", UPSERTS, batch(*records))).code == "EXCEEDED_ID_LIMIT"
    got = await call(crm, "PATCH", UPSERTS, batch(*records[:200]))
    assert (got.codes, len(crm.leads), crm.limits.used) == ([None] * 200, 200, 2)


async def test_all_or_none_takes_everything_back(crm: SalesforceSandbox) -> None:
    await create(crm, City="before", **{KEY: "k1"})
    records = [lead("k1", City="after"), lead("k2"), lead("k3", Email="x")]
    got = await call(crm, "PATCH", UPSERTS, batch(*records, all_or_none=True))
    rolled_back = "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert got.codes == [rolled_back, rolled_back, "INVALID_EMAIL_ADDRESS"]
    (stored,) = crm.leads
    assert [set(row) for row in got.document] == [{"id", "success", "errors"}] * 2 + [{"success", "errors"}]
    assert ([row["success"] for row in got.document], got.document[0]["id"]) == ([False] * 3, stored.id)
    assert (stored.fields["City"], stored.writes, stored.assignments) == ("before", 1, 1)
    got = await call(crm, "PATCH", UPSERTS, batch(*records[:2], all_or_none=True))
    assert (got.codes, [each.fields["City"] for each in crm.leads]) == ([None, None], ["after", None])


async def test_an_external_id_that_is_there_twice(crm: SalesforceSandbox) -> None:
    got = await call(crm, "PATCH", UPSERTS, batch(lead("k1"), lead("k2"), lead("K1"), lead()))
    assert got.codes == ["DUPLICATE_VALUE", None, "DUPLICATE_VALUE", "MISSING_ARGUMENT"]
    assert got.document[0]["errors"][0]["message"] == "Duplicate external id specified: k1"


async def test_several_matches_fail_in_their_row() -> None:
    async with SalesforceSandbox(unique=False) as crm:
        for _ in range(2):
            await create(crm, **{KEY: "k1"})
        got = await call(crm, "PATCH", UPSERTS, batch(lead("k1"), lead("k2")))
    assert got.codes == ["DUPLICATE_EXTERNAL_ID", None]


@pytest.mark.parametrize(
    ("path", "document", "status", "code"),
    [
        (UPSERTS, batch(), 400, "REQUIRED_FIELD_MISSING"),
        (UPSERTS, {"allOrNone": "false", "records": [lead("k1")]}, 400, "JSON_PARSER_ERROR"),
        (UPSERTS, {"record": [lead("k1")]}, 400, "JSON_PARSER_ERROR"),
        (UPSERTS, batch("x"), 400, "JSON_PARSER_ERROR"),
        (UPSERTS, batch(lead("k0"), {KEY: "k1", **LEAD}), 400, "INVALID_TYPE"),
        (UPSERTS, batch(lead("k0"), {**lead("k1"), "attributes": {"type": "Contact"}}), 400, "INVALID_TYPE"),
        (UPSERTS, batch(lead("k0"), lead("k1", X="1")), 400, "INVALID_FIELD"),
        (UPSERTS, batch(lead("k0"), lead("k1", Phone=1)), 400, "JSON_PARSER_ERROR"),
        ("/composite/sobjects/Lead/X__c", batch(lead("k1")), 404, "NOT_FOUND"),
        ("/composite/sobjects/Account/X__c", batch(lead("k1")), 404, "NOT_FOUND"),
    ],
)
async def test_calls_that_are_refused_as_a_whole(
    crm: SalesforceSandbox, path: str, document: Any, status: int, code: str
) -> None:
    got = await call(crm, "PATCH", path, document)
    assert (got.status, got.code, crm.leads) == (status, code, [])


async def test_record_ids_do_not_belong_into_an_upsert(crm: SalesforceSandbox) -> None:
    known = await create(crm)
    got = await call(crm, "PATCH", UPSERTS, batch(lead("k1", id=known), lead("k2")))
    assert got.codes == ["INVALID_FIELD", None]


async def test_what_cannot_be_read_may_fail_alone() -> None:
    async with SalesforceSandbox(unread_in_row=True) as crm:
        got = await call(crm, "PATCH", UPSERTS, batch(lead("k1", X="1"), lead("k2", Phone=1), lead("k3")))
    assert got.codes == ["INVALID_FIELD", "JSON_PARSER_ERROR", None]


async def test_collections_create_and_update(crm: SalesforceSandbox) -> None:
    task = {"attributes": {"type": "Task"}, "Subject": "Call"}
    got = await call(crm, "POST", "/composite/sobjects", batch(lead(), task))
    assert [set(row) for row in got.document] == [{"id", "success", "errors"}] * 2
    lead_id = got.document[0]["id"]
    changes = [{"attributes": {"type": "Lead"}, "id": lead_id, "City": "x"}, {"attributes": {"type": "Lead"}}]
    got = await call(crm, "PATCH", "/composite/sobjects", batch(*changes))
    assert got.codes == [None, "MISSING_ARGUMENT"]
    assert (crm.leads[0].fields["City"], len(crm.tasks)) == ("x", 1)


async def test_a_lead_and_its_appointment(crm: SalesforceSandbox) -> None:
    got = await composed(crm, UPSERT, APPOINTMENT)
    (stored,), (event,) = crm.leads, crm.events
    assert (got.status, event.fields["WhoId"], crm.limits.used) == (200, stored.id, 1)
    assert got.document["compositeResponse"] == [
        {
            "body": {"id": stored.id, "success": True, "errors": [], "created": True},
            "httpHeaders": {"Location": f"/services/data/v68.0/sobjects/Lead/{stored.id}"},
            "httpStatusCode": 201,
            "referenceId": "lead",
        },
        {
            "body": {"id": event.id, "success": True, "errors": []},
            "httpHeaders": {"Location": f"/services/data/v68.0/sobjects/Event/{event.id}"},
            "httpStatusCode": 201,
            "referenceId": "event",
        },
    ]
    again = await composed(crm, UPSERT, APPOINTMENT)
    assert [each["httpStatusCode"] for each in again.document["compositeResponse"]] == [200, 201]
    assert (len(crm.leads), len(crm.events)) == (1, 2)


async def test_before_46_an_update_has_no_body_to_refer_to(crm: SalesforceSandbox) -> None:
    await create(crm, **{KEY: "k1"})
    old = {**UPSERT, "url": UPSERT["url"].replace("68", "45")}
    got = await composed(crm, old, APPOINTMENT, all_or_none=False)
    assert [each["httpStatusCode"] for each in got.document["compositeResponse"]] == [204, 400]


async def test_with_all_or_none_a_failure_takes_everything_back(crm: SalesforceSandbox) -> None:
    bad = {**APPOINTMENT, "body": {"WhoId": "@{lead.id}"}}
    later = {**APPOINTMENT, "referenceId": "later"}
    got = await composed(crm, UPSERT, bad, later)
    first, second, third = got.document["compositeResponse"]
    assert (got.status, crm.leads, crm.events) == (200, [], [])
    assert second["body"][0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    for each in (first, third):
        assert (each["httpStatusCode"], each["body"]) == (400, ROLLED_BACK)


async def test_without_it_only_what_depends_on_a_failure_fails(crm: SalesforceSandbox) -> None:
    bad = {**UPSERT, "body": {}}
    free = {**UPSERT, "referenceId": "other", "url": UPSERT["url"].replace("k1", "k2")}
    got = await composed(crm, bad, APPOINTMENT, free, all_or_none=False)
    first, second, third = got.document["compositeResponse"]
    assert [each["httpStatusCode"] for each in (first, second, third)] == [400, 400, 201]
    assert second["body"] == [
        {
            "message": "Invalid reference specified. No value for lead.id found in lead.",
            "errorCode": "PROCESSING_HALTED",
        }
    ]


async def test_references_into_addresses_and_lists(crm: SalesforceSandbox) -> None:
    await create(crm, Email="a@b.co")
    query = "SELECT Id FROM Lead WHERE Email = 'a@b.co'".replace(" ", "+")
    looked = {"method": "GET", "url": f"/services/data/v68.0/query?q={query}", "referenceId": "found"}
    changed = {
        "method": "PATCH",
        "url": "/services/data/v68.0/sobjects/Lead/@{found.records[0].Id}",
        "referenceId": "changed",
        "body": {"City": "id @{found.records[0].Id}"},
    }
    got = await composed(crm, looked, changed)
    assert [each["httpStatusCode"] for each in got.document["compositeResponse"]] == [200, 204]
    assert crm.leads[0].fields["City"] == f"id {crm.leads[0].id}"


async def test_a_part_has_headers_of_its_own(crm: SalesforceSandbox) -> None:
    whole = {"allOrNone": True, "compositeRequest": [UPSERT]}
    await call(crm, "POST", "/composite", whole, Sforce_Auto_Assign="FALSE")
    assert crm.leads[0].assignments == 1  # a part does not inherit that header
    await composed(crm, {**UPSERT, "httpHeaders": {"Sforce-Auto-Assign": "FALSE"}})
    assert crm.leads[0].assignments == 1


def parts(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**UPSERT, "referenceId": f"r{number}", **changes} for number in range(count)]


@pytest.mark.parametrize(
    "request_parts",
    [
        [],
        parts(26),
        parts(6, method="GET", url="/services/data/v68.0/query?q=x"),
        parts(6, url=f"/services/data/v68.0{UPSERTS}"),
        [UPSERT, UPSERT],
        [{**UPSERT, "referenceId": "a b"}],
        [{**UPSERT, "method": "patch"}],
        [{**UPSERT, "httpHeaders": {"content-type": "application/json"}}],
        [{**UPSERT, "httpHeaders": {"Authorization": "Bearer x"}}],
        [{**UPSERT, "httpHeaders": {"Accept": "*/*"}}],
        [{**UPSERT, "headers": {}}],
    ],
)
async def test_composite_calls_that_are_refused_as_a_whole(
    crm: SalesforceSandbox, request_parts: list[dict[str, Any]]
) -> None:
    assert (await composed(crm, *request_parts)).status == 400
    assert crm.leads == []


async def test_25_parts_are_one_call(crm: SalesforceSandbox) -> None:
    got = await composed(crm, *parts(25))
    assert (len(got.document["compositeResponse"]), crm.limits.used, crm.leads[0].writes) == (25, 1, 25)


async def test_a_composite_inside_a_composite(crm: SalesforceSandbox) -> None:
    inner = {"method": "POST", "url": "/services/data/v68.0/composite", "referenceId": "x", "body": {}}
    got = await composed(crm, inner)
    assert got.document["compositeResponse"][0]["httpStatusCode"] == 400
