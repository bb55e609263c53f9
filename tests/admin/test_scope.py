"""A client's user sees and changes its own chatbots only: on every page and in every answer of the API.

The pages and endpoints come from the router itself, so a new one is tested, or fails here until somebody says what
stands in its address.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import app
from bridge.config.reload import load_files
from bridge.ingress.signature import sign
from tests.admin.conftest import Crm, Desk
from tests.admin.test_viewers import forms
from tests.building import KEY, SERIAL, lead

OTHER_SERIAL = "0123456789abcdef0123456789abcdef"
ADMIN, CLIENT, GUEST = "the-token-of-an-operator", "the-token-of-the-client", "the-token-of-the-guest"
OWN_BOT, OTHER_BOT = "acme", "zebulon-hotel"
OWN_CRM, OTHER_CRM, SHARED = "acme-crm", "zebulon-crm", "agency-sheet"
PERSON: dict[str, Any] = {"FirstName": "Zelda-Planted", "PhoneNumber": "+1 202 555 0177", "Content": "a planted wish"}
CONFIG = """
server:
  listen: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  admin_token: "${{ADMIN}}"
  users:
    - {{name: maria, token: "${{CLIENT}}", role: operator, chatbots: [acme]}}
    - {{name: guest, token: "${{GUEST}}", role: viewer, chatbots: [acme]}}
    - {{name: zebulon-clerk, token: "the-token-of-another-client", role: operator, chatbots: [zebulon-hotel]}}
store: {{url: "sqlite:///{folder}/leadbridge.db"}}
destinations:
  acme-crm: {{connector: http, url: "{url}", allow_private: true}}
  zebulon-crm: {{connector: http, url: "{url}", allow_private: true}}
  agency-sheet: {{connector: http, url: "{url}/closed", allow_private: true}}
chatbots:
  acme:
    serial_number: {serial}
    signing_keys: ["${{KEY}}"]
    routes:
      - {{to: acme-crm, fields: {{email: {{from: Email, required: true}}}}}}
      - {{to: agency-sheet, fields: {{email: Email}}}}
  zebulon-hotel:
    serial_number: {other}
    signing_keys: ["${{KEY}}"]
    routes:
      - {{to: zebulon-crm, fields: {{email: {{from: Email, required: true}}}}}}
      - {{to: agency-sheet, fields: {{email: Email}}}}
"""
REFUSED = {
    ("GET", "/metrics"),
    ("GET", "/api/configuration"),
    ("GET", "/tools/configuration"),
    ("GET", "/api/audit"),
    ("GET", "/tools/audit"),
    ("POST", "/api/lanes/{name}/pause"),
    ("POST", "/api/lanes/{name}/resume"),
    ("POST", "/api/reports/{name}/send"),
    ("POST", "/problems/reports/{name}"),
    ("POST", "/destinations"),
    ("POST", "/destinations/{name}"),
    ("POST", "/destinations/{name}/pause"),
    ("POST", "/destinations/{name}/resume"),
}
"""Requests that concern all chatbots."""
NO_PERSON = {
    "/healthz",
    "/readyz",
    "/static/{name}",
    "/login",
    "/logout",
    "/api/openapi.json",
}
"""Paths that are the same for everybody."""


@dataclass(frozen=True)
class Things:
    """One client's names and ids, for the parts of an address."""

    chatbot: str
    destination: str
    event: str
    delivery: int
    request: int
    run: int
    inquiry: int

    def value(self, path: str) -> str:
        """Return what stands in the braces of a path. Raises KeyError for a path that is not known here."""
        values = {
            "/api/events/{id}": self.event,
            "/leads/{id}": self.event,
            "/api/deliveries/{id}": self.delivery,
            "/deliveries/{id}": self.delivery,
            "/api/quarantine/{id}": self.request,
            "/problems/quarantine/{id}": self.request,
            "/api/bulk/{id}": self.run,
            "/problems/runs/{id}": self.run,
            "/api/reconcile/online/{id}": self.inquiry,
            "/chatbots/{name}": self.chatbot,
            "/destinations/{name}": self.destination,
            "/api/lanes/{name}": self.destination,
            "/api/reports/{name}": "weekly",
            "/problems/reports/{name}": "weekly",
        }
        return str(values[path[: path.index("}") + 1]])


