import asyncio
from typing import Any
from urllib.parse import parse_qs, urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connectors.base import Blame, Delivered, Reason, Retry
from connectors.http.auth import token_request
from connectors.http.settings import OAuth2
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.tokens import Token, read_token
from connectors.testing import Fault, Sandbox
from tests.building import Clock
from tests.connectors.building import NOW, answers, connector, context, deliver, raw_server, record, records

CLIENT = ("client id", "s&cr:t")


def oauth2(crm: Sandbox, **settings: Any) -> dict[str, Any]:
    client = {"token_url": crm.token_url, "client_id": CLIENT[0], "client_secret": CLIENT[1]}
    return {"oauth2": {**client, **settings}}


def token_requests(crm: Sandbox) -> int:
    assert crm.tokens is not None
    return len(crm.tokens.requests)


@pytest.mark.parametrize("client_auth", ["body", "basic"])
async def test_a_token_is_fetched_and_kept(client_auth: str) -> None:
    async with Sandbox(client=CLIENT) as crm:
        auth = oauth2(crm, client_auth=client_auth, scope="a b", audience="https://crm.example")
        target = connector(crm.url, auth=auth)
        for each in records(3):
            assert await target.deliver([each]) == [Delivered(status=201)]
        await target.close()
        assert crm.tokens is not None
        (form,) = crm.tokens.requests
    assert {name: form[name] for name in ("grant_type", "scope", "audience")} == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "https://crm.example",
    }
    assert ("client_secret" in form) == (client_auth == "body")


async def test_fifty_calls_at_once_need_one_token() -> None:
    async with Sandbox(client=CLIENT) as crm:
        target = connector(crm.url, context(concurrency=50), auth=oauth2(crm))
        outcomes = await asyncio.gather(*(target.deliver([each]) for each in records(50)))
        await target.close()
        assert token_requests(crm) == 1
    assert outcomes == [[Delivered(status=201)]] * 50


async def test_fifty_calls_that_find_the_token_expired_renew_it_once() -> None:
    async with Sandbox(client=CLIENT) as crm:
        target = connector(crm.url, context(concurrency=50), auth=oauth2(crm))
        await target.deliver([record()])
        assert crm.tokens is not None
        crm.tokens.expire()
        outcomes = await asyncio.gather(*(target.deliver([each]) for each in records(50)))
        await target.close()
        assert token_requests(crm) == 2
    assert outcomes == [[Delivered(status=201)]] * 50
    assert len(crm.ledger) == 1 + 50 + 50


async def test_a_refusal_that_comes_late_does_not_throw_away_the_new_token() -> None:
    async with Sandbox(client=CLIENT) as crm:
        target = connector(crm.url, auth=oauth2(crm))
        assert target._auth is not None
        source = target._auth.source
        given = [await source.token(), *[await source.renew("token-1") for _ in range(3)]]
        assert [each.value for each in given if isinstance(each, Token)] == ["token-1", "token-2", "token-2", "token-2"]
        await target.close()
        assert token_requests(crm) == 2


async def test_after_a_401_the_call_is_made_once_more_and_no_more() -> None:
    async with Sandbox(client=CLIENT) as crm:
        crm.faults.share(Fault.answers(401), 1)
        outcome = await deliver(crm.url, auth=oauth2(crm))
        assert (len(crm.ledger), token_requests(crm)) == (2, 2)
        tokens = [arrival.headers["Authorization"] for arrival in crm.ledger]
    assert tokens == ["Bearer token-1", "Bearer token-2"]
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.UNAUTHORIZED, Blame.DESTINATION)


async def test_the_same_request_is_made_again_after_the_renewal() -> None:
    async with Sandbox(client=CLIENT) as crm:
        crm.faults.next(Fault.answers(401))
        outcome = await deliver(crm.url, auth=oauth2(crm), idempotency_key="bare")
        first, second = crm.ledger
    assert outcome == Delivered(status=201)
    assert first.body == second.body
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


@pytest.mark.parametrize(("lifetime", "kept"), [(3600.0, 3540.0), (300.0, 270.0), (10.0, 9.0)])
async def test_a_token_is_renewed_before_it_expires(lifetime: float, kept: float) -> None:
    clock = Clock()
    async with Sandbox(client=CLIENT, token_lifetime=lifetime, now=clock) as crm:
        target = connector(crm.url, context(now=clock), auth=oauth2(crm))
        for later, requests in ((0.0, 1), (kept - 0.5, 1), (kept, 2)):
            clock.now = NOW + later
            assert isinstance((await target.deliver([record()]))[0], Delivered)
            assert token_requests(crm) == requests
        await target.close()
    assert len(crm.ledger) == 3


