"""Whether every lead has arrived, on the dashboard: counted, listed, and asked of a CRM that really answers."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import app
from bridge.admin import jobs, reconcile
from bridge.config.reload import load_files
from bridge.errors import StoreUnavailableError
from bridge.operations import reconcile as reconcile_operations
from bridge.store import search
from connectors.testing import HubSpotSandbox
from tests.admin.conftest import OPERATOR, VIEWER, Crm, Desk
from tests.admin.test_pages import log_in
from tests.building import KEY, SERIAL

ONLINE = "/api/reconcile/online"
CONFIG = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", admin_token: "${{ADMIN}}", viewer_token: "${{VIEWER}}"}}
store: {{url: "{store}", spool: "{folder}/spool.db"}}
destinations:
  crm: {{connector: hubspot, base_url: "{origin}", allow_private: true, access_token: "${{TOKEN}}"}}
  log: {{connector: http, url: "{url}", allow_private: true}}
  idle: {{connector: http, url: "{url}", allow_private: true}}
chatbots:
  acme:
    serial_number: {serial}
    signing_keys: ["${{KEY}}"]
    signature_tolerance: 0s
    routes:
      - {{to: crm, fields: {{email: Email, firstname: FirstName}}}}
      - {{to: log, when: Content == "log me", fields: {{email: Email}}}}
      - {{to: idle, when: Content == "never", fields: {{email: Email}}}}
"""


@dataclass
class Place(Desk):
    """Somebody who looks at a bridge with HubSpot behind it."""

    hubspot: HubSpotSandbox
    file: Path
    called: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connector(self) -> Any:
        return self.bridge.configuration().destinations["crm"].connector

    async def delivered(self, count: int, **fields: Any) -> None:
        """Send leads, and wait until they have arrived."""
        for _ in range(count):
            await self.send(**fields)
        await self.settled()

    def delete(self, *numbers: int) -> None:
        """Delete contacts at HubSpot, by the order of their creation."""
        held = self.hubspot._store._records["contacts"]
        for record in [self.hubspot.contacts[number] for number in numbers]:
            del held[record.id]

    async def inquire(self, span: str = "24h") -> Any:
        """Ask the destinations, and wait for the end."""
        status, begun = await self.ask("POST", ONLINE, json={"span": span})
        assert (status, begun["state"]) == (200, "running")
        while (found := (await self.ask("GET", f"{ONLINE}/{begun['id']}"))[1])["state"] == "running":
            pass
        return found

    def hold(self) -> asyncio.Event:
        """Have the next calls that ask HubSpot wait until the event is set."""
        go, holds = asyncio.Event(), self.connector.holds
        self.called.clear()

        async def held(filed: Sequence[Any]) -> Any:
            self.called.set()
            await go.wait()
            return await holds(filed)

        self.connector.holds = held
        return go


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """On SQLite, or on PostgreSQL for a test that is parametrized with it."""
    on_postgresql = getattr(request, "param", "") == "postgresql"
    store = request.getfixturevalue("database") if on_postgresql else f"sqlite:///{tmp_path}/leadbridge.db"
    other = Crm()
    application = web.Application()
    application.router.add_post("/leads", other.answer)
    jar = aiohttp.CookieJar(unsafe=True)
    async with TestServer(application, host="127.0.0.1") as server, HubSpotSandbox() as hubspot:
        file = tmp_path / "config.yaml"
        url = str(server.make_url("/leads"))
        names = {"store": store, "folder": tmp_path, "origin": hubspot.origin, "url": url, "serial": SERIAL}
        file.write_text(CONFIG.format(**names))
        token = hubspot.access_token or ""
        config, files = load_files(file, {"ADMIN": OPERATOR, "VIEWER": VIEWER, "TOKEN": token, "KEY": KEY.decode()})
        async with app.running(config, files) as running, aiohttp.ClientSession(cookie_jar=jar) as session:
            yield Place(running, session, other, hubspot, file)


def outcomes(page: str) -> list[list[str]]:
    """Return the cells of the table of a report's page that says what became of the leads."""
    table = page[page.index('aria-label="By chatbot and destination"') :].partition("</table>")[0]
    rows = re.findall(r"<tr><td>.*?</tr>", table, re.DOTALL)
    return [re.findall(r"<td>(?:<[^>]*>)?([^<]*)", row) for row in rows]