@dataclass
class Clients(Desk):
    """A bridge with the chatbots of two clients, which share one destination."""

    routes: list[tuple[str, str]] = field(default_factory=list)
    own: Things = field(init=False)
    other: Things = field(init=False)
    ids: list[str] = field(default_factory=list)
    """Ids of all events of the other client, and of the event of nobody."""

    async def receive(self, serial: str, key: bytes = KEY, at: float = 0.0, **fields: Any) -> None:
        body = orjson.dumps(lead(SerialNumber=serial, **fields))
        headers = {"X-Webhook-Signature": sign(key, str(int(time.time() + at)), body)}
        async with self.session.post(f"http://{self.bridge.listen}/webhook", data=body, headers=headers) as answer:
            assert answer.status in {200, 401}

    async def raw(self, method: str, path: str, token: str, **options: Any) -> tuple[int, str]:
        """Ask without reading the answer."""
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://{self.bridge.admin}{path}"
        async with self.session.request(method, url, headers=headers, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers.get("Location", "") + await answer.text()

    async def all(self, path: str, name: str) -> list[Any]:
        status, found = await self.ask("GET", path, ADMIN)
        assert status == 200
        return list(found[name])

    async def foreign(self) -> object:
        """Return all that the other client has, except times to wait and what the shared destination does."""
        return [
            [each for each in await self.all(path, name) if each["chatbot"] != OWN_BOT]
            for path, name in (
                ("/api/events?limit=500", "events"),
                (f"/api/deliveries?limit=500&destination={OTHER_CRM}", "deliveries"),
                ("/api/quarantine?limit=500", "requests"),
            )
        ] + [[(each["name"], each["state"], each["reason"]) for each in await self.all("/api/lanes", "lanes")]]

    async def things(self, chatbot: str, destination: str) -> Things:
        _, run = await self.ask("POST", "/api/bulk", ADMIN, json={"action": "replay", "chatbot": chatbot})
        while (await self.ask("GET", f"/api/bulk/{run['id']}", ADMIN))[1]["state"] == "running":
            pass
        await self.settled_dead()
        deliveries = await self.all(f"/api/deliveries?state=dead&chatbot={chatbot}", "deliveries")
        requests = await self.all(f"/api/quarantine?chatbot={chatbot}", "requests")
        return Things(
            chatbot, destination, deliveries[0]["event"], deliveries[0]["id"], requests[0]["id"], run["id"], 0
        )

    async def settled_dead(self) -> None:
        while len(await self.all("/api/deliveries?state=dead", "deliveries")) < 5:
            pass


async def refuse(_: web.Request) -> web.Response:
    """Answer with the data of another client, as a shared account could."""
    return web.json_response({"message": "Zebulon has taken the account"}, status=401)


@pytest.fixture
async def clients(routes: list[tuple[str, str]], tmp_path: Path) -> AsyncIterator[Clients]:
    crm = Crm()
    application = web.Application()
    application.router.add_post("/leads", crm.answer)
    application.router.add_post("/leads/closed", refuse)
    async with TestServer(application, host="127.0.0.1") as server:
        url = str(server.make_url("/leads"))
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG.format(folder=tmp_path, url=url, serial=SERIAL, other=OTHER_SERIAL))
        environ = {"ADMIN": ADMIN, "CLIENT": CLIENT, "GUEST": GUEST, "KEY": KEY.decode()}
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            app.running(*load_files(file, environ)) as running,
            aiohttp.ClientSession(cookie_jar=jar) as session,
        ):
            found = Clients(running, session, crm, routes)
            await fill(found)
            yield found


