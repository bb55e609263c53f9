"""Clients that hold connections and say nothing, or half of something: others are served as if they were not there."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

CONNECTIONS = 200
BEGINNINGS = (
    b"",
    b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Webhook-Sig",
    b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n",
    b'POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n{"SerialNumber":',
)
READ_TIMEOUT = 2.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def held(port: int) -> AsyncIterator[list[Streams]]:
    """Open connections, and send nothing or half a request on each."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    try:
        for at, (_, writer) in enumerate(opened):
            writer.write(BEGINNINGS[at % len(BEGINNINGS)])
        await asyncio.gather(*(writer.drain() for _, writer in opened))
        yield opened
    finally:
        for _, writer in opened:
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_others_are_served_beside_them(tmp_path: Path) -> None:
    async with Sandbox() as crm:
        wanted = settings({"crm": http(crm.url)})
        wanted["server"]["read_timeout"] = f"{READ_TIMEOUT:g}s"
        async with Program(tmp_path, wanted, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            async with held(program.port) as opened:
                await _are_served(sender, crm, program)
                await _are_given_up(opened)
                await _header_without_end(program.port)
                # Those that never sent a whole header are still there.
                began = time.monotonic()
                assert await program.stop() == 0
                assert time.monotonic() - began < 10, "the idle connections keep it from stopping"


async def _are_served(sender: Sender, crm: Sandbox, program: Program) -> None:
    seconds = []
    for _ in range(40):
        began = time.monotonic()
        await sender.deliver(lead())
        seconds.append(time.monotonic() - began)
    assert statistics.median(seconds) < 0.5, f"answers took {statistics.median(seconds):.2f} s"
    await until(lambda: len(crm.records) == len(seconds), lambda: f"all to arrive; {program.told()}")


async def _are_given_up(opened: list[Streams]) -> None:
    """Read the answers to those whose body does not come."""
    for at, (reader, writer) in enumerate(opened):
        if at % len(BEGINNINGS) >= 2:
            status = await asyncio.wait_for(reader.readline(), READ_TIMEOUT + 20)
            assert status.split()[1] == b"408", status
            await _close(writer)


async def _header_without_end(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /webhook HTTP/1.1\r\n")
    answer = b""
    with suppress(ConnectionError):
        for number in range(100_000):
            if reader.at_eof() or writer.is_closing():
                break
            writer.write(b"X-%d: %b\r\n" % (number, b"x" * 1000))
            await writer.drain()
        else:
            raise AssertionError("it takes headers of 100 MB")
        answer = await asyncio.wait_for(reader.read(), 20)
    await _close(writer)
    assert not answer or answer.split()[1] in {b"400", b"431"}, answer
