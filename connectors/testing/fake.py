"""The base of a fake API: a server on loopback, faults, and a ledger. Subclass it and add routes."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import orjson
from aiohttp import web

from connectors.testing.contacts import RefusedError, Reply
from connectors.testing.faults import Faults
from connectors.testing.server import Answer, Arrival, Server


class FakeApi:
    """An API in memory, behind real HTTP on loopback.

    Example:
        ```python
        class ContactsFake(FakeApi):
            def __init__(self) -> None:
                super().__init__()
                self.contacts: list[dict[str, Any]] = []
                self.route("/contacts", self._create)

            def _create(self, request: web.Request, body: bytes) -> Reply:
                if request.headers.get("Authorization") != "Bearer token":
                    return Reply(401, {"message": "wrong token"})
                self.contacts.append(json_object(body))
                return Reply(201, {"id": len(self.contacts)})
        ```

    Args:
        port: 0 takes a free one.
        now: Seconds since the epoch.
    """

    def __init__(self, *, port: int = 0, now: Callable[[], float] = time.time) -> None:
        self.faults = Faults()
        """Faults of its requests."""
        self._server = Server(port=port, now=now, too_large=Reply(413, {"message": "the body is too large"}))

    def route(self, path: str, answer: Answer, *, faults: Faults | None = None, noted: bool = True) -> None:
        """Serve a path in all methods, in aiohttp's notation (`/contacts/{id}`). Call it before the server starts.

        Args:
            path: The path.
            answer: Answers a request; a `RefusedError` that it raises becomes the answer.
            faults: Faults of requests for the path, if they differ from those of all requests.
            noted: True if its requests are recorded in the ledger.
        """

        def reply(request: web.Request, body: bytes) -> Reply:
            try:
                return answer(request, body)
            except RefusedError as refused:
                return refused.reply

        self._server.route(path, faults or self.faults, reply, noted=noted)

    @property
    def ledger(self) -> deque[Arrival]:
        """All requests in order, whatever their answer."""
        return self._server.ledger

    @property
    def origin(self) -> str:
        """Scheme, host and port, once it serves."""
        return self._server.origin

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server. Its records can still be read."""
        await self._server.stop()


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body. Raises `RefusedError` (400) for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"invalid JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise RefusedError(400, "must be an object")
    return document
