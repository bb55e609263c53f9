"""The meaning of HTTP answers: one table of statuses for all connectors, and readers of headers and messages. Pure.

The statuses are those of the IANA registry (RFC 9110 section 15 unless another RFC is named) and those that proxies,
hosters and CRMs have invented. An unknown status has the meaning of its class, as RFC 9110 section 15 requires.

Four questions decide a row:

- Does the answer account for the record? Only then is it `Delivered`.
- Would every lead get this answer, whatever it contains (credentials, quota, address, settings)? Then the destination
  is paused and no lead is lost: `Retry` with `Blame.DESTINATION`.
- Can the same request succeed later without a change? Then `Retry`.
- Otherwise the record is refused: `Rejected`, with `Blame.BATCH` because a status does not name the record.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import orjson

from connectors.base import Blame, Delivered, Reason, Rejected, Retry

_SECONDS = re.compile(r"\d{1,10}(?:\.\d+)?", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_LONGEST_WORDS = 300
_MOST_ERRORS = 5
_MESSAGE_NAMES = ("message", "error_description", "detail", "error", "title", "errors", "msg", "reason", "description")
_INTERIM = "an interim status, which is no answer"
_MOVED = "it points to another address; redirects are not followed, so correct the address"
_WRONG_REQUEST = "it does not take requests of this form; check the settings"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table: the meaning of a status for the records of the call."""

    verdict: type[Delivered] | type[Retry] | type[Rejected]
    why: str
    """Rest of the sentence "it answered 404: ..."."""
    reason: Reason = Reason.BAD_ANSWER
    blame: Blame = Blame.UNCLEAR
    address: bool = False
    """True if the status concerns the address. If each record has its own address, the record is to blame."""


@dataclass(frozen=True, slots=True)
class CallTraits:
    """Properties of a call that change the meaning of its answer."""

    per_record: bool = False
    """True if the address or a header was made from the record's values."""
    keyed: bool = False
    """True if the call had an Idempotency-Key."""


_PLAIN = CallTraits()


def _done(why: str) -> Meaning:
    return Meaning(Delivered, why)


def _again(reason: Reason, why: str) -> Meaning:
    return Meaning(Retry, why, reason, Blame.UNCLEAR)


def _hold(reason: Reason, why: str) -> Meaning:
    return Meaning(Retry, why, reason, Blame.DESTINATION)


def _address(reason: Reason, why: str) -> Meaning:
    return Meaning(Retry, why, reason, Blame.DESTINATION, address=True)


def _refuse(reason: Reason, why: str) -> Meaning:
    return Meaning(Rejected, why, reason, Blame.BATCH)


