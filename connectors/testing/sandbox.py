"""A sandbox CRM with a plain HTTP API, such as the `http` connector writes to."""

import asyncio
import hmac
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from connectors.testing.contacts import Contacts, RefusedError, Reply, Stored
from connectors.testing.faults import Fault, Faults
from connectors.testing.tokens import Tokens

_REMEMBERED = 100_000  # arrivals; a demo that stays up must not grow for ever


@dataclass(frozen=True, slots=True, repr=False)
class Arrival:
    """A request that the sandbox got, whatever became of it."""

    at: float
    """Seconds since the epoch."""
    method: str
    path: str
    """Path and query as they were sent."""
    headers: Mapping[str, str]
    """By names in any case."""
    body: bytes
    fault: Fault | None
    """The fault that the sandbox had for it."""


class Sandbox:
    """A CRM in memory, behind real HTTP on loopback.

    Example:
        ```python
        async with Sandbox(key="email", required=["email"]) as crm:
            crm.faults.next(Fault.answers(503, {"Retry-After": "1"}), times=2)
            ...  # let the connector write to crm.url
            assert [each.fields for each in crm.records] == [{"email": "a@b.co"}]
            assert len(crm.ledger) == 3
        ```

    The API:

    | request | does | answers |
    | --- | --- | --- |
    | `POST /contacts` with an object or a form | upsert | 201 or 200 `{"ok", "id", "key", "created"}` |
    | `POST /contacts` with an array | upsert of each | 200 `{"ok", "results": [{"ok", "id", "key", ...}]}` |
    | `PUT /contacts/KEY` | upsert of that key | the same |
    | `PATCH /contacts/KEY` | update | 200, or 404 |
    | `GET /contacts/KEY` | nothing | 200 with the record, or 404 |
    | `POST /token` | gives a token for `client` | RFC 6749 |

    What is wrong is answered as CRMs do, with `{"ok": false, "error": "..."}`: 400 (not readable, too many, one key
    twice), 401 (credentials, signature), 404, 405, 413, 415, 422 (a required field is missing; another body under a
    known Idempotency-Key). A request with a known Idempotency-Key gets the first answer again and writes nothing.

    Args:
        key: The field by which a record that is written again is found; None: each one is new.
        required: Fields that must be there and not empty.
        max_batch: The most records in one call.
        shuffled: Whether the results of a batch come in another order than its records.
        authorization: The Authorization header that requests must have; None: none.
        client: Id and secret of an OAuth 2 client; requests then need a token from `token_url`.
        token_lifetime: Seconds that a token holds.
        signing_secret: The Standard Webhooks secret that requests must be signed with; None: need not be.
        max_body: Bytes of a request's body, at most.
        tls: Serve https with this context.
        port: 0 takes a free one.
        now: Seconds since the epoch.
        seed: Decides which calls a share of faults falls on.
    """

    def __init__(  # noqa: PLR0913 - a sandbox has as many switches as CRMs have ways
        self,
        *,
        key: str | None = "email",
        required: Sequence[str] = (),
        max_batch: int = 100,
        shuffled: bool = False,
        authorization: str | None = None,
        client: tuple[str, str] | None = None,
        token_lifetime: float = 3600.0,
        signing_secret: str | None = None,
        max_body: int = 1024**2,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        now: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.faults = Faults(seed)
        """What goes wrong with requests for records."""
        self.token_faults = Faults(seed)
        """What goes wrong with requests for tokens."""
        self.ledger: deque[Arrival] = deque(maxlen=_REMEMBERED)
        """What arrived, in order, without token requests (`tokens.requests`)."""
        self.tokens = Tokens(*client, token_lifetime, now) if client else None
        """The token endpoint, where there is one."""
        self._contacts = Contacts(key=key, required=required, max_batch=max_batch, shuffled=shuffled)
        self._authorization = authorization
        self._signing = Webhook(signing_secret) if signing_secret else None
        self._max_body = max_body
        self._now = now
        self._tls = tls
        self._port = port
        self._answered: dict[str, tuple[bytes, Reply]] = {}
        self._runner: web.AppRunner | None = None

    @property
    def records(self) -> list[Stored]:
        """The records that it holds, in the order in which they were created."""
        return list(self._contacts.stored.values())

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The address that records are written to."""
        return f"{self.origin}/contacts"

    @property
    def token_url(self) -> str:
        """The address that tokens are fetched from."""
        return f"{self.origin}/token"

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        app = web.Application(client_max_size=self._max_body)
        app.router.add_route("*", "/contacts", self._serve(self.faults, self._write))
        app.router.add_route("*", "/contacts/{key}", self._serve(self.faults, self._write_key))
        app.router.add_route("*", "/token", self._serve(self.token_faults, self._give_token))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving. What was stored can still be looked at."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _serve(
        self, faults: Faults, answer: Callable[[web.Request, bytes], Reply]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Make what serves a path: it notes the arrival, and does what the fault of the call wants."""

        async def serve(request: web.Request) -> web.StreamResponse:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return _response(RefusedError(413, "the body is too large").reply)
            fault = faults.draw()
            if faults is self.faults:
                self.ledger.append(Arrival(self._now(), request.method, request.raw_path, request.headers, body, fault))
            if fault is None:
                return _response(self._reply(answer, request, body))
            return await self._fail(fault, answer, request, body)

        return serve

    def _reply(self, answer: Callable[[web.Request, bytes], Reply], request: web.Request, body: bytes) -> Reply:
        try:
            return answer(request, body)
        except RefusedError as refused:
            return refused.reply

    async def _fail(
        self, fault: Fault, answer: Callable[[web.Request, bytes], Reply], request: web.Request, body: bytes
    ) -> web.StreamResponse:
        reply = None
        if fault.written or (fault.status is None and not fault.closes):
            reply = self._reply(answer, request, body)
        await asyncio.sleep(fault.delay)
        if fault.closes:
            _hang_up(request)
            return web.Response()
        if fault.status is None and reply is not None:
            response = _response(reply)
        else:
            response = web.Response(status=fault.status or 500, headers=fault.headers, body=fault.body)
        return await _send_badly(fault, request, response) if fault.drip or fault.cut else response

    def _write(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, body)
        if request.method != "POST":
            raise RefusedError(405, "only POST")
        return self._once(request, body, lambda: self._contacts.write(self._contacts.read(request.content_type, body)))

    def _write_key(self, request: web.Request, body: bytes) -> Reply:
        self._check(request, body)
        key = request.match_info["key"]
        if request.method == "GET":
            return self._contacts.find(key)
        if request.method not in ("PUT", "PATCH"):
            raise RefusedError(405, "only GET, PUT and PATCH")
        document = self._contacts.read(request.content_type, body)
        if isinstance(document, list):
            raise RefusedError(400, "must be an object")
        create = request.method == "PUT"
        return self._once(request, body, lambda: self._contacts.update(key, document, create=create))

    def _give_token(self, request: web.Request, body: bytes) -> Reply:
        if self.tokens is None or request.method != "POST":
            raise RefusedError(404, "no token endpoint")
        return self.tokens.give(request.headers.get("Authorization", ""), body)

    def _check(self, request: web.Request, body: bytes) -> None:
        """Refuse a request without the right credentials or signature."""
        shown = request.headers.get("Authorization", "")
        wanted = self._authorization
        if wanted is not None and not hmac.compare_digest(shown.encode(), wanted.encode()):
            raise RefusedError(401, "wrong credentials")
        if self.tokens is not None and not self.tokens.holds(shown):
            raise RefusedError(401, "the access token is invalid or has expired")
        if self._signing is not None:
            try:
                self._signing.verify(body, dict(request.headers), json_parse=False)
            except (WebhookVerificationError, ValueError):
                raise RefusedError(401, "wrong signature") from None

    def _once(self, request: web.Request, body: bytes, write: Callable[[], Reply]) -> Reply:
        """Write, unless a request with this Idempotency-Key has been answered: that answer is given again."""
        key = request.headers.get("Idempotency-Key", "").strip('"')
        if not key:
            return write()
        if key not in self._answered:
            self._answered[key] = (body, write())
        known, reply = self._answered[key]
        if known != body:
            raise RefusedError(422, "this Idempotency-Key has been used with another body")
        return reply


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status, headers=reply.headers, body=orjson.dumps(reply.document), content_type="application/json"
    )


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
