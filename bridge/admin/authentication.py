"""Who asks on the admin listener, and what they may do: tokens, sessions, and the bound on guessing.

A program shows a token with each request; a person shows it once and gets a session, which lives in this process and
ends with it, after `SESSION_SECONDS`, at the logout, or when the token in the configuration changes.

Where there is no token the listener is bound to loopback, and everybody who reaches it is an operator. A browser on
the same machine reaches it too, with any page that it shows. So the request must be addressed to loopback (a page of
another name that was pointed there is not), and nothing is changed for a page of another origin. A proxy in front of it
would let strangers in, so a request with a proxy's headers is refused.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from aiohttp import web

from bridge.config.model import ServerSettings
from bridge.operations.audit import Means, Who

COOKIE = "leadbridge_session"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
SESSION_SECONDS = 12 * 3600.0
SESSIONS_LIMIT = 1_000
FAILURES_LIMIT = 10
"""So many wrong tokens of one address in `FAILURES_SECONDS`, and none of it is looked at for a while."""
FAILURES_SECONDS = 60.0
ADDRESSES_LIMIT = 10_000
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
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
"""Set where a request showed a token that was refused."""


class Role(StrEnum):
    """What somebody may do: an operator everything, a viewer may look, with personal data masked."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class RefusedError(Exception):
    """The request is not answered; the message is for who sent it."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """A person who has logged in."""

    key: str
    """What the cookie holds."""
    role: Role
    csrf: str
    """What a form must bring along: another site can send a request with the cookie, but cannot read this."""
    proof: bytes
    """Digest of the token that was shown."""
    until: float


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    role: Role
    address: str
    session: Session | None = field(default=None, repr=False)

    def may(self, role: Role) -> bool:
        """Tell whether the caller may do what is for a role."""
        return self.role is Role.OPERATOR or role is Role.VIEWER

    def who(self) -> Who:
        """Tell who it is for the audit log."""
        if self.session is None:
            return Who(self.role.value, Means.TOKEN, None, self.address)
        if not self.session.key:
            return Who(self.role.value, Means.OPEN, None, self.address)
        mark = hashlib.sha256(self.session.key.encode()).hexdigest()[:8]
        return Who(self.role.value, Means.SESSION, mark, self.address)


CALLER = web.RequestKey("caller", Caller)
"""Holds the caller of a request, once known."""


class Gate:
    """Tells who asks. `server` gives the tokens in use, `clock` seconds since the epoch. Lives in the loop's thread."""

    def __init__(self, server: Callable[[], ServerSettings], clock: Callable[[], float]) -> None:
        self._server = server
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._failures = _Failures()
        self._anybody = Session("", Role.OPERATOR, secrets.token_urlsafe(32), b"", 0.0)
        """Stands for a session where no token is asked for, so that forms are guarded all the same."""

    def caller(self, request: web.Request) -> Caller | None:
        """Say who asks; None for somebody who shows neither a token nor a session. Raises RefusedError."""
        caller = self._caller(request)
        if caller is not None:
            request[CALLER] = caller
        if request.method not in SAFE:
            _check_origin(request)
        return caller

    def known(self, request: web.Request) -> Caller:
        """Say who asks. Raises RefusedError for somebody who shows nothing too."""
        caller = self.caller(request)
        if caller is None:
            raise RefusedError(401, "send Authorization: Bearer <server.admin_token>")
        return caller

    def check_form(self, caller: Caller, shown: str | None) -> None:
        """Make sure that a change that a browser asks for was meant. Raises RefusedError.

        A caller with a token of its own is no browser that follows another site's wish.
        """
        if caller.session and not _equal(caller.session.csrf, shown or ""):
            raise RefusedError(403, "the form is out of date: go back, reload the page, and send it again")

    def login(self, token: str, request: web.Request) -> Session:
        """Begin a session for a token. Raises RefusedError."""
        role = self._role(token, request)
        now = self._clock()
        session = Session(
            secrets.token_urlsafe(32), role, secrets.token_urlsafe(32), _digest(token), now + SESSION_SECONDS
        )
        self._sessions[session.key] = session
        while len(self._sessions) > SESSIONS_LIMIT:
            self._sessions.popitem(last=False)
        return session

    def logout(self, session: Session) -> None:
        """End a session."""
        self._sessions.pop(session.key, None)

    def asks_for_token(self) -> bool:
        """Whether somebody must show a token at all."""
        return bool(self._tokens())

    def _caller(self, request: web.Request) -> Caller | None:
        address = request.remote or ""
        if not self._tokens():
            _check_forwarded(request)
            _check_loopback(request, self._server().admin.host)
            return Caller(Role.OPERATOR, address, self._anybody)
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return Caller(self._role(shown.strip(), request), address)
        session = self._session(request.cookies.get(COOKIE, ""))
        return Caller(session.role, address, session) if session else None

    def _role(self, token: str, request: web.Request) -> Role:
        address, now = request.remote or "", self._clock()
        request[REFUSED_TOKEN] = True
        if wait := self._failures.wait(address, now):
            raise RefusedError(429, "too many wrong tokens from this address; try again later", int(wait) + 1)
        found = None
        for role, known in self._tokens().items():
            # All are compared, so that the time tells nothing.
            if _equal(known, token):
                found = role
        if found is None:
            self._failures.add(address, now)
            raise RefusedError(401, "wrong token; it is server.admin_token or server.viewer_token")
        request[REFUSED_TOKEN] = False
        return found

    def _session(self, key: str) -> Session | None:
        session = self._sessions.get(key)
        if session is None:
            return None
        known = self._tokens().get(session.role, "")
        if session.until > self._clock() and hmac.compare_digest(_digest(known), session.proof):
            return session
        self.logout(session)
        return None

    def _tokens(self) -> Mapping[Role, str]:
        server = self._server()
        given = {Role.VIEWER: server.viewer_token, Role.OPERATOR: server.admin_token}
        return {role: token for role, token in given.items() if token}


