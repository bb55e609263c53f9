"""No secret of a destination reaches an outcome, a log, a repr, an error or a preview, whatever it answers."""

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Rejected, Retry
from connectors.http import HttpConnector
from connectors.http_client.masking import MASK, Secrets
from connectors.testing import Fault, Sandbox
from tests.connectors.building import Behaviour, connector, context, raw_server, record, records

SECRET = 's3cr&t "märz"'
PLAIN = "s3cretvalue"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SPELLINGS = [
    SECRET,
    quote(SECRET, safe=""),
    quote_plus(SECRET),
    json.dumps(SECRET)[1:-1],
    json.dumps(SECRET, ensure_ascii=False)[1:-1],
    b64encode(f"user:{SECRET}".encode()).decode(),
    PLAIN,
    SIGNING,
    SIGNING.removeprefix("whsec_"),
    "token-1",
]

AUTHS: list[dict[str, Any]] = [
    {"basic": {"username": "user", "password": SECRET}},
    {"bearer": PLAIN},
    {"header": {"name": "X-Odd", "value": PLAIN}},
]


def settings(auth: dict[str, Any]) -> dict[str, Any]:
    return {
        "auth": auth,
        "headers": {"X-Api-Key": PLAIN, "X-Session": f"Custom {PLAIN}"},
        "sign": {"secrets": [SIGNING]},
        "success": {"when": "answer.ok"},
        "remote_id": "answer.id",
        "remote_url": "answer.url",
    }


def echo(status: int, *, as_json: bool) -> Behaviour:
    """Answer with the request, head and body, as debugging pages do."""

    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        text = request.decode("utf-8", "replace")
        body = json.dumps({"message": text, "id": text, "url": text}) if as_json else text
        kind = b"application/json" if as_json else b"text/plain"
        encoded = body.encode()
        head = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(encoded))
        writer.write(head + encoded)

    return behave


def leaks(text: str) -> list[str]:
    return [spelling for spelling in SPELLINGS if spelling in text]


@pytest.fixture(autouse=True)
def nothing_in_the_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert not leaks(caplog.text)


async def outcomes_of(target: HttpConnector) -> str:
    outcomes = await target.deliver([record()])
    await target.close()
    return repr(outcomes)


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 422, 429, 500, 503])
@pytest.mark.parametrize("as_json", [True, False])
async def test_a_destination_that_repeats_the_request(auth: dict[str, Any], status: int, *, as_json: bool) -> None:
    async with raw_server(echo(status, as_json=as_json)) as raw:
        text = await outcomes_of(connector(f"{raw.url}?api_key={PLAIN}", **settings(auth)))
    assert not leaks(text)


async def test_a_refusal_says_what_it_can_without_them() -> None:
    async with raw_server(echo(422, as_json=True)) as raw:
        target = connector(raw.url, auth={"bearer": PLAIN})
        (outcome,) = await target.deliver([record()])
        await target.close()
    assert isinstance(outcome, Rejected)
    assert "POST /contacts HTTP/1.1" in outcome.detail
    assert MASK in outcome.detail


@pytest.mark.parametrize(
    "fault",
    [
        Fault.disconnects(written=False),
        Fault.half_an_answer(),
        Fault.slow(60),
        Fault.html_error(),
        Fault.redirects(f"https://user:{PLAIN}@elsewhere.example/?api_key={PLAIN}"),
        Fault.answers(500, {"X-Debug": PLAIN}, PLAIN.encode()),
    ],
)
@pytest.mark.parametrize("auth", AUTHS)
async def test_a_destination_that_fails(fault: Fault, auth: dict[str, Any]) -> None:
    async with Sandbox() as crm:
        crm.faults.next(fault)
        text = await outcomes_of(connector(f"{crm.url}?api_key={PLAIN}", context(timeout=0.5), **settings(auth)))
        assert crm.ledger
        assert not leaks(repr(crm.ledger[0]))
    assert "Retry" in text
    assert not leaks(text)


async def test_a_destination_that_is_not_there() -> None:
    for url in (f"https://127.0.0.1:9/{PLAIN}?api_key={PLAIN}", f"http://[::1]:9/{PLAIN}?api_key={PLAIN}"):
        assert not leaks(await outcomes_of(connector(url, context(timeout=1.0), **settings(AUTHS[0]))))


async def test_client_credentials_and_tokens() -> None:
    async with Sandbox(client=("id", SECRET)) as crm, raw_server(echo(400, as_json=True)) as echoing:
        client = {"token_url": crm.token_url, "client_id": "id", "client_secret": SECRET}
        for client_auth in ("body", "basic"):
            auth = {"oauth2": {**client, "token_url": echoing.url, "client_auth": client_auth}}
            text = await outcomes_of(connector(crm.url, auth=auth))
            assert "no access token" in text
            assert not leaks(text)
        text = await outcomes_of(connector(echoing.url, auth={"oauth2": client}))
    assert "Bearer ***" in text
    assert not leaks(text)


def test_reprs_and_previews() -> None:
    oauth2 = {"token_url": "https://crm.example/", "client_id": "id", "client_secret": SECRET}
    for auth in (*AUTHS, {"oauth2": oauth2}):
        target = connector(f"https://crm.example/?api_key={PLAIN}", **settings(auth))
        shown = target.preview([record({"echo": SECRET, "plain": PLAIN})])
        assert not leaks(repr(shown))
        for inner in (target, *vars(target).values()):
            assert not leaks(repr(inner))


async def test_batches() -> None:
    results = {"ok": "result.ok", "each": "[answer, answer]", "error": "result.message"}
    async with raw_server(echo(200, as_json=True)) as raw:
        target = connector(raw.url, auth=AUTHS[0], results=results)
        outcomes = await target.deliver(records(2))
        await target.close()
    assert not leaks(repr(outcomes))
    assert all(isinstance(outcome, Rejected | Retry) for outcome in outcomes)


@given(st.text(min_size=1), st.text(), st.text())
def test_no_text_keeps_a_secret(secret: str, before: str, after: str) -> None:
    for spelling in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]):
        masked = Secrets(secret).mask(before + spelling + after)
        assert MASK in masked
        assert all(spelling not in part for part in masked.split(MASK))


def test_a_secret_that_begins_like_another_is_masked_to_its_end() -> None:
    secrets = Secrets("abc", "abcdef", "")
    assert secrets.mask("abcdef abc x") == "*** *** x"
    assert Secrets().mask("abc") == "abc"


def test_of_tokens_the_last_few_are_kept_in_mind() -> None:
    secrets = Secrets("lasting")
    for number in range(6):
        secrets.add_passing(f"token{number}")
    assert secrets.mask("token1 token2 token5 lasting") == "token1 *** *** ***"
    assert "lasting" not in repr(secrets)


async def test_a_destination_that_repeats_the_token_of_a_header_without_its_scheme() -> None:
    async def behave(_: bytes, writer: asyncio.StreamWriter) -> None:
        body = b'{"message": "no such token: %b"}' % PLAIN.encode()
        head = b"HTTP/1.1 422 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)

    async with raw_server(behave) as raw:
        text = await outcomes_of(connector(raw.url, auth={"header": {"name": "X-Odd", "value": f"Token {PLAIN}"}}))
    assert "no such token: ***" in text
