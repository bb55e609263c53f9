"""People with tokens of their own, some of whom see one client's chatbot only."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import app
from bridge.admin.api import permit_event
from bridge.admin.authentication import COOKIE, Caller, Role
from bridge.config.reload import load_files
from bridge.errors import NotFoundError
from bridge.ingress.signature import sign
from bridge.store.filter import Scope
from tests.admin.conftest import Crm, Desk, browser
from tests.building import KEY, SERIAL, lead

OTHER_SERIAL = "0123456789abcdef0123456789abcdef"
CLIENT, CLERK, ADMIN = "the-token-of-the-client", "the-token-of-a-clerk", "the-token-of-an-operator"
CONFIG = """
server:
  listen: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  admin_token: "${{ADMIN}}"
  users:
    - {{name: maria, token: "${{CLIENT}}", role: operator, chatbots: [acme]}}
    - {{name: clerk, token: "${{CLERK}}"}}
store: {{url: "sqlite:///{folder}/leadbridge.db"}}
destinations:
  crm: {{connector: http, url: "{url}", allow_private: true}}
  other-crm: {{connector: http, url: "{url}", allow_private: true}}
chatbots:
  acme:
    serial_number: {serial}
    signing_keys: ["${{KEY}}"]
    routes: [{{to: crm, fields: {{email: {{from: Email, required: true}}}}}}]
  other:
    serial_number: {other}
    signing_keys: ["${{KEY}}"]
    routes: [{{to: other-crm, fields: {{email: {{from: Email, required: true}}}}}}]
"""


@dataclass
class Agency(Desk):
    """A bridge with two clients' chatbots."""

    file: Path
    environ: dict[str, str]

    async def receive(self, serial: str, **fields: Any) -> dict[str, Any]:
        """Send a lead without an address, which becomes a dead letter; return its delivery."""
        before = {each["id"] for each in await self.deliveries(ADMIN)}
        body = orjson.dumps(lead(SerialNumber=serial, **fields))
        headers = {"X-Webhook-Signature": sign(KEY, str(int(time.time())), body)}
        async with self.session.post(f"http://{self.bridge.listen}/webhook", data=body, headers=headers) as answer:
            assert answer.status == 200
        await self.settled()
        (made,) = [each for each in await self.deliveries(ADMIN) if each["id"] not in before]
        return dict(made)

    async def deliveries(self, token: str) -> list[dict[str, Any]]:
        status, found = await self.ask("GET", "/api/deliveries", token)
        assert status == 200
        return list(found["deliveries"])


@pytest.fixture
async def agency(tmp_path: Path) -> AsyncIterator[Agency]:
    crm = Crm()
    application = web.Application()
    application.router.add_post("/leads", crm.answer)
    async with TestServer(application, host="127.0.0.1") as server:
        url = str(server.make_url("/leads"))
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG.format(folder=tmp_path, url=url, serial=SERIAL, other=OTHER_SERIAL))
        environ = {"ADMIN": ADMIN, "CLIENT": CLIENT, "CLERK": CLERK, "KEY": KEY.decode()}
        async with app.running(*load_files(file, environ)) as running, browser(running) as session:
            yield Agency(running, session, crm, file, environ)


async def test_a_clients_user_sees_and_acts_on_its_chatbots_only(agency: Agency) -> None:
    own = await agency.receive(SERIAL, Email="", PhoneNumber="+1 202 555 0101")
    foreign = await agency.receive(OTHER_SERIAL, Email="", PhoneNumber="+1 202 555 0102", FirstName="Foreign")
    assert [each["id"] for each in await agency.deliveries(CLIENT)] == [own["id"]]
    for query in ("", "?state=dead", "?destination=other-crm", "?chatbot=other", "?reason=mapping"):
        _, found = await agency.ask("GET", f"/api/deliveries{query}", CLIENT)
        assert {each["chatbot"] for each in found["deliveries"]} <= {"acme"}, query
    for method, path, body in (
        ("GET", f"/api/events/{foreign['event']}", None),
        ("GET", f"/api/deliveries/{foreign['id']}", None),
        ("POST", f"/api/events/{foreign['event']}/replay", {}),
        ("POST", f"/api/deliveries/{foreign['id']}/replay", {}),
        ("POST", f"/api/deliveries/{foreign['id']}/discard", {}),
    ):
        assert (await agency.ask(method, path, CLIENT, json=body))[0] == 404, path
        theirs = path.replace(foreign["event"], own["event"]).replace(f"/{foreign['id']}", f"/{own['id']}")
        assert (await agency.ask(method, theirs, CLIENT, json=body))[0] == 200, theirs
    for event, status in ((foreign["event"], 404), (own["event"], 409)):
        assert (await agency.ask("POST", f"/api/events/{event}/discard", CLIENT, json={}))[0] == status
    _, events = await agency.ask("GET", "/api/events", CLIENT)
    assert [each["id"] for each in events["events"]] == [own["event"]]
    _, found = await agency.ask("POST", "/api/events/search", CLIENT, json={"phone": "+1 202 555 0102"})
    assert found["events"] == []
    _, chatbots = await agency.ask("GET", "/api/chatbots", CLIENT)
    assert [each["name"] for each in chatbots["chatbots"]] == ["acme"]


