"""What an org's administrator sets up: duplicate rules, validation rules, assignment, and what else gets in the way."""

from collections.abc import AsyncIterator

import pytest

from connectors.testing.salesforce import SalesforceSandbox
from tests.connectors.testing.salesforce_client import KEY, LEAD, UPSERTS, batch, call, create, lead

ALLOW = "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true"
SAME = {**LEAD, "Email": "A@b.co"}


@pytest.fixture
async def crm() -> AsyncIterator[SalesforceSandbox]:
    async with SalesforceSandbox() as sandbox:
        yield sandbox


async def test_a_duplicate_rule_that_alerts(crm: SalesforceSandbox) -> None:
    known = await create(crm, Email="a@b.co")
    crm.duplicates.mode = "alert"
    got = await call(crm, "POST", "/sobjects/Lead", SAME)
    (error,) = got.document
    assert (got.status, set(error)) == (400, {"duplicateResut", "errorCode", "message"})
    assert (error["errorCode"], error["duplicateResut"]["allowSave"]) == ("DUPLICATES_DETECTED", True)
    (match,) = error["duplicateResut"]["matchResults"][0]["matchRecords"]
    assert match["record"]["Id"] == known
    assert set(match["record"]) == {"attributes", "Id"}
    got = await call(crm, "POST", "/sobjects/Lead", SAME, Sforce_Duplicate_Rule_Header=ALLOW, version="51.0")
    assert got.status == 400  # the header is known from 52.0 on
    assert (await call(crm, "POST", "/sobjects/Lead", SAME, Sforce_Duplicate_Rule_Header=ALLOW)).status == 201


async def test_a_duplicate_rule_that_blocks_in_the_newer_spelling(crm: SalesforceSandbox) -> None:
    await create(crm, Email="a@b.co")
    crm.duplicates.mode, crm.duplicates.spelling = "block", "duplicateResult"
    details = ALLOW.replace("Details=false", "Details=true")
    got = await call(crm, "POST", "/sobjects/Lead", SAME, Sforce_Duplicate_Rule_Header=details)
    assert (got.status, got.document[0]["duplicateResult"]["allowSave"]) == (400, False)
    found = got.document[0]["duplicateResult"]["matchResults"][0]["matchRecords"][0]["record"]
    assert {name: found[name] for name in LEAD} == LEAD
    assert (found["Email"], found["Status"]) == ("a@b.co", "Open - Not Contacted")


async def test_a_duplicate_rule_finds_what_the_user_may_not_see_unless_it_runs_as_the_user(
    crm: SalesforceSandbox,
) -> None:
    known = await create(crm, Email="a@b.co")
    crm.org.hidden.add(known)
    crm.duplicates.mode = "block"
    for header in ("", "runAsCurrentUser=false"):
        got = await call(crm, "POST", "/sobjects/Lead", SAME, Sforce_Duplicate_Rule_Header=header)
        (match,) = got.document[0]["duplicateResut"]["matchResults"][0]["matchRecords"]
        assert (got.status, match["record"]["Id"]) == (400, known)
    got = await call(crm, "POST", "/sobjects/Lead", SAME, Sforce_Duplicate_Rule_Header="runAsCurrentUser=true")
    assert got.status == 201


async def test_what_is_not_shared_with_the_user_is_not_there(crm: SalesforceSandbox) -> None:
    known = await create(crm, Email="a@b.co", **{KEY: "k1"})
    crm.org.hidden.add(known)
    for path in (f"/sobjects/Lead/{known}", f"/sobjects/Lead/{KEY}/k1"):
        assert (await call(crm, "GET", path)).code == "NOT_FOUND"
    assert (await call(crm, "PATCH", f"/sobjects/Lead/{known}", {"City": "x"})).code == "NOT_FOUND"
    found = await call(crm, "GET", "/query?q=SELECT+Id+FROM+Lead+WHERE+Email='a@b.co'")
    assert found.document["totalSize"] == 0
    got = await call(crm, "PATCH", f"/sobjects/Lead/{KEY}/k1", LEAD)
    message = "duplicate value found: <unknown> duplicates value on record with id: <unknown>"
    assert (got.code, got.document[0]["message"]) == ("DUPLICATE_VALUE", message)
    no_access = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
    assert (await call(crm, "POST", "/sobjects/Task", {"WhoId": known})).code == no_access
    change = {"attributes": {"type": "Lead"}, "id": known[:15], "City": "x"}
    assert (await call(crm, "PATCH", "/composite/sobjects", batch(change))).codes == [no_access]
    assert crm.leads[0].writes == 1


