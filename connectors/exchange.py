"""Exchanges of an attempt: the requests that a connector sent and the answers, kept for the operator who reads them.

The bridge sets `exchange_log` around each `deliver`. `connectors.http_client.session.HttpSession` writes every request
to it, except those for a token. Headers are not kept. Secrets are masked before a text is cut.

A call with records of several people is shared. Only its method, its server and its status are kept for each of them,
unless the connector tells their items apart: `with exchange_items(...)` around the call keeps for each record its own
item of the request, and `ExchangeItems.received` its own item of the answer. A call inside that has one record only is
kept whole.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson
from yarl import URL

from connectors.http_client.masking import MASK, Secrets, is_sensitive

BODY_LIMIT: Final = 4_096
"""Maximum number of characters of one body."""
URL_LIMIT: Final = 1_024
CALLS_LIMIT: Final = 10
"""Calls of one record that are kept: the first ones."""

_MARGIN: Final = 4_096
"""Bytes after the limit that are masked too, so that no secret is cut in two."""
_WINDOW: Final = BODY_LIMIT + _MARGIN
_SHORTEST: Final = 6
"""Minimum number of characters of a credential that is searched in a text."""
_NAMES: Final = (
    r"[\w.-]{0,40}(?:token|secret|passw(?:or)?d|assertion|authorization|(?:access|api|private|signing)[_-]?key)"
    r"[\w-]{0,10}"
)
_TOKEN: Final = re.compile(
    rf"""(\\"{_NAMES}\\"\s*:\s*\\")(?:[^"\\]|\\[^"])*"""
    rf"""|("{_NAMES}"\s*:\s*")(?:[^"\\]|\\.)*"""
    rf"""|("{_NAMES}"\s*:\s*)(?!null|true|false)[^\s",}}\]\[{{]+"""
    rf"""|(?<![\w.-])({_NAMES}=)[^&\s"']+""",
    re.IGNORECASE,
)
"""A member of JSON, also of JSON in a text, or a field of a form, whose name says that it holds a credential."""


@dataclass(frozen=True, slots=True, repr=False)
class Exchange:
    """One request and its answer, masked and cut."""

    method: str
    url: str
    """Without the path, if the call was shared."""
    sent: str | None
    """Body of the request; None if there was none, or if it is not known which part of it belongs to the record."""
    status: int | None
    received: str | None
    """Body of the answer; None as for `sent`."""
    fault: str | None = None
    """Reason why there is no whole answer."""
    shared: bool = False
    """True if the call had records of other people too."""


