"""Responses of the webhook endpoint; the usual one is written as ready bytes.

aiohttp builds the head of each response from a mapping of headers, and asks the request how to end. For the one
response that nearly every request gets, this would cost a sixth of the whole way through the program (`make bench`).
"""

import time
from email.utils import formatdate

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

JSON = "application/json"


class PresetResponse(web.StreamResponse):
    """An answer with status 200 and the same JSON for everybody: one object for all requests, any number in parallel.

    Only for requests that `suits` takes; the others need what aiohttp decides for each.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n" % (JSON.encode(), len(body))
        self._content = body
        self._second = 0
        self._bytes = b""

    @staticmethod
    def suits(request: web.BaseRequest) -> bool:
        """Return True if the connection stays open after the answer and needs no header for that."""
        return request.version == HttpVersion11 and request.keep_alive and request.method == "POST"

    @property
    def keep_alive(self) -> bool:
        """Return True: the connection stays open."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Write the whole answer: aiohttp calls this first."""
        second = int(time.time())
        if second != self._second:
            # RFC 9110 section 6.6.1: a server with a clock tells the time of the answer.
            date = formatdate(second, usegmt=True).encode()
            self._bytes = b"%bDate: %b\r\n\r\n%b" % (self._head, date, self._content)
            self._second = second
        await request.writer.write_eof(self._bytes)
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has written all."""


class JsonResponse(web.Response):
    """An answer with a JSON body. It does not name the server's software, which aiohttp does with its version."""

    def __init__(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(body=body, status=status, headers=headers, content_type=JSON)

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)
