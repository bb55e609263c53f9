"""Undoing the compression of an answer (RFC 9110 section 8.4). Pure.

aiohttp would do it too, but takes a gzip stream that ends in the middle for a whole one (seen with 3.14), and half an
answer must not pass for an answer.
"""

import zlib
from collections.abc import Mapping

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
