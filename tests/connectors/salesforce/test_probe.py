import pytest

from connectors.base import Finding, MappedField, Severity
from connectors.salesforce import SalesforceConnector
from connectors.salesforce.settings import SalesforceRoute
from connectors.testing.salesforce import SalesforceSandbox, faults
from connectors.testing.salesforce.objects import Field
from tests.connectors.building import NOW
from tests.connectors.salesforce.building import FIELDS, KEY, connector, route, wanted

WELL = (Finding(Severity.NOTE, "reachable, credentials accepted, fields match"),)


async def about(
    target: SalesforceConnector, *fields: MappedField, made: SalesforceRoute | None = None
) -> list[Finding]:
    names = {name: MappedField(name, always=True) for name in FIELDS} | {each.name: each for each in fields}
    return [each for each in await target.probe([wanted(made, **names)]) if each not in WELL]


async def test_where_all_is_well_it_says_so_and_has_not_written(
    org: SalesforceSandbox, target: SalesforceConnector
) -> None:
    assert await target.probe([wanted(route(remark="Content"))]) == WELL
    assert {each.method for each in org.ledger} == {"GET"}
    assert len(org.ledger) == 4  # limits, and one describe of each object
    await target.probe([wanted(), wanted()])
    assert len(org.ledger) == 5


@pytest.mark.parametrize(
    ("field", "severity", "said"),
    [
        (MappedField("Emial"), Severity.ERROR, "did you mean Email?"),
        (MappedField("IsConverted"), Severity.ERROR, "cannot be written"),
        (MappedField("Id"), Severity.ERROR, "remove it"),
        (MappedField("lastname"), Severity.ERROR, "is the same field as LastName"),
        (MappedField("Interest__c"), Severity.WARNING, "map to them with a lookup"),
        (MappedField("Interest__c", values=("Some",), closed=True), Severity.ERROR, "High, Low, Medium"),
        (MappedField("FirstName", longest=50), Severity.WARNING, "it will be cut"),
        (MappedField("Email", longest=90), Severity.WARNING, "shorten it"),
        (MappedField("NumberOfEmployees", text=True), Severity.WARNING, "is of type int"),
    ],
)
async def test_a_field_that_does_not_fit_is_found(
    target: SalesforceConnector, field: MappedField, severity: Severity, said: str
) -> None:
    (found,) = await about(target, field)
    assert (found.severity, found.route, found.field) == (severity, 0, field.name)
    assert said in found.message


@pytest.mark.parametrize(
    "field",
    [
        MappedField("interest__C", values=("High",), closed=True),
        MappedField("LastName"),
        MappedField("Email", longest=80, text=True),
        MappedField("NumberOfEmployees"),
    ],
)
async def test_a_field_that_fits_is_not(target: SalesforceConnector, field: MappedField) -> None:
    assert await about(target, field) == []


async def test_names_and_company_need_not_be_mapped_and_others_need() -> None:
    budget = Field(name="Budget__c", length=10, required=True)
    async with SalesforceSandbox(now=lambda: NOW, extra_fields={"Lead": [budget]}) as org:
        target = connector(org)
        missing = await target.probe([wanted(Email=MappedField("Email"))])
        sometimes = await target.probe([wanted(Budget__c=MappedField("Budget__c"))])
        await target.close()
    assert [(each.severity, each.field) for each in missing] == [(Severity.ERROR, "Budget__c")]
    assert [(each.severity, each.field) for each in sometimes] == [(Severity.WARNING, "Budget__c")]


@pytest.mark.parametrize(
    ("key", "severity", "said"),
    [
        (Field(name="Other__c"), Severity.ERROR, f"no field {KEY}"),
        (Field(name=KEY, length=60), Severity.ERROR, "is not an External ID"),
        (Field(name=KEY, length=60, external_id=True), Severity.WARNING, "is not unique"),
        (Field(name=KEY, length=20, external_id=True, unique=True), Severity.ERROR, "takes 20 characters"),
        (Field(name=KEY, length=60, external_id=True, unique=True, createable=False), Severity.ERROR, "may not write"),
    ],
)
async def test_an_external_id_that_does_not_fit_is_found(key: Field, severity: Severity, said: str) -> None:
    async with SalesforceSandbox(now=lambda: NOW, external_id="X__c", extra_fields={"Lead": [key]}) as org:
        target = connector(org)
        found = await about(target)
        await target.close()
    assert (severity, ("external_id",)) in [(each.severity, each.setting) for each in found]
    assert said in " ".join(each.message for each in found)


async def test_wrong_credentials_are_the_one_thing_told(org: SalesforceSandbox) -> None:
    target = connector(org, client_secret="wrong")
    (found,) = await target.probe([wanted(), wanted()])
    await target.close()
    assert (found.severity, found.setting) == (Severity.ERROR, ("login_url",))
    assert "invalid_client" in found.message


async def test_an_object_that_is_not_there_is_found(target: SalesforceConnector) -> None:
    (found,) = await target.probe([wanted(route(object="Leed"))])
    assert (found.severity, found.setting) == (Severity.ERROR, ("object",))


async def test_what_may_pass_is_a_warning(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.faults.next(faults.total_limit())
    (found,) = await target.probe([wanted()])
    assert found.severity is Severity.WARNING
    org.faults.next(faults.server_unavailable(), on="Lead/describe")
    (unchecked,) = await target.probe([wanted()])
    assert (unchecked.severity, unchecked.route) == (Severity.WARNING, 0)


async def test_who_may_not_create_events_is_told(org: SalesforceSandbox, target: SalesforceConnector) -> None:
    org.faults.next(faults.not_found(), on="Event/describe")
    (found,) = await target.probe([wanted()])
    assert (found.severity, found.route) == (Severity.WARNING, None)
    assert "Event" in found.message


async def test_an_org_that_is_not_there_is_an_error() -> None:
    target = connector(None, login_url="http://127.0.0.1:1", allow_private=True)
    (found,) = await target.probe([])
    await target.close()
    assert found.severity is Severity.ERROR
