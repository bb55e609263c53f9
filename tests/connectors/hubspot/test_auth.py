import asyncio
from typing import Any
from urllib.parse import parse_qs

import pytest

from connectors.base import Blame, Delivered, Reason, Retry
from connectors.testing import Fault
from connectors.testing.hubspot import HubSpotSandbox, OAuthApp
from tests.connectors.building import NOW, context
from tests.connectors.http_client.test_tokens import Store
from tests.connectors.hubspot.building import connector, deliver, ids, lead

APP = OAuthApp(client_id="app", client_secret="app&secret", refresh_token="refresh-0", rotates=True)
OAUTH: dict[str, Any] = {"client_id": "app", "client_secret": "app&secret", "refresh_token": "refresh-0"}


async def test_fifty_calls_with_an_expired_token_ask_for_one_new_token() -> None:
    async with HubSpotSandbox(access_token=None, oauth=APP) as crm:
        target = connector(crm, context(concurrency=50), oauth=OAUTH)
        await target.deliver([lead(0)])
        crm.credentials.expire()
        crm.credentials.requests.clear()
        outcomes = await asyncio.gather(*(target.deliver([lead(number)]) for number in range(50)))
        await target.close()
        assert all(isinstance(each, Delivered) for (each,) in outcomes)
        (form,) = crm.credentials.requests
        assert form == {"grant_type": "refresh_token", "client_id": "app", "client_secret": "app&secret"} | {
            "refresh_token": form["refresh_token"]
        }
        assert len(crm.contacts) == 50


async def test_a_token_is_renewed_before_it_expires() -> None:
    now = NOW
    async with HubSpotSandbox(access_token=None, oauth=APP, now=lambda: now) as crm:
        target = connector(crm, context(now=lambda: now), oauth=OAUTH)
        await target.deliver([lead(0)])
        now += 1741
        await target.deliver([lead(1)])
        await target.close()
        assert len(crm.credentials.requests) == 2
        assert len(crm.ledger) == 2


async def test_a_rotated_refresh_token_is_kept_for_the_next_process() -> None:
    vault = Store()
    async with HubSpotSandbox(access_token=None, oauth=APP) as crm:
        for number in range(3):
            target = connector(crm, oauth=OAUTH)
            target.open(vault)
            ids(await target.deliver([lead(number)]))
            await target.close()
        assert [form["refresh_token"] for form in crm.credentials.requests] == [
            "refresh-0",
            "refresh-0-1",
            "refresh-0-2",
        ]


async def test_nothing_is_sent_with_a_token_whose_successor_is_not_kept() -> None:
    vault = Store()
    async with HubSpotSandbox(access_token=None, oauth=APP) as crm:
        target = connector(crm, oauth=OAUTH)
        target.open(vault)
        vault.trouble = True
        (failed,) = await target.deliver([lead(0)])
        assert isinstance(failed, Retry)
        assert failed.blame is Blame.DESTINATION
        assert not crm.ledger
        vault.trouble = False
        ids(await target.deliver([lead(0)]))
        await target.close()


async def test_a_refused_refresh_token_holds_the_destination() -> None:
    async with HubSpotSandbox(access_token=None, oauth=APP) as crm:
        (outcome,) = await deliver(crm, lead(0), oauth={**OAUTH, "refresh_token": "wrong-refresh"})
        assert isinstance(outcome, Retry)
        assert (outcome.reason, outcome.blame) == (Reason.UNAUTHORIZED, Blame.DESTINATION)
        assert "refresh token" in outcome.detail


async def test_the_form_is_in_the_body_alone() -> None:
    async with HubSpotSandbox(access_token=None, oauth=APP) as crm:
        crm.token_faults.next(Fault.html_error(502))
        target = connector(crm, oauth=OAUTH)
        (failed,) = await target.deliver([lead(0)])
        assert isinstance(failed, Retry)
        assert failed.reason is Reason.SERVER_ERROR
        ids(await target.deliver([lead(0)]))
        await target.close()
    assert not parse_qs(crm.ledger[0].path.partition("?")[2])


@pytest.mark.parametrize("oauth", [None, OAUTH])
async def test_no_secret_is_shown(oauth: dict[str, Any] | None) -> None:
    async with HubSpotSandbox(oauth=APP) as crm:
        changes: dict[str, Any] = {"oauth": oauth} if oauth else {}
        target = connector(crm, **changes)
        await target.deliver([lead(0)])
        repeating = b'{"message":"you sent pat-na1-00000000-0000-0000-0000-000000000000 and access-1 and app&secret"}'
        crm.faults.next(Fault.answers(401, {"Content-Type": "application/json"}, repeating), times=2)
        (outcome,) = await target.deliver([lead(0)])
        shown = repr(outcome) + repr(target.preview([lead(0)])) + repr(target.__dict__)
        await target.close()
    for secret in ("access-1", "app&secret") if oauth else ("pat-na1-0",):
        assert secret not in shown
