"""Access to an org: the three OAuth 2 flows, and the org's address in the token answer.

Salesforce Help, "OAuth Authorization Flows": client credentials, JWT bearer (RFC 7523), refresh token. The answer names
the org's address, to which every call goes. It is accepted only if it is Salesforce's own, so that an impostor of the
login address cannot redirect leads to itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlencode

import jwt
from yarl import URL

from connectors.base import Reason, Retry, SettingError, Vault
from connectors.http_client.address_guard import check_url
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.session import HttpSession
from connectors.http_client.tokens import RefreshToken, Token, TokenSource, check_credentials, read_token, token_failure
from connectors.salesforce.errors import document_of
from connectors.salesforce.settings import SalesforceSettings

_DOMAINS = (".salesforce.com", ".salesforce.mil")  # My Domain hosts; the second is Government Cloud's
_ASSERTION_LIFE = 180  # seconds; Salesforce takes up to 300, and its clock may differ from ours
_LOGIN, _TEST = "https://login.salesforce.com", "https://test.salesforce.com"
_HEADERS = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True, repr=False)
class OrgToken(Token):
    """An access token, and the org that it is for."""

    instance: URL
    """Address of the org: scheme, host and port."""


class Access:
    """Access tokens of an org. `source` may be used in parallel.

    Args:
        settings: Settings of the destination.
        session: Sends the token requests.
        now: Seconds since the epoch.
        secrets: Receives each token, for masking.

    Raises:
        SettingError: the address is not Salesforce's, the key cannot sign, or a credential is impossible.
    """

    def __init__(
        self, settings: SalesforceSettings, session: HttpSession, now: Callable[[], float], secrets: Secrets
    ) -> None:
        check_credentials(_credentials(settings))
        self._settings = settings
        self._url = login_url(settings) / "services/oauth2/token"
        self._session = session
        self._now = now
        self._secrets = secrets
        self._refresh: RefreshToken | None = None
        if settings.refresh_token is not None:
            self._refresh = RefreshToken(settings.refresh_token.get_secret_value(), secrets)
        token_form(settings, now(), None)  # reports a key that cannot sign
        self.source = TokenSource(self._fetch, now, secrets)
        """Holder of the token in use."""

    def open(self, vault: Vault) -> None:
        """Receive the vault in which a replaced refresh token is stored."""
        if self._refresh is not None:
            self._refresh.open(vault)

    async def _fetch(self) -> OrgToken | Failure:
        refresh = await self._refresh.value() if self._refresh else None
        if isinstance(refresh, Failure):
            return refresh
        form = token_form(self._settings, self._now(), refresh)
        answer = await self._session.send("POST", self._url, _HEADERS, urlencode(form).encode())
        token = read_token(answer, self._now(), self._secrets)
        if isinstance(token, Failure):
            return token
        if self._refresh is not None:
            failure = await self._refresh.keep(_value_in(answer, "refresh_token"))
            if failure is not None:
                return failure
        return read_instance(token, answer, self._settings)


def _credentials(settings: SalesforceSettings) -> dict[str, str]:
    secrets = {"client_secret": settings.client_secret, "refresh_token": settings.refresh_token}
    credentials = {"client_id": settings.client_id, "username": settings.username}
    credentials |= {name: secret.get_secret_value() for name, secret in secrets.items() if secret is not None}
    return {name: value for name, value in credentials.items() if value is not None}


def login_url(settings: SalesforceSettings) -> URL:
    """Return the address of the token endpoint. Raises `SettingError` unless it is Salesforce's, or a private server.

    The hosts shared by all orgs issue no tokens for client credentials ("request not supported on this domain").
    """
    try:
        url = URL(settings.login_url)
        check_url(url, allow_private=settings.allow_private)
    except ValueError as error:
        raise SettingError(("login_url",), str(error)) from None
    if url.path not in ("", "/") or url.query_string or url.fragment:
        raise SettingError(("login_url",), "must be scheme and host only, such as https://acme.my.salesforce.com")
    if f"{url.origin()}" in (_LOGIN, _TEST) and settings.private_key is None and settings.refresh_token is None:
        what = "must be the org's My Domain, such as https://acme.my.salesforce.com, for a client_secret alone"
        raise SettingError(("login_url",), what)
    if not settings.allow_private and not _is_salesforce(url):
        raise SettingError(("login_url",), "must be a host of salesforce.com, such as https://acme.my.salesforce.com")
    return url.origin()


def token_form(settings: SalesforceSettings, now: float, refresh_token: str | None) -> dict[str, str]:
    """Return the form of a token request. Pure.

    Args:
        settings: Settings of the destination; they determine the flow.
        now: Seconds since the epoch.
        refresh_token: Refresh token in use, for that flow.

    Raises:
        SettingError: the private key cannot sign.
    """
    if settings.private_key is not None:
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return {"grant_type": grant, "assertion": _assertion(settings, settings.private_key.get_secret_value(), now)}
    form = {"grant_type": "client_credentials", "client_id": settings.client_id}
    if settings.client_secret is not None:
        form["client_secret"] = settings.client_secret.get_secret_value()
    if settings.refresh_token is not None:
        form |= {"grant_type": "refresh_token", "refresh_token": refresh_token or ""}
    return form


def read_instance(token: Token, answer: Answer | Failure, settings: SalesforceSettings) -> OrgToken | Failure:
    """Return the token with the org's address from its answer, or a failure if the address is not Salesforce's. Pure.

    With `allow_private` it may also be on this machine, or at the login address.
    """
    instance = _value_in(answer, "instance_url")
    try:
        url = URL(instance) if isinstance(instance, str) else URL()
        check_url(url, allow_private=settings.allow_private)
    except ValueError:
        return _untrusted("no address of an org that can be used")
    if _is_salesforce(url) and url.port == url.with_port(None).port:
        return OrgToken(token.value, token.until, url.origin())
    if settings.allow_private and (_is_loopback(url) or url.host == URL(settings.login_url).host):
        return OrgToken(token.value, token.until, url.origin())
    return _untrusted(f"{url.host} as the org's address, which is not Salesforce's")


def _assertion(settings: SalesforceSettings, key: str, now: float) -> str:
    """Return the signed claim of identity (Salesforce Help, "OAuth 2.0 JWT Bearer Flow")."""
    host = URL(settings.login_url).host or ""
    is_sandbox = host == "test.salesforce.com" or ".sandbox." in host
    claims = {
        "iss": settings.client_id,
        "sub": settings.username or "",
        "aud": _TEST if is_sandbox else _LOGIN,
        "exp": int(now) + _ASSERTION_LIFE,
    }
    try:
        return jwt.encode(claims, key, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        # PyJWT raises its own error for another kind of key, a TypeError for a key with a password, and an
        # AttributeError for a public key.
        raise SettingError(("private_key",), "must be an RSA private key in PEM form, without a password") from None


def _untrusted(what: str) -> Failure:
    return token_failure(
        Retry(Reason.BAD_ANSWER, f"the token's answer names {what}; correct login_url"), ("login_url",)
    )


def _value_in(answer: Answer | Failure, name: str) -> object:
    document = document_of(answer) if isinstance(answer, Answer) else None
    return document.get(name) if isinstance(document, dict) else None


def _is_salesforce(url: URL) -> bool:
    host = (url.host or "").lower()
    return url.scheme == "https" and host.endswith(_DOMAINS)


def _is_loopback(url: URL) -> bool:
    host = url.host or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
