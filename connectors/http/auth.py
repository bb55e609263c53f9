"""OAuth 2 client credentials (RFC 6749 section 4.4): one token for all calls."""

from collections.abc import Callable
from urllib.parse import quote_plus, urlencode

from aiohttp import encode_basic_auth
from yarl import URL

from connectors.http.settings import OAuth2
from connectors.http_client.address_guard import check_url
from connectors.http_client.answer import Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.tokens import Token, TokenSource, read_token


class ClientCredentials:
    """Access tokens of a destination. `source` may be used in parallel.

    Args:
        settings: OAuth settings of the destination.
        session: Sends the token requests.
        now: Seconds since the epoch.
        secrets: Receives each token, for masking.
    """

    def __init__(self, settings: OAuth2, session: HttpSession, now: Callable[[], float], secrets: Secrets) -> None:
        self._url = URL(settings.token_url)
        self._headers, self._body = token_request(settings)
        self._session = session
        self._now = now
        self._secrets = secrets
        self.source = TokenSource(self._fetch, now, secrets)
        """Holder of the token in use."""

    async def _fetch(self) -> Token | Failure:
        result = await self._session.send("POST", self._url, self._headers, self._body)
        return read_token(result, self._now(), self._secrets)


def check_token_url(settings: OAuth2, *, allow_private: bool) -> None:
    """Raise ValueError, with a line for the operator, if the token URL cannot be used."""
    try:
        url = URL(settings.token_url)
    except ValueError:
        raise ValueError("is not a URL") from None
    check_url(url, allow_private=allow_private)


def token_request(settings: OAuth2) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a token request. Pure."""
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    form = {"grant_type": "client_credentials"}
    client_id, secret = settings.client_id, settings.client_secret.get_secret_value()
    if settings.client_auth == "basic":
        # RFC 6749 section 2.3.1: both are form-encoded before they go into the header.
        headers["Authorization"] = encode_basic_auth(quote_plus(client_id), quote_plus(secret))
    else:
        form |= {"client_id": client_id, "client_secret": secret}
    form |= {name: value for name, value in (("scope", settings.scope), ("audience", settings.audience)) if value}
    return headers, urlencode(form).encode()
