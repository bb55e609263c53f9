"""The headers of requests: fixed values, templates, credentials, idempotency key and signature. Pure."""

import base64
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import encode_basic_auth
from multidict import CIMultiDict
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from connectors.base import Context, SettingError
from connectors.http.address import UnsendableError
from connectors.http.settings import Auth, HmacSignature, HttpSettings, Sign, setting
from connectors.http_client.masking import is_sensitive

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110 section 5.5; a line break would start another header
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_KEY = "Idempotency-Key"
_OF_THE_CONNECTION = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)

NO_VARIABLES: Mapping[str, Any] = {}


class Headers:
    """Builder of request headers. Values that are the same for each record are made once.

    Args:
        settings: Settings of the destination.
        context: Compiles templates.
        names: Names that templates may use.
        content_type: Content-Type of the body, unless the settings name another; None without a body.

    Raises:
        SettingError: a header cannot be sent, or another setting already sets it.
    """

    def __init__(
        self, settings: HttpSettings, context: Context, names: frozenset[str], content_type: str | None
    ) -> None:
        self._fixed = CIMultiDict(_auth_headers(settings.auth))
        self._credentials = {name.lower() for name in (*self._fixed, *filter(is_sensitive, settings.headers))}
        if content_type is not None:
            with setting("body", "content_type"):
                self._fixed["Content-Type"] = _sendable("Content-Type", content_type)
        self._key = settings.idempotency_key
        self._signature = _signature_of(settings.sign)
        self._signed = _signing_headers(settings.sign)
        self.templates: dict[str, Callable[[Mapping[str, Any]], str]] = {}
        """Templates whose values depend on the record, by header name."""
        reserved = self._reserved(settings.auth)
        for name, value in settings.headers.items():
            with setting("headers", name):
                _check_name(name, reserved)
                self._add(name, value.get_secret_value(), context, names)
        self._same = not (self.templates or self._signed or self._key)

    def make(
        self, message_id: str, body: bytes | None, now: float, variables: Mapping[str, Any] = NO_VARIABLES
    ) -> CIMultiDict[str]:
        """Return the headers of a request. Do not change them, because requests may share them.

        Args:
            message_id: Stays the same when the same content is sent again.
            body: Body of the request, for the signature.
            now: Seconds since the epoch, for the signature.
            variables: Variables of the record, for templates.

        Raises:
            ExpressionError: the record's values do not suit a template, or cannot be sent.
        """
        if self._same:
            return self._fixed
        headers = self._fixed.copy()
        for name, template in self.templates.items():
            headers[name] = _sendable(name, template(variables))
        if self._key:
            headers[_KEY] = message_id if self._key == "bare" else _quoted(message_id)
        if self._signed:
            headers.update(self._signature(message_id, body or b"", now))
        return headers

    def without_record(self, now: float, *, credentials: bool) -> CIMultiDict[str]:
        """Return the headers of a request without record and body, with or without the credentials.

        Headers that are templates are left out.
        """
        left_out = {"content-type"} if credentials else {"content-type", *self._credentials}
        headers = CIMultiDict((name, value) for name, value in self._fixed.items() if name.lower() not in left_out)
        if self._signed and credentials:
            headers.update(self._signature("probe", b"", now))
        return headers

    def _reserved(self, auth: Auth | None) -> frozenset[str]:
        reserved = {name.lower() for name in self._fixed} - {"content-type"}
        reserved |= {"authorization"} if auth and auth.oauth2 else set()
        reserved |= {_KEY.lower()} if self._key else set()
        return frozenset(reserved | self._signed)

    def _add(self, name: str, value: str, context: Context, names: frozenset[str]) -> None:
        if "{{" in value or "{%" in value:
            self.templates[name] = context.expressions.template(value, names)
        else:
            self._fixed[name] = _sendable(name, value)


def _auth_headers(auth: Auth | None) -> dict[str, str]:
    """Return the fixed credentials; OAuth 2 tokens are added to each request."""
    if auth is None or auth.oauth2 is not None:
        return {}
    if auth.basic is not None:
        return {"Authorization": encode_basic_auth(*auth.basic.pair())}
    if auth.bearer is not None:
        with setting("auth", "bearer"):
            return {"Authorization": _sendable("Authorization", f"Bearer {auth.bearer.get_secret_value()}")}
    return _header_auth(auth)


