"""Bytes on the wire: refreshes of a page on which nothing changed, and static files."""

import asyncio
import difflib
import html
import re
import time
from typing import Final

from bridge.admin.problems import RECENT_SECONDS
from bridge.admin.responses import REFRESH
from tests.admin.conftest import OPERATOR, Desk
from tests.admin.test_api import dead
from tests.admin.test_pages import PAGES, log_in
from tests.building import SERIAL

QUIET_BYTES: Final = 300
AGES: Final = re.compile(rb"(?<=data-age>)[^<]*")
LIVE: Final = frozenset({"/", "/leads", "/chatbots", "/chatbots/acme", "/destinations", "/destinations/crm"})
"""Pages that refresh themselves, besides those of one lead, one run and one inquiry."""


async def answered(desk: Desk, path: str, **headers: str) -> bytes:
    """Return the whole HTTP response to a GET, as it comes out of the socket."""
    reader, writer = await asyncio.open_connection(desk.bridge.admin.host, desk.bridge.admin.port)
    cookies = "; ".join(f"{each.key}={each.value}" for each in desk.session.cookie_jar)
    lines = {"Host": str(desk.bridge.admin), "Cookie": cookies, **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    response = await reader.readuntil(b"\r\n\r\n")
    if length := re.search(rb"\r\nContent-Length: (\d+)", response):
        response += await reader.readexactly(int(length[1]))
    writer.close()
    await writer.wait_closed()
    return response


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def version_of(response: bytes) -> str:
    found = re.search(rb' data-version="([0-9a-f]+)"', response)
    assert found
    return found[1].decode()


async def refreshed(desk: Desk, path: str, page: bytes) -> bytes:
    """Ask as a browser that shows a page."""
    asked = re.search(rb'data-live-from="([^"]+)"', page)
    address = html.unescape(asked[1].decode()) if asked else path
    return await answered(desk, address, **{REFRESH: "1", "If-None-Match": f'"{version_of(page)}"'})


async def later(desk: Desk, seconds: float) -> None:
    """Let time pass, and wait until the lane has its lease again."""
    desk.watch.ahead += seconds
    while (await desk.ask("GET", "/api/lanes"))[1]["lanes"][0]["state"] != "running":
        pass


def difference(before: bytes, after: bytes) -> list[str]:
    return list(difflib.unified_diff(before.decode().splitlines(), after.decode().splitlines(), n=0))[3:]


async def scene(desk: Desk) -> list[str]:
    """Let something of everything come, and return the paths of all pages."""
    # Ten past: no day and no hour ends during the test.
    desk.watch.ahead = 600 - time.time() % 3600
    await log_in(desk)
    await desk.send(Email="ada@example.com")
    await dead(desk, 2)
    await desk.send(Type="Something else")
    await desk.send(key=b"another-key-of-good-length", SerialNumber=SERIAL)
    await desk.settled()
    discard = {"action": "discard", "state": "dead", "reason": "mapping", "destination": "crm", "sure": "yes"}
    await desk.post("/problems", **discard)
    while "done" not in (await desk.see("/problems/runs/1"))[1]:
        pass
    await dead(desk, 2)
    # The problems are counted anew.
    await later(desk, RECENT_SECONDS + 1)
    lead = (await desk.ask("GET", "/api/events"))[1]["events"][0]["id"]
    return [*PAGES, f"/leads/{lead}", "/problems/runs/1"]


async def test_a_refresh_costs_little_while_nothing_changes_however_much_time_passes(desk: Desk) -> None:
    paths = await scene(desk)
    shown = {path: await answered(desk, path) for path in paths}
    live = {path for path, page in shown.items() if b"data-live" in page}
    assert live >= {*LIVE, *paths[-2:]}
    await later(desk, 90)
    costs = {}
    for path in live:
        response = await refreshed(desk, path, shown[path])
        assert status_of(response) == 304, (path, difference(shown[path], response))
        costs[path] = len(response)
    assert max(costs.values()) < QUIET_BYTES, costs


async def test_a_refresh_brings_the_page_when_something_changed(desk: Desk) -> None:
    paths = await scene(desk)
    before = {path: await answered(desk, path) for path in paths}
    await dead(desk, 3)
    for path in LIVE:
        response = await refreshed(desk, path, before[path])
        assert status_of(response) == 200, path
        assert version_of(response) != version_of(before[path])
        assert b"Content-Security-Policy" in response


async def test_a_message_after_a_form_is_no_part_of_the_version(desk: Desk) -> None:
    """Otherwise the page would come once more, to take the message away."""
    await log_in(desk)
    said = (await desk.post("/destinations/crm/pause"))[1]
    assert "paused until it is resumed" in said
    response = await refreshed(desk, "/destinations/crm", said.encode())
    assert status_of(response) == 304


async def test_static_files_have_addresses_that_never_change_their_content(desk: Desk) -> None:
    page = (await desk.see("/login"))[1]
    found = re.findall(r'"(/static/[\w.]+\?v=[0-9a-f]+)"', page)
    assert {each.partition("?")[0].rpartition("/")[2] for each in found} == {
        "style.css",
        "live.js",
        "icon.svg",
    }
    for address in found:
        version = address.partition("=")[2]
        response = await answered(desk, address)
        assert b"Cache-Control: max-age=31536000, immutable" in response
        path = address.partition("?")[0]
        for other in (path, f"{path}?v=0123"):
            assert b"Cache-Control: no-cache" in await answered(desk, other)
        response = await answered(desk, path, **{"If-None-Match": f'"{version}"'})
        assert status_of(response) == 304
        assert len(response) < QUIET_BYTES


async def test_programs_with_a_token_can_ask_for_changes_too(desk: Desk) -> None:
    token = {"Authorization": f"Bearer {OPERATOR}"}
    version = version_of(await answered(desk, "/leads", **token))
    response = await answered(desk, "/leads", **token, **{REFRESH: "1", "If-None-Match": f'W/"{version}"'})
    assert status_of(response) == 304


async def test_nothing_is_compressed(desk: Desk) -> None:
    """A length that depends on texts of the page tells a stranger who guesses them (the BREACH attack)."""
    await log_in(desk)
    await desk.send(Email="ada@example.com")
    for path in (*PAGES, "/static/style.css", "/api/openapi.json"):
        head = (await answered(desk, path, Accept_Encoding="gzip, br, deflate")).partition(b"\r\n\r\n")[0]
        assert b" 200 " in head, path
        assert b"Content-Encoding" not in head, path