async def test_in_a_collection_a_duplicate_has_the_short_form(crm: SalesforceSandbox) -> None:
    await create(crm, Email="a@b.co", **{KEY: "k0"})
    crm.duplicates.mode = "alert"
    got = await call(crm, "PATCH", UPSERTS, batch(lead("k1", Email="a@b.co"), lead("k0", Email="a@b.co")))
    error = {"statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": []}
    assert got.document[0] == {"success": False, "errors": [error]}
    assert got.document[1]["success"]  # a record is no duplicate of itself
    allowed = batch(lead("k1", Email="a@b.co"))
    assert (await call(crm, "PATCH", UPSERTS, allowed, Sforce_Duplicate_Rule_Header=ALLOW)).codes == [None]


async def test_a_unique_field(crm: SalesforceSandbox) -> None:
    known = await create(crm, **{KEY: "k1"})
    got = await call(crm, "POST", "/sobjects/Lead", {**LEAD, KEY: "K1"})
    assert (got.status, got.code, known in got.document[0]["message"]) == (400, "DUPLICATE_VALUE", True)


async def test_validation_rules_see_the_record_as_it_would_be(crm: SalesforceSandbox) -> None:
    crm.org.validation_rules.append(
        lambda name, fields: "Phone or e-mail, please" if name == "Lead" and not fields["Phone"] else None
    )
    got = await call(crm, "POST", "/sobjects/Lead", LEAD)
    assert got.document == [
        {"message": "Phone or e-mail, please", "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "fields": []}
    ]
    lead_id = await create(crm, Phone="1")
    assert (await call(crm, "PATCH", f"/sobjects/Lead/{lead_id}", {"City": "x"})).status == 204
    assert (await call(crm, "PATCH", f"/sobjects/Lead/{lead_id}", {"Phone": ""})).status == 400
    assert crm.leads[0].fields["Phone"] == "1"


async def test_assignment_runs_on_create_and_on_update_unless_told_not_to(crm: SalesforceSandbox) -> None:
    path = f"/sobjects/Lead/{KEY}/k1"
    await call(crm, "PATCH", path, LEAD)
    counted = [crm.leads[0].assignments]
    for value in ("FALSE", "true", "TRUE"):
        await call(crm, "PATCH", path, LEAD, Sforce_Auto_Assign=value)
        counted.append(crm.leads[0].assignments)
    assert counted == [1, 1, 2, 3]
    assert (await call(crm, "PATCH", path, LEAD, Sforce_Auto_Assign="01Q5g0000000abc")).status == 200
    assert (await call(crm, "PATCH", path, LEAD, Sforce_Auto_Assign="maybe")).status == 400
    await call(crm, "PATCH", UPSERTS, batch(lead("k1"), lead("k2")), Sforce_Auto_Assign="FALSE")
    assert [each.assignments for each in crm.leads] == [4, 0]


async def test_a_header_with_a_slip_is_refused(crm: SalesforceSandbox) -> None:
    got = await call(crm, "POST", "/sobjects/Lead", LEAD, Sforce_Duplicate_Rule_Header="allowsSave=true")
    assert (got.status, crm.leads) == (400, [])


@pytest.mark.parametrize(
    ("in_trigger", "code"), [(False, "UNABLE_TO_LOCK_ROW"), (True, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY")]
)
async def test_one_record_of_a_collection_is_locked(crm: SalesforceSandbox, in_trigger: bool, code: str) -> None:
    crm.org.lock_in_trigger = in_trigger
    crm.org.locks["k2"] = 1
    records = batch(lead("k1"), lead("k2"), lead("k3"))
    got = await call(crm, "PATCH", UPSERTS, records)
    assert got.codes == [None, code, None]
    assert "UNABLE_TO_LOCK_ROW" in str(got.document[1])
    assert [each.fields[KEY] for each in crm.leads] == ["k1", "k3"]
    assert (await call(crm, "PATCH", UPSERTS, records)).codes == [None, None, None]


async def test_a_locked_record_alone(crm: SalesforceSandbox) -> None:
    lead_id = await create(crm)
    crm.org.locks[lead_id] = 1
    got = await call(crm, "PATCH", f"/sobjects/Lead/{lead_id}", {"City": "x"})
    assert (got.status, got.code) == (400, "UNABLE_TO_LOCK_ROW")
    assert lead_id in got.document[0]["message"]
