"""Records to requests: addresses, headers, bodies, their secrets and their preview. Pure: the time is passed in."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from aiohttp import encode_basic_auth
from multidict import CIMultiDict
from yarl import URL

from connectors.base import Context, Preview, Record, SettingError
from connectors.http.address import Address
from connectors.http.body import Body
from connectors.http.headers import NO_VARIABLES, Headers
from connectors.http.settings import Auth, HttpSettings, OAuth2, setting
from connectors.http_client.masking import MASK, Secrets, is_sensitive
from connectors.http_client.status_table import CallTraits


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest:
    """A request, complete except for an OAuth 2 token."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    """Not to be changed, because requests may share them."""
    body: bytes | None

    def with_token(self, token: str) -> "HttpRequest":
        """Return the same request with a bearer token (RFC 6750)."""
        headers = self.headers.copy()
        headers["Authorization"] = f"Bearer {token}"
        return HttpRequest(self.method, self.url, headers, self.body)


class HttpRequests:
    """Builder of requests from records, as the settings describe them.

    Raises:
        SettingError: a setting cannot work.
    """

    def __init__(self, settings: HttpSettings, context: Context) -> None:
        names = template_names(context)
        self._method = settings.method
        with setting("url"):
            self._address = Address(settings.url, context.expressions, names, allow_private=settings.allow_private)
        self._body = Body(settings, context, names)
        self._headers = Headers(settings, context, names, self._body.content_type)
        per_record = self._address.fixed is None or bool(self._headers.templates)
        self.traits = CallTraits(per_record, keyed=settings.idempotency_key is not False)
        """Properties of these requests that change the meaning of an answer."""
        sends_credentials = not any(map(is_sensitive, self._headers.templates))
        self.probes_address = self._address.fixed is not None and self._method != "GET" and sends_credentials
        """True if `harmless` requests the address that receives leads, else the root of its server."""
        self._needs_variables = per_record or self._body.needs_variables
        if settings.results is not None:
            self._check_batches(settings)

    def request(self, record: Record, now: float) -> HttpRequest:
        """Return the request for one record.

        Raises:
            ExpressionError: its values do not suit a template or cannot be sent; another attempt cannot succeed.
        """
        variables = variables_of(record) if self._needs_variables else NO_VARIABLES
        body = self._body.one(record, variables)
        headers = self._headers.make(record.id, body, now, variables)
        return HttpRequest(self._method, self._address.url(variables), headers, body)

    def part(self, record: Record) -> bytes:
        """Return one record's part of a batch. Raises `ExpressionError` if it cannot be sent."""
        return self._body.part(record)

    def batch(self, ids: Sequence[str], parts: Sequence[bytes], now: float) -> HttpRequest:
        """Return the request for the records of these ids, from the parts that `part` returned for them.

        Raises:
            ExpressionError: the parts together cannot be sent.
        """
        body = self._body.array(parts)
        headers = self._headers.make(_batch_id(ids), body, now)
        return HttpRequest(self._method, self._address.url(NO_VARIABLES), headers, body)

    def harmless(self, now: float, *, credentials: bool = True) -> HttpRequest:
        """Return a HEAD request, which cannot write and concerns no record (see `connectors.http.probe`)."""
        if not self.probes_address:
            return HttpRequest("HEAD", self._address.root, CIMultiDict(), None)
        url = self._address.url(NO_VARIABLES)
        if not credentials:
            url = url.without_query_params(*filter(is_sensitive, url.query))
        return HttpRequest("HEAD", url, self._headers.without_record(now, credentials=credentials), None)

    def _check_batches(self, settings: HttpSettings) -> None:
        """Raise `SettingError` for settings that depend on one record if a call carries several."""
        if self._address.fixed is None:
            raise SettingError(("url",), "cannot have {{ }} together with results: a batch has one address")
        for name in self._headers.templates:
            raise SettingError(("headers", name), "cannot have {{ }} together with results: a batch has one of each")
        if settings.idempotency_key:
            why = "cannot be used together with results: a batch with other records would have another key"
            raise SettingError(("idempotency_key",), why)
        if not self._body.in_arrays:
            raise SettingError(("body",), "must be json or event together with results")