async def test_the_pages_of_a_clients_user(agency: Agency) -> None:
    own = await agency.receive(SERIAL, Email="", FirstName="Ada", PhoneNumber="+1 202 555 0101")
    foreign = await agency.receive(OTHER_SERIAL, Email="", FirstName="Foreign", PhoneNumber="+1 202 555 0102")
    status, page = await agency.post("/login", token=CLIENT)
    assert status == 200
    assert "<h1>Home</h1>" in page
    assert "Log out (maria)" in page
    page += (await agency.see("/leads"))[1]
    assert "Ada G." in page
    assert "Foreign" not in page
    assert "other" not in page.replace("others", "")
    assert (await agency.see(f"/leads/{own['event']}"))[0] == 200
    assert (await agency.see(f"/leads/{foreign['event']}"))[0] == 404
    for path in ("/tools/audit", "/tools/configuration"):
        status, page = await agency.see(path)
        assert status == 403, path
        assert "about all chatbots" in page


async def test_programs_do_not_share_messages_and_searches(agency: Agency) -> None:
    foreign = await agency.receive(OTHER_SERIAL, Email="", FirstName="Foreign")
    url = f"http://{agency.bridge.admin}"

    async def page(token: str, path: str, **form: str) -> tuple[int, str, str]:
        headers = {"Authorization": f"Bearer {token}"}
        asked = agency.session.request(
            "POST" if form else "GET", url + path, data=form or None, headers=headers, allow_redirects=False
        )
        async with asked as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    assert (await page(ADMIN, f"/deliveries/{foreign['id']}/discard", event=foreign["event"], sure="yes"))[0] == 303
    said = f"delivery {foreign['id']}"
    assert said not in (await page(CLIENT, "/leads"))[2]
    assert said in (await page(ADMIN, "/tools"))[2], "it waits for its own caller"
    found = (await page(ADMIN, "/leads", who="Foreign"))[1]
    assert (await page(ADMIN, found))[0] == 200
    assert (await page(CLIENT, found))[0] == 410


async def test_several_events_are_as_none_for_a_clients_user() -> None:
    class Ambiguous:
        async def ask(self, _: object) -> None:
            raise NotFoundError("abcdef: several events have an id that begins so")

    caller = Caller(Role.OPERATOR, "127.0.0.1", None, "maria", Scope(frozenset({"acme"})))
    desk: Any = Ambiguous()
    with pytest.raises(NotFoundError, match="none of your events has this id"):
        await permit_event(desk, caller, "abcdef")


async def test_the_audit_log_names_who_did_it(agency: Agency) -> None:
    own = await agency.receive(SERIAL, Email="")
    await agency.ask("POST", f"/api/deliveries/{own['id']}/discard", CLIENT)
    assert (await agency.ask("POST", f"/api/deliveries/{own['id']}/replay", CLERK))[0] == 403, "a viewer"
    _, log = await agency.ask("GET", "/api/audit", ADMIN)
    entries = [(each["action"], each["user"], each["role"]) for each in log["entries"]]
    assert ("discard", "maria", "operator") in entries
    assert ("refused_action", "clerk", "viewer") in entries


async def test_a_forged_cookie_is_nobodys_and_a_session_ends_at_the_logout(agency: Agency) -> None:
    await agency.post("/login", token=CLERK)
    (cookie,) = [each.value for each in agency.session.cookie_jar if each.key == COOKIE]

    async def see(admin: object, value: str) -> int:
        async with (
            aiohttp.ClientSession(cookies={COOKIE: value}, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
            session.get(f"http://{admin}/leads", allow_redirects=False) as answer,
        ):
            return answer.status

    assert await see(agency.bridge.admin, cookie) == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", agency.bridge.admin.port)
    writer.write(f"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nCookie: {COOKIE}=".encode() + b"\xff.x\r\n\r\n")
    assert b" 303 " in await reader.readline()
    writer.close()
    for forged in (f"{cookie}x", cookie[:-1], "1", "."):
        assert await see(agency.bridge.admin, forged) == 303, forged
    await agency.post("/logout")
    assert await see(agency.bridge.admin, cookie) == 303


async def test_a_login_returns_to_the_page_that_was_asked_for(agency: Agency) -> None:
    status, page = await agency.see("/leads?state=dead&chatbot=acme")
    assert status == 200
    assert "<h1>Log in</h1>" in page
    assert 'name="next" value="/leads?state=dead&amp;chatbot=acme"' in page
    for wanted, shown in (("/leads?state=dead", "/leads"), ("//evil.example", "/"), ("https://evil.example", "/")):
        url = f"http://{agency.bridge.admin}/login"
        async with agency.session.post(url, data={"token": CLERK, "next": wanted}, allow_redirects=False) as answer:
            assert answer.headers["Location"].partition("?")[0] == shown