@pytest.mark.parametrize(
    ("fault", "reason", "after", "words"),
    [
        (
            Fault.answers(400, {"Content-Type": "application/json"}, b'{"error": "invalid_scope"}'),
            "unauthorized",
            None,
            "invalid_scope",
        ),
        (Fault.answers(401), "unauthorized", None, "401"),
        (Fault.answers(404), "not_found", None, "404"),
        (Fault.answers(429, {"Retry-After": "30"}), "rate_limited", 30.0, "429"),
        (Fault.answers(500), "server_error", None, "500"),
        (Fault.html_error(503), "server_error", None, "503"),
        (Fault.redirects("https://elsewhere.example/"), "redirect", None, "302"),
        (Fault.answers(200, {}, b"<html>"), "bad_answer", None, "no access token"),
        (Fault.answers(200, {}, b'{"access_token": ""}'), "bad_answer", None, "no access token"),
        (Fault.answers(200, {}, b'{"access_token": "a\\nb"}'), "bad_answer", None, "no access token"),
        (Fault.answers(200, {}, b'["access_token"]'), "bad_answer", None, "no access token"),
        (Fault.half_an_answer(), "bad_answer", None, "no access token"),
        (Fault.disconnects(written=False), "bad_answer", None, "no access token"),
        (Fault.slow(60), "timeout", None, "no access token"),
    ],
)
async def test_without_a_token_the_destination_is_to_blame(
    fault: Fault, reason: str, after: float | None, words: str
) -> None:
    async with Sandbox(client=CLIENT) as crm:
        crm.token_faults.next(fault)
        outcome = await deliver(crm.url, context(timeout=0.3), auth=oauth2(crm))
        assert not crm.ledger
    assert isinstance(outcome, Retry)
    assert (outcome.reason.value, outcome.blame, outcome.after) == (reason, Blame.DESTINATION, after)
    assert words in outcome.detail
    assert outcome.detail.startswith("no access token")


async def test_wrong_credentials_are_named_in_the_servers_words() -> None:
    async with Sandbox(client=CLIENT) as crm:
        outcome = await deliver(crm.url, auth=oauth2(crm, client_secret="s3cret"))
    assert isinstance(outcome, Retry)
    assert outcome.detail == (
        'no access token: it answered 401: it refuses the credentials ("invalid_client: wrong client id or secret")'
    )


async def test_calls_that_wait_for_the_same_token_share_its_failure() -> None:
    async with Sandbox(client=CLIENT) as crm:
        crm.token_faults.share(Fault.answers(500), 1)
        target = connector(crm.url, auth=oauth2(crm))
        outcomes = await asyncio.gather(*(target.deliver([each]) for each in records(20)))
        assert {type(outcome) for (outcome,) in outcomes} == {Retry}
        crm.token_faults.clear()
        assert await target.deliver([record()]) == [Delivered(status=201)]
        await target.close()
        assert len(crm.ledger) == 1


async def test_a_caller_that_is_cancelled_takes_the_token_from_nobody() -> None:
    async with Sandbox(client=CLIENT) as crm:
        crm.token_faults.next(Fault.slow(0.05))
        target = connector(crm.url, auth=oauth2(crm))
        first, second = (asyncio.create_task(target.deliver([each])) for each in records(2))
        while not token_requests(crm):
            await asyncio.sleep(0)
        first.cancel()
        assert await second == [Delivered(status=201)]
        assert first.cancelled()
        await target.close()
        assert token_requests(crm) == 1


async def test_closing_while_a_token_is_fetched() -> None:
    async with Sandbox(client=CLIENT) as crm:
        crm.token_faults.next(Fault.slow(60))
        target = connector(crm.url, auth=oauth2(crm))
        call = asyncio.create_task(target.deliver([record()]))
        while not token_requests(crm):
            await asyncio.sleep(0)
        call.cancel()
        await target.close()
        await target.close()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_token_server_that_is_not_there() -> None:
    async with raw_server(answers(b"200 OK")) as gone:
        pass
    async with Sandbox(client=CLIENT) as crm:
        outcome = await deliver(crm.url, auth=oauth2(crm, token_url=gone.url))
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.blame) == (Reason.UNREACHABLE, Blame.DESTINATION)


def read(document: Any, status: int = 200) -> Token | Failure:
    return read_token(Answer(status, CIMultiDict(), orjson.dumps(document)), NOW, Secrets())


@pytest.mark.parametrize(
    ("expires_in", "until"),
    [
        (3600, NOW + 3540),
        ("3600", NOW + 3540),
        (3600.0, NOW + 3540),
        (None, float("inf")),
        (0, float("inf")),
        (-1, float("inf")),
        ("soon", float("inf")),
        ([], float("inf")),
    ],
)
def test_for_how_long_a_token_is_used(expires_in: Any, until: float) -> None:
    token = read({"access_token": "t", "expires_in": expires_in})
    assert isinstance(token, Token)
    assert (token.value, token.until) == ("t", until)
    assert "'t'" not in repr(token)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["access_token", "expires_in", "error", "errors"]), inner)
        ),
    ),
    st.sampled_from([200, 201, 302, 400, 401, 500]),
)
def test_any_answer_is_a_token_or_the_destinations_failure(document: Any, status: int) -> None:
    try:
        result = read(document, status)
    except TypeError:  # a number too large for orjson
        return
    if isinstance(result, Failure):
        assert not result.sent
        assert result.outcome.blame is Blame.DESTINATION
    else:
        assert status < 300
        assert result.until > NOW


@given(st.text(), st.text())
def test_id_and_secret_arrive_as_they_are(client_id: str, secret: str) -> None:
    settings = {"token_url": "https://crm.example/", "client_id": client_id, "client_secret": secret}
    request = token_request(OAuth2.model_validate(settings), NOW, None)
    form = parse_qs(urlencode(request.form), keep_blank_values=True)
    assert (form["client_id"], form["client_secret"]) == ([client_id], [secret])
