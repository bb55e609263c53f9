"""The HTTP session that every connector uses: one per destination, with an outcome for every kind of failure.

It takes care of the rate limit, time-outs, bounded answers, TLS settings, private addresses, redirects (never followed:
most turn a POST into a GET), proxies of the environment (never used) and cookies (never kept). Network faults become
values (`Failure`), never exceptions.

This module never repeats a request that may have reached the destination, because that could write a lead twice. A
request that was certainly not sent (no name, no connection, no TLS) is tried twice more within about a second.
"""

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from time import monotonic
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from opentelemetry.trace import Span, SpanKind, StatusCode
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, stop_after_delay, wait_random
from yarl import URL

from connectors.base import Blame, Context, Reason, Retry, SettingError, exchange_log, request_tracer
from connectors.http_client.address_guard import GuardedResolver, guarded_sockets
from connectors.http_client.answer import (
    Answer,
    Failure,
    Stale,
    TooLargeError,
    decompress,
    network_failure,
    no_connection,
)
from connectors.http_client.settings import NetworkSettings, TlsSettings
from connectors.http_client.status_table import classify

_SHARE_OF_TIMEOUT = 0.95  # so that a slow call ends here, with a reason, before the bridge cuts `deliver` off
_SHARE_FOR_CONNECTING = 0.75
_CONNECT_TIMEOUT = 10.0  # seconds; a slower connection is blocked by a firewall
_KEEP_IDLE = 4.0  # seconds; less than the 5 after which Node and Apache close, perhaps during a write
_QUICK = 1.0  # seconds; a failure that took longer is not tried again at once
_QUICK_TRIES = 3
_QUICK_WAIT = (0.1, 0.4)  # seconds before each further try, at random
_CUT_OFF = "the call was cut off before the answer"
_REPEATED_BY_AIOHTTP = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})


