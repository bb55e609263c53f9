"""Sending of HubSpot's requests: the token, one retry after a refused token, and the quotas in answers."""

from collections.abc import Mapping, Sequence

from aiolimiter import AsyncLimiter

from connectors.base import Context, Quota, Retry, Vault
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.hubspot.answers import success_or_retry
from connectors.hubspot.auth import OAuthTokens
from connectors.hubspot.requests import HubSpotRequest, HubSpotRequests
from connectors.hubspot.settings import HubSpotSettings

_DAY = ("X-HubSpot-RateLimit-Daily", "X-HubSpot-RateLimit-Daily-Remaining")
_WINDOW = ("X-HubSpot-RateLimit-Max", "X-HubSpot-RateLimit-Remaining")
_WINDOW_LENGTH = "X-HubSpot-RateLimit-Interval-Milliseconds"
_ASK_AGAIN = 1800.0  # seconds; the day ends at midnight in a time zone that the API does not report
_BETWEEN_SEARCHES = 0.25  # seconds: search has its own limit of 5 a second (usage guidelines)
_SHARE_KEPT = 20  # a twentieth of the day's calls is reserved for first attempts


class HubSpotQuotas:
    """The allowances that the last answers reported."""

    def __init__(self) -> None:
        self._known: dict[str, Quota] = {}

    def observe(self, headers: Mapping[str, str], now: float) -> None:
        """Read the headers of an answer that arrived at `now`, in seconds since the epoch."""
        if found := _numbers(headers, *_DAY):
            limit, remaining = found
            self._known["daily"] = Quota("daily", limit, remaining, now + _ASK_AGAIN, limit // _SHARE_KEPT)
        if found := _numbers(headers, *_WINDOW):
            length = headers.get(_WINDOW_LENGTH, "")
            seconds = int(length) / 1000 if length.isdecimal() else 10.0
            self._known["10 s"] = Quota("10 s", *found, now + seconds)

    def quotas(self) -> Sequence[Quota]:
        """Return the last reported allowances."""
        return tuple(self._known.values())


def _numbers(headers: Mapping[str, str], *names: str) -> tuple[int, int] | None:
    limit, remaining = (headers.get(name, "") for name in names)
    return (int(limit), int(remaining)) if limit.isdecimal() and remaining.isdecimal() else None


class HubSpotClient:
    """Client of one account, with what all its users need: `requests`, `now` and `secrets`. `send` may run in parallel.

    Args:
        settings: Settings of the destination.
        requests: Builds the requests.
        context: Clock, time-out and rate limit of the destination.
        secrets: Receives each token, and masks HubSpot's messages.
    """

    def __init__(
        self, settings: HubSpotSettings, requests: HubSpotRequests, context: Context, secrets: Secrets
    ) -> None:
        self.requests = requests
        self.now = context.now
        """Returns the seconds since the epoch."""
        self.secrets = secrets
        self._session = HttpSession(settings, context)
        self._token = settings.access_token.get_secret_value() if settings.access_token else ""
        self._oauth: OAuthTokens | None = None
        if settings.oauth is not None:
            self._oauth = OAuthTokens(settings.oauth, requests.token_url, self._session, context.now, secrets)
        self._allowances = HubSpotQuotas()
        self.searching = AsyncLimiter(1, _BETWEEN_SEARCHES)
        """Limit of searches; acquire it before each."""

    def open(self, vault: Vault) -> None:
        """Receive the vault in which a new refresh token is stored."""
        if self._oauth is not None:
            self._oauth.open(vault)

    def quotas(self) -> Sequence[Quota]:
        """Return the account's allowances as last reported."""
        return self._allowances.quotas()

    async def send(self, request: HubSpotRequest) -> Answer | Failure:
        """Send a request; after a 401 send it once more with a new token, if the account uses OAuth."""
        if self._oauth is None:
            return await self._once(request, self._token)
        return await self._oauth.source.send_with_token(lambda token: self._once(request, token.value))

    async def result(self, request: HubSpotRequest) -> Answer | Retry:
        """Send a request, and return a successful answer, or the outcome of its absence. No record is to blame."""
        return success_or_retry(await self.send(request), self.secrets, self.now())

    async def close(self) -> None:
        """Close the connections, and stop fetching a token."""
        if self._oauth is not None:
            await self._oauth.source.close()
        await self._session.close()

    async def _once(self, request: HubSpotRequest, token: str) -> Answer | Failure:
        headers = hubspot_headers(request, token)
        result = await self._session.send(request.method, request.url, headers, request.body)
        if isinstance(result, Answer):
            self._allowances.observe(result.headers, self.now())
        return result


def hubspot_headers(request: HubSpotRequest, token: str) -> dict[str, str]:
    """Return the headers of a request. Pure."""
    headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
    return headers | ({"Content-Type": "application/json"} if request.body is not None else {})
