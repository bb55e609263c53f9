"""Authentication on the admin listener: tokens, sessions, roles, and a limit on guesses.

A program sends a token with each request. A person logs in with a token once and gets a session: a row in the store.
It ends after `SESSION_SECONDS`, at the logout, or when the token in the configuration changes. The cookie is a random
text, of which the store has only the hash.

Without a token the listener is bound to loopback, and everybody who reaches it is an operator. A browser on the same
machine reaches it too, on behalf of any page that it shows. So the request must be addressed to loopback, which
excludes a foreign name that resolves to it. A proxy in front would let strangers in, so a request with a proxy's
headers is refused. What pages of other sites ask for is refused before (`bridge.admin.origin`).
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from sqlalchemy import Connection

from bridge.config.model import ServerSettings
from bridge.operations.audit import Means, Who
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.user_state import SessionRow, begin_session, end_session, end_sessions, find_session

T = TypeVar("T")

COOKIE = "leadbridge_session"
SESSION_SECONDS = 12 * 3600.0
FAILURES_LIMIT = 10
"""Number of wrong tokens of one address in `FAILURES_SECONDS` after which further ones are told to wait."""
FAILURES_SECONDS = 60.0
ADDRESSES_LIMIT = 10_000
FORWARDED = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-host",
        "x-original-for",
        "true-client-ip",
        "client-ip",
        "cf-connecting-ip",
        "cf-ray",
        "cdn-loop",
        "fastly-client-ip",
        "x-envoy-external-address",
        "x-azure-clientip",
        "fly-client-ip",
        "x-appengine-user-ip",
        "x-amzn-trace-id",
    }
)
"""Headers that proxies and tunnels add, besides `X-Forwarded-*` and `CF-*`."""
REFUSED_TOKEN = web.RequestKey("refused_token", bool)
"""True if the request had a token that was refused."""


class Role(StrEnum):
    """Role of a user: an operator may do everything; a viewer may only look, with personal data masked."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class RequestRefusedError(Exception):
    """The request is refused; the message is for its sender."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, repr=False)
class User:
    """A token that is configured, and its holder."""

    token: str
    role: Role
    name: str | None = None
    """Name of one of `server.users`; None for `admin_token` and `viewer_token`."""
    chatbots: frozenset[str] | None = None
    """The only chatbots that the user sees; None for all."""

    @property
    def label(self) -> str:
        """Name that the user's sessions are stored under; the setting, for a token without a name."""
        return self.name or ("server.admin_token" if self.role is Role.OPERATOR else "server.viewer_token")