class HttpSession:
    """HTTP session of one destination. Used by one event loop; `send` may run in parallel.

    Nothing is opened before the first `send`. A crash leaves nothing behind. Requests under way at that moment may or
    may not have been written, as after any lost answer.

    Args:
        settings: Network settings of the destination.
        context: Time-out, concurrency and clock of the destination.
        resolver: Replaces the system's resolver (tests).
        sleep: Replaces `asyncio.sleep` between quick tries (tests).
    """

    def __init__(
        self,
        settings: NetworkSettings,
        context: Context,
        *,
        resolver: AbstractResolver | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._concurrency = context.concurrency
        self._now = context.now
        self._pace = context.pace
        self._resolver = resolver
        total = context.timeout * _SHARE_OF_TIMEOUT
        # Shorter than the total, to distinguish a call without a connection from one that was sent.
        self._connect = min(_CONNECT_TIMEOUT, total * _SHARE_FOR_CONNECTING)
        # aiohttp's `connect` would count the wait for a free connection, which says nothing of the destination.
        # aiohttp rounds time-outs over 5 s up to a whole second of its clock unless configured otherwise.
        self._timeout = aiohttp.ClientTimeout(total, sock_connect=self._connect, ceil_threshold=math.inf)
        self._retrying = AsyncRetrying(
            sleep=sleep,
            stop=stop_after_attempt(_QUICK_TRIES) | stop_after_delay(_QUICK),
            wait=wait_random(*_QUICK_WAIT),
            retry=retry_if_result(_is_momentary),
            retry_error_callback=_last_result,
        )
        self._http: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def send(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Answer | Failure:
        """Send a request and read the whole answer, or return the failure.

        Args:
            method: In capitals.
            url: Absolute; sent as it is.
            headers: All headers except `Host`, `Content-Length` and aiohttp's `Accept`s.
            body: The exact bytes to send; None for a request without a body.

        Raises:
            asyncio.CancelledError: when cancelled; the request may have been sent.
            RuntimeError: after `close`.
            ValueError: for headers that HTTP cannot carry (a line break); nothing was sent.
        """
        log = exchange_log.get()
        if log is None:
            return await self._send(method, url, headers, body)
        try:
            result = await self._send(method, url, headers, body)
        except asyncio.CancelledError:
            log.note(method, url, headers, body, fault=_CUT_OFF)
            raise
        if isinstance(result, Answer):
            log.note(method, url, headers, body, status=result.status, received=result.body)
        else:
            log.note(method, url, headers, body, status=result.outcome.status, fault=result.outcome.detail)
        return result

    async def close(self) -> None:
        """Close the connections. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._http is not None:
            await self._http.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def _send(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Answer | Failure:
        http = self._http or await self._open()
        if isinstance(http, Failure):
            return http
        started = monotonic()
        result = await self._once(http, method, url, headers, body)
        if isinstance(result, Answer) or not result.momentary or monotonic() - started > _QUICK:
            return result
        return await self._retry(result, lambda: self._once(http, method, url, headers, body))

    async def _open(self) -> aiohttp.ClientSession | Failure:
        """Create the session on first use. If the TLS files cannot be read, the next call tries again."""
        async with self._opening:
            if self._closed:
                raise RuntimeError("the session is closed")
            if self._http is None:
                try:
                    context = await asyncio.to_thread(_tls_context, self._settings.tls)
                except SettingError as error:
                    return no_connection(error.message, setting=error.path)
                self._http = self._make(context)
            return self._http

    def _make(self, context: ssl.SSLContext | None) -> aiohttp.ClientSession:
        allow_private = self._settings.allow_private
        self._resolver = self._resolver or aiohttp.DefaultResolver()
        connector = aiohttp.TCPConnector(
            limit=self._concurrency,
            keepalive_timeout=_KEEP_IDLE,
            ssl=context or True,
            resolver=GuardedResolver(self._resolver, allow_private=allow_private, within=self._connect),
            socket_factory=guarded_sockets(allow_private=allow_private),
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Leadbridge", "Accept-Encoding": "gzip"},
            auto_decompress=False,
            trust_env=False,
            request_class=_Request,
        )

    async def _once(
        self, http: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
    ) -> Answer | Failure:
        guards = (_never_twice,) if method in _REPEATED_BY_AIOHTTP else ()
        span, result = None, None
        try:
            async with self._pace():
                span = request_tracer.get().start_span(method, kind=SpanKind.CLIENT)
                async with http.request(
                    method, url, headers=headers, data=body, allow_redirects=False, middlewares=guards
                ) as response:
                    result = await self._read(response)
        except (aiohttp.ClientError, OSError) as fault:
            result = network_failure(fault, url)
        finally:
            if span is not None:
                _end_span(span, method, url, result)
        return result

    async def _read(self, response: aiohttp.ClientResponse) -> Answer | Failure:
        """Read the body to its end, but no further than allowed."""
        try:
            body = await _body(response, self._settings.max_answer)
        except TooLargeError:
            return self._flawed(response, Reason.TOO_LARGE, "its answer is larger than max_answer allows")
        except TimeoutError:
            return self._flawed(response, Reason.TIMEOUT, "its answer was not complete in time")
        except (aiohttp.ClientError, OSError, ValueError):
            return self._flawed(response, Reason.BAD_ANSWER, "its answer broke off, or its length is wrong")
        return Answer(response.status, response.headers, body)

    def _flawed(self, response: aiohttp.ClientResponse, reason: Reason, detail: str) -> Failure:
        """Return the meaning of an answer whose head arrived but whose body is missing or broken.

        A status that asks to wait or to change something counts as it is. Success and refusal do not.
        """
        outcome = classify(response.status, response.headers, self._now())
        if not isinstance(outcome, Retry):
            outcome = Retry(reason, f"{detail} (status {response.status})", Blame.UNCLEAR, None, response.status)
        return Failure(outcome, sent=True)

    async def _retry(self, first: Failure, send: Callable[[], Awaitable[Answer | Failure]]) -> Answer | Failure:
        """Try again after a first try that certainly sent nothing.

        The first try runs without tenacity because nearly all calls end there. A tenacity object counts per thread
        rather than per call, so parallel calls need a copy each.
        """
        earlier = [first]

        async def attempt() -> Answer | Failure:
            return earlier.pop() if earlier else await send()

        result: Answer | Failure = await self._retrying.copy()(attempt)
        return result


class _Interrupted(aiohttp.ClientError):
    """A lost connection where aiohttp would repeat the request by itself; `__cause__` is the fault."""


class _Request(aiohttp.ClientRequest):
    """Request that refuses to use a connection on which an answer is already waiting.

    aiohttp takes anything that a server sends on an idle connection as the answer to the next request (seen with 3.14).
    A late or doubled answer to one lead would then count as the delivery of another.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise Stale
        return await super().send(conn)


async def _never_twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating requests whose method is idempotent (RFC 9110 section 9.2.2).

    aiohttp repeats them when the connection is lost, whether or not the server received the request. A configured PUT
    or GET may not be idempotent at the CRM.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as fault:
        raise _Interrupted from fault


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read and decompress a body. Raises `TooLargeError`, or ValueError if it cannot be decompressed."""
    parts = []
    size = 0
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise TooLargeError
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    encoding = response.headers.get("Content-Encoding")
    return body if encoding is None else decompress(body, encoding, limit)


def _tls_context(tls: TlsSettings | None) -> ssl.SSLContext | None:
    """Load certificates and keys, if there are any; None stands for the system's certificate authorities.

    Reads files, so it runs off the event loop.

    Raises:
        SettingError: a file cannot be read.
    """
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:
        raise SettingError(("tls", "ca"), f"tls.ca cannot be read: {error.strerror}") from None
    context.set_alpn_protocols(["http/1.1"])
    if tls.certificate:
        # Never None: OpenSSL would ask for the password at the terminal.
        password = tls.key_password.get_secret_value() if tls.key_password else ""
        try:
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: password)
        except OSError as error:
            message = f"tls.certificate or tls.key cannot be read: {error.strerror}"
            raise SettingError(("tls", "certificate"), message) from None
    return context


def _end_span(span: Span, method: str, url: URL, result: Answer | Failure | None) -> None:
    """End the span of a request; without a result the request was cancelled.

    The path is left out, because it may hold ids and values of a lead.
    """
    if span.is_recording():
        status, error = None, "cut_off"
        if isinstance(result, Failure):
            status, error = result.outcome.status, result.outcome.reason.value
        elif result is not None:
            status, error = result.status, str(result.status) if result.status >= HTTPStatus.BAD_REQUEST else ""
        attributes = {
            "http.request.method": method,
            "http.response.status_code": status,
            "server.address": url.host,
            "server.port": url.port,
            "url.scheme": url.scheme,
            "error.type": error or None,
        }
        span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if error:
            span.set_status(StatusCode.ERROR)
    span.end()


def _is_momentary(result: Answer | Failure) -> bool:
    return isinstance(result, Failure) and result.momentary


def _last_result(state: RetryCallState) -> Any:
    """Return the result of the last try, in place of tenacity's own error."""
    return state.outcome.result() if state.outcome else None
