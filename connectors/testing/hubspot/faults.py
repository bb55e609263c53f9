"""HubSpot's typical faults, for `HubSpotSandbox.faults`."""

import orjson

from connectors.testing.faults import Fault
from connectors.testing.hubspot.errors import RefusedError, unreadable
from connectors.testing.hubspot.limits import LimitedError

_JSON = {"Content-Type": "application/json"}
_ID = "0190f0a0-0000-7000-8000-000000000000"
_PORTAL = 891936587


def ten_secondly() -> Fault:
    """Return a fault: too many calls in ten seconds, without a `Retry-After`."""
    return _refusing(LimitedError("TEN_SECONDLY_ROLLING", _PORTAL))


def secondly() -> Fault:
    """Return a fault: too many searches in a second."""
    return _refusing(LimitedError("SECONDLY", _PORTAL))


def daily() -> Fault:
    """Return a fault: the day's calls are used up."""
    return _refusing(LimitedError("DAILY", _PORTAL))


def locked() -> Fault:
    """Return a fault: 423, too many writes; HubSpot then requires two seconds between calls."""
    return _refusing(RefusedError(423, "The record is locked for now.", None))


def migrating(seconds: int) -> Fault:
    """Return a fault: 477, the account moves to another data centre, for up to a day."""
    headers = {**_JSON, "Retry-After": str(seconds)}
    return Fault.answers(477, headers, _body(RefusedError(477, "A migration is in progress.", None)))


def empty_answer(status: int = 200, *, written: bool) -> Fault:
    """Return a fault: a batch answer with neither results nor errors, written or not (seen in some 207)."""
    moment = "2026-11-24T10:00:00Z"
    body = {"status": "COMPLETE", "results": [], "startedAt": moment, "completedAt": moment}
    return Fault.answers(status, _JSON, orjson.dumps(body), written=written)


def page_of_gateway(status: int = 502) -> Fault:
    """Return a fault: a page for people, as with 500, 502, 503, 504 and 521 to 526."""
    return Fault.html_error(status)


def unread() -> Fault:
    """Return a fault: the JSON cannot be read, a 400 without a category."""
    reason = 'Cannot deserialize value of type `java.lang.String` from Object value (token "JsonToken.START_OBJECT")'
    return _refusing(unreadable(reason, 3, 9))


def uri_too_long() -> Fault:
    """Return a fault: 414, as the sandbox answers an address of over 8 KiB; HubSpot documents no limit."""
    return Fault.html_error(414)


def answer_lost() -> Fault:
    """Return a fault: the records are written, and the connection is closed without an answer."""
    return Fault.disconnects(written=True)


def _refusing(refused: RefusedError) -> Fault:
    return Fault.answers(refused.status, _JSON, _body(refused))


def _body(refused: RefusedError) -> bytes:
    return orjson.dumps(refused.document(_ID))
