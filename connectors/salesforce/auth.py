"""Access to an org: the three OAuth 2 flows, and the address that a token is for.

Salesforce Help, "OAuth Authorization Flows": client credentials, JWT bearer (RFC 7523), refresh token. The answer names
the org's address, to which every call goes. It is believed only where it is Salesforce's own, so that whoever can
answer for the login address cannot have leads sent to himself.
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
from connectors.http_client.session import Session
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
    """The org's address: scheme, host and port."""


class Access:
    """Gets the access token of an org. `source` may be used in parallel.

    Args:
        settings: The destination's.
        session: Sends the token requests.
        now: Seconds since the epoch.
        secrets: Is told each token, for masking.

    Raises:
        SettingError: for an address that is not Salesforce's, a key that cannot sign, or what can be no credential.
    """

    def __init__(
        self, settings: SalesforceSettings, session: Session, now: Callable[[], float], secrets: Secrets
    ) -> None:
        check_credentials(_held(settings))
        self._settings = settings
        self._url = login_url(settings) / "services/oauth2/token"
        self._session = session
        self._now = now
        self._secrets = secrets
        self._refresh: RefreshToken | None = None
        if settings.refresh_token is not None:
            self._refresh = RefreshToken(settings.refresh_token.get_secret_value(), secrets)
        token_form(settings, now(), None)  # so that a key that cannot sign is found now
        self.source = TokenSource(self._fetch, now, secrets)
        """Keeps the token in use."""

    def open(self, vault: Vault) -> None:
        """Take the place where a refresh token is kept that Salesforce gives in place of the old one."""
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
            lost = await self._refresh.keep(_said(answer, "refresh_token"))
            if lost is not None:
                return lost
        return read_instance(token, answer, self._settings)


def _held(settings: SalesforceSettings) -> dict[str, str]:
    secrets = {"client_secret": settings.client_secret, "refresh_token": settings.refresh_token}
    held = {"client_id": settings.client_id, "username": settings.username}
    held |= {name: secret.get_secret_value() for name, secret in secrets.items() if secret is not None}
    return {name: value for name, value in held.items() if value is not None}


def login_url(settings: SalesforceSettings) -> URL:
    """Return the address that tokens are asked of. Raises `SettingError` unless it is Salesforce's, or on this side.

    The hosts that are there for all orgs give none for client credentials ("request not supported on this domain").
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
        settings: The destination's; they name the flow.
        now: Seconds since the epoch.
        refresh_token: The one in use, for that flow.

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
    """Read the org's address from a token answer, and refuse one that is not Salesforce's. Pure.

    With `allow_private` it may also be on this machine, or where the login address is.
    """
    said = _said(answer, "instance_url")
    try:
        url = URL(said) if isinstance(said, str) else URL()
        check_url(url, allow_private=settings.allow_private)
    except ValueError:
        return _untrusted("no address of an org that can be used")
    if _is_salesforce(url) and url.port == url.with_port(None).port:
        return OrgToken(token.value, token.until, url.origin())
    if settings.allow_private and (_is_loopback(url) or url.host == URL(settings.login_url).host):
        return OrgToken(token.value, token.until, url.origin())
    return _untrusted(f"{url.host} as the org's address, which is not Salesforce's")


def _assertion(settings: SalesforceSettings, key: str, now: float) -> str:
    """Make the signed statement of who is calling (Salesforce Help, "OAuth 2.0 JWT Bearer Flow")."""
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
        # PyJWT's own for another kind of key; of a key with a password it lets a TypeError of cryptography through, of
        # a public one an AttributeError.
        raise SettingError(("private_key",), "must be an RSA private key in PEM form, without a password") from None


def _untrusted(what: str) -> Failure:
    return token_failure(
        Retry(Reason.BAD_ANSWER, f"the token's answer gives {what}; correct login_url"), ("login_url",)
    )


def _said(answer: Answer | Failure, name: str) -> object:
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
