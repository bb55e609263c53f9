"""Access tokens of Zoho: got for a refresh token that stays the same, kept for an hour."""

from collections.abc import Callable
from urllib.parse import urlencode

from yarl import URL

from connectors.answers import Answer, Failure
from connectors.base import Reason, Retry, SettingError
from connectors.client import Session
from connectors.masking import Secrets
from connectors.tokens import Token, TokenSource, failed, read_token
from connectors.zoho.settings import ZohoSettings


class ZohoTokens:
    """Gets and keeps the access token of an account. Its methods may be called in parallel.

    Args:
        settings: The destination's.
        url: Where tokens are given out.
        session: Sends the requests.
        now: Seconds since the epoch.
        secrets: Is told each token, for masking.

    Raises:
        SettingError: for what can be no credential.
    """

    def __init__(
        self, settings: ZohoSettings, url: URL, session: Session, now: Callable[[], float], secrets: Secrets
    ) -> None:
        check_credentials(settings)
        self._url = url
        self._form = urlencode(
            {
                "grant_type": "refresh_token",
                "client_id": settings.client_id,
                "client_secret": settings.client_secret.get_secret_value(),
                "refresh_token": settings.refresh_token.get_secret_value(),
            }
        ).encode()
        self._session = session
        self._now = now
        self._secrets = secrets
        self._source = TokenSource(self._fetch, now, secrets)

    async def token(self) -> Token | Failure:
        """Give the token, or say why there is none."""
        return await self._source.token()

    async def renewed(self, refused: str) -> Token | Failure:
        """Give another token than the one that was refused; one for all whose call was refused with it."""
        return await self._source.renewed(refused)

    async def close(self) -> None:
        """Stop fetching. A second call does nothing."""
        await self._source.close()

    async def _fetch(self) -> Token | Failure:
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        result = await self._session.send("POST", self._url, headers, self._form)
        return refusal(result) or read_token(result, self._now(), self._secrets)


def check_credentials(settings: ZohoSettings) -> None:
    """Raise `SettingError` for what can be no credential, so that nobody is locked out for trying it. Pure.

    RFC 6749, appendix A: they are printable ASCII; blanks in them come from copying, or from a file's line end.
    """
    held = {
        "client_id": settings.client_id,
        "client_secret": settings.client_secret.get_secret_value(),
        "refresh_token": settings.refresh_token.get_secret_value(),
    }
    for name, value in held.items():
        if not value:
            raise SettingError((name,), "must not be empty; give that of the client, or check where it is read from")
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise SettingError((name,), "must be letters, digits and signs without blanks or line ends; copy it again")


def refusal(result: Answer | Failure) -> Failure | None:
    """Read the refusal in a token answer, which Zoho sends with status 200; None for any other answer. Pure.

    The documents call them `invalid_client`, `invalid_code`, `invalid_client_secret` (zoho.com/crm/developer, "Refresh
    Access Tokens"). Too many tokens in ten minutes are refused too, as `Access Denied`.
    """
    if isinstance(result, Failure) or result.status != 200:  # noqa: PLR2004 - OK
        return None
    try:
        document = result.json()
    except ValueError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, str) or not error.replace("_", "").replace(" ", "").isalnum():
        return None
    why = f"no access token: it answered {error[:60]}; correct client_id, client_secret, refresh_token or accounts_url"
    return failed(Retry(Reason.UNAUTHORIZED, why, status=result.status))