async def fill(clients: Clients) -> None:
    """Bring every kind of trouble to both clients."""
    ada: dict[str, Any] = {"FirstName": "Ada"}
    for serial, fields in ((SERIAL, ada), (OTHER_SERIAL, PERSON)):
        await clients.receive(serial, **fields)
        for _ in range(2 if serial == SERIAL else 3):
            await clients.receive(serial, Email="", **fields)
        await clients.receive(serial, **{"Type": "Odd", **fields})
        await clients.receive(serial, b"a-key-that-is-not-the-right-one", **fields)
        await clients.receive(serial, at=-7200.0, **fields)
    await clients.receive("f" * 32, **PERSON)
    await clients.settled_dead()
    while not any(each["reason"] for each in await clients.all("/api/lanes", "lanes")):
        pass
    clients.own = await clients.things(OWN_BOT, OWN_CRM)
    clients.other = await clients.things(OTHER_BOT, OTHER_CRM)
    assert (await clients.ask("POST", "/api/reconcile/online", ADMIN, json={}))[0] == 200
    clients.other = Things(**{**vars(clients.other), "inquiry": 1})
    clients.ids = [each["id"] for each in await clients.all("/api/events", "events") if each["chatbot"] != OWN_BOT]


def planted(clients: Clients) -> Iterator[tuple[str, str]]:
    """Texts that no answer to the client may hold, in each spelling."""
    for text in ("ebulon", *PERSON.values(), *clients.ids, *(each[:16] for each in clients.ids)):
        for written in forms(text):
            yield text, written


def leaks(clients: Clients, body: str, *echoed: str) -> set[str]:
    for each in filter(None, echoed):
        body = body.replace(each, "")
    return {text for text, written in planted(clients) if written in body}


@pytest.mark.parametrize("token", [CLIENT, GUEST])
async def test_another_clients_things_are_on_no_page_and_in_no_answer(clients: Clients, token: str) -> None:
    before = await clients.foreign()
    parametrised = shown = open_to_all = 0
    for method, path in clients.routes:
        if path in NO_PERSON or method == "HEAD":
            continue
        options: dict[str, Any] = {}
        if method == "POST":
            options = {"json": {}} if path.startswith("/api/") else {"data": {}}
        concrete, value = path, ""
        if "{" in path:
            value = clients.other.value(path)
            concrete = path.replace(path[path.index("{") : path.index("}") + 1], value)
            parametrised += 1
        status, body = await clients.raw(method, concrete, token, **options)
        where = f"{method} {concrete}: {status}"
        assert not leaks(clients, body, value), where
        if (method, path) in REFUSED:
            assert status == 403, where
        elif "{" in path:
            assert status == 404 or (token == GUEST and method == "POST" and status == 403), where
        else:
            assert status < 500, where
            shown += method == "GET" and status == 200
        if method == "GET":
            open_to_all += bool(leaks(clients, (await clients.raw(method, concrete, ADMIN))[1]))
        for query in (f"chatbot={OTHER_BOT}", f"destination={OTHER_CRM}", f"destination={SHARED}", "state=dead"):
            if method == "GET" and (method, path) not in REFUSED:
                _, body = await clients.raw(method, f"{concrete}?{query}", token)
                assert not leaks(clients, body, value, OTHER_BOT, OTHER_CRM), f"{where}?{query}"
    assert parametrised > 20
    assert shown > 15
    assert open_to_all > 15, "a user of all chatbots sees what is planted"
    assert await clients.foreign() == before


async def test_acting_by_name_changes_nothing_of_another_client(clients: Clients) -> None:
    before = await clients.foreign()
    for chosen in ({"chatbot": OTHER_BOT}, {"destination": OTHER_CRM}):
        for action, state in (("replay", "dead"), ("discard", "dead"), ("discard", "pending")):
            asked = {"action": action, "state": state, **chosen}
            assert (await clients.ask("POST", "/api/bulk/preview", CLIENT, json=asked))[1]["count"] == 0
            status, run = await clients.ask("POST", "/api/bulk", CLIENT, json=asked)
            assert status == 200
            while (await clients.ask("GET", f"/api/bulk/{run['id']}", CLIENT))[1]["state"] == "running":
                pass
    for asked in ({"action": "discard", "state": "pending", "destination": SHARED}, {"action": "discard"}):
        _, run = await clients.ask("POST", "/api/bulk", CLIENT, json=asked)
        while (found := (await clients.ask("GET", f"/api/bulk/{run['id']}", CLIENT))[1])["state"] == "running":
            pass
        assert found["done"] > 0
    assert await clients.foreign() == before
    for number in (clients.own.run, clients.other.run):
        assert (await clients.ask("GET", f"/api/bulk/{number}", CLIENT))[0] == 404, "an operator of all began it"
    own = await clients.all(f"/api/deliveries?chatbot={OWN_BOT}", "deliveries")
    assert {each["state"] for each in own} == {"delivered", "discarded"}
    runs = (await clients.ask("GET", "/api/bulk", CLIENT))[1]["runs"]
    assert len(runs) == 8
    status, began = await clients.ask("POST", "/api/reconcile/online", CLIENT, json={})
    assert status == 200
    while (found := (await clients.ask("GET", f"/api/reconcile/online/{began['id']}", CLIENT))[1])[
        "state"
    ] == "running":
        pass
    assert {each["chatbot"] for each in found["lines"]} == {OWN_BOT, None}
    assert not leaks(clients, orjson.dumps(found).decode())


