"""The token endpoint: client credentials, JWT bearer and refresh token. Does not use the network.

From Salesforce Help, OAuth Authorization Flows. An answer never states the lifetime of a token, and the
username-password flow is refused, as in orgs where it is disabled.
"""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from connectors.testing.contacts import Reply
from connectors.testing.salesforce.objects import USER

_ORG = "00D5g000000ABCDEAU"
_LONGEST_ASSERTION = 300.0  # seconds that an assertion may be valid
_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(slots=True, repr=False)
class Client:
    """The External Client App that may fetch tokens."""

    id: str
    secret: str
    username: str = "integration@acme.example"
    """User that a JWT may act as."""
    certificate: bytes | None = None
    """The app's certificate, or its public key, as PEM; None: it has none, and no JWT is valid."""
    audience: str = "https://login.salesforce.com"
    """Required audience of a JWT; `https://test.salesforce.com` in a sandbox org."""
    approved: bool = True
    """True if the user has approved the app."""
    refresh_token: str | None = None
    """Valid refresh token; None if there is none."""
    rotates: bool = False
    """True if a refresh returns a new refresh token and invalidates the old one."""


class Tokens:
    """Issuer of access tokens. Tests may change its attributes at any time.

    Args:
        client: App that may have tokens.
        lifetime: Lifetime of a session in seconds, which no answer states.
        now: Seconds since the epoch.
        origin: Returns the sandbox's own scheme, host and port.
    """

    def __init__(self, client: Client, lifetime: float, now: Callable[[], float], origin: Callable[[], str]) -> None:
        self.client = client
        self.describes_errors = True
        """True if errors have an `error_description`; some have none."""
        self.instance_url: str | None = None
        """Replacement for the sandbox's own `instance_url`."""
        self.my_domain = True
        """True to answer as the org's My Domain host. The login host refuses client credentials."""
        self.requests: list[dict[str, str]] = []
        """Forms of all token requests."""
        self._lifetime = lifetime
        self._now = now
        self._origin = origin
        self._until: dict[str, float] = {}
        self._given = 0

    def give(self, authorization: str, content_type: str, body: bytes) -> Reply:
        """Answer a token request.

        Args:
            authorization: Authorization header, which may carry id and secret; may be empty.
            content_type: Content-Type, without parameters.
            body: Body of the request.
        """
        try:
            form = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True))
        except ValueError:
            form = {}
        self.requests.append(form)
        if content_type != "application/x-www-form-urlencoded" or not form.get("grant_type"):
            return self._refused("invalid_request", "grant type is missing")
        match form["grant_type"]:
            case "client_credentials":
                return self._by_credentials(authorization, form)
            case "refresh_token":
                return self._by_refresh_token(authorization, form)
            case grant if grant == _JWT:
                return self._by_assertion(form.get("assertion", ""))
        return self._refused("unsupported_grant_type", "grant type not supported")

    def holds(self, token: str) -> bool:
        """Return True if a token was issued and has not expired."""
        return self._until.get(token, 0.0) > self._now()

    def grant(self) -> str:
        """Return a token to a test that does not fetch one."""
        self._given += 1
        digest = hashlib.sha256(b"%d" % self._given).hexdigest()
        token = f"{_ORG[:15]}!AQ0A{digest}"
        self._until[token] = self._now() + self._lifetime
        return token

    def expire(self) -> None:
        """Expire all issued tokens now."""
        self._until.clear()

    def _by_credentials(self, authorization: str, form: Mapping[str, str]) -> Reply:
        if not self.my_domain:
            return self._refused("invalid_grant", "request not supported on this domain")
        return self._wrong_client(authorization, form) or self._granted(signed=True)

    def _by_refresh_token(self, authorization: str, form: Mapping[str, str]) -> Reply:
        wrong = self._wrong_client(authorization, form)
        if wrong:
            return wrong
        if self.client.refresh_token is None or form.get("refresh_token") != self.client.refresh_token:
            return self._refused("invalid_grant", "expired access/refresh token")
        if not self.client.rotates:
            return self._granted(signed=True)
        digest = hashlib.sha256(self.client.refresh_token.encode()).hexdigest()
        self.client.refresh_token = f"5Aep861{digest}"
        return self._granted(signed=True, refresh_token=self.client.refresh_token)

    def _by_assertion(self, assertion: str) -> Reply:
        """Check an assertion (RFC 7523): first its signature, then its claims."""
        claims = self._claims(assertion)
        left = claims["exp"] - self._now()
        if not 0 < left <= _LONGEST_ASSERTION:
            return self._refused("invalid_grant", "invalid assertion")
        if claims["iss"] != self.client.id:
            return self._refused("invalid_client_id", "client identifier invalid")
        if claims["aud"] != self.client.audience:
            return self._refused("invalid_grant", "audience is invalid")
        if claims["sub"] != self.client.username or not self.client.approved:
            return self._refused("invalid_grant", "user hasn't approved this consumer")
        return self._granted(signed=False)

    def _claims(self, assertion: str) -> dict[str, Any]:
        """Return the claims of an assertion with unchecked times; without a known signature they are long expired."""
        nothing = {"exp": 0.0, "iss": "", "aud": "", "sub": ""}
        if self.client.certificate is None:
            return nothing
        unchecked = jwt.types.Options(verify_exp=False, verify_nbf=False, verify_iat=False, verify_aud=False)
        try:
            key = _public_key(self.client.certificate)
            claims = jwt.decode(assertion, key, algorithms=["RS256"], options=unchecked)
            return {**nothing, **claims, "exp": float(claims.get("exp", 0.0))}
        except (jwt.InvalidTokenError, TypeError, ValueError):
            return nothing

    def _wrong_client(self, authorization: str, form: Mapping[str, str]) -> Reply | None:
        client_id, secret = _shown(authorization, form)
        if client_id != self.client.id:
            return self._refused("invalid_client_id", "client identifier invalid")
        if secret != self.client.secret:
            return self._refused("invalid_client", "invalid client credentials")
        return None

    def _granted(self, *, signed: bool, **more: str) -> Reply:
        issued_at = str(int(self._now() * 1000))
        document: dict[str, Any] = {
            "access_token": self.grant(),
            "scope": "api",
            "instance_url": self.instance_url or self._origin(),
            "id": f"https://login.salesforce.com/id/{_ORG}/{USER}",
            "token_type": "Bearer",
            **more,
        }
        if signed:
            digest = hashlib.sha256((document["id"] + issued_at).encode()).digest()
            document |= {"signature": b64encode(digest).decode(), "token_format": "opaque", "issued_at": issued_at}
        return Reply(200, document, {"Cache-Control": "no-store"})

    def _refused(self, error: str, description: str) -> Reply:
        described = {"error_description": description} if self.describes_errors else {}
        return Reply(400, {"error": error, **described})


def _shown(authorization: str, form: Mapping[str, str]) -> tuple[str, str]:
    """Return id and secret from the header or from the body (RFC 6749 section 2.3.1)."""
    if not authorization.startswith("Basic "):
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        user, _, password = b64decode(authorization.removeprefix("Basic "), validate=True).decode().partition(":")
    except (Base64Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(user), unquote_plus(password)


def _public_key(pem: bytes) -> RSAPublicKey:
    """Return the key of a certificate or a PEM. Raises ValueError."""
    key = load_pem_x509_certificate(pem).public_key() if b"CERTIFICATE" in pem else load_pem_public_key(pem)
    if not isinstance(key, RSAPublicKey):
        raise ValueError("must be an RSA key")  # noqa: TRY004 - a wrong value of the right type, PEM
    return key
