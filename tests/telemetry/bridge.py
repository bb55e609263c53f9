"""A bridge in this process, that traces to a collector, with a connector that does as it is told."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from bridge import app
from bridge.config.model import Config, StoreSettings
from bridge.ingress.signature import sign
from tests.building import KEY, NOW, Clock, FakeConnector, chatbot, config, destination, route


class Bridge:
    """What a test sends to, and what it looks at."""

    def __init__(self, running: app.Running, connector: FakeConnector, session: aiohttp.ClientSession) -> None:
        self.connector = connector
        self._running = running
        self._session = session

    async def post(
        self, document: Any, path: str = "/webhook", *, key: bytes = KEY, headers: Mapping[str, str] | None = None
    ) -> int:
        """Send something, signed; give the status of the answer."""
        body = orjson.dumps(document)
        signed = {"X-Webhook-Signature": sign(key, str(int(NOW)), body)}
        return await self.ask("POST", path, data=body, headers=signed | dict(headers or {}))

    async def ask(self, method: str, path: str, **options: Any) -> int:
        """Send any request."""
        url = f"http://{self._running.listen}{path}"
        async with self._session.request(method, url, **options) as answer:
            await answer.read()
            return answer.status

    async def called(self, count: int) -> None:
        """Wait until the connector has had so many records."""
        await self.until(lambda: sum(map(len, self.connector.calls)) >= count)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what happens in the bridge."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


def configured(folder: Path, connector: FakeConnector, *, fields: Any = None, **options: Any) -> Config:
    """Give a configuration with one chatbot and one destination; the options are the destination's."""
    made = config([chatbot("acme", route("crm", fields))], [destination("crm", connector, **options)])
    return dataclasses.replace(made, store=StoreSettings(f"sqlite:///{folder}/leadbridge.db", 1e9, 1e9))


@contextlib.asynccontextmanager
async def bridge(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], **options: Any
) -> AsyncIterator[Bridge]:
    """Run a bridge under these variables; when the context ends, all its spans have been sent."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    connector = FakeConnector()
    async with (
        app.running(configured(folder, connector, **options), clock=Clock()) as running,
        aiohttp.ClientSession() as session,
    ):
        yield Bridge(running, connector, session)