async def test_a_clients_own_things_are_shown(clients: Clients) -> None:
    for method, path in clients.routes:
        if path in NO_PERSON or method != "GET" or (method, path) in REFUSED or "runs" in path or "bulk/" in path:
            continue
        if "{" not in path or "online" in path:
            continue
        value = clients.own.value(path)
        concrete = path.replace(path[path.index("{") : path.index("}") + 1], value)
        for token in (CLIENT, GUEST):
            assert (await clients.raw(method, concrete, token))[0] == 200, concrete
    page = (await clients.raw("GET", f"/destinations/{SHARED}", CLIENT))[1]
    assert "Ada" in page
    assert f"Pause {SHARED}" not in page
    assert f"Resume {SHARED}" not in page
    request = clients.own.request
    assert (await clients.ask("POST", f"/api/quarantine/{request}/discard", CLIENT))[0] == 200
    assert (await clients.ask("POST", f"/api/quarantine/{request}/discard", GUEST))[0] == 403


async def test_numbers_are_the_clients_own(clients: Clients) -> None:
    lanes = {each["name"]: each for each in (await clients.ask("GET", "/api/lanes", CLIENT))[1]["lanes"]}
    assert set(lanes) == {OWN_CRM, SHARED}
    assert (lanes[SHARED]["pending"], lanes[SHARED]["dead"]) == (3, 0)
    assert (lanes[OWN_CRM]["pending"], lanes[OWN_CRM]["dead"]) == (0, 2)
    assert lanes[SHARED]["reason"] == "unauthorized"
    whole = {each["name"]: each for each in await clients.all("/api/lanes", "lanes")}
    assert whole[SHARED]["pending"] == 7
    _, overview = await clients.ask("GET", "/api/overview", CLIENT)
    assert (overview["accepted_today"], overview["pending"], overview["dead"]) == (3, 3, 2)
    assert overview["deliveries"] == {"delivered": 1, "dead": 2, "pending": 3}
    assert overview["quarantined"] == {"mismatch": 1, "stale": 1}
    assert [(each["destination"], each["count"]) for each in overview["causes"]] == [(OWN_CRM, 2)]
    _, report = await clients.ask("GET", "/api/report", CLIENT)
    assert [each["chatbot"] for each in report["chatbots"]] == [OWN_BOT]
    assert (report["whole"]["numbers"]["leads"], report["whole"]["numbers"]["waiting"]) == (3, 3)
    assert report["whole"]["numbers"] == report["chatbots"][0]["numbers"]
    _, reconciled = await clients.ask("GET", "/api/reconcile", CLIENT)
    assert (reconciled["dead"], reconciled["unrecognised"], reconciled["quarantined"]) == (2, 1, 2)
    paused = await clients.ask("POST", f"/api/lanes/{SHARED}/pause", ADMIN, json={"reason": "Zebulon wants it so"})
    assert paused[0] == 200
    _, found = await clients.ask("GET", "/api/lanes", CLIENT)
    assert "by an operator" in [each["reason"] for each in found["lanes"]]
    home = (await clients.raw("GET", "/", CLIENT))[1]
    assert not leaks(clients, home)
    for entry in ("Leads", "Chatbots", "Destinations", "Problems", "Tools"):
        assert f">{entry}" in home
    tools = (await clients.raw("GET", "/tools", CLIENT))[1]
    assert "Playground" in tools
    assert "Audit" not in tools
    assert "Configuration" not in tools