class _Call(NamedTuple):
    """A request with its result. Of a long body, only the beginning is kept. Texts are made for kept exchanges only."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None
    status: int | None
    received: bytes | None
    fault: str | None
    sent_items: Mapping[str, object]
    """By record: its item of the request. Nothing if all records share the call and the items are unknown."""
    received_items: dict[str, object]
    """By record: its item of the answer."""
    sizes: tuple[int, int]
    """Bytes of the body and of the answer."""

    @property
    def is_shared(self) -> bool:
        """True if the call has records of several people."""
        return len(self.sent_items) != 1


class ExchangeItems:
    """Items of the calls made within one `with exchange_items(...)`, by record."""

    def __init__(self, sent: Mapping[str, object]) -> None:
        self.sent = sent
        self.last: _Call | None = None
        """The latest of the calls; None if none was kept."""

    def received(self, items: Iterable[tuple[str, object]]) -> None:
        """Keep the items of the latest answer: bytes, texts or JSON values, each with the id of its record."""
        if self.last is not None:
            self.last.received_items.update(_by_record(items))


_NO_ITEMS: Final = ExchangeItems({})
_concerned: ContextVar[ExchangeItems] = ContextVar("concerned", default=_NO_ITEMS)


@contextmanager
def exchange_items(sent: Iterable[tuple[str, object]]) -> Iterator[ExchangeItems]:
    """Note which records the calls made inside concern, and the item of the request that belongs to each.

    Args:
        sent: Ids of the records, each with its item: bytes, a text, a JSON value; None if it is unknown. A record may
            have several items.
    """
    items = ExchangeItems(_by_record(sent))
    token = _concerned.set(items)
    try:
        yield items
    finally:
        _concerned.reset(token)


class ExchangeLog:
    """Exchanges of one `deliver`.

    Args:
        records: Ids of the records.
        secrets: Masks the secrets of the destination.
    """

    def __init__(self, records: Sequence[str], secrets: Secrets) -> None:
        self._only = records[0] if len(records) == 1 else None
        self._secrets = secrets
        self._calls: list[_Call] = []
        self._counts: dict[str | None, int] = {}

    def note(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        status: int | None = None,
        received: bytes | None = None,
        fault: str | None = None,
    ) -> None:
        """Keep a request and its answer."""
        items = _concerned.get()
        concerned: Mapping[str, object] = {self._only: None} if self._only else items.sent
        owner = next(iter(concerned)) if len(concerned) == 1 else None
        count = self._counts[owner] = self._counts.get(owner, 0) + 1
        if count > CALLS_LIMIT:
            items.last = None
            return
        if owner is None:
            concerned = dict.fromkeys(concerned) if body is None else concerned
            call = _Call(method, url, headers, None, status, None, fault, concerned, {}, (0, 0))
        else:
            sizes = len(body or b""), len(received or b"")
            body, received = body and body[:_WINDOW], received and received[:_WINDOW]
            call = _Call(method, url, headers, body, status, received, fault, concerned, {}, sizes)
        self._calls.append(call)
        if items is not _NO_ITEMS:
            items.last = call

    def of(self, record_id: str) -> list[Exchange]:
        """Return the exchanges of one record, in the order of the requests."""
        mine = [call for call in self._calls if not call.sent_items or record_id in call.sent_items]
        return [self._exchange(call, record_id) for call in mine[:CALLS_LIMIT]]

    def _exchange(self, call: _Call, record_id: str) -> Exchange:
        credentials = _credentials(call.headers)
        if call.is_shared:
            sent, received = call.sent_items.get(record_id), call.received_items.get(record_id)
            place = self._address(call.url.origin(), ())
        else:
            sent, received = call.body, call.received
            place = self._address(call.url, credentials)
        sides = zip((sent, received), call.sizes, strict=True)
        texts = [self._text(_dumped(each), size, credentials) for each, size in sides]
        return Exchange(call.method, place, texts[0], call.status, texts[1], call.fault, call.is_shared)

    def _address(self, url: URL, credentials: Sequence[str]) -> str:
        text = str(url)
        if "@" in text or "?" in text:
            url = url.with_user(None) if url.user is not None or url.password is not None else url
            hidden = {name: MASK for name in url.query if is_sensitive(name)}
            text = str(url.update_query(hidden) if hidden else url)
        return self._masked(text, credentials)[:URL_LIMIT]

    def _text(self, body: bytes | None, size: int, credentials: Sequence[str]) -> str | None:
        """Return the text of a body, of which there are `size` bytes in all if that is more."""
        if body is None:
            return None
        size = max(size, len(body))
        text = self._masked(body[:_WINDOW].decode("utf-8", "replace").replace("\0", "\ufffd"), credentials)
        if size > _WINDOW:
            # The end may hold the beginning of a secret.
            text = text[: max(0, len(text) - _MARGIN)]
        elif len(text) <= BODY_LIMIT:
            return text
        return f"{text[:BODY_LIMIT]}… [cut: {size:,} bytes in all]"

    def _masked(self, text: str, credentials: Sequence[str]) -> str:
        text = self._secrets.mask(text)
        for each in credentials:
            text = text.replace(each, MASK)
        if _may_name_a_token(text.lower()):
            text = _TOKEN.sub(lambda found: f"{found[found.lastindex or 0]}{MASK}", text)
        return text


class ExchangeRecorder:
    """Maker of the logs of one destination.

    Args:
        secrets: Texts that are masked wherever they stand.
    """

    def __init__(self, *secrets: str) -> None:
        self._secrets = Secrets(*secrets)

    def begin(self, records: Sequence[str]) -> ExchangeLog:
        """Return the log of a call with the records of these ids."""
        return ExchangeLog(records, self._secrets)


exchange_log: ContextVar[ExchangeLog | None] = ContextVar("exchange_log", default=None)
"""Log of the attempt under way; None if nothing is to be kept, as for a probe or a token."""


def _by_record(items: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return the item of each record, or the list of its items."""
    found: dict[str, list[object]] = {}
    for record_id, item in items:
        found.setdefault(record_id, []).append(item)
    return {record_id: each[0] if len(each) == 1 else each for record_id, each in found.items()}


def _may_name_a_token(text: str) -> bool:
    """Return False for nearly every text, because looking for parts of the names costs less than the pattern."""
    return any(each in text for each in ("token", "secret", "passw", "assertion", "authorization", "key"))


def _credentials(headers: Mapping[str, str]) -> list[str]:
    """Return the values of the headers that hold credentials, such as a bearer token that is known to nobody else."""
    values = (value for name, value in headers.items() if is_sensitive(name) and name.lower() != "idempotency-key")
    return [part for value in values if len(part := value.partition(" ")[2] or value) >= _SHORTEST]


def _dumped(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace")
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return None
