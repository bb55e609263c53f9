"""The token endpoint of a sandbox CRM: OAuth 2 client credentials (RFC 6749 section 4.4). Does not use the network."""

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from connectors.testing.contacts import RefusedError, Reply


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
