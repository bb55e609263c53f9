"""Access tokens: read from the answer to a token request, kept, and fetched once however many ask (RFC 6749)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from connectors.base import Blame, Delivered, Reason, Rejected, Retry, SettingError, Vault, VaultError
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import classify, message_in, shorten

_MARGIN = 60.0  # seconds that a token is renewed early, so that it does not expire on its way
_SHARE = 0.1  # of a short life, for the same reason


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token."""

    value: str
    until: float
    """Seconds since the epoch from which on it is not used any more; infinite where the server said nothing."""


_CLOSING_SECONDS = 3.0
_REFUSED = 401

TokenT = TypeVar("TokenT", bound=Token)
ResultT = TypeVar("ResultT")


class TokenSource(Generic[TokenT]):
    """Keeps the access token of a destination. Its methods may be called in parallel.

    The token lives in memory only: after a restart another one is fetched.

    Args:
        fetch: Gets a new token, or says why there is none. Never called twice at once.
        now: Seconds since the epoch.
        secrets: Is told each token, for masking.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[TokenT | Failure]], now: Callable[[], float], secrets: Secrets
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._secrets = secrets
        self._token: TokenT | None = None
        self._fetching: asyncio.Task[TokenT | Failure] | None = None

    async def token(self) -> TokenT | Failure:
        """Give the token, or say why there is none. Then nothing has been sent, and the destination is to blame.

        Callers that come while one is being fetched wait for that one, and share its failure too. A caller that is
        cancelled does not take it away from the others.
        """
        if self._token is not None and self._now() < self._token.until:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_one())
        return await asyncio.shield(self._fetching)

    async def renewed(self, refused: str) -> TokenT | Failure:
        """Give another token than the one of this value that was refused; one for all whose call was refused."""
        if self._token is not None and self._token.value == refused:
            self._token = None
        return await self.token()

    async def authorized(
        self,
        send: Callable[[TokenT], Awaitable[ResultT]],
        is_refused: Callable[[ResultT], bool] = lambda result: isinstance(result, Answer) and result.status == _REFUSED,
    ) -> ResultT | Failure:
        """Send a request with the token; where that is refused, once more with a new one.

        It cannot write twice: a 401 says that nothing was done.
        """
        token = await self.token()
        if isinstance(token, Failure):
            return token
        result = await send(token)
        if not is_refused(result):
            return result
        token = await self.renewed(token.value)
        return token if isinstance(token, Failure) else await send(token)

    async def close(self) -> None:
        """End fetching. What is under way has a moment to end by itself: its answer may hold the next refresh token.

        A second call does nothing.
        """
        if self._fetching is not None:
            fetching = self._fetching
            await asyncio.wait({fetching}, timeout=_CLOSING_SECONDS)
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _fetch_one(self) -> TokenT | Failure:
        try:
            token = await self._fetch()
            if not isinstance(token, Failure):
                self._secrets.add_passing(token.value)
                self._token = token
            return token
        finally:
            self._fetching = None


class RefreshToken:
    """The refresh token in use: the configured one, until the server gives another in its place (RFC 6749 section 6).

    The other one is kept in the vault under a name that is made of the configured one. So it is still in use after a
    restart, and not any more when the operator configures a new one. The server may have made the old one invalid
    with the same answer: a crash between that answer and the write loses the access, and the operator must grant it
    again. Called by one fetch at a time.

    Args:
        configured: What the settings say.
        secrets: Is told each token, for masking.
    """

    def __init__(self, configured: str, secrets: Secrets) -> None:
        self._value = configured
        self._name = f"refresh token {hashlib.sha256(configured.encode()).hexdigest()[:16]}"
        self._secrets = secrets
        self._vault: Vault | None = None
        self._kept = True

    def open(self, vault: Vault) -> None:
        """Take the place where it is kept."""
        self._vault = vault

    async def value(self) -> str | Failure:
        """Give the token to send, or say that what is kept cannot be read.

        What is kept is read each time, for another process may have written it: a command, or the lane's next owner.
        """
        if self._vault is not None and self._kept:
            try:
                kept = await self._vault.read(self._name)
            except VaultError as error:
                return failed(Retry(Reason.CONNECTOR_ERROR, f"no access token: {error}"))
            if kept is not None:
                self._take(kept)
        return self._value

    async def keep(self, given: object) -> Failure | None:
        """Keep what the server gave as new refresh token, before the access token beside it is used.

        Where it cannot be kept, it is still the one that the next `value` gives, for the server knows no other.

        Args:
            given: What the answer says; nothing is done where it is no text, or the same as before.

        Returns:
            None when it is on disk, or why it is not.
        """
        if isinstance(given, str) and given and given != self._value:
            self._take(given)
            self._kept = False
        if self._kept or self._vault is None:
            return None
        try:
            await self._vault.write(self._name, self._value)
        except VaultError as error:
            return failed(Retry(Reason.CONNECTOR_ERROR, f"the new refresh token could not be kept: {error}"))
        self._kept = True
        return None

    def _take(self, value: str) -> None:
        self._value = value
        self._secrets.add_passing(value)


def read_token(result: Answer | Failure, now: float, secrets: Secrets) -> Token | Failure:
    """Read the answer to a token request (RFC 6749 sections 5.1 and 5.2). Pure.

    Every failure is the destination's: no lead can be written without a token, and none is at fault.
    """
    if isinstance(result, Failure):
        outcome = result.outcome
        return failed(replace(outcome, detail=f"no access token: {outcome.detail}"), result.setting)
    try:
        document = result.json()
    except ValueError:
        document = None
    answered = classify(result.status, result.headers, now, shorten(secrets.mask(_error_in(document))))
    match answered:
        case Delivered():
            return _token_in(document, result.status, now)
        case Rejected():  # mostly 400 with invalid_client or invalid_scope, as RFC 6749 wants
            return failed(Retry(Reason.UNAUTHORIZED, f"no access token: {answered.detail}", status=result.status))
        case Retry():
            return failed(replace(answered, detail=f"no access token: {answered.detail}"))


def check_credentials(held: Mapping[str, str]) -> None:
    """Raise `SettingError` for what can be no credential, so that nobody is locked out for trying it. Pure.

    RFC 6749, appendix A: they are printable ASCII; blanks in them come from copying, or from a file's line end.

    Args:
        held: By the names of the settings.
    """
    for name, value in held.items():
        if not value:
            raise SettingError((name,), "must not be empty; give that of the app, or check where it is read from")
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise SettingError((name,), "must be letters, digits and signs without blanks or line ends; copy it again")


def failed(outcome: Retry, setting: tuple[str | int, ...] = ()) -> Failure:
    """Say that there is no access token: nothing has been sent, and the destination is to blame."""
    return Failure(replace(outcome, blame=Blame.DESTINATION), sent=False, setting=setting)


def _error_in(document: object) -> str:
    if not isinstance(document, dict):
        return ""
    code, words = document.get("error"), message_in(document)
    return f"{code}: {words}" if isinstance(code, str) and code != words else words


def _token_in(document: Any, status: int, now: float) -> Token | Failure:  # noqa: ANN401 - any JSON value
    value = document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value or not value:
        return failed(Retry(Reason.BAD_ANSWER, f"no access token in the answer {status}", status=status))
    return Token(value, now + _lifetime(document.get("expires_in")))


def _lifetime(expires_in: object) -> float:
    """Give the seconds that a token is used; some servers send the number as text."""
    try:
        seconds = float(expires_in) if isinstance(expires_in, str | int | float) else float("inf")
    except (ValueError, OverflowError):
        return float("inf")
    return seconds - min(_MARGIN, seconds * _SHARE) if seconds > 0 else float("inf")
