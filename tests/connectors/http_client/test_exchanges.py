"""The requests and answers that a session keeps of an attempt: whose they are, what is masked, and how much is kept."""

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import Iterator

import pytest
from yarl import URL

from connectors.base import ExchangeLog, ExchangeRecorder, exchange_items, exchange_log
from connectors.exchange import BODY_LIMIT, CALLS_LIMIT
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.http_client.tokens import Token, TokenSource
from connectors.testing import Sandbox
from connectors.testing.hubspot import HubSpotSandbox
from tests.connectors import building as http
from tests.connectors.building import answers, raw_server, sends
from tests.connectors.http_client.test_session import session
from tests.connectors.hubspot import building as hubspot


@contextlib.contextmanager
def logged(*records: str, secrets: tuple[str, ...] = ()) -> Iterator[ExchangeLog]:
    log = ExchangeRecorder(*secrets).begin(records or ("1",))
    token = exchange_log.set(log)
    try:
        yield log
    finally:
        exchange_log.reset(token)


async def test_a_request_is_kept_with_its_answer() -> None:
    async with raw_server(answers(b"422 No", b'{"message": "Email is wrong"}')) as raw, session() as made:
        with logged() as log:
            await made.send("PUT", URL(raw.url) / "a@b.co", {"X-Thing": "headers are not kept"}, b'{"email": "a@b.co"}')
    (exchange,) = log.of("1")
    assert (exchange.method, exchange.status, exchange.fault) == ("PUT", 422, None)
    assert exchange.url == f"{raw.url}/a@b.co"
    assert (exchange.sent, exchange.received) == ('{"email": "a@b.co"}', '{"message": "Email is wrong"}')


async def test_nothing_is_kept_unless_the_bridge_asks_for_it() -> None:
    async with raw_server(answers(b"200 OK", b"{}")) as raw, session() as made:
        assert exchange_log.get() is None
        assert isinstance(await made.send("POST", URL(raw.url), {}, b"{}"), Answer)


async def test_an_unpacked_answer_is_kept() -> None:
    packed = answers(b"200 OK\r\nContent-Encoding: gzip", gzip.compress(b'{"id": 1}'))
    async with raw_server(packed) as raw, session() as made:
        with logged() as log:
            await made.send("POST", URL(raw.url), {}, None)
    assert [(each.sent, each.received) for each in log.of("1")] == [(None, '{"id": 1}')]


async def test_a_call_without_a_whole_answer_says_why() -> None:
    async with raw_server(sends(b"HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\nhalf")) as raw, session() as made:
        with logged() as log:
            await made.send("POST", URL(raw.url), {}, b"{}")
    (exchange,) = log.of("1")
    assert (exchange.status, exchange.received) == (503, None)
    assert exchange.fault


async def test_a_call_that_is_cut_off_is_kept() -> None:
    asked = asyncio.Event()

    async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with raw_server(silent) as raw, session() as made:
        with logged() as log:
            calling = asyncio.create_task(made.send("POST", URL(raw.url), {}, b'{"email": "a@b.co"}'))
            await asked.wait()
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
    (exchange,) = log.of("1")
    assert (exchange.sent, exchange.status, exchange.received) == ('{"email": "a@b.co"}', None, None)
    assert exchange.fault == "the call was cut off before the answer"


SECRET, BEARER = 'kl"ÿ7-secret-of-the-settings', "bearer-0123456789"


async def test_no_credential_is_kept() -> None:
    answer = json.dumps(
        {"you sent": [f"Bearer {BEARER}", SECRET], "access_token": "fresh-1", "apiKey": "fresh-2", "name": "David"}
    ).encode()
    async with raw_server(answers(b"200 OK", answer)) as raw, session() as made:
        url = (URL(raw.url) / SECRET).update_query({"api_token": "in-the-query", "page": "2"})
        with logged(secrets=(SECRET,)) as log:
            headers = {"Authorization": f"Bearer {BEARER}", "Idempotency-Key": "record-77"}
            body = f"client_secret=hunter22&password=hunter22&id=record-77&a={BEARER}".encode()
            await made.send("POST", url, headers, body)
            log.note("GET", URL("http://user:pass-word@example.com/"), {}, None)
    exchange, other = log.of("1")
    kept = f"{exchange.url} {exchange.sent} {exchange.received} {other.url}"
    for secret in (SECRET, BEARER, "secret-of-the-settings", "in-the-query", "fresh-", "hunter22", "pass-word"):
        assert secret not in kept
    assert "page=2" in exchange.url
    assert "David" in kept
    assert "record-77" in kept  # the id of a record is no credential


@pytest.mark.parametrize(
    "body",
    [
        '{"oauth_token": "hunter22", "name": "David"}',
        '{"crm.refreshToken_v2" : "hunter22", "name": "David"}',
        '{"hapikey": "hunter\\"22", "name": "David"}',
        '{"private_key": "hunter22\\n", "name": "David"}',
        '{"signing-key": "hunter22", "name": "David"}',
        '{"headers": {"Authorization": "Token hunter22"}, "name": "David"}',
        '{"password": 220022, "name": "David"}',
        json.dumps({"echo": json.dumps({"access_token": "hunter22", "name": "David"})}),
        '{"next": "https://crm.example/?hapikey=hunter22&page=2", "name": "David"}',
        "user_password=hunter22&name=David",
        "my-api-key=hunter22&name=David",
    ],
)
async def test_a_credential_of_any_name_is_not_kept(body: str) -> None:
    """A destination may answer with credentials that the settings do not have."""
    async with raw_server(answers(b"200 OK", body.encode())) as raw, session() as made:
        with logged() as log:
            await made.send("POST", URL(raw.url), {}, body.encode())
    (exchange,) = log.of("1")
    for kept in (exchange.sent or "", exchange.received or ""):
        assert "22" not in kept
        assert "***" in kept
        assert "David" in kept


