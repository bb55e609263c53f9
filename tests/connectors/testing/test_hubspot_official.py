"""HubSpot's own client for Python against the sandbox: what it sends is taken, and it can read the answers."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from connectors.testing.hubspot import HubSpotSandbox, OAuthApp

if "CI" not in os.environ:  # there it must be installed, and its absence is a failure
    pytest.importorskip("hubspot")

from hubspot import HubSpot  # type: ignore[import-untyped]
from hubspot.crm import contacts, properties  # type: ignore[import-untyped]
from hubspot.crm.associations import v4  # type: ignore[import-untyped]
from hubspot.crm.contacts.exceptions import ApiException  # type: ignore[import-untyped]
from hubspot.crm.objects import calls, leads, meetings, notes  # type: ignore[import-untyped]

APP = OAuthApp(client_id="client", client_secret="secret", refresh_token="refresh")
WHEN = "2026-11-24T10:00:00Z"


@pytest.fixture
async def crm() -> AsyncIterator[HubSpotSandbox]:
    async with HubSpotSandbox(oauth=APP) as sandbox:
        yield sandbox


async def ask(crm: HubSpotSandbox, call: Callable[[Any], Any], token: str | None = None) -> Any:
    """Make a call of the client, which blocks, in a thread."""
    client = HubSpot(access_token=token or crm.access_token, host=crm.origin)
    return await asyncio.to_thread(call, client)


def upsert(email: str, trace_id: str | None = None, **values: str) -> Any:
    return contacts.SimplePublicObjectBatchInputUpsert(
        id=email, id_property="email", object_write_trace_id=trace_id, properties={"email": email, **values}
    )


def upserting(*inputs: Any) -> Callable[[Any], Any]:
    batch = contacts.BatchInputSimplePublicObjectBatchInputUpsert(inputs=list(inputs))
    return lambda client: client.crm.contacts.batch_api.upsert(batch)


def note_on(contact_id: str, type_id: int) -> list[dict[str, Any]]:
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}]
    return [{"to": {"id": contact_id}, "types": types}]


async def test_batch_upsert(crm: HubSpotSandbox) -> None:
    first = await ask(crm, upserting(upsert("A@b.co", firstname="A"), upsert("c@d.co")))
    assert (first.status, {each.new for each in first.results}) == ("COMPLETE", {True})
    assert [each.properties["email"] for each in crm.contacts] == ["a@b.co", "c@d.co"]
    again = await ask(crm, upserting(upsert("a@b.co", firstname="B"), upsert("e@f.co")))
    new = {each.properties["email"]: each.new for each in again.results}
    assert new == {"a@b.co": False, "e@f.co": True}
    assert crm.contacts[0].properties["firstname"] == "B"


async def test_batch_upsert_of_which_some_fails(crm: HubSpotSandbox) -> None:
    answer = await ask(crm, upserting(upsert("a@b.co", "t1"), upsert("c@d.co", "t2", nothing="x")))
    assert [each.object_write_trace_id for each in answer.results] == ["t1"]
    (error,) = answer.errors
    assert (answer.num_errors, error.category) == (1, "VALIDATION_ERROR")
    assert error.context == {"objectWriteTraceId": ["t2"]}
    assert "PROPERTY_DOESNT_EXIST" in error.message


async def test_create_and_a_conflict(crm: HubSpotSandbox) -> None:
    new = contacts.SimplePublicObjectInputForCreate(properties={"email": "a@b.co"}, associations=[])
    created = await ask(crm, lambda client: client.crm.contacts.basic_api.create(new))
    assert created.id == crm.contacts[0].id
    with pytest.raises(ApiException) as caught:
        await ask(crm, lambda client: client.crm.contacts.basic_api.create(new))
    assert caught.value.status == 409
    assert f"Contact already exists. Existing ID: {created.id}" in caught.value.body


async def test_update_by_e_mail(crm: HubSpotSandbox) -> None:
    await ask(crm, upserting(upsert("a@b.co")))
    change = contacts.SimplePublicObjectInput(properties={"phone": "1"})
    await ask(crm, lambda client: client.crm.contacts.basic_api.update("a@b.co", change, id_property="email"))
    assert crm.contacts[0].properties["phone"] == "1"
    assert crm.ledger[-1].path == "/crm/v3/objects/contacts/a%40b.co?idProperty=email"


async def test_batch_read(crm: HubSpotSandbox) -> None:
    await ask(crm, upserting(upsert("a@b.co", phone="1")))
    wanted = contacts.BatchReadInputSimplePublicObjectId(
        id_property="email",
        inputs=[{"id": "a@b.co"}, {"id": "nobody@b.co"}],
        properties=["phone"],
        properties_with_history=[],
    )
    answer = await ask(crm, lambda client: client.crm.contacts.batch_api.read(wanted))
    assert [each.properties["phone"] for each in answer.results] == ["1"]
    assert answer.errors[0].context == {"ids": ["nobody@b.co"]}


async def test_search(crm: HubSpotSandbox) -> None:
    await ask(crm, upserting(upsert("a@b.co"), upsert("c@d.co")))
    wanted = contacts.PublicObjectSearchRequest(
        filter_groups=[{"filters": [{"propertyName": "email", "operator": "EQ", "value": "A@b.co"}]}], limit=1
    )
    answer = await ask(crm, lambda client: client.crm.contacts.search_api.do_search(wanted))
    assert (answer.total, [each.properties["email"] for each in answer.results]) == (1, ["a@b.co"])


async def test_a_note_and_a_meeting_with_a_contact(crm: HubSpotSandbox) -> None:
    await ask(crm, upserting(upsert("a@b.co")))
    contact_id = crm.contacts[0].id
    note = notes.SimplePublicObjectInputForCreate(
        properties={"hs_timestamp": WHEN, "hs_note_body": "said"}, associations=note_on(contact_id, 202)
    )
    await ask(crm, lambda client: client.crm.objects.notes.basic_api.create(note))
    meeting = meetings.SimplePublicObjectInputForCreate(
        properties={"hs_timestamp": WHEN, "hs_meeting_title": "Call", "hs_meeting_outcome": "SCHEDULED"},
        associations=note_on(contact_id, 200),
    )
    await ask(crm, lambda client: client.crm.objects.meetings.basic_api.create(meeting))
    found = await ask(
        crm,
        lambda client: client.crm.contacts.basic_api.get_by_id(contact_id, associations=["notes", "meetings"]),
    )
    (note_link,) = found.associations["notes"].results
    assert (note_link.id, note_link.type) == (crm.notes[0].id, "contact_to_note")
    assert found.associations["meetings"].results[0].id == crm.meetings[0].id


async def test_a_call_and_a_lead_of_a_contact(crm: HubSpotSandbox) -> None:
    await ask(crm, upserting(upsert("a@b.co")))
    contact_id = crm.contacts[0].id
    made = calls.SimplePublicObjectInputForCreate(
        properties={"hs_timestamp": WHEN, "hs_call_title": "Back"}, associations=note_on(contact_id, 194)
    )
    await ask(crm, lambda client: client.crm.objects.calls.basic_api.create(made))
    lead = leads.SimplePublicObjectInputForCreate(
        properties={"hs_lead_name": "A"}, associations=note_on(contact_id, 578)
    )
    await ask(crm, lambda client: client.crm.objects.leads.basic_api.create(lead))
    for kind in ("calls", "leads"):
        (record,) = crm.records(kind)
        assert record.associations == {"contacts": [contact_id]}


async def test_a_default_association(crm: HubSpotSandbox) -> None:
    await ask(crm, upserting(upsert("a@b.co")))
    note = notes.SimplePublicObjectInputForCreate(properties={"hs_timestamp": WHEN}, associations=[])
    made = await ask(crm, lambda client: client.crm.objects.notes.basic_api.create(note))
    contact_id = crm.contacts[0].id
    await ask(
        crm,
        lambda client: client.crm.associations.v4.basic_api.create_default("notes", made.id, "contacts", contact_id),
    )
    assert crm.notes[0].associations == {"contacts": [contact_id]}


async def test_default_associations_of_a_batch(crm: HubSpotSandbox) -> None:
    await ask(crm, upserting(upsert("a@b.co")))
    note = notes.SimplePublicObjectInputForCreate(properties={"hs_timestamp": WHEN}, associations=[])
    made = await ask(crm, lambda client: client.crm.objects.notes.basic_api.create(note))
    contact_id = crm.contacts[0].id
    pairs = v4.BatchInputPublicDefaultAssociationMultiPost(inputs=[{"from": {"id": made.id}, "to": {"id": contact_id}}])
    answer = await ask(
        crm, lambda client: client.crm.associations.v4.batch_api.create_default("notes", "contacts", pairs)
    )
    assert crm.notes[0].associations == {"contacts": [contact_id]}
    assert (answer.results[0]._from.id, answer.results[0].to.id) == (made.id, contact_id)


async def test_all_properties(crm: HubSpotSandbox) -> None:
    answer = await ask(crm, lambda client: client.crm.properties.core_api.get_all("contacts"))
    by_name = {each.name: each for each in answer.results}
    assert by_name["createdate"].modification_metadata.read_only_value
    assert [each.value for each in by_name["hs_lead_status"].options][:2] == ["NEW", "OPEN"]
    new = properties.PropertyCreate(
        name="key",
        label="Key",
        type="string",
        field_type="text",
        group_name="contactinformation",
        has_unique_value=True,
    )
    crm.credentials.scopes |= {"crm.schemas.contacts.write"}
    made = await ask(crm, lambda client: client.crm.properties.core_api.create("contacts", new))
    assert made.has_unique_value


async def test_an_oauth_token_is_refreshed(crm: HubSpotSandbox) -> None:
    answer = await ask(
        crm,
        lambda client: client.oauth.tokens_api.create(
            grant_type="refresh_token", client_id="client", client_secret="secret", refresh_token="refresh"
        ),
    )
    assert answer.expires_in == 1800
    await ask(crm, upserting(upsert("a@b.co")), token=answer.access_token)
    crm.credentials.expire()
    with pytest.raises(ApiException) as caught:
        await ask(crm, upserting(upsert("a@b.co")), token=answer.access_token)
    assert caught.value.status == 401
    assert "EXPIRED_AUTHENTICATION" in caught.value.body