class _Failures:
    """The wrong tokens of the last minute, by address."""

    def __init__(self) -> None:
        self._at: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Give the seconds until a token of the address is looked at again; 0 for at once."""
        recent = [at for at in self._at.get(address, ()) if now - at < FAILURES_SECONDS]
        return recent[-FAILURES_LIMIT] + FAILURES_SECONDS - now if len(recent) >= FAILURES_LIMIT else 0.0

    def add(self, address: str, now: float) -> None:
        self._at[address] = [*self._at.pop(address, ())[-FAILURES_LIMIT:], now]
        while len(self._at) > ADDRESSES_LIMIT:
            self._at.popitem(last=False)


def _check_origin(request: web.Request) -> None:
    """Refuse a change that a page of another origin asks for: browsers say so (RFC 6454 section 7)."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    asked = {request.host, request.headers.get("X-Forwarded-Host", request.host)}
    if _parts(origin)[0] not in asked:
        raise RefusedError(403, "this change was asked for by a page of another origin")


def _check_forwarded(request: web.Request) -> None:
    for name in request.headers:
        known = name.lower()
        if known in FORWARDED or known.startswith(("x-forwarded", "cf-")):
            raise RefusedError(
                403,
                f"this request came through a proxy (it has the header {known}), and without server.admin_token "
                "everybody behind a proxy would be an operator: set server.admin_token, or ask without the proxy",
            )


def _check_loopback(request: web.Request, configured: str) -> None:
    host = _parts(f"//{request.host}")[1]
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host in {"localhost", configured.lower()}
    if not local:
        raise RefusedError(403, "without server.admin_token the admin listener answers to loopback addresses only")


def _parts(url: str) -> tuple[str, str]:
    """Return host and port, and the host alone; empty where there is none that can be read."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "", ""
    return parts.netloc, host


def _equal(known: str, shown: str) -> bool:
    return hmac.compare_digest(known.encode(), shown.encode("utf-8", "surrogateescape"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
