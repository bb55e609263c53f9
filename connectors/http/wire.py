"""From records to requests. Pure: the time is passed in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from connectors.base import Context, Record, SettingError
from connectors.classify import Asked
from connectors.http.address import Address
from connectors.http.body import Body
from connectors.http.headers import NO_VARIABLES, Headers, is_sensitive
from connectors.http.settings import HttpSettings, setting


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request, complete but for an OAuth 2 token."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    """Not to be changed: requests may share them."""
    body: bytes | None

    def authorized(self, token: str) -> "Request":
        """Give the same request with a bearer token (RFC 6750)."""
        headers = self.headers.copy()
        headers["Authorization"] = f"Bearer {token}"
        return Request(self.method, self.url, headers, self.body)


class Wire:
    """Makes requests of records, as the settings say.

    Raises:
        SettingError: for a setting that cannot work.
    """

    def __init__(self, settings: HttpSettings, context: Context) -> None:
        names = template_names(context)
        self._method = settings.method
        with setting("url"):
            self._address = Address(settings.url, context.expressions, names, allow_private=settings.allow_private)
        self._body = Body(settings, context, names)
        self._headers = Headers(settings, context, names, self._body.content_type)
        per_record = self._address.fixed is None or bool(self._headers.templates)
        self.asked = Asked(per_record, keyed=settings.idempotency_key is not False)
        """What about these requests changes the meaning of an answer."""
        told = not any(map(is_sensitive, self._headers.templates))
        self.probes_address = self._address.fixed is not None and self._method != "GET" and told
        """Whether `harmless` asks the address that leads go to; else the root of its server."""
        self._needs_variables = per_record or self._body.template is not None
        if settings.results is not None:
            self._check_batches(settings)

    def request(self, record: Record, now: float) -> Request:
        """Make the request for one record.

        Raises:
            ExpressionError: its values do not suit a template or cannot be sent; trying again cannot help.
        """
        variables = variables_of(record) if self._needs_variables else NO_VARIABLES
        body = self._body.one(record, variables)
        headers = self._headers.make(record.id, body, now, variables)
        return Request(self._method, self._address.url(variables), headers, body)

    def part(self, record: Record) -> bytes:
        """Make one record's part of a batch. Raises `ExpressionError` where it cannot be sent."""
        return self._body.part(record)

    def batch(self, ids: Sequence[str], parts: Sequence[bytes], now: float) -> Request:
        """Make the request for the records of these ids, of which `part` made these parts.

        Raises:
            ExpressionError: the parts together cannot be sent.
        """
        body = self._body.array(parts)
        headers = self._headers.make(_batch_id(ids), body, now)
        return Request(self._method, self._address.url(NO_VARIABLES), headers, body)

    def harmless(self, now: float, *, credentials: bool = True) -> Request:
        """Make a request that cannot write, about no record: a HEAD (`connectors.http.probe` says of what)."""
        if not self.probes_address:
            return Request("HEAD", self._address.root, CIMultiDict(), None)
        url = self._address.url(NO_VARIABLES)
        if not credentials:
            url = url.without_query_params(*filter(is_sensitive, url.query))
        return Request("HEAD", url, self._headers.without_record(now, credentials=credentials), None)

    def _check_batches(self, settings: HttpSettings) -> None:
        """Refuse what depends on one record where a call carries several."""
        if self._address.fixed is None:
            raise SettingError(("url",), "cannot have {{ }} together with results: a batch has one address")
        for name in self._headers.templates:
            raise SettingError(("headers", name), "cannot have {{ }} together with results: a batch has one of each")
        if settings.idempotency_key:
            why = "cannot be used together with results: a batch put together anew would have another key"
            raise SettingError(("idempotency_key",), why)
        if not self._body.in_arrays:
            raise SettingError(("body",), "must be json or event together with results")


def template_names(context: Context) -> frozenset[str]:
    """Give the names that templates over a record may use."""
    return context.event_names | {"fields", "record_id"}


def variables_of(record: Record) -> dict[str, Any]:
    """Give the values of these names: the event's, the mapped `fields` (empty where left out), and `record_id`."""
    return {**record.event, "fields": _Fields(record.fields), "record_id": record.id}


class _Fields(dict[str, Any]):
    """The mapped fields for templates, which are strict: a field that the mapping left out is empty, not unknown."""

    def __missing__(self, name: str) -> str:
        return ""


def _batch_id(ids: Sequence[str]) -> str:
    """Give an id that is the same whenever the same records are sent together again."""
    return ids[0] if len(ids) == 1 else "batch-" + hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]
