"""What comes back from a call: a whole answer, or a failure that already says what it means for the records. Pure."""

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


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A whole answer, of any status."""

    status: int
    headers: Mapping[str, str]
    """By names in any case."""
    body: bytes
    """Decompressed."""

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Read the body as JSON. Raises ValueError where it is none; an empty body is none."""
        return orjson.loads(self.body)

    def __repr__(self) -> str:
        """Say what it is without a word of it: a repr ends up in logs."""
        return f"Answer(status={self.status}, bytes={len(self.body)})"


@dataclass(frozen=True, slots=True)
class Failure:
    """No whole answer."""

    outcome: Retry
    """What to say of each record of the call."""
    sent: bool
    """Whether the request may have reached the destination: then the records may or may not have been written."""
    momentary: bool = False
    """Nothing was sent, and another try right away may do better."""
    setting: tuple[str | int, ...] = ()
    """The setting of `NetworkSettings` that it is about, where it is known to be one."""


class Stale(aiohttp.ClientConnectionError):
    """The kept connection already holds an answer, to nothing: nothing has been sent on it."""


def failure(fault: Exception, url: URL) -> Failure:
    """Say what a fault of the network means.

    Details name host and port and the system's reason, never the URL: its path and query can hold secrets.
    """
    place = f"{url.host}:{url.port}"
    if isinstance(fault, aiohttp.ClientConnectorError):
        return _unconnected(fault, place)
    for kind, detail, momentary in _UNSENT:
        if isinstance(fault, kind):
            return unreached(detail.format(place), momentary=momentary)
    if _is_tls(fault):
        broken = _unreachable(f"{place} broke off TLS, as one does that refuses a client certificate")
        return Failure(broken, sent=True, setting=("tls", "certificate"))
    for kind, reason, detail in _SENT:
        if isinstance(fault, kind):
            return Failure(Retry(reason, detail.format(place)), sent=True)
    return Failure(Retry(Reason.BAD_ANSWER, f"{place} closed the connection without a whole answer"), sent=True)


_UNSENT: tuple[tuple[type[Exception], str, bool], ...] = (
    # Not tried again at once: it has taken all the time that there is for it.
    (aiohttp.ConnectionTimeoutError, "no connection to {} in time", False),
    (aiohttp.InvalidURL, "{} is not an address that can be connected to", False),
    (Stale, "the kept connection to {} cannot be used any more", True),
)
_SENT: tuple[tuple[type[Exception], Reason, str], ...] = (
    (TimeoutError, Reason.TIMEOUT, "no answer from {} in time"),
    (aiohttp.ClientResponseError, Reason.BAD_ANSWER, "what {} answers is not HTTP"),
)


def unreached(detail: str, *, momentary: bool = False, setting: tuple[str | int, ...] = ()) -> Failure:
    """Say that there was no connection, so that nothing has been sent. Every call would end so."""
    return Failure(_unreachable(detail), sent=False, momentary=momentary, setting=setting)


def _unconnected(fault: aiohttp.ClientConnectorError, place: str) -> Failure:
    """Say why there is no connection."""
    why = fault.os_error
    if isinstance(why, AddressRefused):
        return unreached(f"{place} is not reached: {why.strerror}")
    return unreached(_why_unconnected(fault, place), momentary=True)


def _why_unconnected(fault: aiohttp.ClientConnectorError, place: str) -> str:
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        doubt = getattr(fault.certificate_error, "verify_message", "") or "it does not hold"
        return f"the certificate of {place} is refused: {doubt}"
    why = fault.os_error
    said = why.strerror or type(why).__name__
    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        return f"the name in {place} cannot be looked up: {said}"
    if isinstance(fault, aiohttp.ClientSSLError):
        return f"no TLS with {place}: {said}"
    return f"no connection with {place}: {os.strerror(why.errno) if why.errno else said}"


def _unreachable(detail: str) -> Retry:
    return Retry(Reason.UNREACHABLE, detail, Blame.DESTINATION)


def _is_tls(fault: BaseException | None) -> bool:
    """Tell whether TLS is behind a fault: in version 1.3 a client certificate is refused only after the handshake."""
    while fault is not None and not isinstance(fault, ssl.SSLError):
        fault = fault.__cause__
    return fault is not None


_GZIP = 31  # zlib's window bits for a gzip header (zlib manual, inflateInit2)
_ZLIB = 15
_RAW = -15
_WINDOWS: Mapping[str, tuple[int, ...]] = {
    "gzip": (_GZIP,),
    "x-gzip": (_GZIP,),
    "deflate": (_ZLIB, _RAW),  # the standard means zlib's format; some servers send the bare stream
}


class TooLargeError(ValueError):
    """The content would be larger than allowed."""


def decode(body: bytes, encoding: str, limit: int) -> bytes:
    """Give the content of a body.

    Args:
        body: As it was sent.
        encoding: The answer's Content-Encoding, empty for none.
        limit: Bytes of content, at most; not many more are ever unpacked.

    Raises:
        TooLargeError: there would be more.
        ValueError: the encoding is not known, or the body is broken or not complete.
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
    """Unpack one member after the other: a gzip file may have several (RFC 1952 section 2.2)."""
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
