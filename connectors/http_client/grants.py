"""Access tokens by any grant of OAuth 2, and the signed assertion of a service account (RFC 7523)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from yarl import URL

from connectors.base import Reason, Retry, Vault
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.tokens import RefreshToken, Token, TokenSource, read_token, token_failure

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""Grant type of an assertion (RFC 7523 section 2.1)."""
_HEADERS = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
_LIFETIME = 300  # seconds; Google accepts up to 3600, Salesforce up to 300


@dataclass(frozen=True, slots=True, repr=False)
class TokenRequest:
    """Form of a request for an access token, and the headers that it needs besides the usual ones."""

    form: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, repr=False)
class Assertion:
    """Claims of a service account, to be signed with its key."""

    issuer: str
    audience: str
    private_key: str
    """RSA key in PEM form."""
    key_id: str | None = None
    subject: str | None = None
    scope: str | None = None
    """Scopes as a claim, where Google and others read them; RFC 7523 itself has no scope."""

    def signed(self, now: float) -> str:
        """Return the assertion as a JWT, signed with RS256. Pure.

        Args:
            now: Seconds since the epoch.

        Raises:
            ValueError: the key cannot sign, with a line for the operator.
        """
        import jwt  # noqa: PLC0415 - takes 60 ms that few destinations need
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

        optional = {"sub": self.subject, "scope": self.scope}
        claims = {"iss": self.issuer, "aud": self.audience, "iat": int(now), "exp": int(now) + _LIFETIME}
        claims |= {name: value for name, value in optional.items() if value}
        headers = {"kid": self.key_id} if self.key_id else None
        try:
            return jwt.encode(claims, _loaded_key(self.private_key), algorithm="RS256", headers=headers)
        except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, AttributeError):
            # Another kind of key, a key with a password, or a public key.
            raise ValueError("must be an RSA private key in PEM form, without a password") from None


@lru_cache(maxsize=64)
def _loaded_key(pem: str) -> Any:
    """Return the key of a PEM text. Kept, because its check takes 50 ms and a configuration is checked often."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    return load_pem_private_key(pem.encode(), None)


class GrantedTokens:
    """Access tokens of one destination. `source` may be used in parallel.

    Args:
        url: Token endpoint.
        request: Returns the request for a token, from the time and the refresh token in use.
        session: Sends the requests.
        now: Seconds since the epoch.
        secrets: Receives each token, for masking.
        refresh_token: Refresh token of the settings, if the grant has one.
    """

    def __init__(
        self,
        url: URL,
        request: Callable[[float, str | None], TokenRequest],
        session: HttpSession,
        now: Callable[[], float],
        secrets: Secrets,
        *,
        refresh_token: str | None = None,
    ) -> None:
        self._url = url
        self._request = request
        self._session = session
        self._now = now
        self._secrets = secrets
        self._refresh = None if refresh_token is None else RefreshToken(refresh_token, secrets)
        self.source = TokenSource(self._fetch, now, secrets)
        """Holder of the token in use."""

    def open(self, vault: Vault) -> None:
        """Receive the vault in which a replaced refresh token is stored."""
        if self._refresh is not None:
            self._refresh.open(vault)

    async def _fetch(self) -> Token | Failure:
        refresh = await self._refresh.value() if self._refresh else None
        if isinstance(refresh, Failure):
            return refresh
        try:
            request = self._request(self._now(), refresh)
        except ValueError as error:
            return token_failure(Retry(Reason.UNAUTHORIZED, f"no access token: the private key {error}"))
        answer = await self._session.send(
            "POST", self._url, {**_HEADERS, **request.headers}, urlencode(request.form).encode()
        )
        token = read_token(answer, self._now(), self._secrets)
        if self._refresh is None or isinstance(token, Failure):
            return token
        return await self._refresh.keep(_refresh_token_in(answer)) or token


def _refresh_token_in(answer: Answer | Failure) -> object:
    document = answer.json() if isinstance(answer, Answer) else None
    return document.get("refresh_token") if isinstance(document, dict) else None