def numbers(line: dict[str, Any], *names: str) -> list[Any]:
    return [line[name] for name in ("chatbot", "destination", *names)]


async def test_what_has_arrived_and_what_is_missing(place: Place) -> None:
    await place.delivered(2)
    await place.delivered(1, Content="log me", Email="", PhoneNumber="+1 202 555 0123")
    await place.send(Type="Something else")
    _, found = await place.ask("GET", "/api/reconcile", token=VIEWER)
    columns = ("received", "delivered", "waiting", "dead", "discarded", "held")
    assert [numbers(each, *columns) for each in found["lines"]] == [
        ["acme", "crm", 3, 3, 0, 0, 0, None],
        ["acme", "log", 1, 1, 0, 0, 0, None],
        [None, None, 1, 0, 0, 1, 0, None],
    ]
    assert (found["dead"], found["unrecognised"], found["complete"]) == (0, 1, True)
    await log_in(place)
    page = (await place.see("/tools/report"))[1]
    assert '<a class="bad" href="/leads?state=unrecognised">1</a>' in page
    assert outcomes(page) == [
        ["acme", "crm", "3", "3", "0", "0", "0", "0"],
        ["acme", "log", "1", "1", "0", "0", "0", "0"],
        ["not recognised", "-", "1", "0", "0", "1", "0", "0"],
    ]


async def test_the_report_leads_to_what_is_missing(desk: Desk) -> None:
    for _ in range(3):
        await desk.send(Email="", PhoneNumber="+1 202 555 0123")
    while len(dead := (await desk.ask("GET", "/api/deliveries?state=dead"))[1]["deliveries"]) < 3:
        pass
    await log_in(desk)
    for query in ("", "?chatbot=acme&days=1"):
        page = (await desk.see(f"/tools/report{query}"))[1]
        assert outcomes(page) == [["acme", "crm", "3", "0", "0", "3", "0", "0"]]
        (where,) = re.findall(r'class="bad" href="(/leads[^"]+)"', page)
        listed = (await desk.see(html.unescape(where)))[1]
        assert {each["event"] for each in dead} <= set(re.findall(r'href="/leads/([0-9a-f]+)"', listed))


async def test_only_the_span_that_is_asked_for(place: Place) -> None:
    await place.delivered(1)
    for span in ("1h", "30d", "9999d"):
        _, found = await place.ask("GET", f"/api/reconcile?span={span}")
        assert [each["received"] for each in found["lines"]] == [1]
    assert (await place.ask("GET", "/api/reconcile?span=0s"))[1]["lines"] == []
    for span in ("yesterday", "24", "-1h", "1w", "99999d"):
        assert (await place.ask("GET", f"/api/reconcile?span={span}"))[0] == 400


async def test_of_very_much_the_newest_part_is_counted_and_an_inquiry_counts_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "NEWEST", 2)
    monkeypatch.setattr(reconcile_operations, "SPAN", 2)
    await place.delivered(5)
    _, found = await place.ask("GET", "/api/reconcile")
    assert ([each["received"] for each in found["lines"]], found["complete"]) == ([2], False)
    await log_in(place)
    assert "Only the newest leads" in (await place.see("/tools/report"))[1]
    inquiry = await place.inquire()
    assert [each["received"] for each in inquiry["lines"]] == [5]


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
async def test_the_crm_is_asked_whether_it_holds_them(place: Place) -> None:
    await place.delivered(4)
    await place.delivered(2, Content="log me")
    place.delete(1, 3)
    found = await place.inquire()
    assert (found["state"], found["asked"], found["total"], found["error"]) == ("done", 8, 8, None)
    columns = ("delivered", "held", "gone", "unknown")
    assert [numbers(each, *columns) for each in found["lines"]] == [
        ["acme", "crm", 6, 4, 2, 0],
        ["acme", "log", 2, 0, 0, 2],
    ]
    deliveries = (await place.ask("GET", "/api/deliveries?destination=crm"))[1]["deliveries"]
    assert [(each["delivery"], each["event"]) for each in found["gone"]] == [
        (deliveries[2]["id"], deliveries[2]["event"]),
        (deliveries[4]["id"], deliveries[4]["event"]),
    ]
    _, told = await place.ask("GET", "/api/audit?action=inquire")
    (entry,) = told["entries"]
    assert (entry["subject"], entry["subject_id"], entry["count"], entry["facts"]) == (
        "inquiry",
        "1",
        8,
        {"span": "24h"},
    )