def _header_auth(auth: Auth) -> dict[str, str]:
    if auth.header is None:
        return {}
    with setting("auth", "header", "name"):
        _check_name(auth.header.name, frozenset())
    with setting("auth", "header", "value"):
        return {auth.header.name: _sendable(auth.header.name, auth.header.value.get_secret_value())}


def _check_name(name: str, reserved: frozenset[str]) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("is not a valid header name")
    if name.lower() in _OF_THE_CONNECTION:
        raise ValueError("belongs to the connection and cannot be set")
    if name.lower() in reserved:
        raise ValueError("is set by auth, sign or idempotency_key already")


def _sendable(name: str, value: str) -> str:
    if _FORBIDDEN.search(value):
        raise UnsendableError(f"the value of the header {name} has a line break or a control character")
    return value.strip()


def _quoted(text: str) -> str:
    """Return a string of a structured field (RFC 8941 section 3.3.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _signing_headers(sign: Sign | None) -> frozenset[str]:
    """Return the names of the headers that signing sets, in lower case."""
    if sign is None or sign.hmac is None:
        return frozenset(_SIGNED if sign else ())
    names = {"header": sign.hmac.header, "timestamp_header": sign.hmac.timestamp_header}
    for key, name in names.items():
        if name is not None:
            with setting("sign", "hmac", key):
                _check_name(name, frozenset())
    return frozenset(name.lower() for name in names.values() if name is not None)


def _signature_of(sign: Sign | None) -> Callable[[str, bytes, float], dict[str, str]]:
    """Return the function that makes the signing headers from a message's id, its body and the time."""
    if sign is None:
        return lambda *_: {}
    if sign.hmac is not None:
        return HmacHeader(sign.hmac).make
    signers = []
    for number, secret in enumerate(sign.secrets or ()):
        try:
            signers.append(Webhook(secret.get_secret_value()))
        except (ValueError, EmptyWebhookSecretError):
            raise SettingError(("sign", "secrets", number), "must be whsec_ and base64") from None
    return lambda message_id, body, now: _standard_signature(signers, message_id, body, now)


def _standard_signature(signers: list[Webhook], message_id: str, body: bytes, now: float) -> dict[str, str]:
    """Return the headers of Standard Webhooks: id, time, and a signature of both and the body under each secret."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise UnsendableError("the body is not UTF-8, so it cannot be signed") from None
    sent = datetime.fromtimestamp(int(now), UTC)
    signatures = " ".join(signer.sign(message_id, sent, text) for signer in signers)
    return dict(zip(_SIGNED, (message_id, str(int(now)), signatures), strict=True))


class HmacHeader:
    """Signer of requests with an HMAC header. The signed text may be any bytes.

    Raises:
        SettingError: a text has a name that it cannot have.
    """

    def __init__(self, settings: HmacSignature) -> None:
        self._settings = settings
        self._secret = settings.secret.get_secret_value().encode()
        with setting("sign", "hmac", "secret"):
            if not self._secret:
                raise ValueError("must not be empty")
        self._signed = _pieces(settings.signed, "signed", ("body", "timestamp", "id"))
        self._prefix = _pieces(settings.prefix, "prefix", ("timestamp", "id"))

    def make(self, message_id: str, body: bytes, now: float) -> dict[str, str]:
        """Return the headers: the signature, and the timestamp if it has a header of its own."""
        timestamp = str(int(now))
        values = {"body": body, "timestamp": timestamp.encode(), "id": message_id.encode()}
        digest = hmac.digest(self._secret, _joined(self._signed, values), self._settings.algorithm)
        encoded = digest.hex() if self._settings.encoding == "hex" else base64.b64encode(digest).decode()
        header = self._settings.header
        headers = {header: _sendable(header, _joined(self._prefix, values).decode() + encoded)}
        if self._settings.timestamp_header is not None:
            headers[self._settings.timestamp_header] = timestamp
        return headers


def _pieces(text: str, key: str, names: Sequence[str]) -> list[str]:
    """Return a text as pieces: every second one is the name of a value."""
    pieces = re.split(rf"\{{\{{ *({'|'.join(names)}) *\}}\}}", text)
    with setting("sign", "hmac", key):
        if any("{{" in piece or "{%" in piece for piece in pieces[::2]):
            raise ValueError(f"may have {' and '.join(f'{{{{ {name} }}}}' for name in names)} only")
    return pieces


def _joined(pieces: Sequence[str], values: Mapping[str, bytes]) -> bytes:
    return b"".join(values[piece] if number % 2 else piece.encode() for number, piece in enumerate(pieces))
