"""The webhook endpoint: read, verify, route, store, answer.

One of the two conductors: it calls the steps in their order and decides nothing itself. The sender reads only the
`status` of the answer and tries three times in about four minutes. So success is answered only after the commit, and
every temporary failure is answered so that the sender tries again.
"""

import asyncio
import contextlib
import ctypes
import gc
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import orjson
import structlog
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import ERROR
from opentelemetry.trace import Tracer

from bridge.config.model import Ack, Chatbot, Config
from bridge.errors import SenderError, StoreUnavailableError
from bridge.event import EventState, Room, Verified
from bridge.identity import Identity
from bridge.ingress.ack import Relay
from bridge.ingress.body import INLINE_BODY, Reservation, Reserved, arrived_body, read_body
from bridge.ingress.request_spans import RequestTrace, current_request
from bridge.ingress.responses import JsonResponse, PresetResponse
from bridge.ingress.routing import route
from bridge.ingress.server import Server
from bridge.ingress.signature import HEADER, SignatureError, SignatureFault
from bridge.ingress.verification import UnverifiedBody, read_claim, room, verify
from bridge.log import info_logger
from bridge.mapping.budget import InlineBudget, InlineOverrun, spending
from bridge.store.interface import QuarantinedRequest, RoutedEvent

INLINE_COST = 256 * 1024
"""Maximum number of bytes that are hashed in the event loop to refuse a body; more work is done in a thread."""
SLOW_LIMIT = 64
"""Maximum number of large bodies that wait for that thread; further ones get 503."""
QUARANTINE_LIMIT = 8
"""Maximum number of refused requests of one room of the quarantine that are written at once; further ones are only
refused."""
IDLE_SECONDS = 75.0
"""Seconds that a connection may stay without a complete request header: longer than proxies keep theirs
(nginx: 60 s)."""
HEADER_BYTES = 8_190
"""Maximum size of a header line; aiohttp answers 400 to longer ones, and to more than 128 headers."""
COLLECT_SECONDS = 0.25
"""Seconds after a connection without valid HTTP until its memory is collected, together with that of others."""
RETRY_AFTER = "30"

_SUCCESS = b'{"status":"success"}'
_TEST = b'{"status":"Success: test request received"}'
_READY = b'{"status":"ready"}'
_ERRORS = {
    400: b'{"status":"error","error":"the body did not arrive whole"}',
    404: b'{"status":"error","error":"no such chatbot or path; the webhook is at /webhook"}',
    405: b'{"status":"error","error":"POST events here"}',
    408: b'{"status":"error","error":"the body did not arrive in time"}',
    413: b'{"status":"error","error":"the body is larger than server.max_body allows"}',
    415: b'{"status":"error","error":"send the body as plain JSON, without Content-Encoding"}',
    503: b'{"status":"error","error":"the event could not be stored; send it again"}',
}
_HEADERS = {405: {"Allow": "GET, HEAD, POST"}, 503: {"Retry-After": RETRY_AFTER}}
_NOT_RELAYED = b'{"status":"error","error":"the event is queued but not delivered yet; send it again"}'

log = structlog.get_logger()

T = TypeVar("T")
Observe = Callable[[str, str], None]
"""Receives each request's chatbot, or an empty text, and its result."""


class Intake(Protocol):
    """Target of accepted requests: the store, or the spool before it. See `bridge.store.interface.Store`."""

    async def accept(self, routed: Sequence[RoutedEvent]) -> list[bool]:
        """Keep the events with their deliveries. Raises StoreUnavailableError."""
        ...

    async def quarantine(self, request: QuarantinedRequest, identity: Identity) -> bool:
        """Keep a refused request. Raises StoreUnavailableError."""
        ...