async def test_no_search_finds_another_clients_person(clients: Clients) -> None:
    person = await clients.all(f"/api/events?chatbot={OTHER_BOT}", "events")
    for asked in ({"person_part": "Zelda-Planted"}, {"email_part": "@example.com"}, {"phone": PERSON["PhoneNumber"]}):
        _, found = await clients.ask("POST", "/api/events/search", ADMIN, json=asked)
        assert {each["id"] for each in found["events"]} & {each["id"] for each in person}, asked
        _, found = await clients.ask("POST", "/api/events/search", CLIENT, json=asked)
        assert {each["chatbot"] for each in found["events"]} <= {OWN_BOT}, asked
    for wanted in ("Zelda-Planted", PERSON["PhoneNumber"], clients.other.event, clients.other.event[:8]):
        status, where = await clients.raw("POST", "/leads", CLIENT, data={"who": wanted})
        assert status == 303, wanted
        _, body = await clients.raw("GET", where, CLIENT)
        assert not leaks(clients, body, wanted), wanted


async def test_the_playground_knows_no_other_clients_destination(clients: Clients) -> None:
    async def attempt(text: str, token: str = CLIENT, **fields: str) -> str:
        form = {"route": f"{OWN_BOT}:0", "yaml": text, "event": "{}", **fields}
        return (await clients.raw("POST", "/tools/playground", token, data=form))[1].partition("<main")[2]

    known, unknown = [
        await attempt(f"{{to: {name}, fields: {{email: Email}}}}") for name in ("zebulon-crm", "nothing-crm")
    ]
    assert known.replace("zebulon-crm", "X") == unknown.replace("nothing-crm", "X")
    assert not leaks(clients, await attempt("{to: zebulon-cr, fields: {email: Email}}"), "zebulon-cr")
    assert "a@b.example" in await attempt("{to: acme-crm, fields: {email: {value: a@b.example}}}")
    foreign = await attempt("{to: acme-crm, fields: {email: Email}}", id=clients.other.event)
    assert "none of your events has this id" in foreign
    other = await attempt("{to: acme-crm, fields: {email: Email}}", route=f"{OTHER_BOT}:0")
    assert "choose a route first" in other


async def request_about_both(clients: Clients) -> int:
    """Send a request with a lead of each client, which have the same key, at a wrong time; return its number."""
    body = orjson.dumps([lead(SerialNumber=SERIAL), lead(SerialNumber=OTHER_SERIAL, **PERSON)])
    headers = {"X-Webhook-Signature": sign(KEY, str(int(time.time()) - 7200), body)}
    url = f"http://{clients.bridge.listen}/webhooks/{OWN_BOT}"
    async with clients.session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 401
    number: int = (await clients.all(f"/api/quarantine?chatbot={OWN_BOT}", "requests"))[0]["id"]
    return number


async def test_a_request_about_two_clients_is_released_by_a_user_of_all_chatbots_only(clients: Clients) -> None:
    """Both have the same key, so one request can hold events of both."""
    request = await request_about_both(clients)
    before = await clients.foreign()
    path = f"/api/quarantine/{request}/release"
    status, said = await clients.ask("POST", path, CLIENT, json={"any_age": True})
    assert (status, "ask a user of all chatbots" in said["error"]) == (409, True)
    assert await clients.foreign() == before
    assert (await clients.ask("POST", path, ADMIN, json={"any_age": True}))[0] == 200


async def test_a_request_about_two_clients_is_discarded_by_a_user_of_all_chatbots_only(clients: Clients) -> None:
    request = await request_about_both(clients)
    path = f"/api/quarantine/{request}/discard"
    status, said = await clients.ask("POST", path, CLIENT)
    assert (status, "ask a user of all chatbots" in said["error"]) == (409, True)
    form = {"kept": "requests", "action": "discard"}
    status, run = await clients.ask("POST", "/api/recovery", CLIENT, json=form)
    assert status == 200
    while (run := (await clients.ask("GET", f"/api/bulk/{run['id']}", CLIENT))[1])["state"] == "running":
        pass
    left = [each["id"] for each in await clients.all(f"/api/quarantine?chatbot={OWN_BOT}", "requests")]
    assert left == [request]
    assert (run["done"], run["refused"]) == (2, 1)
    assert (await clients.ask("POST", path, ADMIN))[0] == 200
