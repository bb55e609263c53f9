"""Single records: what describe says, what is written, what is refused, and what queries find."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from connectors.testing.salesforce import Field, SalesforceSandbox
from tests.connectors.testing.salesforce_client import EVENT, KEY, LEAD, call, create

UPSERT = f"/sobjects/Lead/{KEY}/k1"


@pytest.fixture
async def crm() -> AsyncIterator[SalesforceSandbox]:
    async with SalesforceSandbox() as sandbox:
        yield sandbox


async def described(crm: SalesforceSandbox, kind: str = "Lead") -> dict[str, Any]:
    got = await call(crm, "GET", f"/sobjects/{kind}/describe")
    return {each["name"]: each for each in got.document["fields"]}


async def found(crm: SalesforceSandbox, query: str) -> Any:
    return await call(crm, "GET", f"/query?q={quote(query)}")


async def test_describe(crm: SalesforceSandbox) -> None:
    fields = await described(crm)
    assert {
        name: each["length"] for name, each in fields.items() if name in ("LastName", "Company", "Description")
    } == {
        "LastName": 80,
        "Company": 255,
        "Description": 32000,
    }
    required = [
        name for name, each in fields.items() if each["createable"] and not each["nillable"] | each["defaultedOnCreate"]
    ]
    assert required == ["LastName", "Company"]
    key = fields[KEY]
    assert (key["externalId"], key["idLookup"], key["unique"], key["custom"]) == (True, True, True, True)
    assert (fields["IsConverted"]["createable"], fields["Status"]["defaultedOnCreate"]) == (False, True)
    interest = fields["Interest__c"]
    assert (interest["restrictedPicklist"], [each["value"] for each in interest["picklistValues"]]) == (
        True,
        ["High", "Medium", "Low"],
    )
    assert not fields["Description"]["filterable"]


async def test_describe_shows_an_external_id_on_activities_only_where_there_is_one(crm: SalesforceSandbox) -> None:
    assert KEY not in await described(crm, "Event")
    async with SalesforceSandbox(external_id_on_activities=True) as other:
        assert (await described(other, "Event"))[KEY]["externalId"]
        assert (await call(other, "PATCH", f"/sobjects/Event/{KEY}/k", {"Subject": "x", **EVENT})).status == 201


async def test_the_list_of_objects(crm: SalesforceSandbox) -> None:
    got = await call(crm, "GET", "/sobjects")
    assert [each["name"] for each in got.document["sobjects"]] == [
        *("Lead", "Contact", "Event", "Task"),
        *("User", "Campaign", "CampaignMember", "Opportunity"),
    ]
    assert (await call(crm, "GET", "/sobjects/Account/describe")).code == "NOT_FOUND"


async def test_upsert_by_external_id(crm: SalesforceSandbox) -> None:
    got = await call(crm, "PATCH", UPSERT, LEAD)
    (stored,) = crm.leads
    assert (got.status, got.document) == (201, {"id": stored.id, "success": True, "errors": [], "created": True})
    got = await call(crm, "PATCH", UPSERT.replace("k1", "K1"), {"FirstName": " David "})
    assert (got.status, got.document["created"]) == (200, False)
    assert (await call(crm, "PATCH", UPSERT, {"Phone": "1"}, version="45.0")).status == 204
    assert (stored.writes, stored.fields["FirstName"], stored.fields["Name"]) == (3, "David", "David García")
    assert (len(stored.id), stored.id[:3]) == (18, "00Q")
    assert crm.page_url(stored) == f"{crm.origin}/lightning/r/Lead/{stored.id}/view"


async def test_an_external_id_is_decoded_from_the_address(crm: SalesforceSandbox) -> None:
    assert (await call(crm, "PATCH", f"/sobjects/Lead/{KEY}/a%2Fb%20%C3%A9%3F", LEAD)).status == 201
    assert crm.leads[0].fields[KEY] == "a/b é?"


async def test_update_only(crm: SalesforceSandbox) -> None:
    assert (await call(crm, "PATCH", f"{UPSERT}?updateOnly=true", LEAD)).code == "NOT_FOUND"
    await call(crm, "PATCH", UPSERT, LEAD)
    assert (await call(crm, "PATCH", f"{UPSERT}?updateOnly=true", LEAD)).status == 200


async def test_several_matches_are_a_300() -> None:
    async with SalesforceSandbox(unique=False) as crm:
        ids = [await create(crm, **{KEY: "k1"}) for _ in range(2)]
        got = await call(crm, "PATCH", UPSERT, LEAD)
    assert (got.status, [each[-18:] for each in got.document]) == (300, ids)


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        (UPSERT, {KEY: "k1", **LEAD}, "INVALID_FIELD", f"The {KEY} field should not be specified in the sobject data."),
        (UPSERT, {"Id": "x", **LEAD}, "INVALID_FIELD", "The Id field should not be specified in the sobject data."),
        (
            "/sobjects/Lead/X__c/k1",
            LEAD,
            "NOT_FOUND",
            "Provided external ID field does not exist or is not accessible: X__c",
        ),
        (UPSERT, {"X": 1, **LEAD}, "INVALID_FIELD", "No such column 'X' on sobject of type Lead"),
        (UPSERT, [], "JSON_PARSER_ERROR", None),
        (UPSERT, {"LastName": "x"}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Company]"),
        (UPSERT, {**LEAD, "LastName": " "}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"),
        (UPSERT, {**LEAD, "Email": "x"}, "INVALID_EMAIL_ADDRESS", "Email: invalid email address: x"),
        (
            UPSERT,
            {**LEAD, "FirstName": "x" * 41},
            "STRING_TOO_LONG",
            f"First Name: data value too large: {'x' * 41} (max length=40)",
        ),
        (
            UPSERT,
            {**LEAD, "Interest__c": "x"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Interest: bad value for restricted picklist field: x",
        ),
        (UPSERT, {**LEAD, "IsConverted": True}, "INVALID_FIELD_FOR_INSERT_UPDATE", None),
        (UPSERT, {**LEAD, "Phone": 1}, "JSON_PARSER_ERROR", None),
        (UPSERT, {**LEAD, "HasOptedOutOfEmail": "true"}, "JSON_PARSER_ERROR", None),
    ],
)
async def test_what_is_refused(crm: SalesforceSandbox, path: str, body: Any, code: str, message: str | None) -> None:
    got = await call(crm, "PATCH", path, body)
    assert (got.status, got.code) == (404 if code == "NOT_FOUND" else 400, code)
    assert got.document[0]["message"] == (message or got.document[0]["message"])
    assert crm.leads == []


async def test_all_bad_values_are_named(crm: SalesforceSandbox) -> None:
    got = await call(crm, "POST", "/sobjects/Lead", {**LEAD, "Email": "x", "FirstName": "x" * 41})
    assert {each["errorCode"]: each["fields"] for each in got.document} == {
        "INVALID_EMAIL_ADDRESS": ["Email"],
        "STRING_TOO_LONG": ["FirstName"],
    }


async def test_requests_that_are_no_good(crm: SalesforceSandbox) -> None:
    assert (await call(crm, "POST", "/sobjects/Lead", body=b"{")).code == "JSON_PARSER_ERROR"
    got = await call(crm, "POST", "/sobjects/Lead", LEAD, Content_Type="text/plain")
    assert (got.status, got.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    got = await call(crm, "PUT", UPSERT, LEAD)
    assert (got.status, got.code) == (405, "METHOD_NOT_ALLOWED")
    assert (await call(crm, "GET", "/tooling")).status == 404


async def test_by_id(crm: SalesforceSandbox) -> None:
    lead_id = await create(crm, Email="a@b.co", **{KEY: "k1"})
    path = f"/sobjects/Lead/{lead_id}"
    assert (await call(crm, "PATCH", path, {"Phone": "1"})).status == 204
    got = await call(crm, "GET", f"{path[:-3]}?fields=Phone,Email")
    url = f"/services/data/v68.0{path}"
    assert got.document == {
        "attributes": {"type": "Lead", "url": url},
        "Phone": "1",
        "Email": "a@b.co",
        "Id": lead_id,
    }
    assert (await call(crm, "GET", UPSERT)).document["Status"] == "Open - Not Contacted"
    assert (await call(crm, "GET", f"{path}?fields=X")).code == "INVALID_FIELD"
    assert (await call(crm, "DELETE", path)).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        got = await call(crm, method, path, LEAD if method == "PATCH" else None)
        assert (got.status, got.code) == (404, "ENTITY_IS_DELETED")
    assert (await call(crm, "GET", UPSERT)).code == "NOT_FOUND"
    assert (await call(crm, "GET", "/sobjects/Lead/00Q5g0000000zzz")).code == "NOT_FOUND"
    assert (await call(crm, "PATCH", UPSERT, LEAD)).status == 201


async def test_a_converted_lead(crm: SalesforceSandbox) -> None:
    lead_id = await create(crm, **{KEY: "k1"})
    crm.org.convert(crm.leads[0])
    assert (await call(crm, "PATCH", UPSERT, {"Phone": "1"})).code == "CANNOT_UPDATE_CONVERTED_LEAD"
    assert (await call(crm, "POST", "/sobjects/Task", {"WhoId": lead_id})).code == "CANNOT_UPDATE_CONVERTED_LEAD"
    assert crm.leads[0].fields["Phone"] is None


@pytest.mark.parametrize(
    ("given", "end", "minutes"),
    [
        (EVENT, "2026-11-25T10:30:00.000+0000", 30),
        (
            {"StartDateTime": "2026-11-25T11:00:00+01:00", "DurationInMinutes": 45},
            "2026-11-25T10:45:00.000+0000",
            45,
        ),
        ({"IsAllDayEvent": True, "ActivityDate": "2026-11-25"}, "2026-11-25T00:00:00.000+0000", 1440),
    ],
)
async def test_events(crm: SalesforceSandbox, given: dict[str, Any], end: str, minutes: int) -> None:
    lead_id = await create(crm)
    event_id = await create(crm, "Event", WhoId=lead_id, Subject="Appointment", **given)
    (event,) = crm.events
    assert (event.id, event.fields["WhoId"]) == (event_id, lead_id)
    assert (event.fields["EndDateTime"], event.fields["DurationInMinutes"]) == (end, minutes)
    assert (await call(crm, "PATCH", f"/sobjects/Event/{event_id}", {"Subject": "x"})).status == 204


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "REQUIRED_FIELD_MISSING"),
        ({"StartDateTime": EVENT["StartDateTime"]}, "REQUIRED_FIELD_MISSING"),
        ({"EndDateTime": EVENT["EndDateTime"]}, "REQUIRED_FIELD_MISSING"),
        ({"IsAllDayEvent": True}, "REQUIRED_FIELD_MISSING"),
        ({**EVENT, "DurationInMinutes": 31}, "FIELD_INTEGRITY_EXCEPTION"),
        ({**EVENT, "EndDateTime": "2026-11-25T09:30:00Z"}, "FIELD_INTEGRITY_EXCEPTION"),
        ({**EVENT, "EndDateTime": "2026-12-25T09:30:00Z"}, "FIELD_INTEGRITY_EXCEPTION"),
        ({**EVENT, "StartDateTime": "2026-11-25T10:00:00"}, "JSON_PARSER_ERROR"),
        ({**EVENT, "StartDateTime": "2026-13-25T10:00:00Z"}, "JSON_PARSER_ERROR"),
        ({**EVENT, "WhoId": "x"}, "MALFORMED_ID"),
        ({**EVENT, "WhoId": "00Q5g0000000zzz"}, "INVALID_CROSS_REFERENCE_KEY"),
    ],
)
async def test_events_that_cannot_be(crm: SalesforceSandbox, given: dict[str, Any], code: str) -> None:
    got = await call(crm, "POST", "/sobjects/Event", {"Subject": "x", **given})
    assert (got.status, got.code, crm.events) == (400, code, [])


async def test_who_an_activity_is_with(crm: SalesforceSandbox) -> None:
    task_id = await create(crm, "Task", Subject="Call", ActivityDate="2026-11-25")
    assert (crm.tasks[0].fields["Status"], crm.tasks[0].fields["Priority"]) == ("Not Started", "Normal")
    got = await call(crm, "POST", "/sobjects/Task", {"WhoId": task_id})
    assert (got.code, got.document[0]["fields"]) == ("FIELD_INTEGRITY_EXCEPTION", ["WhoId"])
    contact_id = await create(crm, "Contact", LastName="x")
    await create(crm, "Task", WhoId=contact_id)
    await call(crm, "DELETE", f"/sobjects/Contact/{contact_id}")
    assert (await call(crm, "POST", "/sobjects/Task", {"WhoId": contact_id})).code == "ENTITY_IS_DELETED"


async def test_queries(crm: SalesforceSandbox) -> None:
    ids = [await create(crm, Email=f"{name}@b.co", Company="O'Neil \\ Co") for name in "abc"]
    event_id = await create(crm, "Event", WhoId=ids[0], Subject="x", **EVENT)
    got = await found(crm, f"SELECT Id, WhoId FROM Event WHERE WhoId = '{ids[0]}' AND Subject = 'X' LIMIT 1")
    url = f"/services/data/v68.0/sobjects/Event/{event_id}"
    record = {"attributes": {"type": "Event", "url": url}, "Id": event_id, "WhoId": ids[0]}
    assert (got.status, got.document) == (200, {"totalSize": 1, "done": True, "records": [record]})
    got = await found(crm, "select Id from Lead where Email in ('A@b.co', 'c@b.co') order by Email desc")
    assert [each["Id"] for each in got.document["records"]] == [ids[2], ids[0]]
    got = await found(crm, r"SELECT Id FROM Lead WHERE Company = 'O\'Neil \\ Co' AND IsConverted = false")
    assert got.document["totalSize"] == 3
    got = await found(crm, "SELECT Id FROM Event WHERE StartDateTime = 2026-11-25T11:00:00+01:00")
    assert got.document["totalSize"] == 1
    assert (await found(crm, "SELECT Id FROM Lead WHERE Phone = null")).document["totalSize"] == 3


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MALFORMED_QUERY"),
        ("SELECT * FROM Lead", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE Email = 'x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE Email = 'O'Neil'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE Email = x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE Email IN ()", "MALFORMED_QUERY"),
        (r"SELECT Id FROM Lead WHERE Email = '\q'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead LIMIT 1 WHERE Id = null", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account", "INVALID_TYPE"),
        ("SELECT X FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE X = '1'", "INVALID_FIELD"),
        ("SELECT Id FROM Event WHERE Description = '1'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE IsConverted = 'false'", "INVALID_FIELD"),
        ("SELECT Id FROM Event WHERE StartDateTime = '2026-11-25T10:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE Email = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
    ],
)
async def test_queries_that_are_refused(crm: SalesforceSandbox, query: str, code: str) -> None:
    got = await found(crm, query)
    assert (got.status, got.code) == (400, code)


async def test_more_fields() -> None:
    extra = {"Lead": [Field(name="Chat__c", label="Chat", length=10, required=True)]}
    async with SalesforceSandbox(extra_fields=extra) as crm:
        assert (await call(crm, "POST", "/sobjects/Lead", LEAD)).code == "REQUIRED_FIELD_MISSING"
        assert (await call(crm, "POST", "/sobjects/Lead", {**LEAD, "Chat__c": "x"})).status == 201
