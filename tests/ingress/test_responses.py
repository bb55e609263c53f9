"""The ready answer on the wire, beside the one that aiohttp makes."""

import asyncio
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import web

from bridge.ingress.responses import JsonResponse, PresetResponse

BODY = b'{"status":"success"}'
READY = PresetResponse(BODY)


async def respond(request: web.BaseRequest) -> web.StreamResponse:
    await request.read()
    return READY if PresetResponse.suits(request) else JsonResponse(BODY)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(respond, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def exchange(port: int, *requests: bytes) -> list[tuple[str, dict[str, str], bytes]]:
    """Send requests on one connection, each after the answer to the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    async with asyncio.timeout(5):
        for request in requests:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            answers.append((head[0], headers, await reader.readexactly(int(headers["Content-Length"]))))
    writer.close()
    return answers


def post(*headers: str, version: str = "1.1") -> bytes:
    lines = (f"POST /webhook HTTP/{version}", "Host: localhost", "Content-Length: 2", *headers, "", "{}")
    return "\r\n".join(lines).encode()


async def test_one_connection_gets_it_again_and_again(port: int) -> None:
    answers = await exchange(port, post(), post(), post())
    for status, headers, body in answers:
        assert (status, body) == ("HTTP/1.1 200 OK", BODY)
        assert headers["Content-Type"] == "application/json"
        assert parsedate_to_datetime(headers["Date"]).tzinfo is not None
        assert headers.keys() == {"Content-Type", "Content-Length", "Date"}


async def test_requests_that_come_at_once_are_answered_in_order(port: int) -> None:
    (first,) = await exchange(port, post() + post())
    assert first[2] == BODY


@pytest.mark.parametrize(
    ("request_", "connection"),
    [
        (post("Connection: close"), "close"),
        (post(version="1.0"), None),
        (post("Connection: keep-alive", version="1.0"), "keep-alive"),
    ],
)
async def test_who_wants_another_end_gets_it_from_aiohttp(port: int, request_: bytes, connection: str | None) -> None:
    ((status, headers, body),) = await exchange(port, request_)
    assert status.endswith(" 200 OK")
    assert body == BODY
    assert headers.get("Connection") == connection