STATUSES: Mapping[int, Meaning] = {
    100: _again(Reason.BAD_ANSWER, _INTERIM),
    101: _again(Reason.BAD_ANSWER, "it switched protocols, which was not requested"),
    102: _again(Reason.BAD_ANSWER, _INTERIM),  # RFC 2518
    103: _again(Reason.BAD_ANSWER, _INTERIM),  # RFC 8297
    200: _done("done"),
    201: _done("created"),
    202: _done("accepted"),  # to be processed later; a sender cannot learn more
    203: _done("done, through a proxy that changed the answer"),
    204: _done("done"),
    205: _done("done"),
    # No part was requested, so a cache or a proxy answered. Every call would get it.
    206: _hold(Reason.BAD_ANSWER, "it sent part of an answer, which was not requested"),
    # RFC 4918. Success as a whole, with a verdict for each record in the body, which this table does not read. The
    # destination is paused, because some records may have been written and retries could double them.
    207: _hold(Reason.BAD_ANSWER, "a verdict for each record is in the body; settings must say how to read them"),
    208: _done("already reported"),  # RFC 5842
    226: _done("done"),  # RFC 3229
    300: _address(Reason.REDIRECT, _MOVED),
    301: _address(Reason.REDIRECT, _MOVED),
    302: _address(Reason.REDIRECT, _MOVED),
    303: _address(Reason.REDIRECT, _MOVED),
    304: _address(Reason.BAD_ANSWER, "it answered that nothing was modified, which was not requested"),
    305: _address(Reason.REDIRECT, _MOVED),
    306: _address(Reason.REDIRECT, _MOVED),
    307: _address(Reason.REDIRECT, _MOVED),
    308: _address(Reason.REDIRECT, _MOVED),
    400: _refuse(Reason.REFUSED, "it refuses the request"),
    401: _hold(Reason.UNAUTHORIZED, "it refuses the credentials"),
    402: _hold(Reason.FORBIDDEN, "it requires payment"),
    403: _hold(Reason.FORBIDDEN, "the credentials do not allow this"),
    404: _address(Reason.NOT_FOUND, "there is nothing at this address"),
    405: _address(Reason.NOT_FOUND, "this address does not take this method"),
    406: _hold(Reason.REFUSED, "it cannot answer in the requested form; check the Accept header"),
    407: _hold(Reason.UNAUTHORIZED, "a proxy on the way wants credentials"),
    408: _again(Reason.TIMEOUT, "it waited too long for the request"),
    # The record exists, or differs from the stored one. `classify` treats a call with an Idempotency-Key differently.
    409: _refuse(Reason.CONFLICT, "it conflicts with an existing record"),
    410: _address(Reason.GONE, "this address has been retired"),
    411: _hold(Reason.REFUSED, _WRONG_REQUEST),  # a length is always sent, so something on the way took it out
    412: _refuse(Reason.CONFLICT, "a condition in the headers does not hold"),
    413: _refuse(Reason.TOO_LARGE, "the request is too large"),
    414: _address(Reason.TOO_LARGE, "the address is too long"),
    415: _hold(Reason.REFUSED, "it does not take this content type; check body and headers"),
    416: _refuse(Reason.REFUSED, "it refuses a range that was not requested"),
    417: _hold(Reason.REFUSED, _WRONG_REQUEST),  # speaks of the Expect header, which only the settings can have added
    418: _refuse(Reason.REFUSED, "it refuses the request"),  # RFC 2324; firewalls for web applications use it
    419: _hold(Reason.UNAUTHORIZED, "the session has expired"),  # Laravel, for a missing CSRF token
    420: _hold(Reason.RATE_LIMITED, "too many requests"),  # Twitter, before there was 429
    421: _again(Reason.UNREACHABLE, "the request went to the wrong server"),
    422: _refuse(Reason.REFUSED, "it refuses the values"),
    423: _again(Reason.CONFLICT, "the record is locked for now"),  # RFC 4918
    424: _again(Reason.SERVER_ERROR, "a service that it depends on failed"),  # RFC 4918
    425: _again(Reason.CONFLICT, "it is too early for this request"),  # RFC 8470
    426: _hold(Reason.REFUSED, "it wants another protocol"),
    428: _hold(Reason.REFUSED, "it wants a condition in the headers"),  # RFC 6585
    429: _hold(Reason.RATE_LIMITED, "too many requests"),  # RFC 6585
    430: _hold(Reason.RATE_LIMITED, "too many requests"),  # Shopify
    431: _address(Reason.TOO_LARGE, "the headers are too large"),  # RFC 6585
    440: _hold(Reason.UNAUTHORIZED, "the session has expired"),  # IIS
    444: _again(Reason.BAD_ANSWER, "it sent no answer"),  # nginx
    449: _again(Reason.REFUSED, "it wants the request once more"),  # IIS
    450: _hold(Reason.FORBIDDEN, "a filter on the way blocks this address"),  # Windows parental controls
    451: _hold(Reason.FORBIDDEN, "the law forbids it"),  # RFC 7725
    460: _again(Reason.TIMEOUT, "the connection was closed too early"),  # AWS load balancer
    463: _hold(Reason.REFUSED, _WRONG_REQUEST),  # AWS load balancer, too many proxies on the way
    464: _hold(Reason.REFUSED, "it wants another protocol"),  # AWS load balancer
    477: _again(Reason.CONFLICT, "the account is being moved"),  # HubSpot, up to a day, with Retry-After
    494: _address(Reason.TOO_LARGE, "the headers are too large"),  # nginx
    495: _hold(Reason.UNAUTHORIZED, "it refuses the client certificate"),  # nginx
    496: _hold(Reason.UNAUTHORIZED, "it wants a client certificate"),  # nginx
    497: _hold(Reason.REFUSED, "it wants https at this port"),  # nginx
    498: _hold(Reason.UNAUTHORIZED, "the token is not valid"),  # Esri
    499: _again(Reason.TIMEOUT, "the connection was closed too early"),  # nginx
    500: _again(Reason.SERVER_ERROR, "it failed"),
    501: _hold(Reason.SERVER_ERROR, "it does not know this method"),
    502: _again(Reason.SERVER_ERROR, "a gateway got no valid answer from the server behind it"),
    503: _again(Reason.SERVER_ERROR, "it is not available for now"),
    504: _again(Reason.SERVER_ERROR, "a gateway got no answer in time from the server behind it"),
    505: _hold(Reason.SERVER_ERROR, "it does not speak HTTP/1.1"),
    506: _hold(Reason.SERVER_ERROR, "it is set up wrongly"),  # RFC 2295
    507: _hold(Reason.SERVER_ERROR, "it has no room left"),  # RFC 4918
    508: _hold(Reason.SERVER_ERROR, "it found a loop"),  # RFC 5842; shared hosting, for used-up resources
    509: _hold(Reason.RATE_LIMITED, "its bandwidth is used up"),  # cPanel
    510: _hold(Reason.SERVER_ERROR, "it wants an extension"),  # RFC 2774
    511: _hold(Reason.UNREACHABLE, "the network on the way wants a login"),  # RFC 6585
    520: _again(Reason.SERVER_ERROR, "the server behind the proxy sent no valid answer"),  # Cloudflare, as to 530
    521: _hold(Reason.UNREACHABLE, "the server behind the proxy is down"),
    522: _hold(Reason.UNREACHABLE, "the server behind the proxy cannot be connected to"),
    523: _hold(Reason.UNREACHABLE, "the server behind the proxy cannot be found"),
    524: _again(Reason.TIMEOUT, "the server behind the proxy sent no answer in time"),
    525: _hold(Reason.UNREACHABLE, "the proxy and the server behind it do not agree on TLS"),
    526: _hold(Reason.UNREACHABLE, "the server behind the proxy has a bad certificate"),
    527: _hold(Reason.UNREACHABLE, "the server behind the proxy cannot be connected to"),
    529: _hold(Reason.RATE_LIMITED, "it is overloaded"),  # Shopify, Qualys
    530: _hold(Reason.UNREACHABLE, "the proxy cannot reach the server behind it"),
    540: _hold(Reason.FORBIDDEN, "it is switched off for now"),  # Shopify
    561: _hold(Reason.UNAUTHORIZED, "the load balancer refuses the credentials"),  # AWS
    598: _again(Reason.TIMEOUT, "a proxy got no answer in time"),
    599: _again(Reason.TIMEOUT, "a proxy got no connection in time"),
}
"""Statuses with a meaning of their own. `status_meaning` also covers all others."""

