"""Reading of a request's body, within the bounds of size, memory and time."""

import asyncio
from dataclasses import dataclass

from aiohttp import HttpVersion11, StreamReader, web

from bridge.config.model import Config
from bridge.errors import SenderError
from bridge.ingress.server import BROKEN

INLINE_BODY = 16 * 1024
"""Maximum size of a body that is read in the event loop. A larger one is read in a thread, since a hostile one takes
long."""
LARGE_BYTES = 4 * 1024 * 1024
"""Maximum number of bytes of large bodies in memory, but always one of `server.max_body`: the JSON values of a hostile
one take 25 times its size. Further ones get 503, if possible before they are read."""
SMALL_BYTES = 16 * 1024 * 1024
"""The same limit for small bodies, which large ones do not displace: about ten thousand usual leads."""


@dataclass(slots=True)
class Reserved:
    """Bytes of the bodies that are being read, verified and stored."""

    small: int = 0
    large: int = 0


class Reservation:
    """Bytes that one request may have in memory."""

    __slots__ = ("_reserved", "_size")

    def __init__(self, reserved: Reserved) -> None:
        self._reserved = reserved
        self._size = 0

    def take(self, size: int, largest: int) -> None:
        """Reserve this number of bytes in all; `largest` is the size of the largest body. Raises SenderError."""
        if size <= self._size:
            return
        self.end()
        reserved = self._reserved
        if size <= INLINE_BODY:
            if reserved.small + size > SMALL_BYTES:
                raise SenderError("crowded", 503)
            reserved.small += size
        else:
            if reserved.large + size > max(LARGE_BYTES, largest):
                raise SenderError("crowded", 503)
            reserved.large += size
        self._size = size

    def end(self) -> None:
        """Release the bytes."""
        if self._size <= INLINE_BODY:
            self._reserved.small -= self._size
        else:
            self._reserved.large -= self._size
        self._size = 0


async def read_body(request: web.BaseRequest, config: Config, reservation: Reservation) -> bytes:
    """Read the body within the bounds of size, memory and time. Raises SenderError with the result's name."""
    limit = config.server.max_body
    length = request.content_length or 0
    if length > limit:
        raise SenderError("too_large", 413)
    _check_encoding(request)
    reservation.take(length, limit)
    try:
        if request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11:
            # RFC 9110 section 10.1.1. Not for a body that is refused already, which is then never sent.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # The answer itself has not begun.
            request.writer.output_size = 0
        async with asyncio.timeout(config.server.read_timeout):
            return await _body(request.content, reservation, limit)
    except TimeoutError as error:
        raise SenderError("too_slow", 408) from error
    except BROKEN as error:
        # The client closed the connection, or its body does not match its head.
        raise SenderError("broken_off", 400) from error


def arrived_body(request: web.BaseRequest, config: Config, reservation: Reservation) -> bytes:
    """Return a body that arrived with its head. Raises SenderError."""
    try:
        body = request.content.read_nowait()
    except BROKEN as error:
        raise SenderError("broken_off", 400) from error
    limit = config.server.max_body
    if len(body) > limit:
        raise SenderError("too_large", 413)
    _check_encoding(request)
    reservation.take(len(body), limit)
    return body


def _check_encoding(request: web.BaseRequest) -> None:
    """Refuse a compressed body: the signature over one is not defined."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise SenderError("encoded", 415)


async def _body(content: StreamReader, reservation: Reservation, limit: int) -> bytes:
    """Return a body as it arrives. Raises SenderError."""
    parts, size = [], 0
    while part := await content.readany():
        size += len(part)
        if size > limit:
            raise SenderError("too_large", 413)
        reservation.take(size, limit)
        parts.append(part)
    return b"".join(parts)
