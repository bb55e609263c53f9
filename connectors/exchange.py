"""Exchanges of an attempt: the requests that a connector sent and the answers, kept for the operator who reads them.

The bridge sets `exchange_log` around each `deliver`. `connectors.http_client.session.HttpSession` writes every request
to it, except those for a token. Headers are not kept. Secrets are masked before a text is cut.

A call with records of several people is shared. Only its method, its server and its status are kept for each of them,
until the connector tells their parts apart: `log.part` keeps the item of the request and of the answer that belong to
one record. Calls that a connector makes for one record of a batch belong between `with log.about(record.id)`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
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
    """A request with its result, of long bodies the beginning. Texts are made only of what is kept."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None
    answer: object
    """The object that the connector got of a shared call, kept so that its identity stays unique."""
    status: int | None
    received: bytes | None
    fault: str | None
    owner: str | None
    """Record that the call was made for; None for a shared call."""
    parts: dict[str, tuple[object, object]]
    """By record: its item of the request, and of the answer."""
    sizes: tuple[int, int]
    """Bytes of the body and of the answer."""


_concerned: ContextVar[str | None] = ContextVar("concerned", default=None)


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

    @contextmanager
    def about(self, record_id: str) -> Iterator[None]:
        """Note that the calls made inside concern one record of a batch only."""
        token = _concerned.set(record_id)
        try:
            yield
        finally:
            _concerned.reset(token)

    def note(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        answer: object = None,
        status: int | None = None,
        received: bytes | None = None,
        fault: str | None = None,
    ) -> None:
        """Keep a request and its answer. `answer` is the object that the connector gets, for `part`."""
        owner = self._only or _concerned.get()
        count = self._counts[owner] = self._counts.get(owner, 0) + 1
        if count > CALLS_LIMIT:
            return
        if owner is None:
            call = _Call(method, url, headers, None, answer, status, None, fault, None, {}, (0, 0))
        else:
            sizes = len(body or b""), len(received or b"")
            body, received = body and body[:_WINDOW], received and received[:_WINDOW]
            call = _Call(method, url, headers, body, None, status, received, fault, owner, {}, sizes)
        self._calls.append(call)

    def part(self, answer: object, record_id: str, sent: object, received: object) -> None:
        """Keep the parts of a shared call that belong to one record: bytes, texts or JSON values; None if unknown.

        `answer` is the answer of `HttpSession`, which names the call; None stands for the last shared call.
        """
        for call in reversed(self._calls):
            if call.owner is None and (answer is None or call.answer is answer):
                call.parts[record_id] = sent, received
                return

    def of(self, record_id: str) -> list[Exchange]:
        """Return the exchanges of one record, in the order of the requests."""
        mine = [call for call in self._calls if call.owner is None or call.owner == record_id]
        return [self._exchange(call, record_id) for call in mine[:CALLS_LIMIT]]

    def _exchange(self, call: _Call, record_id: str) -> Exchange:
        shared = call.owner is None
        if shared:
            credentials: Sequence[str] = ()
            sent, received = call.parts.get(record_id, (None, None))
            place = self._address(call.url.origin(), ())
        else:
            credentials = _credentials(call.headers)
            sent, received = call.body, call.received
            place = self._address(call.url, credentials)
        sides = zip((sent, received), call.sizes, strict=True)
        texts = [self._text(_dumped(each), size, credentials) for each, size in sides]
        return Exchange(call.method, place, texts[0], call.status, texts[1], call.fault, shared)

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