def test_names_of_tokens_are_found_in_bounded_time() -> None:
    """The longest body of names that nearly are a token's."""
    for piece in ('"', "a", '"a', "token", '"token', "-.", '"token":"', '\\"token', "=token"):
        began = time.process_time()
        with logged() as log:
            log.note("POST", URL("http://crm.example/"), {}, ("key token " + piece * 9_000).encode())
        assert log.of("1")
        assert time.process_time() - began < 0.5


async def test_a_token_is_not_kept_at_all() -> None:
    async with raw_server(answers(b"200 OK", b'{"opaque": "fresh"}')) as raw, session() as made:

        async def fetch() -> Token:
            await made.send("POST", URL(raw.url) / "oauth", {}, b"grant=refresh")
            return Token("token-1", 1e12)

        source = TokenSource(fetch, lambda: 0.0, Secrets())
        with logged() as log:
            await source.send_with_token(lambda _: made.send("POST", URL(raw.url) / "leads", {}, b"{}"))
            assert exchange_log.get() is log
    assert [each.url for each in log.of("1")] == [f"{raw.url}/leads"]


@pytest.mark.parametrize("secret", ["", "s" * 300])
async def test_a_long_body_is_cut_and_says_so(secret: str) -> None:
    """A secret that lies across the end of what is kept does not leave its first half there."""
    body = b"a" * (BODY_LIMIT - 20) + secret.encode() + b"z" * 100_000
    async with raw_server(answers(b"200 OK", body)) as raw, session() as made:
        with logged(secrets=(secret,)) as log:
            await made.send("POST", URL(raw.url), {}, body)
    (exchange,) = log.of("1")
    for kept in (exchange.sent or "", exchange.received or ""):
        assert len(kept) < BODY_LIMIT + 100
        assert kept.endswith(f"… [cut: {len(body):,} bytes in all]")
        assert "sss" not in kept


async def test_no_more_calls_are_kept_than_allowed() -> None:
    async with raw_server(answers(b"200 OK", b"{}")) as raw, session() as made:
        with logged() as log:
            for number in range(CALLS_LIMIT + 3):
                await made.send("POST", URL(raw.url) / str(number), {}, None)
    assert [each.url[-1] for each in log.of("1")] == [str(number)[-1] for number in range(CALLS_LIMIT)]


async def test_a_shared_call_shows_nobody_the_others() -> None:
    """Of a call with several people's records each gets the status, and its own part if the connector names it."""
    async with raw_server(answers(b"207 Some", b'[{"id": "ann"}, {"id": "bob"}]')) as raw, session() as made:
        with logged("1", "2", "3") as log:
            own = {"name": "ann", "token": "secret-1"}
            with exchange_items([("1", own), ("2", None), ("3", None)]) as items:
                await made.send("POST", URL(raw.url) / "batch" % {"for": "ann,bob"}, {}, b'["ann", "bob"]')
            items.received([("1", b'{"id": "ann"}')])
            with exchange_items([("2", None)]):
                await made.send("POST", URL(raw.url) / "note-of-bob", {}, b"bob")
    first, second, third = log.of("1"), log.of("2"), log.of("3")
    assert [(each.sent, each.received, each.shared) for each in first] == [
        ('{"name":"ann","token":"***"}', '{"id": "ann"}', True)
    ]
    assert [(each.url, each.sent, each.status) for each in second] == [
        (f"http://127.0.0.1:{raw.port}", None, 207),
        (f"{raw.url}/note-of-bob", "bob", 207),
    ]
    assert [(each.url, each.sent, each.received) for each in third] == [(f"http://127.0.0.1:{raw.port}", None, None)]


@pytest.mark.parametrize("echoes", [True, False])
async def test_hubspots_batch_shows_each_lead_its_own_items(*, echoes: bool) -> None:
    leads = [hubspot.lead(number) for number in range(3)]
    refused = hubspot.lead(3, Email="not an address")
    async with HubSpotSandbox(echoes_trace_ids=echoes) as crm:
        with logged(*(each.id for each in (*leads, refused))) as log:
            await hubspot.deliver(crm, *leads, refused)
    for number, record in enumerate(leads):
        written = [each for each in log.of(record.id) if each.received is not None]
        assert written
        for each in written:
            assert f"lead{number}@example.com" in (each.sent or "")
            texts = f"{each.sent} {each.received} {each.url}"
            assert not any(f"lead{other}@" in texts for other in range(3) if other != number)
            assert each.shared


async def test_an_http_batch_shows_each_record_its_own_items() -> None:
    made = http.records(3)
    async with Sandbox() as crm:
        target = http.connector(crm.url, results={"each": "answer.results", "ok": "result.ok"})
        with logged(*(each.id for each in made)) as log:
            await target.deliver(made)
        await target.close()
    for record in made:
        (exchange,) = log.of(record.id)
        assert json.loads(exchange.sent or "") == dict(record.fields)
        assert json.loads(exchange.received or "")["ok"] is True
        assert exchange.shared
