"""The sender, as its page describes it: signs a lead, posts it, reads the status of the answer, and comes again."""

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp
import pytest

from tests.acceptance.configured import KEY, SERIAL
from tests.acceptance.program import Program

SUCCESS = b'{"status":"success"}'
TRY_SECONDS = 40.0
"""How long one try may take; longer than anything that the program may wait for before it answers."""

_numbers = itertools.count(1)


def lead(**fields: Any) -> dict[str, Any]:
    """Give a lead that no other one is equal to, with every field that the sender has."""
    number = next(_numbers)
    return {
        "SerialNumber": SERIAL,
        "Type": "Lead",
        "FirstName": "David",
        "LastName": f"García {number}",
        "Email": f"lead.{number}@example.com",
        "PhoneNumber": f"+1 202 555 {number:04}",
        "CreateTime": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        "Content": "Asks for an offer for forty chairs.",
        "SessionID": number,
        "URI": "https://www.example.com/offers/chairs?from=chat",
        **fields,
    }


def written(document: Mapping[str, Any]) -> bytes:
    """Write a lead as JSON.stringify does."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def signature(body: bytes, key: str = KEY, at: float | None = None) -> str:
    """Sign a body as the sender does."""
    moment = str(int(time.time() if at is None else at))
    digest = hmac.new(key.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the program answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def succeeded(self) -> bool:
        """Whether the sender takes the lead for delivered."""
        return self.status == 200 and self.body == SUCCESS


class Sender:
    """Sends to a program, wherever it listens after its last start."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connections."""
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(TRY_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        assert self._session is not None
        await self._session.close()

    async def post(self, body: bytes, header: str | None) -> Answer | None:
        """Send a body under a signature; None where no whole answer came."""
        assert self._session is not None
        headers = {"Content-Type": "application/json"}
        if header is not None:
            headers["X-Webhook-Signature"] = header
        try:
            async with self._session.post(self._program.url, data=body, headers=headers) as response:
                return Answer(response.status, await response.read(), response.headers)
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def send(self, document: Mapping[str, Any]) -> Answer | None:
        """Send a lead once, signed now."""
        body = written(document)
        return await self.post(body, signature(body))

    async def deliver(self, document: Mapping[str, Any]) -> None:
        """Send a lead that is to be taken at once; fails the test if it is not."""
        answer = await self.send(document)
        if answer is None or not answer.succeeded:
            pytest.fail(
                f"a lead was answered with {answer} instead of success; the program says {self._program.told()}"
            )

    async def insist(self, document: Mapping[str, Any], pause: float = 0.2, seconds: float = 60.0) -> None:
        """Send a lead again and again, as the sender does in its own time, until it is answered with success."""
        deadline = time.monotonic() + seconds
        while True:
            answer = await self.send(document)
            if answer is not None and answer.succeeded:
                return
            if time.monotonic() > deadline:
                pytest.fail(f"no success for a lead in {seconds:g} s; the last answer was {answer}")
            await asyncio.sleep(pause)
