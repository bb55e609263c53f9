"""Who may do what: without a token, when a token changes, and when a session is over."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge import app
from bridge.admin.authentication import SESSION_SECONDS
from bridge.config.model import Config
from bridge.store.user_state import SESSIONS_LIMIT
from tests.admin.conftest import OPERATOR, VIEWER, Desk
from tests.admin.test_pages import log_in
from tests.building import Clock


async def status(bridge: app.Running, method: str, path: str, **options: Any) -> int:
    async with aiohttp.ClientSession() as session:
        address = f"http://{bridge.admin}{path}"
        async with session.request(method, address, allow_redirects=False, **options) as answer:
            return answer.status


async def test_without_a_token_this_machine_may_do_everything_and_no_page_of_another_site(configured: Config) -> None:
    async with app.running(configured, clock=Clock()) as bridge:
        assert await status(bridge, "GET", "/") == 200
        assert await status(bridge, "GET", "/api/events") == 200
        for path in ("/", "/api/events", "/metrics", "/tools/playground"):
            for host in ("rebound.example", "127.0.0.1.rebound.example", "[", "", "10.0.0.5:8081"):
                assert await status(bridge, "GET", path, headers={"Host": host}) == 403
            for host in ("localhost", "localhost:9000", "127.0.0.1:8081", "[::1]:8081"):
                assert await status(bridge, "GET", path, headers={"Host": host}) == 200
        pause = "/api/lanes/crm/pause"
        assert await status(bridge, "POST", pause, json={}, headers={"Origin": "http://evil.example"}) == 403
        assert await status(bridge, "POST", pause, json={}, headers={"Origin": "null"}) == 403
        assert await status(bridge, "POST", pause, json={}, headers={"Origin": "http://["}) == 403
        assert await status(bridge, "POST", "/destinations/crm/pause", data={"x": "y"}) == 403
        assert await status(bridge, "POST", pause, json={}, headers={"Origin": f"http://{bridge.admin}"}) == 200
        assert await status(bridge, "POST", pause, json={}) == 200


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Via", "CF-Connecting-IP"],
)
async def test_without_a_token_a_proxy_lets_nobody_in(configured: Config, header: str) -> None:
    async with app.running(configured, clock=Clock()) as bridge, aiohttp.ClientSession() as session:
        for method, path in (
            ("GET", "/"),
            ("GET", "/api/events"),
            ("GET", "/metrics"),
            ("POST", "/destinations/crm/pause"),
        ):
            async with session.request(method, f"http://{bridge.admin}{path}", headers={header: "x"}) as answer:
                assert answer.status == 403
                said = await answer.text()
                assert header.lower() in said
                assert "server.admin_token" in said
        assert await status(bridge, "GET", "/readyz", headers={header: "x"}) in {200, 503}


async def test_with_a_token_a_proxy_may_stand_before_it(guarded: Config) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}", "X-Forwarded-For": "203.0.113.9", "Via": "1.1 proxy"}
    async with app.running(guarded, clock=Clock()) as bridge:
        assert await status(bridge, "GET", "/api/events", headers=headers) == 200


async def test_health_tells_anybody(configured: Config) -> None:
    async with app.running(configured, clock=Clock()) as bridge:
        assert await status(bridge, "GET", "/healthz", headers={"Host": "10.0.0.5:8081"}) == 200


async def test_a_session_is_over_after_its_time(guarded: Config) -> None:
    clock = Clock()
    async with app.running(guarded, clock=clock) as bridge, aiohttp.ClientSession() as session:
        base = f"http://{bridge.admin}"
        async with session.post(f"{base}/login", data={"token": OPERATOR}, allow_redirects=False) as answer:
            cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
        assert await status(bridge, "GET", "/", headers=cookie) == 200
        clock.now += SESSION_SECONDS - 1
        assert await status(bridge, "GET", "/", headers=cookie) == 200
        clock.now += 2
        assert await status(bridge, "GET", "/", headers=cookie) == 303


async def log_in_at(bridge: app.Running, token: str) -> dict[str, str]:
    """Return the header that sends the cookie of a new session."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{bridge.admin}/login", data={"token": token}, allow_redirects=False) as answer,
    ):
        assert answer.status == 303
        return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


