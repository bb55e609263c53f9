"""What an HTTP answer means: one table of every status, the same for all connectors. Pure.

The statuses are those of the IANA registry (RFC 9110 section 15 where no other RFC is named) and those that proxies,
hosters and CRMs have made up; a status that nobody knows means what its class means, as RFC 9110 section 15 asks.

Four questions decide a row:

- Does the answer account for the record? Only then is it `Delivered`.
- Would every lead get this answer, whatever is in it (credentials, quota, address, settings)? Then the destination is
  held, and no lead dies of it: `Retry` with `Blame.DESTINATION`.
- Can the same request succeed later with nobody touching anything? Then `Retry`.
- Else the record is refused: `Rejected`, with `Blame.BATCH`, since a status does not say which record it means.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

import orjson

from connectors.base import Blame, Delivered, Reason, Rejected, Retry

_SECONDS = re.compile(r"\d{1,10}(?:\.\d+)?", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_LONGEST_WORDS = 300
_MOST_ERRORS = 5
_SAID_IN = ("message", "error_description", "detail", "error", "title", "errors", "msg", "reason", "description")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table: what a status means for the records of the call."""

    verdict: type[Delivered] | type[Retry] | type[Rejected]
    why: str
    """What the destination says with it, as the rest of the sentence "it answered 404: ..."."""
    reason: Reason = Reason.BAD_ANSWER
    blame: Blame = Blame.UNCLEAR
    address: bool = False
    """It speaks of the address. Where each record makes its own address, it is the record's trouble then."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What it is about a call that changes the meaning of its answer."""

    per_record: bool = False
    """The address or a header was made from the record's values."""
    keyed: bool = False
    """It carried an Idempotency-Key."""


_PLAIN = Asked()


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


_INTERIM = "an interim status, which is no answer"
_MOVED = "it points to another address; redirects are not followed, so correct the address"
_WRONG_REQUEST = "it does not take requests of this form; check the settings"

