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
READ_TIMEOUT = 1.0


@asynccontextmanager
async def held(port: int) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Open connections, and send nothing or half a request on each."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    try:
        for at, (_, writer) in enumerate(opened):
            writer.write(BEGINNINGS[at % len(BEGINNINGS)])
        await asyncio.gather(*(writer.drain() for _, writer in opened))
        yield opened
    finally:
        for _, writer in opened:
            writer.close()
        for _, writer in opened:
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_others_are_served_beside_them(tmp_path: Path) -> None:
    wanted = {"crm": http("http://127.0.0.1:9/")}
    async with (
        Sandbox() as crm,
        Program(tmp_path, settings({**wanted, "crm": http(crm.url)}), ENVIRONMENT) as program,
        Sender(program) as sender,
    ):
        await program.start()
        async with held(program.port):
            seconds = []
            for _ in range(40):
                began = time.monotonic()
                await sender.deliver(lead())
                seconds.append(time.monotonic() - began)
            assert statistics.median(seconds) < 0.5, f"answers took {statistics.median(seconds):.2f} s"
            await until(lambda: len(crm.records) == len(seconds), f"all to arrive; {program.told()}")
            began = time.monotonic()
            assert await program.stop() == 0
            assert time.monotonic() - began < 15, "the idle connections keep it from stopping"


async def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    wanted = settings({"crm": http("http://127.0.0.1:9/")})
    wanted["server"]["read_timeout"] = f"{READ_TIMEOUT:g}s"
    async with Program(tmp_path, wanted, ENVIRONMENT) as program:
        await program.start()
        async with held(program.port) as opened:
            for at, (reader, _) in enumerate(opened):
                if at % len(BEGINNINGS) >= 2:
                    status = await asyncio.wait_for(reader.readline(), READ_TIMEOUT + 20)
                    assert status.split()[1] == b"408", status


async def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    async with Program(tmp_path, settings({"crm": http("http://127.0.0.1:9/")}), ENVIRONMENT) as program:
        await program.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
        writer.write(b"POST /webhook HTTP/1.1\r\n")
        with suppress(ConnectionError):
            for number in range(100_000):
                if reader.at_eof() or writer.is_closing():
                    break
                writer.write(b"X-%d: %b\r\n" % (number, b"x" * 1000))
                await writer.drain()
        answer = b""
        with suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        assert answer == b"" or answer.split()[1] in {b"400", b"431"}, answer
        assert program.alive
