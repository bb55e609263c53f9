"""The result of an HTTP call: a whole answer, or a failure with its meaning for the records. Pure.

Also the decompression of bodies, with a limit on their size.
"""

import os
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from connectors.base import Blame, Reason, Retry
from connectors.http_client.address_guard import AddressRefused

_SENT: tuple[tuple[type[Exception], Reason, str], ...] = (
    (TimeoutError, Reason.TIMEOUT, "no answer from {} in time"),
    (aiohttp.ClientResponseError, Reason.BAD_ANSWER, "the answer of {} is not HTTP"),
)
_GZIP = 31  # zlib's window bits for a gzip header (zlib manual, inflateInit2)
_ZLIB = 15
_RAW = -15
_WINDOWS: Mapping[str, tuple[int, ...]] = {
    "gzip": (_GZIP,),
    "x-gzip": (_GZIP,),
    "deflate": (_ZLIB, _RAW),  # the standard means zlib's format; some servers send the bare stream
}


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A whole answer, of any status."""

    status: int
    headers: Mapping[str, str]
    """Headers by name, in any case."""
    body: bytes
    """The body, decompressed."""

    def json(self) -> Any:
        """Parse the body as JSON. Raises ValueError if it is not JSON, or empty."""
        return orjson.loads(self.body)

    def __repr__(self) -> str:
        """Return status and size without any content, because a repr ends up in logs."""
        return f"Answer(status={self.status}, bytes={len(self.body)})"


@dataclass(frozen=True, slots=True)
class Failure:
    """A call without a whole answer."""

    outcome: Retry
    """Outcome for each record of the call."""
    sent: bool
    """True if the request may have reached the destination, so that the records may have been written."""
    momentary: bool = False
    """True if nothing was sent and another try at once may succeed."""
    setting: tuple[str | int, ...] = ()
    """Setting of `NetworkSettings` at fault, if known."""


class Stale(aiohttp.ClientConnectionError):
    """An idle connection that already holds an unrequested answer. Nothing was sent on it."""


def network_failure(fault: Exception, url: URL) -> Failure:
    """Return the meaning of a network fault for the records of the call.

    The detail names host, port and the system's reason, never the URL: its path and query can hold secrets.
    """
    place = f"{url.host}:{url.port}"
    if isinstance(fault, aiohttp.ClientConnectorError):
        return _unconnected(fault, place)
    for kind, detail, momentary in _UNSENT:
        if isinstance(fault, kind):
            return no_connection(detail.format(place), momentary=momentary)
    if _is_tls(fault):
        refusal = _unreachable(f"{place} broke off TLS, as servers do that refuse a client certificate")
        return Failure(refusal, sent=True, setting=("tls", "certificate"))
    for kind, reason, detail in _SENT:
        if isinstance(fault, kind):
            return Failure(Retry(reason, detail.format(place)), sent=True)
    return Failure(Retry(Reason.BAD_ANSWER, f"{place} closed the connection without a whole answer"), sent=True)


_UNSENT: tuple[tuple[type[Exception], str, bool], ...] = (
    # Not tried again at once: it used up all of its time.
    (aiohttp.ConnectionTimeoutError, "no connection to {} in time", False),
    (aiohttp.InvalidURL, "{} is not an address that can be connected to", False),
    (Stale, "the kept connection to {} cannot be used any more", True),
)


def no_connection(detail: str, *, momentary: bool = False, setting: tuple[str | int, ...] = ()) -> Failure:
    """Return a failure without a connection: nothing was sent, and every call would fail like this."""
    return Failure(_unreachable(detail), sent=False, momentary=momentary, setting=setting)


def _unconnected(fault: aiohttp.ClientConnectorError, place: str) -> Failure:
    """Return the failure for a connection that could not be opened."""
    why = fault.os_error
    if isinstance(why, AddressRefused):
        return no_connection(f"{place} is not reached: {why.strerror}")
    return no_connection(_connection_error(fault, place), momentary=True)


def _connection_error(fault: aiohttp.ClientConnectorError, place: str) -> str:
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        doubt = getattr(fault.certificate_error, "verify_message", "") or "it does not hold"
        return f"the certificate of {place} is refused: {doubt}"
    why = fault.os_error
    reason = why.strerror or type(why).__name__
    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        return f"the name in {place} cannot be looked up: {reason}"
    if isinstance(fault, aiohttp.ClientSSLError):
        return f"no TLS with {place}: {reason}"
    return f"no connection with {place}: {os.strerror(why.errno) if why.errno else reason}"


def _unreachable(detail: str) -> Retry:
    return Retry(Reason.UNREACHABLE, detail, Blame.DESTINATION)


def _is_tls(fault: BaseException | None) -> bool:
    """Return True for a TLS fault. TLS 1.3 refuses a client certificate only after the handshake."""
    while fault is not None and not isinstance(fault, ssl.SSLError):
        fault = fault.__cause__
    return fault is not None


class TooLargeError(ValueError):
    """Content that would be larger than allowed."""


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the decompressed content of a body.

    Args:
        body: The body as received.
        encoding: Content-Encoding of the answer, empty for none.
        limit: Maximum bytes of content; not many more are ever unpacked.

    Raises:
        TooLargeError: the content is larger.
        ValueError: the encoding is unknown, or the body is broken or incomplete.
    """
    encoding = encoding.strip().lower()
    if not body or encoding in ("", "identity"):
        return body
    for window in _WINDOWS.get(encoding, ()):
        try:
            return _inflate(body, window, limit)
        except zlib.error:
            continue
    raise ValueError("cannot be decoded")


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    """Unpack all members: a gzip file may have several (RFC 1952 section 2.2)."""
    parts: list[bytes] = []
    room = limit
    while body:
        member = zlib.decompressobj(window)
        part = member.decompress(body, room + 1)
        room -= len(part)
        if room < 0:
            raise TooLargeError
        if not member.eof:
            raise ValueError("is not complete")
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)
