"""Showing requests to people, without secrets. Pure."""

from collections.abc import Iterator
from urllib.parse import quote_plus

from aiohttp import encode_basic_auth
from yarl import URL

from connectors.base import Preview
from connectors.http.headers import is_sensitive
from connectors.http.settings import Auth, HttpSettings
from connectors.http.wire import Request
from connectors.masking import MASK, Secrets


def secrets_of(settings: HttpSettings) -> Secrets:
    """Collect what must not be shown: credentials, signing secrets, and headers and parameters that sound like it."""
    return Secrets(*_of_auth(settings.auth), *_of_headers(settings), *_of_query(settings))


def preview(request: Request, secrets: Secrets, *, bearer: bool) -> Preview:
    """Show a request. `bearer`: a token is added to it when it is sent."""
    headers = {name: _shown(name, value, secrets) for name, value in request.headers.items()}
    if bearer:
        headers["Authorization"] = f"Bearer {MASK}"
    body = (request.body or b"").decode("utf-8", "replace")
    return Preview(request.method, secrets.mask(_shown_url(request.url)), headers, secrets.mask(body))


def _shown(name: str, value: str, secrets: Secrets) -> str:
    """Show a header; of credentials only the scheme."""
    if not is_sensitive(name) or name == "Idempotency-Key":
        return secrets.mask(value)
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} {MASK}" if blank and name.lower() == "authorization" else MASK


def _shown_url(url: URL) -> str:
    """Show a URL; of parameters that sound like a secret only the name."""
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
    for name, held in settings.headers.items():
        value = held.get_secret_value()
        if is_sensitive(name) and "{{" not in value:
            yield from _with_token(value)


def _with_token(value: str) -> tuple[str, str]:
    """Give a header's value, and what follows its scheme: an answer may repeat either."""
    return value, value.partition(" ")[2]


def _of_query(settings: HttpSettings) -> Iterator[str]:
    try:
        query = URL(settings.url).query
    except ValueError:
        return
    for name, value in query.items():
        if is_sensitive(name) and "{{" not in value:
            yield value
