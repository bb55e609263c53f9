"""Destinations that do what a sandbox CRM does not: decide by what is in a record, or break HTTP itself."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Self

import orjson
from aiohttp import web

Decision = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""A status, the JSON of an answer, and its headers."""
Decide = Callable[[Any], Awaitable[Decision] | Decision]
"""Given a request's JSON, says what it is answered with."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request that a destination got, and what it was answered with."""

    at: float
    """Seconds since the epoch."""
    document: Any
    status: int


class Deciding:
    """A destination whose answers the test decides, each by what is in the request."""

    def __init__(self, decide: Decide) -> None:
        self.calls = 0
        """How many requests have come."""
        self.received: list[Received] = []
        """Those that have been answered."""
        self._decide = decide
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        app = web.Application()
        app.router.add_post("/records", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/records"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving."""
        assert self._runner is not None
        await self._runner.cleanup()

    def taken(self) -> list[Any]:
        """Give the records that it said it has taken, in order."""
        return [each.document for each in self.received if each.status < 300]

    async def _answer(self, request: web.Request) -> web.Response:
        at = time.time()
        self.calls += 1
        document = orjson.loads(await request.read())
        decided = self._decide(document)
        status, answer, *headers = decided if isinstance(decided, tuple) else await decided
        self.received.append(Received(at, document, status))
        return web.json_response(answer, status=status, headers=headers[0] if headers else None)


Misbehave = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]
"""What is done in place of an answer, after the request has been read."""


class Broken:
    """A destination that does not speak HTTP rightly for the first connections, and answers 200 from then on.

    Args:
        misbehave: What it does to the first connections.
        times: To how many.
    """

    def __init__(self, misbehave: Misbehave, times: int = 1) -> None:
        self.received: list[Any] = []
        """The JSON of all requests."""
        self._misbehave = misbehave
        self._left = times
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/records"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving, and hang up."""
        assert self._server is not None
        self._server.close()
        for each in self._open:
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-l")
            )
            self.received.append(orjson.loads(await reader.readexactly(length)))
            self._left -= 1
            if self._left >= 0:
                await self._misbehave(writer)
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