@dataclass(frozen=True, slots=True, repr=False)
class LoginSession:
    """A person who has logged in."""

    key: str
    """Value of the cookie, a random text; empty if no token is configured."""
    user: User


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request."""

    role: Role
    address: str
    session: LoginSession | None = field(default=None, repr=False)
    name: str | None = None
    scope: Scope = EVERYTHING
    """The chatbots that the caller sees."""

    def sees(self, chatbot: str | None) -> bool:
        """Return True if the caller may see the events of a chatbot."""
        return self.scope.sees(chatbot)

    def may(self, role: Role) -> bool:
        """Return True if the caller has the rights of a role."""
        return self.role is Role.OPERATOR or role is Role.VIEWER

    def who(self) -> Who:
        """Return the acting person for the audit log."""
        if self.session is None:
            return Who(self.role.value, Means.TOKEN, None, self.address, self.name)
        if not self.session.key:
            return Who(self.role.value, Means.OPEN, None, self.address)
        mark = hashlib.sha256(self.session.key.encode()).hexdigest()[:8]
        return Who(self.role.value, Means.SESSION, mark, self.address, self.name)


def caller_of(session: LoginSession, request: web.Request) -> Caller:
    """Return the person of a session as the sender of a request."""
    user = session.user
    return Caller(user.role, request.remote or "", session, user.name, Scope(user.chatbots))


CALLER = web.RequestKey("caller", Caller)
"""Caller of a request, once it is known."""


class SessionStore(Protocol):
    """Runs what the gate asks of the store; see `QueryThreads`. Both raise StoreUnavailableError."""

    async def ask(self, query: Callable[[Connection], T]) -> T:
        """Read."""

    async def change(self, action: Callable[[Connection], T], *, queue: bool = True) -> T:
        """Change something; committed when it returns."""


class Gate:
    """Identifies callers. `server` returns the settings in use, `clock` the time. Lives in the loop's thread."""

    def __init__(self, store: SessionStore, server: Callable[[], ServerSettings], clock: Callable[[], float]) -> None:
        self._store = store
        self._server = server
        self._clock = clock
        self._failures = _Failures()
        self._anybody = LoginSession("", User("", Role.OPERATOR))
        """Session of everybody if no token is configured."""

    async def caller(self, request: web.Request) -> Caller | None:
        """Return the caller; None without a token and a session. Raises RequestRefusedError, StoreUnavailableError."""
        caller = await self._caller(request)
        if caller is not None:
            request[CALLER] = caller
        return caller

    async def known(self, request: web.Request) -> Caller:
        """Return the caller as `caller` does. Raises RequestRefusedError also without a token and a session."""
        caller = await self.caller(request)
        if caller is None:
            raise RequestRefusedError(401, "send Authorization: Bearer <server.admin_token>")
        return caller

    async def login(self, token: str, request: web.Request) -> LoginSession:
        """Begin a session for a token. Raises RequestRefusedError, StoreUnavailableError."""
        user = self._user(token, request)
        session, now = LoginSession(secrets.token_urlsafe(32), user), self._clock()
        row = SessionRow(_hash(session.key), user.label, _proof(session.key, user), now + SESSION_SECONDS)
        await self._store.change(partial(begin_session, session=row, now=now), queue=False)
        return session

    async def logout(self, session: LoginSession) -> None:
        """End a session. Raises StoreUnavailableError."""
        await self._store.change(partial(end_session, hashed=_hash(session.key)), queue=False)

    async def logout_everywhere(self, session: LoginSession) -> int:
        """End all sessions of the session's user; return their number. Raises StoreUnavailableError."""
        return await self._store.change(partial(end_sessions, user=session.user.label), queue=False)

    def asks_for_token(self) -> bool:
        """Return True if a token is configured."""
        return bool(self._users())

    async def _caller(self, request: web.Request) -> Caller | None:
        address = request.remote or ""
        if not self._users():
            _check_forwarded(request)
            _check_loopback(request, self._server().admin.host)
            return Caller(Role.OPERATOR, address, self._anybody)
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            user = self._user(shown.strip(), request)
            return Caller(user.role, address, None, user.name, Scope(user.chatbots))
        session = await self._session(request.cookies.get(COOKIE, ""))
        return caller_of(session, request) if session else None

    def _user(self, token: str, request: web.Request) -> User:
        address, now = request.remote or "", self._clock()
        request[REFUSED_TOKEN] = True
        found = None
        for user in self._users():
            # All are compared, so that the time reveals nothing.
            if _equal(user.token, token):
                found = user
        if found is None:
            # After the comparison: a right token never waits for the wrong ones of others.
            if wait := self._failures.wait(address, now):
                raise RequestRefusedError(
                    429, "too many wrong tokens from this address; try again later", int(wait) + 1
                )
            self._failures.add(address, now)
            raise RequestRefusedError(
                401, "wrong token; it is server.admin_token, server.viewer_token, or that of one of server.users"
            )
        request[REFUSED_TOKEN] = False
        return found

    async def _session(self, cookie: str) -> LoginSession | None:
        if not cookie:
            return None
        row, now = await self._store.ask(partial(find_session, hashed=_hash(cookie))), self._clock()
        # An end that is too far away is of a clock that was set back since.
        if row is None or not now < row.until <= now + SESSION_SECONDS:
            return None
        for user in self._users():
            if user.label == row.user and hmac.compare_digest(_proof(cookie, user), row.proof):
                return LoginSession(cookie, user)
        return None

    def _users(self) -> list[User]:
        server = self._server()
        known = [User(server.viewer_token or "", Role.VIEWER), User(server.admin_token or "", Role.OPERATOR)]
        known += [User(each.token, Role(each.role), each.name, each.chatbots) for each in server.users]
        return [each for each in known if each.token]


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(_bytes(cookie)).digest()


def _proof(cookie: str, user: User) -> bytes:
    return hmac.new(_bytes(cookie), _bytes(user.token), hashlib.sha256).digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Failures:
    """Wrong tokens of the last minute, by address."""

    def __init__(self) -> None:
        self._at: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Return the seconds until a token of the address is checked again; 0 for now."""
        recent = [at for at in self._at.get(address, ()) if now - at < FAILURES_SECONDS]
        return recent[-FAILURES_LIMIT] + FAILURES_SECONDS - now if len(recent) >= FAILURES_LIMIT else 0.0

    def add(self, address: str, now: float) -> None:
        self._at[address] = [*self._at.pop(address, ())[-FAILURES_LIMIT:], now]
        while len(self._at) > ADDRESSES_LIMIT:
            self._at.popitem(last=False)


def _check_forwarded(request: web.Request) -> None:
    for name in request.headers:
        known = name.lower()
        if known in FORWARDED or known.startswith(("x-forwarded", "cf-")):
            raise RequestRefusedError(
                403,
                f"this request came through a proxy (it has the header {known}), and without server.admin_token "
                "everybody behind a proxy would be an operator: set server.admin_token, or send it without the proxy",
            )


def _check_loopback(request: web.Request, configured: str) -> None:
    host = _host(request)
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host in {"localhost", configured.lower()}
    if not local:
        raise RequestRefusedError(
            403, "without server.admin_token the admin listener answers on loopback only: set it, or use 127.0.0.1"
        )


def _host(request: web.Request) -> str:
    """Return the host that a request is addressed to, without the port; an empty text if it cannot be read."""
    try:
        return urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return ""


def _equal(known: str, shown: str) -> bool:
    return hmac.compare_digest(known.encode(), shown.encode("utf-8", "surrogateescape"))
