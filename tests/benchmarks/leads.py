"""Unique leads, signed as the vendor signs them, as whole HTTP requests: made before a burst, never during one."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from bridge.ingress.signature import HEADER, sign

SERIAL = "59001dd73709417321c58b11693183a2"
KEY = "the-signing-key-of-the-benchmark"

_SPACING = timedelta(microseconds=100)
_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: axios/1.7.9\r\nAccept: */*\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n{name}: {signature}\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to be sent."""

    session: int
    """The lead's `SessionID`, by which it is found again in the store and at the destination."""
    wire: bytes


def payloads() -> Iterator[tuple[int, bytes]]:
    """Give ever new leads, each with its `SessionID`; created one after the other, as leads are."""
    began = datetime.now(UTC).replace(tzinfo=None)
    for number in itertools.count(1):
        document = {
            "SerialNumber": SERIAL,
            "Type": "Lead",
            "FirstName": "Dávid",
            "LastName": f"Garcia {number}",
            "Email": f"lead.{number}@example.com",
            "PhoneNumber": f"+1 202 555 {number % 10_000:04}",
            "CreateTime": f"{(began + number * _SPACING).isoformat(timespec='microseconds')}Z",
            "Content": "Asks for an offer for forty chairs, delivered before the end of the month.",
            "SessionID": number,
            "URI": "https://www.example.com/offers/chairs?from=chat",
        }
        yield number, orjson.dumps(document)


class Sender:
    """Makes requests, no two alike over its whole life."""

    def __init__(self) -> None:
        self._payloads = payloads()

    def requests(self, count: int, path: str = "/webhook") -> Sequence[Request]:
        """Make so many requests, signed now."""
        return [_request(session, payload, path) for session, payload in itertools.islice(self._payloads, count)]

    def payloads(self, count: int) -> Sequence[bytes]:
        """Make so many payloads that no request carries."""
        return [payload for _, payload in itertools.islice(self._payloads, count)]


def _request(session: int, payload: bytes, path: str) -> Request:
    signature = sign(KEY.encode(), str(int(time.time())), payload)
    head = _HEAD.format(path=path, length=len(payload), name=HEADER, signature=signature)
    return Request(session, head.encode() + payload)
