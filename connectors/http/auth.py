"""OAuth 2 client credentials: one token for all calls, fetched once however many ask (RFC 6749 section 4.4)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus, urlencode

from aiohttp import encode_basic_auth
from yarl import URL

from connectors.addresses import check_url
from connectors.answers import Answer, Failure
from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.classify import classify, message_in, shorten
from connectors.client import Session
from connectors.http.settings import OAuth2
from connectors.masking import Secrets

_MARGIN = 60.0  # seconds that a token is renewed early, so that it does not expire on its way
_SHARE = 0.1  # of a short life, for the same reason


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token."""

    value: str
    until: float
    """Seconds since the epoch from which on it is not used any more; infinite where the server said nothing."""


class ClientCredentials:
    """Gets and keeps the access token of a destination. Its methods may be called in parallel.

    The token lives in memory only: after a restart another one is fetched.

    Args:
        settings: The destination's.
        session: Sends the token requests.
        now: Seconds since the epoch.
        secrets: Is told each token, for masking.
    """

    def __init__(self, settings: OAuth2, session: Session, now: Callable[[], float], secrets: Secrets) -> None:
        self._url = URL(settings.token_url)
        self._headers, self._body = token_request(settings)
        self._session = session
        self._now = now
        self._secrets = secrets
        self._token: Token | None = None
        self._fetching: asyncio.Task[str | Failure] | None = None

    async def token(self) -> str | Failure:
        """Give the token, or say why there is none. Then nothing has been sent, and the destination is to blame.

        Callers that come while one is being fetched wait for that one, and share its failure too. A caller that is
        cancelled does not take it away from the others.
        """
        if self._token is not None and self._now() < self._token.until:
            return self._token.value
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        return await asyncio.shield(self._fetching)

    async def renewed(self, refused: str) -> str | Failure:
        """Give another token than the one that was refused; one for all whose call was refused with it."""
        if self._token is not None and self._token.value == refused:
            self._token = None
        return await self.token()

    async def close(self) -> None:
        """Stop fetching. A second call does nothing."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> str | Failure:
        try:
            result = await self._session.send("POST", self._url, self._headers, self._body)
            token = read_token(result, self._now(), self._secrets)
            if isinstance(token, Failure):
                return token
            self._secrets.add_passing(token.value)
            self._token = token
            return token.value
        finally:
            self._fetching = None


def check_token_url(settings: OAuth2, *, allow_private: bool) -> None:
    """Raise ValueError, with a line for the operator, where the token URL cannot be used."""
    try:
        url = URL(settings.token_url)
    except ValueError:
        raise ValueError("is not a URL") from None
    check_url(url, allow_private=allow_private)


def token_request(settings: OAuth2) -> tuple[dict[str, str], bytes]:
    """Give headers and body of the request for a token. Pure."""
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    form = {"grant_type": "client_credentials"}
    client_id, secret = settings.client_id, settings.client_secret.get_secret_value()
    if settings.client_auth == "basic":
        # RFC 6749 section 2.3.1: both are encoded like a form before they go into the header.
        headers["Authorization"] = encode_basic_auth(quote_plus(client_id), quote_plus(secret))
    else:
        form |= {"client_id": client_id, "client_secret": secret}
    form |= {name: value for name, value in (("scope", settings.scope), ("audience", settings.audience)) if value}
    return headers, urlencode(form).encode()


def read_token(result: Answer | Failure, now: float, secrets: Secrets) -> Token | Failure:
    """Read the answer to a token request (RFC 6749 sections 5.1 and 5.2). Pure.

    Every failure is the destination's: no lead can be written without a token, and none is at fault.
    """
    if isinstance(result, Failure):
        outcome = result.outcome
        return _failed(replace(outcome, detail=f"no access token: {outcome.detail}"), result.setting)
    try:
        document = result.json()
    except ValueError:
        document = None
    answered = classify(result.status, result.headers, now, shorten(secrets.mask(_error_in(document))))
    match answered:
        case Delivered():
            return _token_in(document, result.status, now)
        case Rejected():  # mostly 400 with invalid_client or invalid_scope, as RFC 6749 wants
            return _failed(Retry(Reason.UNAUTHORIZED, f"no access token: {answered.detail}", status=result.status))
        case Retry():
            return _failed(replace(answered, detail=f"no access token: {answered.detail}"))


def _error_in(document: object) -> str:
    if not isinstance(document, dict):
        return ""
    code, words = document.get("error"), message_in(document)
    return f"{code}: {words}" if isinstance(code, str) and code != words else words


def _token_in(document: Any, status: int, now: float) -> Token | Failure:  # noqa: ANN401 - any JSON value
    value = document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value or not value:
        return _failed(Retry(Reason.BAD_ANSWER, f"no access token in the answer {status}", status=status))
    return Token(value, now + _lifetime(document.get("expires_in")))


def _lifetime(expires_in: object) -> float:
    """Give the seconds that a token is used; some servers send the number as text."""
    try:
        seconds = float(expires_in) if isinstance(expires_in, str | int | float) else float("inf")
    except (ValueError, OverflowError):
        return float("inf")
    return seconds - min(_MARGIN, seconds * _SHARE) if seconds > 0 else float("inf")


def _failed(outcome: Retry, setting: tuple[str | int, ...] = ()) -> Failure:
    return Failure(replace(outcome, blame=Blame.DESTINATION), sent=False, setting=setting)
