"""Records to requests: addresses, headers, bodies, their secrets and their preview. Pure: the time is passed in."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode

import orjson
from aiohttp import encode_basic_auth
from multidict import CIMultiDict
from yarl import URL

from connectors.base import Context, ExpressionError, Preview, Record, SettingError
from connectors.http.address import Address, UnsendableError
from connectors.http.headers import NO_VARIABLES, Headers, is_sensitive
from connectors.http.settings import Auth, HttpSettings, TemplateBody, setting
from connectors.http_client.masking import MASK, Secrets
from connectors.http_client.status_table import CallTraits

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_PRINTED = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_ESCAPED = re.compile(r"\|\s*(json|tojson|int|float|round|length|count|epoch_ms|hash|url_host)\b")
"""Filters whose result has no quotes of a lead, or is JSON."""
_PLAIN = frozenset({"SerialNumber", "SessionID", "Type", "chatbot", "event.id", "event.received_at", "record_id"})
"""Names whose values are numbers or have no quotes."""


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
        self._needs_variables = per_record or self._body.template is not None
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


class Body:
    """Encoder of records, as `body` and `wrap` say.

    Args:
        settings: Settings of the destination.
        context: Compiles a template.
        names: Names that a template may use.

    Raises:
        SettingError: settings do not fit together, or a template cannot be compiled.
    """

    def __init__(self, settings: HttpSettings, context: Context, names: frozenset[str]) -> None:
        form = settings.body or ("none" if settings.method == "GET" else "json")
        self.content_type: str | None
        """Content-Type; None for a request without a body."""
        self.template: Callable[[Mapping[str, Any]], str] | None = None
        """Template of the body; None for the other forms."""
        if isinstance(form, TemplateBody):
            self.content_type = form.content_type
            self._encode: Callable[[Record], bytes] = _fields_as_json
            with setting("body", "template"):
                self.template = context.expressions.template(form.template, names)
                if _is_json(form.content_type):
                    _check_json(form.template)
        else:
            self.content_type, self._encode = _FORMS[form]
        self.in_arrays = form in ("json", "event")
        """True if one body can hold several records."""
        if settings.wrap is not None and not self.in_arrays:
            raise SettingError(("wrap",), "needs body: json or event")
        self._before, self._after = _wrapping(settings.wrap)

    def one(self, record: Record, variables: Mapping[str, Any]) -> bytes | None:
        """Return the body of a call with one record. Raises `ExpressionError` for unsuitable values."""
        if self.template is not None:
            return self._rendered(self.template(variables))
        if self.content_type is None:
            return None
        part = self._encode(record)
        return b"%b%b%b" % (self._before, part, self._after) if self._before else part

    def part(self, record: Record) -> bytes:
        """Return a record's part of an array. Raises `UnsendableError` for a value that JSON cannot hold."""
        return self._encode(record)

    def array(self, parts: Sequence[bytes]) -> bytes:
        """Return the body of a call with several records."""
        return b"%b[%b]%b" % (self._before, b",".join(parts), self._after)

    def _rendered(self, text: str) -> bytes:
        body = text.encode("utf-8", "replace")
        if self.content_type and _is_json(self.content_type):
            try:
                orjson.loads(body)
            except orjson.JSONDecodeError as error:
                why = f"{error.msg}, line {error.lineno} column {error.colno}"
                raise UnsendableError(
                    f"the body's template does not produce JSON: {why}; write values as {{{{ X | json }}}}"
                ) from None
        return body


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].rstrip().endswith("json")


def _check_json(template: str) -> None:
    """Raise `ExpressionError` for a text in a JSON template that a quote in its value would break."""
    for found in _PRINTED.finditer(template):
        text = found[1].strip()
        if text not in _PLAIN and not _ESCAPED.search(text):
            message = f"in JSON write `{{{{ {text} | json }}}}` without quotes around it: a quote in a value breaks it"
            line = template.count("\n", 0, found.start()) + 1
            raise ExpressionError(message, line, found.start() - template.rfind("\n", 0, found.start()))


def _wrapping(name: str | None) -> tuple[bytes, bytes]:
    return (b"", b"") if name is None else (b"{%b:" % orjson.dumps(name), b"}")


def _fields_as_json(record: Record) -> bytes:
    try:
        return orjson.dumps(record.fields)
    except TypeError:  # a whole number of more than 64 bits, half an emoji, or a mapping that is no dict
        return _lenient_json(record.fields)


def _lenient_json(fields: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(fields), allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        raise UnsendableError("JSON cannot hold the value of a field") from None


def _fields_as_form(record: Record) -> bytes:
    pairs = [(name, _form_text(each)) for name, value in record.fields.items() for each in _form_values(value)]
    return urlencode(pairs, errors="replace").encode()


def _form_values(value: object) -> Sequence[object]:
    """Return the values of a form field: a list becomes the same name several times."""
    return value if isinstance(value, list | tuple) else (value,)


def _form_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value)  # a number as written, `true`, an object as JSON
    except (TypeError, ValueError):
        raise UnsendableError("a form cannot hold the value of a field") from None


def _event(record: Record) -> bytes:
    return record.payload


_FORMS: Mapping[str, tuple[str | None, Callable[[Record], bytes]]] = {
    "json": (_JSON, _fields_as_json),
    "event": (_JSON, _event),
    "form": (_FORM, _fields_as_form),
    "none": (None, _event),
}


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
        password = auth.basic.password.get_secret_value()
        yield password
        yield encode_basic_auth(auth.basic.username, password).removeprefix("Basic ")
    if auth.header is not None:
        yield from _with_token(auth.header.value.get_secret_value())
    if auth.oauth2 is not None:
        secret = auth.oauth2.client_secret.get_secret_value()
        yield secret
        yield encode_basic_auth(quote_plus(auth.oauth2.client_id), quote_plus(secret)).removeprefix("Basic ")


def _of_headers(settings: HttpSettings) -> Iterator[str]:
    for secret in settings.sign.secrets if settings.sign else ():
        yield secret.get_secret_value()
    for name, secret in settings.headers.items():
        value = secret.get_secret_value()
        if is_sensitive(name) and "{{" not in value:
            yield from _with_token(value)


def _with_token(value: str) -> tuple[str, str]:
    """Return a header's value, and the part after its scheme: an answer may repeat either."""
    return value, value.partition(" ")[2]


def _of_query(settings: HttpSettings) -> Iterator[str]:
    try:
        query = URL(settings.url).query
    except ValueError:
        return
    for name, value in query.items():
        if is_sensitive(name) and "{{" not in value:
            yield value
