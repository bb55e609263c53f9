"""Sends HubSpot's requests: the token, one more try after a refused one, and what the answers tell of the quota."""

from collections.abc import Sequence

from connectors.answers import Answer, Failure
from connectors.base import Context, Quota, Vault
from connectors.client import Session
from connectors.hubspot.auth import OAuthTokens
from connectors.hubspot.quota import Allowances
from connectors.hubspot.settings import HubSpotSettings
from connectors.hubspot.wire import Api, Request
from connectors.masking import Secrets

_UNAUTHORIZED = 401


class Calls:
    """Calls one account. `send` may be called in parallel.

    Args:
        settings: The destination's.
        api: Knows the addresses.
        context: The destination's clock, time-out and rate limit.
        secrets: Is told each token, for masking.
    """

    def __init__(self, settings: HubSpotSettings, api: Api, context: Context, secrets: Secrets) -> None:
        self._now = context.now
        self._session = Session(settings, context)
        self._token = settings.access_token.get_secret_value() if settings.access_token else ""
        self._oauth: OAuthTokens | None = None
        if settings.oauth is not None:
            self._oauth = OAuthTokens(settings.oauth, api.token_url, self._session, context.now, secrets)
        self._allowances = Allowances()

    def open(self, vault: Vault) -> None:
        """Take the place where a new refresh token is kept."""
        if self._oauth is not None:
            self._oauth.open(vault)

    def quotas(self) -> Sequence[Quota]:
        """Give what the account has last said is left."""
        return self._allowances.quotas()

    async def send(self, request: Request) -> Answer | Failure:
        """Send a request; after a 401 once more with a new token, where there is one to be had."""
        if self._oauth is None:
            return await self._once(request, self._token)
        return await self._oauth.source.authorized(lambda token: self._once(request, token.value))

    async def close(self) -> None:
        """Close the connections; a token that is being fetched is given up."""
        if self._oauth is not None:
            await self._oauth.source.close()
        await self._session.close()

    async def _once(self, request: Request, token: str) -> Answer | Failure:
        headers = headers_of(request, token)
        result = await self._session.send(request.method, request.url, headers, request.body)
        if isinstance(result, Answer):
            self._allowances.observe(result.headers, self._now())
        return result


def headers_of(request: Request, token: str) -> dict[str, str]:
    """Give the headers of a request. Pure."""
    headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
    return headers | ({"Content-Type": "application/json"} if request.body is not None else {})