async def test_an_inquiry_says_how_far_it_is_and_names_what_is_gone(place: Place) -> None:
    await place.delivered(3)
    place.delete(0)
    go = place.hold()
    _, begun = await place.ask("POST", ONLINE, json={"span": "7d"})
    while (seen := (await place.ask("GET", f"{ONLINE}/{begun['id']}"))[1])["total"] == 0:
        pass
    assert (seen["asked"], seen["total"], seen["state"]) == (0, 3, "running")
    go.set()
    while (seen := (await place.ask("GET", f"{ONLINE}/{begun['id']}"))[1])["state"] == "running":
        pass
    assert (seen["asked"], seen["span"]) == (3, "7d")
    oldest = (await place.ask("GET", "/api/events"))[1]["events"][-1]
    assert [each["event"] for each in seen["gone"]] == [oldest["id"]]


async def test_one_at_a_time_and_cancelled(place: Place) -> None:
    await place.delivered(2)
    go = place.hold()
    _, begun = await place.ask("POST", ONLINE, json={})
    status, answer = await place.ask("POST", ONLINE, json={})
    assert (status, "another inquiry is under way" in answer["error"]) == (409, True)
    assert (await place.ask("POST", f"{ONLINE}/{begun['id']}/cancel"))[1]["state"] == "cancelled"
    go.set()
    while (await place.ask("POST", ONLINE, json={"span": "1h"}))[0] == 409:
        pass
    listed = (await place.ask("GET", ONLINE))[1]["inquiries"]
    assert [each["id"] for each in listed] == [2, 1]
    assert listed[1]["state"] == "cancelled"
    assert (await place.ask("POST", f"{ONLINE}/99/cancel"))[0] == 404
    assert (await place.ask("GET", f"{ONLINE}/99"))[0] == 404
    _, told = await place.ask("GET", "/api/audit?action=cancel")
    assert [(each["subject"], each["subject_id"]) for each in told["entries"]] == [("inquiry", "1")]


async def test_a_viewer_looks_and_nobody_else_begins_one(place: Place) -> None:
    await place.delivered(1)
    assert (await place.ask("GET", "/api/reconcile", token=None))[0] == 401
    assert (await place.ask("POST", ONLINE, token=None, json={}))[0] == 401
    assert (await place.ask("POST", ONLINE, token=VIEWER, json={}))[0] == 403
    assert (await place.ask("POST", f"{ONLINE}/1/cancel", token=VIEWER))[0] == 403
    assert (await place.ask("GET", ONLINE))[1]["inquiries"] == []
    made = await place.inquire()
    _, seen = await place.ask("GET", f"{ONLINE}/{made['id']}", token=VIEWER)
    assert (seen["asked"], seen["total"]) == (1, 1)


async def test_a_destination_that_is_configured_anew_is_not_asked_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "AT_ONCE", 1)
    monkeypatch.setattr(jobs, "PAUSE_SECONDS", 0.0)
    await place.delivered(3)
    before = place.bridge.configuration()
    go = place.hold()
    _, begun = await place.ask("POST", ONLINE, json={})
    await place.called.wait()
    place.file.write_text(
        place.file.read_text().replace("allow_private: true, access", "timeout: 7s, allow_private: true, access")
    )
    place.bridge.configuration.ask()
    while place.bridge.configuration() is before:
        await asyncio.sleep(0.01)
    go.set()
    while (found := (await place.ask("GET", f"{ONLINE}/{begun['id']}"))[1])["state"] == "running":
        pass
    assert (found["asked"], found["lines"][0]["delivered"]) == (1, 3)
    await place.delivered(1)
    assert (await place.inquire())["lines"][0]["held"] == 4


async def test_the_process_does_not_wait_for_a_crm_that_hangs(place: Place) -> None:
    await place.delivered(1)
    place.hold()
    await place.ask("POST", ONLINE, json={})
    await place.called.wait()
    # The fixture stops the bridge, with the call on its way.


async def test_a_store_in_trouble_ends_it_with_a_reason(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.delivered(1)

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("the disk is gone")

    monkeypatch.setattr(search, "delivered_page", fail)
    found = await place.inquire()
    assert (found["state"], found["error"]) == ("failed", "the disk is gone")
