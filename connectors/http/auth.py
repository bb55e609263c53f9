"""OAuth 2 of the `http` connector: client credentials, refresh token, JWT bearer. One token for all calls."""

from collections.abc import Callable
from urllib.parse import quote_plus

from aiohttp import encode_basic_auth
from yarl import URL

from connectors.http.settings import OAuth2, setting, within
from connectors.http_client.address_guard import check_url
from connectors.http_client.grants import JWT_BEARER, Assertion, GrantedTokens, TokenRequest
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.tokens import check_credentials

_AT = ("auth", "oauth2")


def access_tokens(
    settings: OAuth2, session: HttpSession, now: Callable[[], float], secrets: Secrets, *, allow_private: bool
) -> GrantedTokens:
    """Return the access tokens of a destination.

    Args:
        settings: OAuth settings of the destination; they determine the grant.
        session: Sends the token requests.
        now: Seconds since the epoch.
        secrets: Receives each token, for masking.
        allow_private: True if the token endpoint may be private.

    Raises:
        SettingError: the address cannot be used, the key cannot sign, or the refresh token is impossible.
    """
    with setting(*_AT, "token_url"):
        url = _checked(settings.token_url, allow_private=allow_private)
    refresh = settings.refresh_token.get_secret_value() if settings.refresh_token else None
    if refresh is not None:
        with within(*_AT):
            check_credentials({"refresh_token": refresh})
    with setting(*_AT, "private_key"):
        token_request(settings, now(), refresh)  # reports a key that cannot sign
    return GrantedTokens(
        url,
        lambda moment, token: token_request(settings, moment, token),
        session,
        now,
        secrets,
        refresh_token=refresh,
    )


def token_request(settings: OAuth2, now: float, refresh_token: str | None) -> TokenRequest:
    """Return a token request (RFC 6749 sections 4.4 and 6, RFC 7523 section 2.1). Pure.

    Args:
        settings: OAuth settings of the destination.
        now: Seconds since the epoch, for an assertion.
        refresh_token: Refresh token in use, for that grant.

    Raises:
        ValueError: the private key cannot sign.
    """
    if settings.private_key is not None:
        assertion = Assertion(
            settings.client_id,
            settings.audience or settings.token_url,
            settings.private_key.get_secret_value(),
            settings.key_id,
            settings.subject,
            settings.scope,
        )
        return TokenRequest({"grant_type": JWT_BEARER, "assertion": assertion.signed(now)}, {})
    form = {"grant_type": "client_credentials"}
    if refresh_token is not None:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    headers = {}
    secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
    if settings.client_auth == "basic":
        # RFC 6749 section 2.3.1: both are form-encoded before they go into the header.
        headers["Authorization"] = encode_basic_auth(quote_plus(settings.client_id), quote_plus(secret))
    else:
        form |= {"client_id": settings.client_id} | (
            {"client_secret": secret} if settings.client_secret is not None else {}
        )
    form |= {name: value for name, value in (("scope", settings.scope), ("audience", settings.audience)) if value}
    return TokenRequest(form, headers)


def _checked(source: str, *, allow_private: bool) -> URL:
    try:
        url = URL(source)
        _ = url.port  # yarl checks the port only when it is read
    except ValueError:
        raise ValueError("is not a URL") from None
    check_url(url, allow_private=allow_private)
    return url