async def log_out_at(bridge: app.Running, cookie: dict[str, str], **more: str) -> None:
    headers = {**cookie, "Sec-Fetch-Site": "same-origin"}
    assert await status(bridge, "POST", "/logout", data=more, headers=headers) == 303


async def test_a_session_outlives_a_restart_and_so_does_its_logout(guarded: Config) -> None:
    clock = Clock()
    async with app.running(guarded, clock=clock) as bridge:
        ended, kept = await log_in_at(bridge, OPERATOR), await log_in_at(bridge, OPERATOR)
        viewers = [await log_in_at(bridge, VIEWER)]
        await log_out_at(bridge, ended)
        for _ in range(SESSIONS_LIMIT):
            clock.now += 1
            viewers.append(await log_in_at(bridge, VIEWER))
        assert await status(bridge, "GET", "/", headers=ended) == 303
        assert await status(bridge, "GET", "/", headers=kept) == 200, "a viewer's logins end no operator's session"
        assert [await status(bridge, "GET", "/", headers=each) for each in viewers[:2]] == [303, 200]
    async with app.running(guarded, clock=clock) as bridge:
        assert await status(bridge, "GET", "/", headers=ended) == 303
        assert await status(bridge, "GET", "/", headers=kept) == 200
        clock.now -= 1_000_000
        assert await status(bridge, "GET", "/", headers=kept) == 303, "no session is longer than the server allows"


async def test_a_logout_everywhere_ends_all_sessions_of_the_user(guarded: Config) -> None:
    async with app.running(guarded, clock=Clock()) as bridge:
        here, there = await log_in_at(bridge, OPERATOR), await log_in_at(bridge, OPERATOR)
        other = await log_in_at(bridge, VIEWER)
        await log_out_at(bridge, here, everywhere="1")
        assert [await status(bridge, "GET", "/", headers=each) for each in (here, there, other)] == [303, 303, 200]


def read_all(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.glob("*.db*"))


async def test_the_store_keeps_nothing_that_logs_in(guarded: Config, tmp_path: Path) -> None:
    async with app.running(guarded, clock=Clock()) as bridge:
        cookie = (await log_in_at(bridge, OPERATOR))["Cookie"].partition("=")[2]
    stored = read_all(tmp_path)
    assert b"server.admin_token" in stored
    assert cookie.encode() not in stored
    assert OPERATOR.encode() not in stored


async def test_wrong_tokens_are_forgotten_after_a_while(guarded: Config) -> None:
    clock = Clock()
    good = {"Authorization": f"Bearer {OPERATOR}"}
    async with app.running(guarded, clock=clock) as bridge:
        for _ in range(10):
            assert await status(bridge, "GET", "/api/events", headers={"Authorization": "Bearer wrong"}) == 401
        wrong = {"Authorization": "Bearer another"}
        assert await status(bridge, "GET", "/api/events", headers=wrong) == 429
        assert await status(bridge, "GET", "/api/events", headers=good) == 200, "others' wrong tokens bar nobody"
        assert await status(bridge, "GET", "/api/events", headers=wrong) == 429
        clock.now += 61
        assert await status(bridge, "GET", "/api/events", headers=wrong) == 401


async def test_sessions_end_when_the_token_changes(desk: Desk, tmp_path: Path) -> None:
    await log_in(desk)
    assert (await desk.ask("GET", "/api/events", token=None))[0] == 200
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace("${ADMIN}", "another-token-of-an-operator"))
    desk.bridge.configuration.ask()
    while (await desk.ask("GET", "/api/events", token=None))[0] == 200:
        pass
    assert (await desk.ask("GET", "/api/events", token=None))[0] == 401
    assert (await desk.ask("GET", "/api/events", token="another-token-of-an-operator"))[0] == 200


async def test_a_secret_that_stands_in_a_route_is_not_shown(desk: Desk, tmp_path: Path) -> None:
    await log_in(desk)
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace("name: ", "copy: {value: the-secret-of-the-crm}\n          name: "))
    desk.bridge.configuration.ask()
    while "copy" not in (page := (await desk.see("/tools/playground?route=acme:0"))[1]):
        pass
    assert "the-secret-of-the-crm" not in page
