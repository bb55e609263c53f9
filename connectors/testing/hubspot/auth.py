"""Access to the HubSpot sandbox: private app tokens and service keys, OAuth apps, scopes. Does not use the network.

Sources: HubSpot's pages on OAuth (the body of a token, of an expired one) and on private apps (the token's own data).
The bodies of refused token requests are those of v1; whether the newer paths answer otherwise is not confirmed.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from connectors.testing.contacts import Reply
from connectors.testing.hubspot.errors import RefusedError, missing_scopes
from connectors.testing.hubspot.schema import moment

SCOPES = frozenset(
    f"crm.objects.{name}.{right}"
    for name in ("contacts", "companies", "deals", "leads", "custom")
    for right in ("read", "write")
) | {"crm.objects.owners.read", "crm.lists.read", "crm.lists.write"}
"""Default scopes of a token. None of them permits defining properties."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OAuthApp:
    """An app that is installed in the account."""

    client_id: str
    client_secret: str
    refresh_token: str
    lifetime: float = 1800.0
    """Lifetime of an access token in seconds."""
    rotates: bool = False
    """True if each refresh returns another refresh token and invalidates the old one."""
    code: str | None = None
    """An authorization code that can be exchanged once, together with `redirect_uri`."""
    redirect_uri: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request."""

    scopes: Collection[str]
    oauth: bool

    def need(self, name: str, right: str) -> None:
        """Raise `RefusedError` for a caller without a scope for an object. Any of those that HubSpot lists suffices."""
        listed = [
            f"crm.objects.{name}.{kind}" for kind in (right, f"sensitive.{right}.v2", f"highly_sensitive.{right}.v2")
        ]
        if right == "read":
            listed.append(f"crm.schemas.{name}.read")
        self._need(listed)

    def need_list(self, right: str) -> None:
        """Raise `RefusedError` for a caller that may not read or write lists."""
        self._need([f"crm.lists.{right}"])

    def need_schema(self, name: str) -> None:
        """Raise `RefusedError` for a caller that may not define properties."""
        self._need([f"crm.schemas.{name}.write"])

    def _need(self, listed: list[str]) -> None:
        if not set(listed) & set(self.scopes):
            raise missing_scopes(listed)


class Credentials:
    """Valid tokens, and the issuing of an OAuth app's tokens.

    Args:
        access_token: Token of a private app, or a service key; None: the account has none.
        scopes: Scopes of each token.
        app: The OAuth app, if there is one.
        portal: The account.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        access_token: str | None,
        scopes: Collection[str],
        app: OAuthApp | None,
        portal: int,
        now: Callable[[], float],
    ) -> None:
        self.scopes = frozenset(scopes)
        """Scopes; tests may change them at any time."""
        self.requests: list[dict[str, str]] = []
        """Forms of all token requests."""
        self._access_token = access_token
        self._app = app
        self._portal = portal
        self._now = now
        self._refresh_token = app.refresh_token if app else ""
        self._code = app.code if app else None
        self._until: dict[str, float] = {}

    def caller(self, authorization: str) -> Caller:
        """Return the caller with this Authorization header. Raises `RefusedError` for an invalid token."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unknown_token()
        if token == self._access_token:
            return Caller(self.scopes, oauth=False)
        until = self._until.get(token)
        if until is None:
            raise _unknown_token()
        now = self._now()
        if until <= now:
            ago = int(now - until)
            raise RefusedError(
                401,
                f"The OAuth token used to make this call expired {ago} second(s) ago.",
                "EXPIRED_AUTHENTICATION",
                context={"expire time": [moment(until)]},
            )
        return Caller(self.scopes, oauth=True)

    def expire(self) -> None:
        """Expire all access tokens of the OAuth app now."""
        self._until = dict.fromkeys(self._until, self._now())

    def revoke(self) -> None:
        """Invalidate all tokens, as when the app is uninstalled or the key is deleted."""
        self._access_token = None
        self._refresh_token = ""
        self._until.clear()

    def give(self, content_type: str, body: bytes) -> Reply:
        """Answer a request for a token: a form in the body, nothing in the query. Raises `RefusedError`."""
        if content_type != "application/x-www-form-urlencoded":
            raise RefusedError(415, "Unsupported Media Type", None)
        form = dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))
        self.requests.append(form)
        if self._app is None:
            return _refused("BAD_CLIENT_ID", "missing or unknown client id")
        for wanted, status, message in self._checks(self._app, form):
            if not wanted:
                return _refused(status, message)
        if form["grant_type"] == "authorization_code":
            self._code = None
        return self._tokens(self._app)

    def info(self, document: dict[str, Any]) -> Reply:
        """Return the scopes of a private app's token or a service key, requested by `tokenKey`."""
        if self._access_token is None or document.get("tokenKey") != self._access_token:
            raise _unknown_token()
        return Reply(200, {"userId": 1, "hubId": self._portal, "appId": 1, "scopes": sorted(self.scopes)})

    def _checks(self, app: OAuthApp, form: Mapping[str, str]) -> list[tuple[bool, str, str]]:
        """Return the conditions for a token, each with the answer if it fails."""
        grant = form.get("grant_type")
        checks = [
            (form.get("client_id") == app.client_id, "BAD_CLIENT_ID", "missing or unknown client id"),
            (form.get("client_secret") == app.client_secret, "BAD_CLIENT_SECRET", "missing or invalid client secret"),
            (grant in ("refresh_token", "authorization_code"), "BAD_GRANT_TYPE", "missing or unknown grant type"),
        ]
        if grant == "refresh_token":
            good = bool(self._refresh_token) and form.get("refresh_token") == self._refresh_token
            return [*checks, (good, "BAD_REFRESH_TOKEN", "missing or invalid refresh token")]
        good = self._code is not None and form.get("code") == self._code
        same = form.get("redirect_uri") == app.redirect_uri
        return [
            *checks,
            (good, "BAD_AUTH_CODE", "missing or unknown auth code"),
            (same, "MISMATCH_REDIRECT_URI_AUTH_CODE", "redirect uri does not match the auth code"),
        ]

    def _tokens(self, app: OAuthApp) -> Reply:
        token = f"access-{len(self._until) + 1}"
        self._until[token] = self._now() + app.lifetime
        if app.rotates:
            self._refresh_token = f"{app.refresh_token}-{len(self._until)}"
        return Reply(
            200,
            {
                "token_type": "bearer",
                "refresh_token": self._refresh_token,
                "hub_id": self._portal,
                "scopes": sorted(self.scopes),
                "access_token": token,
                "expires_in": int(app.lifetime),
            },
        )


def _unknown_token() -> RefusedError:
    return RefusedError(
        401,
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more "
        "details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        "INVALID_AUTHENTICATION",
    )


def _refused(status: str, message: str) -> Reply:
    return Reply(400, {"status": status, "message": message})
