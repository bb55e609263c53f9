"""Access of a service account of Google Cloud: its JSON key, and the tokens for it."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson
from yarl import URL

from connectors.base import STAND_IN, SettingError
from connectors.google_sheets.settings import GoogleSheetsSettings
from connectors.http_client.address_guard import check_url
from connectors.http_client.grants import JWT_BEARER, Assertion, GrantedTokens, TokenRequest
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession

_SCOPE = "https://www.googleapis.com/auth/spreadsheets"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GOOGLE = ".googleapis.com"
_KEY = ("service_account",)


@dataclass(frozen=True, slots=True, repr=False)
class ServiceAccount:
    """A service account: its address, and everything that its key signs with."""

    email: str
    token_url: URL
    assertion: Assertion


def read_account(settings: GoogleSheetsSettings) -> ServiceAccount:
    """Return the service account of the settings. Pure.

    Raises:
        SettingError: the key is not that of a service account, or leads to a server that is not Google's.
    """
    text = settings.service_account.get_secret_value()
    if text.startswith(STAND_IN):
        return ServiceAccount("the service account", URL(_TOKEN_URI), Assertion("", _TOKEN_URI, "", scope=_SCOPE))
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError:
        key = None
    names = ("client_email", "private_key")
    if not isinstance(key, dict) or not all(isinstance(key.get(name), str) for name in names):
        what = (
            "must be the JSON key of a service account, with client_email and private_key; create one in Google Cloud"
        )
        raise SettingError(_KEY, what)
    source = str(key.get("token_uri") or _TOKEN_URI)
    try:
        url = URL(source)
        check_url(url, allow_private=settings.allow_private)
    except ValueError as error:
        raise SettingError(_KEY, f"its token_uri {error}") from None
    if not settings.allow_private and not (url.host or "").endswith(_GOOGLE):
        raise SettingError(_KEY, f"its token_uri must be a host of {_GOOGLE[1:]}")
    key_id = key.get("private_key_id")
    return ServiceAccount(
        key["client_email"],
        url,
        Assertion(
            key["client_email"], source, key["private_key"], key_id if isinstance(key_id, str) else None, None, _SCOPE
        ),
    )


def account_tokens(
    account: ServiceAccount, session: HttpSession, now: Callable[[], float], secrets: Secrets
) -> GrantedTokens:
    """Return the access tokens of a service account. Raises `SettingError` if its key cannot sign."""

    def request(moment: float, _: str | None) -> TokenRequest:
        return TokenRequest({"grant_type": JWT_BEARER, "assertion": account.assertion.signed(moment)}, {})

    if account.assertion.private_key:
        try:
            request(now(), None)
        except ValueError as error:
            raise SettingError(_KEY, f"its private_key {error}") from None
    return GrantedTokens(account.token_url, request, session, now, secrets)
