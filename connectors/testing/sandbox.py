"""A sandbox CRM with a plain HTTP API, such as the `http` connector writes to."""

import binascii
import hmac
import ssl
import time
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from connectors.testing.contacts import Contacts, RefusedError, Reply, Stored
from connectors.testing.faults import Faults
from connectors.testing.server import Answer, Arrival, Server


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

    Errors are answered as CRMs do, with `{"ok": false, "error": "..."}`: 400 (not readable, too many, one key
    twice), 401 (credentials, signature), 404, 405, 413, 415, 422 (a required field is missing; another body under a
    known Idempotency-Key). A request with a known Idempotency-Key gets the first answer again and writes nothing.

    Args:
        key: Field that identifies a record; None: each record is new.
        required: Fields that must be present and not empty.
        max_batch: Maximum number of records in one call.
        shuffled: True if the results of a batch have another order than its records.
        authorization: Required Authorization header; None if none is required.
        client: Id and secret of an OAuth 2 client; requests then need a token from `token_url`.
        token_lifetime: Lifetime of a token in seconds.
        signing_secret: Standard Webhooks secret for required signatures; None if none are required.
        max_body: Maximum size of a request's body in bytes.
        tls: Serve https with this context.
        port: Port of the server; 0 selects a free one.
        now: Seconds since the epoch.
        seed: Selects the calls of a share of faults.
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
        """Faults of requests for records."""
        self.token_faults = Faults(seed)
        """Faults of token requests."""
        self.tokens = Tokens(*client, token_lifetime, now) if client else None
        """The token endpoint, if there is one."""
        self._contacts = Contacts(key=key, required=required, max_batch=max_batch, shuffled=shuffled)
        self._authorization = authorization
        self._signing = Webhook(signing_secret) if signing_secret else None
        self._answered: dict[str, tuple[bytes, Reply]] = {}
        too_large = RefusedError(413, "the body is too large").reply
        self._server = Server(port=port, now=now, too_large=too_large, max_body=max_body, tls=tls)
        self._server.route("/contacts", self.faults, _replying(self._write))
        self._server.route("/contacts/{key}", self.faults, _replying(self._write_key))
        self._server.route("/token", self.token_faults, _replying(self._give_token), noted=False)

    @property
    def ledger(self) -> deque[Arrival]:
        """All requests in order, without token requests (`tokens.requests`)."""
        return self._server.ledger

    @property
    def records(self) -> list[Stored]:
        """Return the records in the order of creation."""
        return list(self._contacts.stored.values())

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return self._server.origin

    @property
    def url(self) -> str:
        """Return the address for writing records."""
        return f"{self.origin}/contacts"

    @property
    def token_url(self) -> str:
        """Return the address of the token endpoint."""
        return f"{self.origin}/token"

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server. Its records can still be read."""
        await self._server.stop()

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
        """Raise `RefusedError` for a request without the right credentials or signature."""
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
        """Write, unless a request with this Idempotency-Key was answered: that answer is then repeated."""
        key = request.headers.get("Idempotency-Key", "").strip('"')
        if not key:
            return write()
        if key not in self._answered:
            self._answered[key] = (body, write())
        known, reply = self._answered[key]
        if known != body:
            raise RefusedError(422, "this Idempotency-Key has been used with another body")
        return reply


def _replying(answer: Answer) -> Answer:
    """Return a handler that also answers refusals."""

    def reply(request: web.Request, body: bytes) -> Reply:
        try:
            return answer(request, body)
        except RefusedError as refused:
            return refused.reply

    return reply


class Tokens:
    """Issuer of access tokens.

    Args:
        client_id: Client that receives tokens.
        client_secret: Secret of the client.
        lifetime: Lifetime of a token in seconds.
        now: Seconds since the epoch.
    """

    def __init__(self, client_id: str, client_secret: str, lifetime: float, now: Callable[[], float]) -> None:
        self._client = (client_id, client_secret)
        self._lifetime = lifetime
        self._now = now
        self._until: dict[str, float] = {}
        self.requests: list[dict[str, str]] = []
        """Forms of all token requests."""

    def give(self, authorization: str, body: bytes) -> Reply:
        """Answer a token request. Raises `RefusedError` if it is not a form."""
        try:
            form = dict(parse_qsl(body.decode("ascii"), strict_parsing=True))
        except ValueError:
            raise RefusedError(400, "invalid_request") from None
        self.requests.append(form)
        if form.get("grant_type") != "client_credentials":
            return _error("unsupported_grant_type", "only client_credentials")
        if self._shown(authorization, form) != self._client:
            return _error("invalid_client", "wrong client id or secret", status=401)
        token = f"token-{len(self._until) + 1}"
        self._until[token] = self._now() + self._lifetime
        return Reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": self._lifetime})

    def holds(self, authorization: str) -> bool:
        """Return True if an Authorization header carries an issued token that has not expired."""
        return self._until.get(authorization.removeprefix("Bearer "), 0.0) > self._now()

    def expire(self) -> None:
        """Expire all issued tokens now."""
        self._until = dict.fromkeys(self._until, 0.0)

    def _shown(self, authorization: str, form: Mapping[str, Any]) -> tuple[str, str]:
        """Return id and secret from the header or from the body."""
        if not authorization.startswith("Basic "):
            return form.get("client_id", ""), form.get("client_secret", "")
        try:
            user, _, password = b64decode(authorization.removeprefix("Basic "), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return unquote_plus(user), unquote_plus(password)


def _error(error: str, description: str, status: int = 400) -> Reply:
    return Reply(status, {"error": error, "error_description": description})