STATUSES: Mapping[int, Meaning] = {
    100: _again(Reason.BAD_ANSWER, _INTERIM),
    101: _again(Reason.BAD_ANSWER, "it switched protocols, which was not asked for"),
    102: _again(Reason.BAD_ANSWER, _INTERIM),  # RFC 2518
    103: _again(Reason.BAD_ANSWER, _INTERIM),  # RFC 8297
    200: _done("done"),
    201: _done("created"),
    202: _done("accepted"),  # to be worked on later, which is as far as a sender can see
    203: _done("done, through a proxy that changed the answer"),
    204: _done("done"),
    205: _done("done"),
    # Nothing asked for a part, so a cache or a proxy answered. Every call would get it.
    206: _hold(Reason.BAD_ANSWER, "it sent part of an answer, which was not asked for"),
    # RFC 4918. Success as a whole, with a verdict for each record in the body: whoever does not read them must not
    # believe it. Held, not tried again and again, for some of them may have been written.
    207: _hold(Reason.BAD_ANSWER, "a verdict for each record is in the body; settings must say how to read them"),
    208: _done("already reported"),  # RFC 5842
    226: _done("done"),  # RFC 3229
    300: _address(Reason.REDIRECT, _MOVED),
    301: _address(Reason.REDIRECT, _MOVED),
    302: _address(Reason.REDIRECT, _MOVED),
    303: _address(Reason.REDIRECT, _MOVED),
    304: _address(Reason.BAD_ANSWER, "it calls something unchanged, which was not asked"),
    305: _address(Reason.REDIRECT, _MOVED),
    306: _address(Reason.REDIRECT, _MOVED),
    307: _address(Reason.REDIRECT, _MOVED),
    308: _address(Reason.REDIRECT, _MOVED),
    400: _refuse(Reason.REFUSED, "it refuses the request"),
    401: _hold(Reason.UNAUTHORIZED, "it refuses the credentials"),
    402: _hold(Reason.FORBIDDEN, "it wants to be paid"),
    403: _hold(Reason.FORBIDDEN, "the credentials do not allow this"),
    404: _address(Reason.NOT_FOUND, "there is nothing at this address"),
    405: _address(Reason.NOT_FOUND, "this address does not take this method"),
    406: _hold(Reason.REFUSED, "it cannot answer in a form that was asked for; check the Accept header"),
    407: _hold(Reason.UNAUTHORIZED, "a proxy on the way wants credentials"),
    408: _again(Reason.TIMEOUT, "it waited too long for the request"),
    # The record exists, or differs from what is there. `classify` reads it otherwise after an Idempotency-Key.
    409: _refuse(Reason.CONFLICT, "it conflicts with what is there"),
    410: _address(Reason.GONE, "this address has been retired"),
    411: _hold(Reason.REFUSED, _WRONG_REQUEST),  # a length is always sent, so something on the way took it out
    412: _refuse(Reason.CONFLICT, "a condition in the headers does not hold"),
    413: _refuse(Reason.TOO_LARGE, "the request is too large"),
    414: _address(Reason.TOO_LARGE, "the address is too long"),
    415: _hold(Reason.REFUSED, "it does not take this content type; check body and headers"),
    416: _refuse(Reason.REFUSED, "it refuses a range that was not asked for"),
    417: _hold(Reason.REFUSED, _WRONG_REQUEST),  # speaks of the Expect header, which only the settings can have added
    418: _refuse(Reason.REFUSED, "it refuses the request"),  # RFC 2324; firewalls for web applications use it
    419: _hold(Reason.UNAUTHORIZED, "the session has expired"),  # Laravel, for a missing CSRF token
    420: _hold(Reason.RATE_LIMITED, "too many requests"),  # Twitter, before there was 429
    421: _again(Reason.UNREACHABLE, "the request went to the wrong server"),
    422: _refuse(Reason.REFUSED, "it refuses the values"),
    423: _again(Reason.CONFLICT, "the record is locked for now"),  # RFC 4918
    424: _again(Reason.SERVER_ERROR, "something that it depends on failed"),  # RFC 4918
    425: _again(Reason.CONFLICT, "it is too early for this request"),  # RFC 8470
    426: _hold(Reason.REFUSED, "it wants another protocol"),
    428: _hold(Reason.REFUSED, "it wants a condition in the headers"),  # RFC 6585
    429: _hold(Reason.RATE_LIMITED, "too many requests"),  # RFC 6585
    430: _hold(Reason.RATE_LIMITED, "too many requests"),  # Shopify
    431: _address(Reason.TOO_LARGE, "the headers are too large"),  # RFC 6585
    440: _hold(Reason.UNAUTHORIZED, "the session has expired"),  # IIS
    444: _again(Reason.BAD_ANSWER, "it gave no answer"),  # nginx
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
    502: _again(Reason.SERVER_ERROR, "a gateway got no good answer from behind it"),
    503: _again(Reason.SERVER_ERROR, "it is not available for now"),
    504: _again(Reason.SERVER_ERROR, "a gateway got no answer in time from behind it"),
    505: _hold(Reason.SERVER_ERROR, "it does not speak HTTP/1.1"),
    506: _hold(Reason.SERVER_ERROR, "it is set up wrongly"),  # RFC 2295
    507: _hold(Reason.SERVER_ERROR, "it has no room left"),  # RFC 4918
    508: _hold(Reason.SERVER_ERROR, "it goes round in circles"),  # RFC 5842; shared hosting, for used-up resources
    509: _hold(Reason.RATE_LIMITED, "its bandwidth is used up"),  # cPanel
    510: _hold(Reason.SERVER_ERROR, "it wants an extension"),  # RFC 2774
    511: _hold(Reason.UNREACHABLE, "the network on the way wants a login"),  # RFC 6585
    520: _again(Reason.SERVER_ERROR, "the server behind the proxy gave no good answer"),  # Cloudflare, as to 530
    521: _hold(Reason.UNREACHABLE, "the server behind the proxy is down"),
    522: _hold(Reason.UNREACHABLE, "the server behind the proxy cannot be connected to"),
    523: _hold(Reason.UNREACHABLE, "the server behind the proxy cannot be found"),
    524: _again(Reason.TIMEOUT, "the server behind the proxy gave no answer in time"),
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
"""The statuses that have a meaning of their own. `meaning` answers for all the others too."""

_CLASSES: Mapping[int, Meaning] = {
    1: STATUSES[100],
    2: STATUSES[200],
    3: STATUSES[300],
    4: STATUSES[400],
    5: STATUSES[500],
}
_UNKNOWN = _again(Reason.BAD_ANSWER, "no HTTP status")


def meaning(status: int) -> Meaning:
    """Give the row of a status; for one that the table does not name, its class decides (RFC 9110 section 15)."""
    return STATUSES.get(status) or _CLASSES.get(status // 100, _UNKNOWN)


def classify(
    status: int, headers: Mapping[str, str], now: float, words: str = "", asked: Asked = _PLAIN
) -> Delivered | Retry | Rejected:
    """Say what an answer means for the records of the call, from its status and its headers.

    Args:
        status: The answer's status.
        headers: The answer's headers, by names in any case (a mapping that does not care about case).
        now: Seconds since the epoch, for a `Retry-After` that names a date.
        words: The destination's own words on it (`said`), free of secrets; they go into the detail.
        asked: What the call was like.
    """
    row = meaning(status)
    verdict, reason, blame = row.verdict, row.reason, row.blame
    if verdict is Delivered:
        return Delivered(status=status)
    after = retry_after(headers, now)
    if status == 409 and asked.keyed:  # noqa: PLR2004 - the table's own numbers
        # The Idempotency-Key draft, section 2.7: the first request with this key is still being worked on.
        verdict, blame = Retry, Blame.RECORD
    elif status == 503 and after is not None:  # noqa: PLR2004 - the table's own numbers
        blame = Blame.DESTINATION  # it says itself for how long it is away
    elif row.address and asked.per_record:
        verdict, blame = (Retry, Blame.UNCLEAR) if status < 400 else (Rejected, Blame.RECORD)  # noqa: PLR2004
    detail = f"it answered {status}: {row.why}" + (f' ("{words}")' if words else "")
    if verdict is Rejected:
        return Rejected(reason, detail, blame, status)
    return Retry(reason, detail, blame, after, status)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that an answer asks to wait (RFC 9110 section 10.2.3), not capped.

    Read are seconds, also with a fraction (some CRMs send one), and a date in any of the three forms that RFC 9110
    section 5.6.7 names. A date is compared with the answer's own `Date` where there is one, so that a clock that is
    wrong on either side does no harm. What is negative, past, or cannot be read counts as not sent: None.
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


def said(body: bytes, content_type: str) -> str:
    """Give the destination's own words in an answer: what its JSON names as message or error, or its plain text.

    On one line, without control characters, not cut: `shorten` does that after secrets have been masked. Empty for
    what is not text for people (an HTML page, a binary body).
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/html" or not body:
        return ""
    try:
        return message_in(orjson.loads(body))
    except orjson.JSONDecodeError:
        return _one_line(body.decode("utf-8", "replace")) if kind == "text/plain" else ""


def message_in(document: object) -> str:
    """Give the text for people in an error that has been read as JSON, on one line; empty where there is none."""
    return _one_line(_message(document))


def shorten(words: str) -> str:
    """Cut what somebody else wrote to a length that fits into a line of a log."""
    return words if len(words) <= _LONGEST_WORDS else words[: _LONGEST_WORDS - 1] + "…"


def _http_date(value: str) -> float | None:
    """Read a date as HTTP writes it; the zone is always GMT, and asctime's form does not even name it."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # what the standard library makes of garbage
        return None


def _message(document: object, depth: int = 4) -> str:
    """Find the text for people in an error's JSON: under the common names, in objects and lists of errors.

    Other names are not looked at, for many APIs echo the record. `depth` bounds what a hostile answer can cost.
    """
    if isinstance(document, str):
        return document
    if not depth:
        return ""
    if isinstance(document, list):
        return "; ".join(filter(None, (_message(each, depth - 1) for each in document[:_MOST_ERRORS])))
    if isinstance(document, dict):
        found = (_named(name, document[name], depth - 1) for name in _SAID_IN if document.get(name))
        return next(filter(None, found), "")
    return ""


def _named(name: str, value: object, depth: int) -> str:
    """Read what stands under one of the common names; `errors` may be a map from field to messages."""
    said_there = _message(value, depth)
    if said_there or name != "errors" or not isinstance(value, dict):
        return said_there
    each = ((field, _message(text, depth)) for field, text in list(value.items())[:_MOST_ERRORS])
    return "; ".join(f"{field}: {text}" for field, text in each if text)


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()