class Receiver:
    """Answers the sender's requests; any number in parallel.

    `config` returns the configuration in use, `identity` the keyed hashes for ids.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        store: Intake,
        relay: Relay,
        clock: Callable[[], float],
        identity: Callable[[], Identity],
        observe: Observe = lambda *_: None,
    ) -> None:
        self._config = config
        self._identity = identity
        self._store = store
        self._relay = relay
        self._clock = clock
        self._observe = observe
        self.tracer: Tracer | None = None
        """Makes spans of the requests, if it is set before the server is made."""
        self._loop = asyncio.get_running_loop()
        self._info = info_logger()
        self._success = PresetResponse(_SUCCESS)
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self._slow_waiting = 0
        self._reserved = Reserved()
        self._quarantining: Counter[Room] = Counter()
        self._collecting = False

    def server(self) -> web.Server:
        """Return the HTTP server of a listener; call it inside the running loop."""
        return Server(
            self.answer if self.tracer is None else partial(self._answer_traced, self.tracer),
            listener="webhook",
            logs=True,
            request_factory=self._request,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
        )

    def close(self) -> None:
        """End the thread; call it when no request is being answered."""
        self._slow.shutdown()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        config = self._config()
        found, addressed = _addressed(request.path, config)
        if not found:
            return self._error(404, "unknown_path", addressed)
        if request.method != "POST":
            ready = request.method in {"GET", "HEAD"}
            return JsonResponse(_READY) if ready else self._error(405, "wrong_method", addressed)
        reservation = Reservation(self._reserved)
        try:
            if request.content.is_eof():
                # The body arrived with the head: there is nothing to wait for.
                body = arrived_body(request, config, reservation)
            else:
                body = await read_body(request, config, reservation)
            return await self._receive(body, request, addressed, config)
        except SenderError as error:
            return self._error(error.status, str(error), addressed)
        except StoreUnavailableError as error:
            log.warning("store_unavailable", error=str(error))
            return self._error(503, "unavailable", addressed)
        finally:
            reservation.end()

    async def _answer_traced(self, tracer: Tracer, request: web.BaseRequest) -> web.StreamResponse:
        with RequestTrace(tracer, request) as trace:
            response = await self.answer(request)
            trace.status = response.status
        return response

    async def _receive(
        self, body: bytes, request: web.BaseRequest, addressed: Chatbot | None, config: Config
    ) -> web.StreamResponse:
        now = self._clock()
        header = request.headers.getall(HEADER, ())
        if len(body) <= INLINE_BODY:
            claim = read_claim(body, addressed, config)
        else:
            claim = await self._aside(partial(read_claim, body, addressed, config))
        try:
            if claim.cost <= INLINE_COST:
                verified = verify(claim, header, now, config)
            else:
                verified = await self._aside(partial(verify, claim, header, now, config))
        except SignatureError as error:
            return await self._refuse(claim, header, error, now, config)
        routed = self._route(verified, len(body), config, now) or await self._route_aside(verified, config, now)
        trace = current_request.get() if self.tracer else None
        if trace:
            trace.commit_starts(routed)
        new = await self._store.accept(routed)
        if trace:
            trace.commit_ended(new)
        self._note(routed, new, len(body))
        if (within := _relayed_within(routed, config)) and not await self._relay.delivered(
            [each.event.id for each in routed], within
        ):
            return JsonResponse(_NOT_RELAYED, 503, {"Retry-After": RETRY_AFTER})
        if routed[0].event.state is EventState.TEST and all(each.event.state is EventState.TEST for each in routed):
            return JsonResponse(_TEST)
        return self._success if PresetResponse.suits(request) else JsonResponse(_SUCCESS)

    def _route(
        self, verified: Sequence[Verified], size: int, config: Config, now: float
    ) -> Sequence[RoutedEvent] | None:
        """Route the events of a body; None if that would take too long for the event loop."""
        if size > INLINE_BODY:
            return None
        try:
            with spending(InlineBudget()):
                return _routed(verified, config, now, self._identity())
        except InlineOverrun:
            return None

    async def _route_aside(self, verified: Sequence[Verified], config: Config, now: float) -> Sequence[RoutedEvent]:
        """Route a large body, or events with slow conditions, in the thread."""
        while True:
            identity = self._identity()
            made = await self._aside(partial(_routed, verified, config, now, identity))
            # The spool may get its database's key meanwhile: then the ids are computed again.
            if self._identity() == identity:
                return made

    async def _aside(self, step: Callable[[], T]) -> T:
        """Run a pure step in the thread for large bodies, so that it cannot block others."""
        if self._slow_waiting >= SLOW_LIMIT:
            raise StoreUnavailableError("too many large bodies wait to be verified")
        self._slow_waiting += 1
        try:
            return await self._loop.run_in_executor(self._slow, step)
        finally:
            self._slow_waiting -= 1

    async def _refuse(
        self, claim: UnverifiedBody, header: Sequence[str], error: SignatureError, now: float, config: Config
    ) -> web.Response:
        """Answer 401. Quarantine the request if it names a chatbot, in case the configured key is mistyped.

        While a file is left out, its chatbots are unknown, so that every request with another key may be theirs.
        """
        name = claim.chatbots[0].name if claim.chatbots else ""
        unused = next((Path(each.file).name for each in config.faults if not each.in_use), "")
        keeper = name or (unused if error.code is SignatureFault.MISMATCH else "")
        kept, into = False, room(claim, header, error.code, now)
        if keeper and self._quarantining[into] < QUARANTINE_LIMIT:
            self._quarantining[into] += 1
            try:
                kept = await self._store.quarantine(
                    QuarantinedRequest(now, keeper, _text(header), claim.body, into), self._identity()
                )
            finally:
                self._quarantining[into] -= 1
        self._observe(name, error.code.value)
        log.warning("refused", chatbot=name or None, fault=error.code.value, bytes=len(claim.body), quarantined=kept)
        return JsonResponse(orjson.dumps({"status": "error", "error": str(error)}), 401)

    def _note(self, routed: Sequence[RoutedEvent], new: Sequence[bool], size: int) -> None:
        """Count and log each event of an accepted request."""
        for (event, deliveries), is_new in zip(routed, new, strict=True):
            result = event.state.value if is_new else "duplicate"
            self._observe(event.chatbot or "", result)
            self._info(
                "received",
                event_id=event.id,
                chatbot=event.chatbot,
                result=result,
                form=event.form.value,
                deliveries=len(deliveries),
                bytes=size,
            )

    def _error(self, status: int, result: str, addressed: Chatbot | None) -> web.Response:
        name = addressed.name if addressed else ""
        self._observe(name, result)
        log.warning("not_received", chatbot=name or None, result=result, status=status)
        return JsonResponse(_ERRORS[status], status, _HEADERS.get(status))

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Return aiohttp's request object."""
        if message is ERROR:
            # What aiohttp could not parse hangs in a cycle with its traceback, and with all that had been read (libuv
            # reads up to 8 MB at once): clients that send endless header lines would fill the memory before Python
            # looks for cycles by itself. Not before the connection's task is done, which holds all that too.
            task.add_done_callback(self._remains)
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop)

    def _remains(self, _: asyncio.Task[None]) -> None:
        if not self._collecting:
            self._collecting = True
            self._loop.call_later(COLLECT_SECONDS, self._collect)

    def _collect(self) -> None:
        self._collecting = False
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            # glibc keeps what was freed; other C libraries have no such function (malloc_trim(3)).
            ctypes.CDLL(None).malloc_trim(0)


def _text(header: Sequence[str]) -> str:
    """Return a header as text that can be stored: bytes that are no UTF-8 become lone surrogates."""
    return ",".join(header).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _routed(verified: Sequence[Verified], config: Config, now: float, identity: Identity) -> list[RoutedEvent]:
    return [route(each, config.chatbots.get(each.chatbot or ""), now, identity) for each in verified]


def _relayed_within(routed: Sequence[RoutedEvent], config: Config) -> float:
    """Return the seconds within which the sender expects the result of the relay; 0 if it expects none."""
    within = 0.0
    for each in routed:
        chatbot = config.chatbots.get(each.event.chatbot or "")
        if chatbot and chatbot.ack is Ack.RELAYED:
            within = max(within, chatbot.ack_within)
    return within


def _addressed(path: str, config: Config) -> tuple[bool, Chatbot | None]:
    """Return whether the path belongs to the endpoint, and the chatbot that it names."""
    if path == "/webhook":
        return True, None
    start, _, name = path.rpartition("/")
    chatbot = config.chatbots.get(name) if start == "/webhooks" else None
    return chatbot is not None, chatbot