def template_names(context: Context) -> frozenset[str]:
    """Return the names that templates over a record may use."""
    return context.event_names | {"fields", "record_id"}


def variables_of(record: Record) -> dict[str, Any]:
    """Return the variables of a record: the event's, the mapped `fields` (empty where left out), and `record_id`."""
    return {**record.event, "fields": _Fields(record.fields), "record_id": record.id}


class _Fields(dict[str, Any]):
    """The mapped fields for strict templates: a field that the mapping left out is empty, not unknown."""

    def __missing__(self, name: str) -> str:
        return ""


def _batch_id(ids: Sequence[str]) -> str:
    """Return an id that stays the same when the same records are sent together again."""
    return ids[0] if len(ids) == 1 else "batch-" + hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]


def secrets_of(settings: HttpSettings) -> Secrets:
    """Return the secrets of the settings: credentials, signing secrets, and sensitive headers and parameters."""
    return Secrets(*_of_auth(settings.auth), *_of_headers(settings), *_of_query(settings))


def preview(request: HttpRequest, secrets: Secrets, *, bearer: bool) -> Preview:
    """Return a request for display. `bearer`: a token is added when it is sent."""
    headers = {name: _shown(name, value, secrets) for name, value in request.headers.items()}
    if bearer:
        headers["Authorization"] = f"Bearer {MASK}"
    body = (request.body or b"").decode("utf-8", "replace")
    return Preview(request.method, secrets.mask(_shown_url(request.url)), headers, secrets.mask(body))


def _shown(name: str, value: str, secrets: Secrets) -> str:
    """Return a header for display; of credentials only the scheme."""
    if not is_sensitive(name) or name == "Idempotency-Key":
        return secrets.mask(value)
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} {MASK}" if blank and name.lower() == "authorization" else MASK


def _shown_url(url: URL) -> str:
    """Return a URL for display; of sensitive parameters only the name."""
    hidden = {name: MASK for name in url.query if is_sensitive(name)}
    return str(url.update_query(hidden) if hidden else url)


def _of_auth(auth: Auth | None) -> Iterator[str]:
    if auth is None:
        return
    if auth.bearer is not None:
        yield auth.bearer.get_secret_value()
    if auth.basic is not None:
        username, password = auth.basic.pair()
        yield password or username
        yield encode_basic_auth(username, password).removeprefix("Basic ")
    if auth.header is not None:
        yield from _with_token(auth.header.value.get_secret_value())
    if auth.oauth2 is not None:
        yield from _of_oauth2(auth.oauth2)


def _of_oauth2(oauth2: OAuth2) -> Iterator[str]:
    for secret in (oauth2.client_secret, oauth2.refresh_token, oauth2.private_key):
        if secret is not None:
            yield secret.get_secret_value()
    if oauth2.client_secret is not None:
        pair = quote_plus(oauth2.client_id), quote_plus(oauth2.client_secret.get_secret_value())
        yield encode_basic_auth(*pair).removeprefix("Basic ")


def _of_headers(settings: HttpSettings) -> Iterator[str]:
    if settings.sign is not None:
        signing = [*(settings.sign.secrets or ()), *([settings.sign.hmac.secret] if settings.sign.hmac else [])]
        yield from (each.get_secret_value() for each in signing)
    for name, secret in settings.headers.items():
        value = secret.get_secret_value()
        if is_sensitive(name) and "{{" not in value:
            yield from _with_token(value)


def _with_token(value: str) -> tuple[str, str]:
    """Return a header's value, and the part after its scheme: an answer may repeat either."""
    return value, value.partition(" ")[2]


def _of_query(settings: HttpSettings) -> Iterator[str]:
    for source in (settings.url, *(each.url for each in (settings.find, settings.update) if each)):
        try:
            query = URL(source).query
        except ValueError:
            continue
        for name, value in query.items():
            if is_sensitive(name) and "{{" not in value:
                yield value
