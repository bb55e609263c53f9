"""What a session tells of its requests, where somebody wants to know: enough to follow them, and nothing of a lead."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from yarl import URL

from connectors.base import Exchange, Reason, on_exchange
from tests.connectors.building import Behaviour, answers, raw_server, sends
from tests.connectors.http_client.test_session import session


@contextlib.contextmanager
def told() -> Iterator[list[Exchange]]:
    found: list[Exchange] = []
    token = on_exchange.set(found.append)
    try:
        yield found
    finally:
        on_exchange.reset(token)


@pytest.mark.parametrize(
    ("behaviour", "status", "reason"),
    [
        (answers(b"201 Created", b"{}"), 201, None),
        (answers(b"404 Not Found", b"David is not there"), 404, None),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), 200, Reason.BAD_ANSWER),
        (sends(b"no HTTP\r\n\r\n"), None, Reason.BAD_ANSWER),
    ],
)
async def test_how_a_request_ended_is_told(behaviour: Behaviour, status: int | None, reason: Reason | None) -> None:
    async with raw_server(behaviour) as raw, session() as made:
        url = URL(raw.url) / "david@example.com" % {"key": "a-secret"}
        with told() as found:
            await made.send("PATCH", url, {"Authorization": "a-secret"}, b"David")
        (exchange,) = found
        assert (exchange.method, exchange.scheme, exchange.host) == ("PATCH", "http", "127.0.0.1")
        assert (exchange.port, exchange.status, exchange.reason) == (raw.port, status, reason)
        assert 0 < exchange.duration < 5
        assert not any(word in repr(exchange) for word in ("contacts", "david", "secret", "David"))


async def test_each_try_is_told() -> None:
    with socket.socket() as unused, told() as found:
        unused.bind(("127.0.0.1", 0))
        async with session(slept=[]) as made:
            await made.send("POST", URL(f"http://127.0.0.1:{unused.getsockname()[1]}/"), {}, b"{}")
    assert [(each.status, each.reason) for each in found] == [(None, Reason.UNREACHABLE)] * 3


async def test_a_request_that_is_cut_off_is_told() -> None:
    asked = asyncio.Event()

    async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with raw_server(silent) as raw, session() as made:
        with told() as found:
            sending = asyncio.create_task(made.send("POST", URL(raw.url), {}, b"{}"))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert [(each.status, each.reason) for each in found] == [(None, None)]
