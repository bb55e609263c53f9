"""HTTP server below both listeners: its answers and log lines for requests that are not valid HTTP.

aiohttp's own error answers quote the request, and its log has tracebacks that quote it too. A request may hold a token
or a lead. So a fault is logged in one line with its kind, and answered with a constant text.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import ClientPayloadError, web
from aiohttp.http import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from bridge.ingress.responses import JsonResponse
from bridge.log import server_log

_FAULTS = {
    400: b'{"status":"error","error":"the request is not valid HTTP"}',
    500: b'{"status":"error","error":"a fault of the program; its log has the details"}',
    504: b'{"status":"error","error":"the program did not answer in time"}',
}
BROKEN = (web.RequestPayloadError, HttpProcessingError, ClientPayloadError, ConnectionError)
"""Errors of reading a body whose client hung up, or that does not match its head."""

log = structlog.get_logger()

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Server(web.Server):
    """HTTP server of one listener. Create it in the running loop.

    `listener` is its name in the log. With `logs` the handler itself logs each body that breaks off.
    """

    def __init__(self, handler: Handler, *, listener: str, logs: bool = False, **options: Any) -> None:
        super().__init__(
            handler,
            loop=asyncio.get_running_loop(),
            access_log=None,
            logger=server_log(),
            # A small body could unpack to a huge one.
            auto_decompress=False,
            **options,
        )
        self.listener = listener
        self.logs = logs

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)


class ApplicationRunner(web.AppRunner):
    """Runs an application on a `Server`."""

    def __init__(self, application: web.Application, *, listener: str, **options: Any) -> None:
        super().__init__(application, **options)
        self._listener = listener

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(made.request_handler, listener=self._listener, request_factory=made.request_factory)


class _Connection(RequestHandler):
    __slots__ = ("_is_logged", "_listener")

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._listener = server.listener
        self._is_logged = server.logs
        """True if a broken body is in the log already."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Log the kind of the fault and answer with a constant text; the connection is closed."""
        known = 400 if isinstance(exc, BROKEN) or status not in _FAULTS else status
        self._is_logged = True
        self._log(exc, known, request.remote)
        if request.writer.output_size > 0:
            raise ConnectionError("part of another answer was sent already")
        answer = JsonResponse(_FAULTS[known], known)
        answer.force_close()
        return answer

    def log_exception(self, *_: object, exc_info: BaseException | None = None, **__: object) -> None:
        """Log a fault after the answer: of the unread rest of a body, or of the program."""
        if isinstance(exc_info, BROKEN):
            if not self._is_logged:
                self._log(exc_info, 400)
        else:
            self._log(exc_info, 500)

    def _log(self, error: BaseException | None, status: int, address: str | None = None) -> None:
        frames = traceback.extract_tb(error.__traceback__) if error and status != HTTPStatus.BAD_REQUEST else None
        log.warning(
            "http_fault",
            listener=self._listener,
            address=address,
            fault=type(error).__qualname__ if error else None,
            status=status,
            **({"at": f"{frames[-1].filename}:{frames[-1].lineno}"} if frames else {}),
        )
