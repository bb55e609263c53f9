"""The server of every sandbox CRM: real HTTP on loopback, a ledger of requests, and faulty answers."""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from connectors.testing.contacts import Reply
from connectors.testing.faults import Fault, Faults

_READ = 64 * 1024  # bytes of an address, or of one header, that are read at all
_REMEMBERED = 100_000  # arrivals; a demo that stays up must not grow for ever

Answer = Callable[[web.Request, bytes], Reply]
"""Handler of a request whose body has been read. It writes without waiting: no two handlers run at once."""


@dataclass(frozen=True, slots=True, repr=False)
class Arrival:
    """A request that a sandbox received, whatever its answer."""

    at: float
    """Seconds since the epoch."""
    method: str
    path: str
    """Path and query as sent."""
    headers: Mapping[str, str]
    """Headers by name, in any case."""
    body: bytes
    fault: Fault | None
    """Fault of the sandbox for it."""


class Server:
    """Server of a sandbox, on 127.0.0.1.

    Args:
        port: Port; 0 selects a free one.
        now: Seconds since the epoch.
        too_large: Answer to a request with more than `max_body` bytes.
        max_body: Maximum size of a request's body in bytes.
        max_url: Maximum size of a request's path and query in bytes; 414 above it. The default is that of most servers.
        max_head: Maximum size of these and of all headers in bytes; 431 above it. None: headers of any length.
        tls: Serve https with this context.
    """

    def __init__(
        self,
        *,
        port: int,
        now: Callable[[], float],
        too_large: Reply,
        max_body: int = 1024**2,
        max_url: int = 8 * 1024,
        max_head: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.ledger: deque[Arrival] = deque(maxlen=_REMEMBERED)
        """All requests on the noted paths, in order."""
        self._port = port
        self._now = now
        self._too_large = too_large
        self._max_url = max_url
        self._max_head = max_head
        self._tls = tls
        self._app = web.Application(client_max_size=max_body)
        self._runner: web.AppRunner | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port. The port is known once `start` is done."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def route(self, path: str, faults: Faults, answer: Answer, *, noted: bool = True) -> None:
        """Serve a path in all methods. Call it before `start`.

        Args:
            path: In aiohttp's notation: `/contacts/{key}`, or `/{rest:.*}` for all paths without an earlier route.
            faults: Faults of its requests.
            answer: Answers requests without a fault, or with a fault that writes anyway.
            noted: True if its requests are recorded in the ledger.
        """
        self._app.router.add_route("*", path, self._serving(faults, answer, noted=noted))

    async def start(self) -> None:
        """Start the server."""
        self._runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=0.1, max_line_size=_READ, max_field_size=_READ
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop the server. A second call does nothing."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _serving(
        self, faults: Faults, answer: Answer, *, noted: bool
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return respond(self._too_large)
            fault = self._too_long(request) or faults.draw(request.raw_path)
            if noted:
                self.ledger.append(Arrival(self._now(), request.method, request.raw_path, request.headers, body, fault))
            if fault is None:
                return respond(answer(request, body))
            return await respond_badly(fault, request, lambda: answer(request, body))

        return serve

    def _too_long(self, request: web.Request) -> Fault | None:
        """Return the answer to too long an address or headers: a page, from a server in front of the API."""
        url = len(request.raw_path)
        if url > self._max_url:
            return Fault.html_error(414)
        head = url + sum(len(name) + len(value) for name, value in request.raw_headers)
        return Fault.html_error(431) if self._max_head is not None and head > self._max_head else None


def respond(reply: Reply) -> web.Response:
    """Return a reply as JSON; 204 has no body."""
    if reply.status == 204:  # noqa: PLR2004 - RFC 9110 section 15.3.5: no content
        return web.Response(status=reply.status, headers=reply.headers)
    return web.Response(
        status=reply.status, headers=reply.headers, body=orjson.dumps(reply.document), content_type="application/json"
    )


async def respond_badly(fault: Fault, request: web.Request, answer: Callable[[], Reply]) -> web.StreamResponse:
    """Answer a request with its fault. `answer` is called only if the request must be processed anyway."""
    reply = answer() if fault.written or (fault.status is None and not fault.closes) else None
    await asyncio.sleep(fault.delay)
    if fault.closes:
        _hang_up(request)
        return web.Response()
    if fault.status is None and reply is not None:
        response = respond(fault.edit(reply) if fault.edit else reply)
    else:
        response = web.Response(status=fault.status or 500, headers=fault.headers, body=fault.body)
    return await _send_badly(fault, request, response) if fault.drip or fault.cut else response


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


async def _send_badly(fault: Fault, request: web.Request, whole: web.Response) -> web.StreamResponse:
    """Send a body slowly, or half of it, under headers that promise all of it."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(body)
    await response.prepare(request)
    sent = body[: len(body) // 2] if fault.cut else body
    try:
        for start in range(0, len(sent), 1 if fault.drip else max(len(sent), 1)):
            await response.write(sent[start : start + (1 if fault.drip else len(sent))])
            await asyncio.sleep(fault.drip)
    except ConnectionError:  # the caller has had enough
        return response
    if fault.cut:
        _hang_up(request)
    return response
