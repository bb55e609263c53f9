"""Bytes on the wire: refreshes of a page on which nothing changed, and static files."""

import asyncio
import difflib
import gzip
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
LIVE: Final = frozenset(
    {"/", "/leads", "/chatbots", "/chatbots/acme", "/destinations", "/destinations/crm", "/deliveries"}
)
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
    token = await log_in(desk)
    await desk.send(Email="ada@example.com")
    await dead(desk, 2)
    await desk.send(Type="Something else")
    await desk.send(key=b"another-key-of-good-length", SerialNumber=SERIAL)
    await desk.settled()
    discard = {"action": "discard", "state": "dead", "reason": "mapping", "destination": "crm", "sure": "yes"}
    await desk.see("/problems", csrf=token, **discard)
    while "done" not in (await desk.see("/problems/runs/1"))[1]:
        pass
    await dead(desk, 2)
    await desk.see("/tools/completeness", csrf=token, span="7d")
    while "done" not in (await desk.see("/tools/completeness/1"))[1]:
        pass
    # The problems are counted anew.
    await later(desk, RECENT_SECONDS + 1)
    lead = (await desk.ask("GET", "/api/events"))[1]["events"][0]["id"]
    return [*PAGES, f"/leads/{lead}", "/problems/runs/1", "/tools/completeness/1"]


async def test_a_refresh_costs_little_while_nothing_changes_however_much_time_passes(desk: Desk) -> None:
    paths = await scene(desk)
    shown = {path: await answered(desk, path) for path in paths}
    live = {path for path, page in shown.items() if b"data-live" in page}
    assert live >= {*LIVE, *paths[-3:]}
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
    token = await log_in(desk)
    said = (await desk.see("/destinations/crm/pause", csrf=token))[1]
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


async def test_pages_files_and_the_api_are_compressed(desk: Desk) -> None:
    paths = await scene(desk)
    openly = {"Accept-Encoding": "br, gzip;q=0.8", "Sec-Fetch-Site": "same-origin"}
    style = re.findall(r"/static/style[^\"]+", (await desk.see("/login"))[1])[0]
    for path in (*paths, style, "/nothing", "/api/openapi.json", "/metrics"):
        plain = await answered(desk, path, **{**openly, "Accept-Encoding": "gzip;q=0, br"})
        packed = await answered(desk, path, **openly)
        head, _, body = packed.partition(b"\r\n\r\n")
        assert b"\r\nContent-Encoding: gzip" in head, path
        assert b"\r\nVary: Accept-Encoding" in head
        # Metrics, ages and the end of a report differ from one moment to the next.
        if path not in {"/metrics", "/tools/report"}:
            one, other = (AGES.sub(b"", each) for each in (plain.partition(b"\r\n\r\n")[2], gzip.decompress(body)))
            assert one == other, (path, difference(one, other))
        assert len(packed) < len(plain) * 0.6, path
    assert b"Content-Encoding" not in await answered(desk, "/healthz", **openly)


async def test_programs_with_a_token_get_compressed_answers(desk: Desk) -> None:
    token = {"Authorization": f"Bearer {OPERATOR}", "Accept-Encoding": "gzip"}
    assert b"Content-Encoding: gzip" in await answered(desk, "/api/openapi.json", **token)


async def test_a_page_that_another_site_opened_is_not_compressed(desk: Desk) -> None:
    """Its address may hold a guess at a text of the page, and its length would say whether the guess is right."""
    await log_in(desk)
    for site in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {}):
        page = await answered(desk, "/leads?state=dead", **{"Accept-Encoding": "gzip", **site})
        assert b"Content-Encoding" not in page
        # Nor are its refreshes, which the page itself asks for.
        assert b"<body data-foreign " in page
        own = {"Accept-Encoding": "gzip", "Sec-Fetch-Site": "same-origin"}
        assert b"Content-Encoding" not in await answered(desk, "/leads?state=dead", **own, **{REFRESH: "foreign"})
        assert b"Content-Encoding" in await answered(desk, "/leads?state=dead", **own, **{REFRESH: "own"})
    assert b"data-foreign" not in await answered(desk, "/leads", **{"Sec-Fetch-Site": "none"})
    script = (await desk.see("/static/live.js"))[1]
    assert '"foreign" in document.body.dataset ? "foreign" : "own"' in script