_CLASSES: Mapping[int, Meaning] = {
    1: STATUSES[100],
    2: STATUSES[200],
    3: STATUSES[300],
    4: STATUSES[400],
    5: STATUSES[500],
}
_UNKNOWN = _again(Reason.BAD_ANSWER, "no HTTP status")


def status_meaning(status: int) -> Meaning:
    """Return the row of a status; a status that is not in the table has the row of its class (RFC 9110 section 15)."""
    return STATUSES.get(status) or _CLASSES.get(status // 100, _UNKNOWN)


def classify(
    status: int, headers: Mapping[str, str], now: float, words: str = "", traits: CallTraits = _PLAIN
) -> Delivered | Retry | Rejected:
    """Return the outcome of an answer for the records of the call, from its status and headers.

    Args:
        status: Status of the answer.
        headers: Headers of the answer (a case-insensitive mapping).
        now: Seconds since the epoch, for a `Retry-After` with a date.
        words: Message of the destination (`words_in`) without secrets; it becomes part of the detail.
        traits: Properties of the call.
    """
    row = status_meaning(status)
    verdict, reason, blame = row.verdict, row.reason, row.blame
    if verdict is Delivered:
        return Delivered(status=status)
    after = retry_after(headers, now)
    if status == HTTPStatus.CONFLICT and traits.keyed:
        # The Idempotency-Key draft, section 2.7: the first request with this key is still being worked on.
        verdict, blame = Retry, Blame.RECORD
    elif status == HTTPStatus.SERVICE_UNAVAILABLE and after is not None:
        blame = Blame.DESTINATION  # it states how long it is away
    elif row.address and traits.per_record:
        verdict, blame = (Retry, Blame.UNCLEAR) if status < HTTPStatus.BAD_REQUEST else (Rejected, Blame.RECORD)
    detail = f"it answered {status}: {row.why}" + (f' ("{words}")' if words else "")
    if verdict is Rejected:
        return Rejected(reason, detail, blame, status)
    return Retry(reason, detail, blame, after, status)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that an answer asks to wait (RFC 9110 section 10.2.3), not capped.

    Accepts seconds, also with a fraction (some CRMs send one), and a date in any of the three forms of RFC 9110 section
    5.6.7. A date is compared with the answer's own `Date`, if there is one, so that a wrong clock does no harm. A value
    that is negative, past or unreadable counts as absent: None.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    due = _http_date(value)
    if due is None:
        return None
    sent = _http_date(headers.get("Date", ""))
    wait = due - (now if sent is None else sent)
    return wait if wait >= 0 else None


def words_in(body: bytes, content_type: str) -> str:
    """Return the destination's message in an answer: the message or error of its JSON, or its plain text.

    The message is one line without control characters, and not shortened: `shorten` does that after secrets have been
    masked. Empty for content that is not a message for people (an HTML page, a binary body).
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/html" or not body:
        return ""
    try:
        return message_in(orjson.loads(body))
    except orjson.JSONDecodeError:
        return _one_line(body.decode("utf-8", "replace")) if kind == "text/plain" else ""


def message_in(document: object) -> str:
    """Return the message for people in a parsed JSON error, on one line; empty if there is none."""
    return _one_line(_message(document))


def shorten(words: str) -> str:
    """Return a foreign text, shortened to fit into a line of a log."""
    return words if len(words) <= _LONGEST_WORDS else words[: _LONGEST_WORDS - 1] + "…"


def _http_date(value: str) -> float | None:
    """Return an HTTP date in seconds since the epoch; the zone is always GMT, and asctime's form does not name it."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # raised by the standard library for garbage
        return None


def _message(document: object, depth: int = 4) -> str:
    """Return the message in a JSON error: under the common names, in objects and lists of errors.

    Other names are skipped because many APIs echo the record. `depth` bounds the cost of a hostile answer.
    """
    if isinstance(document, str):
        return document
    if not depth:
        return ""
    if isinstance(document, list):
        return "; ".join(filter(None, (_message(each, depth - 1) for each in document[:_MOST_ERRORS])))
    if isinstance(document, dict):
        found = (_named(name, document[name], depth - 1) for name in _MESSAGE_NAMES if document.get(name))
        return next(filter(None, found), "")
    return ""


def _named(name: str, value: object, depth: int) -> str:
    """Return the text under one of the common names; `errors` may be a map from field to messages."""
    text = _message(value, depth)
    if text or name != "errors" or not isinstance(value, dict):
        return text
    each = ((field, _message(inner, depth)) for field, inner in list(value.items())[:_MOST_ERRORS])
    return "; ".join(f"{field}: {message}" for field, message in each if message)


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()
