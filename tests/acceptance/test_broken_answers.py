"""Destinations that do not even speak HTTP rightly: the lead is kept, tried again, and delivered once they do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.destination import Broken
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import comes

TIMES = 2
OK = b"HTTP/1.1 200 OK\r\n"


async def silence(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def hang_up(_: asyncio.StreamWriter) -> None:
    return None


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x15\x03\x01 SSH-2.0-nothing of HTTP \xff\xff\r\n\r\n")
    await writer.drain()


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    for number in range(100_000):
        writer.write(b"X-%d: %b\r\n" % (number, b"x" * 1000))
        await writer.drain()


async def endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()


async def bomb(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")
    await writer.drain()


async def drip(writer: asyncio.StreamWriter) -> None:
    for each in OK + b"Content-Length: 2\r\n\r\nok":
        writer.write(bytes([each]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def contradiction(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 10\r\nContent-Length: 20\r\n\r\n{}")
    await writer.drain()


async def only_promises(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    await writer.drain()


MISBEHAVIOURS = {
    "says nothing": silence,
    "hangs up": hang_up,
    "resets the connection": reset,
    "answers garbage": garbage,
    "sends headers without end": endless_headers,
    "sends a body without end": endless_body,
    "sends a body that is not compressed as it says": bomb,
    "sends one byte at a time": drip,
    "sends two lengths": contradiction,
    "sends interim answers only": only_promises,
}


@dataclass
class Ended:
    received: dict[str, list[Any]]
    stories: dict[str, dict[str, Any]]
    lead: dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    """Send one lead to all of them, and wait until each has answered it rightly."""
    folder = tmp_path_factory.mktemp("broken")
    async with AsyncExitStack() as stack:
        broken = {
            name: await stack.enter_async_context(Broken(misbehave, TIMES)) for name, misbehave in MISBEHAVIOURS.items()
        }
        destinations = {f"crm{at}": http(each.url, timeout="1s") for at, each in enumerate(broken.values())}
        program = await stack.enter_async_context(Program(folder, settings(destinations), ENVIRONMENT))
        await program.start()
        document = lead()
        sender = await stack.enter_async_context(Sender(program))
        await sender.deliver(document)
        # What is not delivered by then is for the tests to say, each of its own destination.
        complete = await comes(lambda: all(len(each.received) > TIMES for each in broken.values()))
        rows = await (program.settled() if complete else program.deliveries())
        stories = {each["destination"]: each for each in await program.stories([row["id"] for row in rows])}
        assert await program.stop() == 0
        received = {name: list(each.received) for name, each in broken.items()}
        yield Ended(received, {name: stories[f"crm{at}"] for at, name in enumerate(broken)}, document)


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_it_is_delivered_when_the_destination_speaks_http_again(name: str, ended: Ended) -> None:
    assert {each["email"] for each in ended.received[name]} == {ended.lead["Email"]}
    story = ended.stories[name]
    assert story["state"] == "delivered", story
    assert len(ended.received[name]) == len(story["attempts"]) == TIMES + 1, f"calls and attempts: {story['attempts']}"
    failed = story["attempts"][:-1]
    assert {each["outcome"] for each in failed} == {"retry"}
    assert all(each["detail"] for each in failed)
    assert all(each["seconds"] < 3 for each in failed), "a call went on for longer than the time-out"


async def test_what_a_header_says_is_kept_whatever_its_bytes(tmp_path: Path) -> None:
    """One byte of Latin-1 in the header that gives the id: once the lead was sent again and again for it."""

    async def latin(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"X-Id: caf\xe9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with Broken(latin, times=1000) as crm, AsyncExitStack() as stack:
        wanted = settings({"crm": http(crm.url, remote_id='headers["X-Id"]')})
        program = await stack.enter_async_context(Program(tmp_path, wanted, ENVIRONMENT))
        sender = await stack.enter_async_context(Sender(await program.start()))
        for _ in range(3):
            await sender.deliver(lead())
        rows = await program.settled()
        assert [each["state"] for each in rows] == ["delivered"] * 3
        assert len(crm.received) == 3
        stories = await program.stories([each["id"] for each in rows])
        assert {each["remote_id"] for each in stories} == {"caf\ufffd"}
        assert not program.events("lane_fault")
