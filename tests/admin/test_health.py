import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge import app
from bridge.admin.console import Console
from bridge.admin.listener import Admin
from bridge.config.model import Config, ListenAddress, StoreSettings
from bridge.errors import OperatorError
from bridge.ingress.signature import sign
from bridge.store.preparation import driver_for
from tests.building import KEY, NOW, Clock, FakeConnector, chatbot, config, destination, lead, route


@pytest.fixture
def configured(tmp_path: Path) -> Config:
    made = config([chatbot("acme", route("crm"))], [destination("crm", FakeConnector())])
    return dataclasses.replace(made, store=StoreSettings(f"sqlite:///{tmp_path}/leadbridge.db", 1.0, 1.0))


@pytest.fixture
async def bridge(configured: Config) -> AsyncIterator[app.Running]:
    async with app.running(configured, clock=Clock()) as running:
        yield running


async def get(address: ListenAddress, path: str, **options: Any) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}", **options) as answer:
        return answer.status, await answer.text()


async def until_ready(bridge: app.Running) -> None:
    while (await get(bridge.admin, "/readyz"))[0] != 200:
        pass


async def test_lives_and_is_ready_when_the_store_commits_and_each_lane_is_worked(bridge: app.Running) -> None:
    assert await get(bridge.admin, "/healthz") == (200, '{"status": "alive"}')
    await until_ready(bridge)
    assert bridge.lanes.complete()


async def test_only_a_reader_loads_the_dashboard(configured: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Admin] = []
    console = Admin.console

    async def noted(admin: Admin) -> Console:
        loaded.append(admin)
        return await console(admin)

    monkeypatch.setattr(Admin, "console", noted)
    async with app.running(configured, clock=Clock()) as bridge:
        await until_ready(bridge)
        assert [(await get(bridge.admin, path))[0] for path in ("/healthz", "/metrics")] == [200, 200]
        assert not loaded
        # At once, as a page and its files come.
        found = await asyncio.gather(*(get(bridge.admin, path) for path in ("/login", "/static/live.js", "/nothing")))
        assert [status for status, _ in found] == [200, 200, 404]
        assert loaded


def test_the_program_starts_without_the_dashboard() -> None:
    code = "import sys, bridge.app; sys.exit(any('dashboard' in name or 'schemas' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("path", "allowed"), [("/healthz", "GET,HEAD"), ("/api/lanes", "GET"), ("/logout", "POST")])
async def test_a_wrong_method_is_answered_with_the_right_ones(bridge: app.Running, path: str, allowed: str) -> None:
    async with aiohttp.ClientSession() as session, session.put(f"http://{bridge.admin}{path}") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == allowed


async def test_is_not_ready_while_the_store_cannot_commit(
    bridge: app.Running, configured: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_ready(bridge)
    blocker = driver_for(configured.store.url).connect()
    blocker.exec_driver_sql("BEGIN IMMEDIATE")
    assert (await get(bridge.admin, "/readyz"))[0] == 503
    blocker.exec_driver_sql("ROLLBACK")
    blocker.close()
    assert (await get(bridge.admin, "/readyz"))[0] == 200


async def test_counts_what_arrives_and_what_is_delivered(bridge: app.Running, configured: Config) -> None:
    import orjson

    body = orjson.dumps(lead(Email="private@example.com"))
    headers = {"X-Webhook-Signature": sign(KEY, str(int(NOW)), body)}
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            await session.post(f"http://{bridge.listen}/webhook", data=body, headers=headers)
        await session.post(f"http://{bridge.listen}/webhook", data=b"{}", headers={"X-Webhook-Signature": "x"})
    connector = configured.destinations["crm"].connector
    assert isinstance(connector, FakeConnector)
    while 'leadbridge_attempts_total{destination="crm"' not in (text := (await get(bridge.admin, "/metrics"))[1]):
        pass
    assert 'leadbridge_events_total{chatbot="acme",result="accepted"} 1.0' in text
    assert 'leadbridge_events_total{chatbot="acme",result="duplicate"} 1.0' in text
    assert 'leadbridge_events_total{chatbot="",result="malformed"} 1.0' in text
    assert 'leadbridge_attempts_total{destination="crm",outcome="delivered",reason=""} 1.0' in text
    assert "leadbridge_store_commit_seconds_count" in text
    assert "private@example.com" not in text
    assert KEY.decode() not in text


async def test_metrics_ask_for_the_token_where_there_is_one(configured: Config) -> None:
    guarded = dataclasses.replace(configured, server=dataclasses.replace(configured.server, admin_token="let-me-in"))
    async with app.running(guarded, clock=Clock()) as bridge:
        assert (await get(bridge.admin, "/metrics"))[0] == 401
        assert (await get(bridge.admin, "/metrics", headers={"Authorization": "Bearer wrong"}))[0] == 401
        assert (await get(bridge.admin, "/metrics", headers={"Authorization": "Bearer let-me-in"}))[0] == 200
        assert (await get(bridge.admin, "/healthz"))[0] == 200


async def test_closes_its_connectors_and_gives_back_the_store(configured: Config) -> None:
    for _ in range(2):
        async with app.running(configured, clock=Clock()):
            pass
    connector = configured.destinations["crm"].connector
    assert isinstance(connector, FakeConnector)
    assert connector.closed == 2


async def test_a_taken_port_is_named_and_nothing_stays_open(configured: Config) -> None:
    async with app.running(configured, clock=Clock()) as bridge:
        taken = dataclasses.replace(
            configured,
            server=dataclasses.replace(configured.server, listen=bridge.listen),
            store=StoreSettings(configured.store.url.replace("leadbridge.db", "other.db"), 1.0, 1.0),
        )
        with pytest.raises(OperatorError, match=f"cannot listen on {bridge.listen}"):
            async with app.running(taken, clock=Clock()):
                pass


async def test_a_store_that_another_bridge_serves_is_refused(configured: Config) -> None:
    async with app.running(configured, clock=Clock()):
        with pytest.raises(OperatorError, match="serves this store"):
            async with app.running(configured, clock=Clock()):
                pass
