"""Whether HubSpot still holds what it was given."""

import pytest

from connectors.base import Delivered, RemoteRecord
from connectors.http_client.answer import Answer
from connectors.hubspot.answers import read_held
from connectors.hubspot.settings import HubSpotRoute
from connectors.testing.hubspot import ACCESS_TOKEN, HubSpotSandbox
from tests.connectors.hubspot.building import connector, deliver, ids, lead

ROUTE = HubSpotRoute()


async def holds(crm: HubSpotSandbox, *filed: RemoteRecord, token: str = ACCESS_TOKEN) -> list[bool | None]:
    target = connector(crm, access_token=token)
    try:
        return list(await target.holds(filed))
    finally:
        await target.close()


async def test_what_is_there_and_what_is_not() -> None:
    async with HubSpotSandbox() as crm:
        made = ids(await deliver(crm, *(lead(number) for number in range(3))))
        filed = [RemoteRecord(each or "", ROUTE) for each in (*made, "999999", made[0])]
        assert await holds(crm, *filed) == [True, True, True, False, True]


async def test_each_object_is_asked_for_by_itself() -> None:
    async with HubSpotSandbox() as crm:
        (outcome,) = await deliver(crm, lead())
        assert isinstance(outcome, Delivered)
        contact = outcome.remote_id or ""
        company = RemoteRecord(contact, HubSpotRoute(object="companies", match="domain"))
        assert await holds(crm, company, RemoteRecord(contact, ROUTE)) == [False, True]


async def test_who_may_not_ask_cannot_tell() -> None:
    async with HubSpotSandbox() as crm:
        assert await holds(crm, RemoteRecord("1", ROUTE), token="pat-na1-another-token") == [None]


@pytest.mark.parametrize(
    ("body", "held"),
    [
        (b'{"results":[{"id":"7","properties":{"hs_merged_object_ids":"5;6"}}]}', {"5", "6", "7"}),
        (b'{"results":[{"id":"7","properties":{"hs_merged_object_ids":null}}]}', {"7"}),
        (b'{"results":[]}', set()),
        (b'{"status":"COMPLETE"}', None),
        (b"<html>", None),
    ],
)
def test_reading(body: bytes, held: set[str] | None) -> None:
    assert read_held(Answer(200, {}, body)) == held
