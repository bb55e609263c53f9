"""Clients that hold connections and say nothing, half of something, or far too much: others are served all the same."""

import asyncio
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from connectors.testing import Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until
from tests.benchmarks.children import memory

pytestmark = pytest.mark.alone

SILENT = 1_000
CONNECTIONS = 160
"""Of each other kind of client together."""
POST = b"POST /webhook HTTP/1.1\r\nHost: x\r\n"
BEGINNINGS = (
    POST + b"X-Webhook-Sig",
    POST + b"Content-Length: 300\r\n\r\n",
    POST + b'Content-Length: 300\r\n\r\n{"SerialNumber":',
    POST + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":',
)
READ_TIMEOUT = 2.0
MAX_BODY = "64KiB"
GROWTH_MB = 60.0
"""By how much memory may grow; what the clients send is many times as much."""
ATTACKERS = 20

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def held(port: int, beginnings: Sequence[bytes]) -> AsyncIterator[list[Streams]]:
    """Open as many connections, and send nothing or half a request on each."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in beginnings]
    try:
        for (_, writer), beginning in zip(opened, beginnings, strict=True):
            writer.write(beginning)
        await asyncio.gather(*(writer.drain() for _, writer in opened))
        yield opened
    finally:
        for _, writer in opened:
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Program, Sender, Sandbox]]:
    """Run a program that is quickly tired of slow clients; in the end it must stop in order, whoever is still there."""
    async with Sandbox() as crm:
        wanted = settings({"crm": http(crm.url)})
        wanted["server"] |= {"read_timeout": f"{READ_TIMEOUT:g}s", "max_body": MAX_BODY}
        async with Program(folder, wanted, ENVIRONMENT) as program, Sender(program) as sender:
            await program.start()
            yield program, sender, crm


async def _are_served(program: Program, sender: Sender, crm: Sandbox, count: int = 40) -> None:
    seconds, had = [], len(crm.records)
    for _ in range(count):
        began = time.monotonic()
        await sender.deliver(lead())
        seconds.append(time.monotonic() - began)
    assert statistics.median(seconds) < 0.5, f"answers took {statistics.median(seconds):.2f} s"
    await until(lambda: len(crm.records) == had + count, lambda: f"all to arrive; {program.told()}")


async def test_others_are_served_beside_those_that_say_nothing_or_half(tmp_path: Path) -> None:
    beginnings = [b""] * SILENT + [BEGINNINGS[at % len(BEGINNINGS)] for at in range(CONNECTIONS)]
    async with serving(tmp_path) as (program, sender, crm), held(program.port, beginnings) as opened:
        await _are_served(program, sender, crm)
        for (reader, writer), beginning in zip(opened, beginnings, strict=True):
            if b"\r\n\r\n" in beginning:
                status = await asyncio.wait_for(reader.readline(), READ_TIMEOUT + 20)
                assert status.split()[1] == b"408", status
                await _close(writer)
        # Those that never sent a whole header are still there.
        began = time.monotonic()
        assert await program.stop() == 0
        assert time.monotonic() - began < 10, "the idle connections keep it from stopping"


async def test_many_are_not_too_many_for_the_usual_limit_of_open_files(tmp_path: Path) -> None:
    """A login shell and systemd give 1,024 unless asked, though each process may take more by itself."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, most))
    try:
        async with serving(tmp_path) as (program, _, crm):
            resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
            async with held(program.port, [b""] * (SILENT + 200)), Sender(program) as late, asyncio.timeout(10):
                await _are_served(program, late, crm)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


async def _header_without_end(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST)
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


async def _one_endless_header_line(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"X: ")
    with suppress(ConnectionError):
        for _ in range(1_000):
            if reader.at_eof() or writer.is_closing():
                break
            writer.write(b"x" * 100_000)
            await writer.drain()
        else:
            raise AssertionError("it takes a header line of 100 MB")
    await _close(writer)


async def _body_without_end(port: int) -> None:
    """An endless body in chunks is refused as soon as it is too long, not when it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    answer = asyncio.ensure_future(reader.readline())
    with suppress(ConnectionError):
        while not answer.done():
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            await writer.drain()
    with suppress(ConnectionError):
        assert (await asyncio.wait_for(answer, 20)).split()[1] == b"413"
    await _close(writer)


async def _body_too_large(port: int) -> None:
    """A body that is announced as too large is refused before it comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Content-Length: 99999999999\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 20)).split()[1] == b"413"
    await _close(writer)


async def _body_drop_by_drop(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Content-Length: 1000\r\n\r\n")
    answer = asyncio.ensure_future(reader.readline())
    while not answer.done():
        writer.write(b"x")
        with suppress(ConnectionError):
            await writer.drain()
        await asyncio.wait([answer], timeout=0.1)
    assert answer.result().split()[1] == b"408"
    await _close(writer)


async def _half_closed(port: int) -> None:
    """A client that says it will send no more, in the middle of its body, is not waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Content-Length: 300\r\n\r\n{")
    writer.write_eof()
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), READ_TIMEOUT + 20)
    await _close(writer)


async def _never_reads(port: int) -> None:
    """A client that asks and asks, and takes no answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    asked = (b"GET /webhook HTTP/1.1\r\nHost: x\r\n\r\n") * 2_000
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(3):
            for _ in range(2_000):
                writer.write(asked)
                await writer.drain()
    writer.transport.abort()


HOSTILE = (
    _header_without_end,
    _one_endless_header_line,
    _body_without_end,
    _body_too_large,
    _body_drop_by_drop,
    _half_closed,
    _never_reads,
)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda each: each.__name__.strip("_"))
async def test_others_are_served_beside_hostile_ones(hostile: Callable[[int], Awaitable[None]], tmp_path: Path) -> None:
    async with serving(tmp_path) as (program, sender, crm):
        await sender.deliver(lead())
        await until(lambda: len(crm.records) == 1, "the first one to arrive")
        before, _ = memory(program.pid)
        attack = asyncio.gather(*(hostile(program.port) for _ in range(ATTACKERS)))
        await _are_served(program, sender, crm, count=20)
        await attack
        # What is no HTTP is thrown away a moment later.
        await until(
            lambda: memory(program.pid)[0] - before < GROWTH_MB,
            lambda: f"memory to come back: it grew from {before:.0f} to {memory(program.pid)[0]:.0f} MB",
        )
        assert await program.stop() == 0
