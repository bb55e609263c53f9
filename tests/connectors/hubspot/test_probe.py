from collections.abc import Sequence
from typing import Any

import pytest

from connectors.base import Finding, MappedField, MappedRoute, Severity
from connectors.hubspot.settings import HubSpotRoute
from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, OAuthApp, Property, faults
from tests.connectors.hubspot.building import connector

EMAIL = MappedField("email", text=True)


def wanted(*fields: MappedField, **route: Any) -> MappedRoute:
    return MappedRoute(HubSpotRoute.model_validate(route), fields)


async def probe(crm: HubSpotSandbox, *routes: MappedRoute, **changes: Any) -> Sequence[Finding]:
    target = connector(crm, **changes)
    try:
        return await target.probe(routes)
    finally:
        await target.close()


def errors(found: Sequence[Finding]) -> list[Finding]:
    return [each for each in found if each.severity is not Severity.NOTE]


async def test_nothing_is_wrong_and_nothing_is_written() -> None:
    async with HubSpotSandbox() as crm:
        stage = MappedField("lifecyclestage", text=True, values=("lead",), closed=True)
        found = await probe(crm, wanted(EMAIL, MappedField("firstname", text=True), stage, remark="Content"))
        assert [each.severity for each in found] == [Severity.NOTE]
        assert "credentials accepted" in found[0].message
        assert {each.path for each in crm.ledger} == {
            "/crm/properties/2026-09/contacts",
            "/oauth/v2/private-apps/get/access-token-info",
        }


@pytest.mark.parametrize(
    ("field", "severity", "told"),
    [
        (MappedField("frstname"), Severity.ERROR, "did you mean `firstname`?"),
        (MappedField("zzzzzz"), Severity.ERROR, "create it in HubSpot"),
        (MappedField("createdate"), Severity.ERROR, "take the field out"),
        (MappedField("hs_object_id"), Severity.ERROR, "take the field out"),
        (MappedField("hs_lead_status", values=("WARM",), closed=True), Severity.ERROR, "WARM"),
        (MappedField("hs_lead_status", text=True), Severity.NOTE, "only its options"),
        (MappedField("annualrevenue", values=("much",)), Severity.ERROR, "numbers only"),
        (MappedField("annualrevenue", text=True), Severity.WARNING, "of type number"),
        (MappedField("first_visit", text=True), Severity.WARNING, "of type date"),
        (MappedField("message", text=True, longest=100_000), Severity.WARNING, "65536"),
    ],
)
async def test_a_field_that_does_not_fit(field: MappedField, severity: Severity, told: str) -> None:
    async with HubSpotSandbox() as crm:
        found = await probe(crm, wanted(EMAIL), wanted(EMAIL, field))
        (finding,) = (each for each in found if each.field is not None)
        assert (finding.severity, finding.route, finding.field) == (severity, 1, field.name)
        assert told in finding.message


@pytest.mark.parametrize(
    ("match", "fields", "severity", "told"),
    [
        ("email", (), Severity.WARNING, "no field maps email"),
        ("firstname", (MappedField("firstname"),), Severity.ERROR, "unique values"),
        ("lead_key", (EMAIL,), Severity.ERROR, "no field maps lead_key"),
        ("lead_kye", (EMAIL,), Severity.ERROR, "did you mean `lead_key`?"),
        ("lead_key", (MappedField("lead_key"),), None, ""),
    ],
)
async def test_match_must_identify(
    match: str, fields: tuple[MappedField, ...], severity: Severity | None, told: str
) -> None:
    async with HubSpotSandbox(properties={"contacts": [Property(name="lead_key", unique=True)]}) as crm:
        found = [each for each in await probe(crm, wanted(*fields, match=match)) if each.setting == ("match",)]
        assert ([found[0].severity] if found else []) == ([severity] if severity else [])
        assert not found or told in found[0].message


async def test_credentials_and_scopes() -> None:
    async with HubSpotSandbox(scopes=["crm.objects.contacts.read"]) as crm:
        (scope,) = errors(await probe(crm, wanted(EMAIL)))
        assert "crm.objects.contacts.write" in scope.message
        assert "crm.objects.contacts.read," not in scope.message
        (token,) = await probe(crm, wanted(EMAIL), access_token="pat-wrong")
        assert (token.severity, token.setting) == (Severity.ERROR, ("access_token",))
    async with HubSpotSandbox(scopes=["crm.objects.deals.read"]) as crm:
        (none,) = await probe(crm, wanted(EMAIL))
        assert none.setting == ("access_token",)


async def test_leads_need_the_scopes_of_their_contacts_too() -> None:
    rights = ["crm.objects.leads.read", "crm.objects.leads.write", "crm.objects.contacts.read"]
    key = Property(name="chat", unique=True)
    async with HubSpotSandbox(scopes=rights, properties={"leads": [key]}) as crm:
        fields = (MappedField("hs_lead_name"), MappedField("chat"))
        (scope,) = errors(await probe(crm, wanted(*fields, object="leads", match="chat")))
    assert scope.message.startswith("the token lacks the scopes crm.objects.contacts.write;")


async def test_an_oauth_app_is_not_asked_for_scopes() -> None:
    app = OAuthApp(client_id="a", client_secret="b", refresh_token="c")
    async with HubSpotSandbox(oauth=app) as crm:
        good = {"client_id": "a", "client_secret": "b", "refresh_token": "c"}
        assert [each.severity for each in await probe(crm, wanted(EMAIL), oauth=good)] == [Severity.NOTE]
        (failed,) = await probe(crm, wanted(EMAIL), oauth={**good, "refresh_token": "d"})
        assert (failed.severity, failed.setting) == (Severity.ERROR, ("oauth",))


async def test_trouble_on_the_way() -> None:
    async with HubSpotSandbox() as crm:
        crm.faults.next(faults.page_of_gateway())
        (later,) = await probe(crm, wanted(EMAIL))
        assert later.severity is Severity.WARNING
        crm.faults.next(Fault.answers(200, {"Content-Type": "text/html"}, b"<html>"))
        (odd,) = await probe(crm, wanted(EMAIL))
        assert "cannot be read" in odd.message
        (version,) = await probe(crm, wanted(EMAIL), api_version="2019-01")
        assert (version.severity, version.setting) == (Severity.ERROR, ("api_version",))
        crm.faults.next(Fault.answers(404), on="token-info")
        assert "cannot be read" in (await probe(crm, wanted(EMAIL)))[0].message
    target = connector()
    (unreached,) = await target.probe([wanted(EMAIL)])
    await target.close()
    assert unreached.setting == ("base_url",)
