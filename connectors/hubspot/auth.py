"""HubSpot's OAuth: access tokens that last half an hour, obtained with a refresh token, by one request for all calls.

Source: HubSpot's OAuth reference (`POST /oauth/2026-09/token`, a form in the body, never in the query).
"""

from collections.abc import Callable
from urllib.parse import urlencode

from yarl import URL

from connectors.base import Vault
from connectors.http_client.answer import Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.tokens import RefreshToken, Token, TokenSource, read_token
from connectors.hubspot.settings import OAuth

_HEADERS = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}


class OAuthTokens:
    """Access tokens of an app. `source` may be used in parallel.

    Args:
        settings: The app.
        url: Token endpoint.
        session: Sends the requests.
        now: Seconds since the epoch.
        secrets: Receives each token, for masking.
    """

    def __init__(
        self, settings: OAuth, url: URL, session: HttpSession, now: Callable[[], float], secrets: Secrets
    ) -> None:
        self._settings = settings
        self._url = url
        self._session = session
        self._now = now
        self._secrets = secrets
        self._refresh_token = RefreshToken(settings.refresh_token.get_secret_value(), secrets)
        self.source = TokenSource(self._fetch, now, secrets)
        """Holder of the token in use."""

    def open(self, vault: Vault) -> None:
        """Receive the vault in which a replaced refresh token is stored."""
        self._refresh_token.open(vault)

    async def _fetch(self) -> Token | Failure:
        refresh_token = await self._refresh_token.value()
        if isinstance(refresh_token, Failure):
            return refresh_token
        form = {
            "grant_type": "refresh_token",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret.get_secret_value(),
            "refresh_token": refresh_token,
        }
        result = await self._session.send("POST", self._url, _HEADERS, urlencode(form).encode())
        token = read_token(result, self._now(), self._secrets)
        if isinstance(token, Failure) or isinstance(result, Failure):
            return token
        # This answer may have invalidated the old token, so the new one is stored before anything else.
        return await self._refresh_token.keep(result.json().get("refresh_token")) or token
