"""What a fake of one API is built on: a server on loopback, faults, and a ledger. Subclass it and add routes."""

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
        """What goes wrong with its requests."""
        self._server = Server(port=port, now=now, too_large=Reply(413, {"message": "the body is too large"}))

    def route(self, path: str, answer: Answer, *, faults: Faults | None = None, noted: bool = True) -> None:
        """Serve a path in all methods, as aiohttp writes it (`/contacts/{id}`); to be called before it serves.

        Args:
            path: The path.
            answer: Answers a request; a `RefusedError` that it raises is answered too.
            faults: What goes wrong with requests for it, if not what goes wrong with all.
            noted: Whether its requests go into the ledger.
        """

        def reply(request: web.Request, body: bytes) -> Reply:
            try:
                return answer(request, body)
            except RefusedError as refused:
                return refused.reply

        self._server.route(path, faults or self.faults, reply, noted=noted)

    @property
    def ledger(self) -> deque[Arrival]:
        """What arrived, in order, whatever became of it."""
        return self._server.ledger

    @property
    def origin(self) -> str:
        """Scheme, host and port, once it serves."""
        return self._server.origin

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving. What it holds can still be looked at."""
        await self._server.stop()


def json_object(body: bytes) -> dict[str, Any]:
    """Read a body that must be a JSON object. Raises `RefusedError` (400)."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"invalid JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise RefusedError(400, "must be an object")
    return document
