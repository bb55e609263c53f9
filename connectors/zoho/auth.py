"""Access tokens of Zoho, which last an hour; the refresh token stays the same."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlencode

from yarl import URL

from connectors.base import Reason, Retry
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.tokens import Token, TokenSource, check_credentials, read_token, token_failure
from connectors.zoho.settings import ZohoSettings


class ZohoTokens:
    """Access tokens of an account. `source` may be used in parallel.

    Args:
        settings: Settings of the destination.
        url: Token endpoint.
        session: Sends the requests.
        now: Seconds since the epoch.
        secrets: Receives each token, for masking.

    Raises:
        SettingError: a credential is impossible.
    """

    def __init__(
        self, settings: ZohoSettings, url: URL, session: HttpSession, now: Callable[[], float], secrets: Secrets
    ) -> None:
        credentials = {
            "client_id": settings.client_id,
            "client_secret": settings.client_secret.get_secret_value(),
            "refresh_token": settings.refresh_token.get_secret_value(),
        }
        check_credentials(credentials)
        self._url = url
        self._form = urlencode({"grant_type": "refresh_token", **credentials}).encode()
        self._session = session
        self._now = now
        self._secrets = secrets
        self.source = TokenSource(self._fetch, now, secrets)
        """Holder of the token in use."""

    async def _fetch(self) -> Token | Failure:
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        result = await self._session.send("POST", self._url, headers, self._form)
        return token_refusal(result) or read_token(result, self._now(), self._secrets)


def token_refusal(result: Answer | Failure) -> Failure | None:
    """Return the refusal in a token answer, which Zoho sends with status 200; None for any other answer. Pure.

    The documentation names `invalid_client`, `invalid_code`, `invalid_client_secret` (zoho.com/crm/developer, "Refresh
    Access Tokens"). Too many tokens within ten minutes are refused too, as `Access Denied`.
    """
    if isinstance(result, Failure) or result.status != HTTPStatus.OK:
        return None
    try:
        document = result.json()
    except ValueError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, str) or not error.replace("_", "").replace(" ", "").isalnum():
        return None
    why = f"no access token: it answered {error[:60]}; correct client_id, client_secret, refresh_token or accounts_url"
    return token_failure(Retry(Reason.UNAUTHORIZED, why, status=result.status))
