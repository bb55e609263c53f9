import asyncio

import pytest

from connectors.base import Blame, Reason, VaultError
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.tokens import RefreshToken, Token, TokenSource, read_token
from tests.connectors.building import NOW


class Store:
    """A vault that can be in trouble."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.trouble = False

    async def read(self, name: str) -> str | None:
        self._check()
        return self.kept.get(name)

    async def write(self, name: str, value: str) -> None:
        self._check()
        self.kept[name] = value

    def _check(self) -> None:
        if self.trouble:
            raise VaultError("the disk is full")


class Fetcher:
    """Gives numbered tokens, each when it is let."""

    def __init__(self) -> None:
        self.fetched = 0
        self.open = asyncio.Event()

    async def __call__(self) -> Token | Failure:
        await self.open.wait()
        self.fetched += 1
        return Token(f"token-{self.fetched}", NOW + 100)


async def test_one_fetch_serves_all_who_wait_and_those_after_them() -> None:
    fetch = Fetcher()
    now = NOW
    source = TokenSource(fetch, lambda: now, Secrets())
    waiting = [asyncio.create_task(source.token()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    fetch.open.set()
    got = await asyncio.gather(*waiting[1:])
    assert {each.value for each in got if isinstance(each, Token)} == {"token-1"}
    assert fetch.fetched == 1
    now += 100
    renewed = await source.token()
    assert isinstance(renewed, Token)
    assert renewed.value == "token-2"


async def test_a_refused_token_is_renewed_once_for_all() -> None:
    fetch = Fetcher()
    fetch.open.set()
    source = TokenSource(fetch, lambda: NOW, Secrets())
    await source.token()
    await asyncio.gather(*(source.renew("token-1") for _ in range(50)))
    assert fetch.fetched == 2


async def test_closing_ends_a_fetch() -> None:
    source = TokenSource(Fetcher(), lambda: NOW, Secrets())
    waiting = asyncio.create_task(source.token())
    await asyncio.sleep(0)
    await source.close()
    await source.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_tokens_are_masked() -> None:
    secrets = Secrets()
    fetch = Fetcher()
    fetch.open.set()
    await TokenSource(fetch, lambda: NOW, secrets).token()
    assert secrets.mask("has token-1 in it") == "has *** in it"
    assert "token-1" not in repr(Token("token-1", 0.0))


async def test_another_refresh_token_outlives_a_restart() -> None:
    vault = Store()
    first = RefreshToken("configured", Secrets())
    first.open(vault)
    assert await first.value() == "configured"
    assert await first.keep("configured") is None
    assert not vault.kept
    assert await first.keep("rotated") is None
    second = RefreshToken("configured", Secrets())
    second.open(vault)
    assert await second.value() == "rotated"
    replaced = RefreshToken("configured anew", Secrets())
    replaced.open(vault)
    assert await replaced.value() == "configured anew"
    assert "configured" not in "".join(vault.kept)


async def test_a_refresh_token_that_another_process_has_replaced_is_used() -> None:
    vault = Store()
    serving, command = RefreshToken("configured", Secrets()), RefreshToken("configured", Secrets())
    for each in (serving, command):
        each.open(vault)
        assert await each.value() == "configured"
    assert await command.keep("rotated") is None
    assert await serving.value() == "rotated"


async def test_a_refresh_token_that_cannot_be_kept_is_not_forgotten() -> None:
    vault = Store()
    token = RefreshToken("configured", Secrets())
    token.open(vault)
    await token.value()
    vault.trouble = True
    failed = await token.keep("rotated")
    assert isinstance(failed, Failure)
    assert (failed.outcome.blame, failed.outcome.reason) == (Blame.DESTINATION, Reason.CONNECTOR_ERROR)
    vault.trouble = False
    token.open(vault)
    assert await token.value() == "rotated"
    assert await token.keep(None) is None
    assert list(vault.kept.values()) == ["rotated"]


async def test_what_is_kept_must_be_readable() -> None:
    vault = Store()
    vault.trouble = True
    token = RefreshToken("configured", Secrets())
    token.open(vault)
    assert isinstance(await token.value(), Failure)
    vault.trouble = False
    assert await token.value() == "configured"


def test_an_answer_without_a_token_is_the_destinations_failure() -> None:
    failed = read_token(
        Answer(400, {}, b'{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid"}'), NOW, Secrets()
    )
    assert isinstance(failed, Failure)
    assert failed.outcome.blame is Blame.DESTINATION
    assert "missing or invalid" in failed.outcome.detail


@pytest.mark.parametrize(("statuses", "sent"), [([200], 1), ([401, 200], 2), ([401, 401], 2), ([403], 1)])
async def test_a_refused_token_is_replaced_once(statuses: list[int], sent: int) -> None:
    fetch = Fetcher()
    fetch.open.set()
    source = TokenSource(fetch, lambda: NOW, Secrets())
    used: list[str] = []

    async def send(token: Token) -> Answer:
        used.append(token.value)
        return Answer(statuses[len(used) - 1], {}, b"")

    result = await source.send_with_token(send)
    assert isinstance(result, Answer)
    assert (result.status, used) == (statuses[-1], ["token-1", "token-2"][:sent])
