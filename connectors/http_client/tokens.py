"""OAuth access tokens (RFC 6749): read from the answer of a server, kept, and fetched once for all waiting calls."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from connectors.base import Blame, Delivered, Reason, Rejected, Retry, SettingError, Vault, VaultError, exchange_log
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import classify, message_in, shorten

_MARGIN = 60.0  # seconds before its expiry when a token is renewed, so that it does not expire under way
_SHARE = 0.1  # of a short lifetime, for the same purpose
_CLOSING_SECONDS = 3.0
_REFUSED = 401
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token."""

    value: str
    until: float
    """Seconds since the epoch after which the token is not used; infinite if the server did not say."""


TokenT = TypeVar("TokenT", bound=Token)


class TokenSource(Generic[TokenT]):
    """Holder of a destination's access token. Its methods may run in parallel.

    The token lives in memory only: after a restart another one is fetched.

    Args:
        fetch: Fetches a new token, or returns the failure. Never called twice at once.
        now: Seconds since the epoch.
        secrets: Receives each token, for masking.
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
        """Return the token, or the failure to get one: nothing was sent, and the destination is to blame.

        Callers that arrive during a fetch wait for it and share its failure too. Cancelling one caller does not cancel
        the fetch for the others.
        """
        if self._token is not None and self._now() < self._token.until:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_one())
        return await asyncio.shield(self._fetching)

    async def renew(self, refused: str) -> TokenT | Failure:
        """Return a token other than the refused one. All calls whose token was refused share one new token."""
        if self._token is not None and self._token.value == refused:
            self._token = None
        return await self.token()

    async def send_with_token(
        self,
        send: Callable[[TokenT], Awaitable[ResultT]],
        is_refused: Callable[[ResultT], bool] = lambda result: isinstance(result, Answer) and result.status == _REFUSED,
    ) -> ResultT | Failure:
        """Send a request with the token; if it is refused, send it once more with a new token.

        It cannot write twice: a 401 means that nothing was done.
        """
        token = await self.token()
        if isinstance(token, Failure):
            return token
        result = await send(token)
        if not is_refused(result):
            return result
        token = await self.renew(token.value)
        return token if isinstance(token, Failure) else await send(token)

    async def close(self) -> None:
        """Stop fetching. A fetch under way has a moment to finish, because its answer may hold the next refresh token.

        A second call does nothing.
        """
        if self._fetching is not None:
            fetching = self._fetching
            await asyncio.wait({fetching}, timeout=_CLOSING_SECONDS)
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _fetch_one(self) -> TokenT | Failure:
        # Nothing of it is kept: request and answer are made of secrets. This is the context of the fetch's own task.
        exchange_log.set(None)
        try:
            token = await self._fetch()
            if not isinstance(token, Failure):
                self._secrets.add_passing(token.value)
                self._token = token
            return token
        finally:
            self._fetching = None


class RefreshToken:
    """The refresh token in use: the configured one, until the server replaces it (RFC 6749 section 6).

    A replacement is stored in the vault under a name derived from the configured token. It is used after a restart,
    until the operator configures another token. The server may invalidate the old token in the same answer. A crash
    between that answer and the write then loses the access, and the operator must grant it again. Used by one fetch at
    a time.

    Args:
        configured: Refresh token of the settings.
        secrets: Receives each token, for masking.
    """

    def __init__(self, configured: str, secrets: Secrets) -> None:
        self._value = configured
        self._name = f"refresh token {hashlib.sha256(configured.encode()).hexdigest()[:16]}"
        self._secrets = secrets
        self._vault: Vault | None = None
        self._kept = True

    def open(self, vault: Vault) -> None:
        """Receive the vault in which a replacement is stored."""
        self._vault = vault

    async def value(self) -> str | Failure:
        """Return the token to send, or the failure if the stored one cannot be read.

        The stored token is read each time because another process may have written it: a command, or the next owner of
        the lane.
        """
        if self._vault is not None and self._kept:
            try:
                kept = await self._vault.read(self._name)
            except VaultError as error:
                return token_failure(Retry(Reason.CONNECTOR_ERROR, f"no access token: {error}"))
            if kept is not None:
                self._take(kept)
        return self._value

    async def keep(self, token: object) -> Failure | None:
        """Store the server's new refresh token, before its access token is used.

        If it cannot be stored, the next `value` returns it all the same, because the server accepts no other.

        Args:
            token: Refresh token of the answer. Nothing is done if it is not a text, or is unchanged.

        Returns:
            None once it is on disk, or the failure.
        """
        if isinstance(token, str) and token and token != self._value:
            self._take(token)
            self._kept = False
        if self._kept or self._vault is None:
            return None
        try:
            await self._vault.write(self._name, self._value)
        except VaultError as error:
            return token_failure(Retry(Reason.CONNECTOR_ERROR, f"the new refresh token could not be kept: {error}"))
        self._kept = True
        return None

    def _take(self, value: str) -> None:
        self._value = value
        self._secrets.add_passing(value)


def read_token(result: Answer | Failure, now: float, secrets: Secrets) -> Token | Failure:
    """Return the token in the answer to a token request (RFC 6749 sections 5.1 and 5.2). Pure.

    The destination is to blame for every failure: no lead can be written without a token, and no lead is at fault.
    """
    if isinstance(result, Failure):
        detail = f"no access token: {result.outcome.detail}"
        return token_failure(replace(result.outcome, detail=detail), result.setting)
    try:
        document = result.json()
    except ValueError:
        document = None
    outcome = classify(result.status, result.headers, now, shorten(secrets.mask(_error_in(document))))
    match outcome:
        case Delivered():
            return _token_in(document, result.status, now)
        case Rejected():  # mostly 400 with invalid_client or invalid_scope, as RFC 6749 requires
            return token_failure(Retry(Reason.UNAUTHORIZED, f"no access token: {outcome.detail}", status=result.status))
        case Retry():
            return token_failure(replace(outcome, detail=f"no access token: {outcome.detail}"))


def check_credentials(credentials: Mapping[str, str]) -> None:
    """Raise `SettingError` for impossible credentials, so that no account is locked by trying them. Pure.

    Credentials are printable ASCII (RFC 6749, appendix A). Blanks in them come from copying, or from the line end of a
    file.

    Args:
        credentials: Credentials by the names of the settings.
    """
    for name, value in credentials.items():
        if not value:
            raise SettingError((name,), "must not be empty; enter the value of the app, or check where it is read from")
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise SettingError((name,), "must be letters, digits and signs without blanks or line ends; copy it again")


def token_failure(outcome: Retry, setting: tuple[str | int, ...] = ()) -> Failure:
    """Return the failure to get an access token: nothing was sent, and the destination is to blame."""
    return Failure(replace(outcome, blame=Blame.DESTINATION), sent=False, setting=setting)


def _error_in(document: object) -> str:
    if not isinstance(document, dict):
        return ""
    code, words = document.get("error"), message_in(document)
    return f"{code}: {words}" if isinstance(code, str) and code != words else words


def _token_in(document: Any, status: int, now: float) -> Token | Failure:
    value = document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value or not value:
        return token_failure(Retry(Reason.BAD_ANSWER, f"no access token in the answer {status}", status=status))
    return Token(value, now + _lifetime(document.get("expires_in")))


def _lifetime(expires_in: object) -> float:
    """Return the seconds that a token is used; some servers send the number as text."""
    try:
        seconds = float(expires_in) if isinstance(expires_in, str | int | float) else float("inf")
    except (ValueError, OverflowError):
        return float("inf")
    return seconds - min(_MARGIN, seconds * _SHARE) if seconds > 0 else float("inf")
