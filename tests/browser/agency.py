"""The agency's month behind a running bridge: what was sent, and every page that the bridge has."""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock
from urllib.parse import quote

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import app
from bridge.admin.listener import Admin
from bridge.config.reload import load_files
from bridge.store.interface import DeliveryState
from tests.browser import scene
from tests.browser.person import OPERATOR
from tests.browser.scene import Scene

PLACE = re.compile(r"\{(\w+)\}")
NOBODY = "00" * 16
"""Id of no event."""
USERS = {"operator": OPERATOR, "viewer": "the-token-of-a-viewer", "client": "the-token-of-a-client"}
"""Token of each kind of user."""
STATES = (
    "/leads?state=dead",
    "/leads?state=test",
    "/leads?destination=sheet&days=7",
    f"/leads?chatbot={scene.UNUSED}",
    "/leads?search=expired",
    "/leads?days=nonsense",
    f"/problems?chatbot={scene.TROUBLED}",
    "/problems/quarantine?chatbot=harbor-motors",
    "/tools/report?days=30",
    "/tools/audit?action=login",
    "/tools/playground?route=harbor-dental:0",
)
"""Addresses of pages in another state: with a query, of a mistake, of no page."""
FORMS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("/leads", {"who": "garc"}),
    ("/leads", {"who": "nobody at all"}),
    ("/leads", {"who": "x"}),
    ("/problems", {"action": "discard", "chatbot": scene.TROUBLED}),
    ("/problems", {"action": "replay", "chatbot": scene.UNUSED}),
    ("/tools/playground", {"route": "harbor-dental:0", "yaml": "to: crm-01\nfields: {email: Email}", "event": "{}"}),
    ("/tools/playground", {"route": "harbor-dental:0", "yaml": "to: [", "event": "["}),
    ("/destinations/sheet/pause", {"reason": "holiday"}),
    ("/destinations/sheet/resume", {}),
    ("/login", {"token": "wrong"}),
)
"""Forms whose answer is a page, or leads to one."""
NO_PAGES = ("/api/", "/static/", "/metrics", "/healthz", "/readyz", "/leads.csv")
"""Beginnings of addresses that are for programs."""


@dataclass
class Agency:
    """The month, and a bridge that serves it."""

    sent: Scene
    running: app.Running
    routes: Sequence[str]
    """Address of each page as the router has it, with its placeholders."""
    taken: list[str] = field(default_factory=list)
    """Addresses of the people whose leads the CRMs took."""

    @property
    def url(self) -> str:
        """Address of the dashboard."""
        return f"http://{self.running.admin}"

    def counted(self, state: DeliveryState) -> Counter[tuple[str, str]]:
        """Count the sent deliveries in a state, by chatbot and destination."""
        return Counter(
            (lead.chatbot, name)
            for lead in self.sent.leads
            for name, each in lead.deliveries.items()
            if each.state is state
        )

    def calls(self, destination: str) -> Counter[bool]:
        """Count the attempts at a destination by their success."""
        return Counter(
            each.seconds is not None
            for lead in self.sent.leads
            if (each := lead.deliveries.get(destination)) and each.tried
        )

    def by_chatbot(self, state: DeliveryState) -> Counter[str]:
        """Count the sent deliveries in a state by chatbot."""
        found = Counter[str]()
        for (chatbot, _), count in self.counted(state).items():
            found[chatbot] += count
        return found

    def typical(self) -> dict[str, str]:
        """Return the id of one event for each state in which a lead can be, those of the client's chatbots first."""
        found: dict[str, str] = {}
        for lead in sorted(self.sent.leads, key=lambda each: each.chatbot not in scene.CLIENTS):
            kinds = {"with a warning" if each.warning else each.state.value for each in lead.deliveries.values()}
            for kind in kinds or {lead.state.value}:
                found.setdefault(kind, lead.event_id)
        return found

    def addresses(self, known: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the address of every page.

        `known` has the values of the placeholders, by the address that the router has. A page whose values are not
        known is an error, so a new page cannot be left out.
        """
        found = []
        for route in self.routes:
            values = known[route] if PLACE.search(route) else [""]
            found += [PLACE.sub(quote(value, safe=""), route) for value in values]
        return found


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *, leads: int = scene.LEADS, clock: Callable[[], float] = time.time
) -> AsyncIterator[Agency]:
    """Write the scene into an empty folder, and run a bridge on it and a CRM behind it that takes everything."""
    taken: list[str] = []

    async def take(request: web.Request) -> web.Response:
        taken.append((await request.json())["email"])
        return web.json_response({"id": len(taken)})

    crm = web.Application()
    crm.router.add_post("/{name}", take)
    routes: list[str] = []
    make = Admin.application

    def noted(admin: Admin) -> web.Application:
        router = admin._make_console().router
        found = (each.resource.canonical for each in router.routes() if each.method == "GET" and each.resource)
        routes.extend(each for each in found if not each.startswith(NO_PAGES))
        return make(admin)

    async with TestServer(crm, host="127.0.0.1") as server:
        url = str(server.make_url("")).rstrip("/")
        sent = await asyncio.to_thread(scene.build, folder, url, clock(), leads=leads)
        with mock.patch.object(Admin, "application", noted):
            async with app.running(*load_files(sent.config, sent.environ), clock) as running:
                yield Agency(sent, running, routes, taken)


@contextlib.asynccontextmanager
async def visiting(agency: Agency, token: str) -> AsyncIterator["Visit"]:
    """Log in without a browser."""
    jar = aiohttp.CookieJar(unsafe=True)
    headers = {"Origin": agency.url.rstrip("/")}
    async with aiohttp.ClientSession(agency.url, cookie_jar=jar, headers=headers) as session:
        async with session.post("/login", data={"token": token}) as answer:
            assert 'action="/logout"' in await answer.text()
        yield Visit(session)


@dataclass
class Visit:
    """Somebody who has logged in without a browser."""

    session: aiohttp.ClientSession

    async def read(self, path: str) -> tuple[int, str]:
        """Return the status and the text of a page."""
        async with self.session.get(path) as answer:
            return answer.status, await answer.text()

    async def send(self, path: str, **form: str) -> tuple[int, str]:
        """Send a form; returns the status and the text of the page that it leads to."""
        async with self.session.post(path, data=form) as answer:
            return answer.status, await answer.text()

    async def pages(self, known: Mapping[str, Sequence[str]], agency: Agency) -> AsyncIterator[tuple[str, str]]:
        """Read every page, and what the forms lead to; yields a name and the text of each."""
        for path in (*agency.addresses(known), *STATES):
            status, text = await self.read(path)
            assert status < 500, path
            yield path, text
        lead = known["/leads/{id}"][0]
        for path, form in (*FORMS, *(((f"/leads/{lead}", {}),) if lead != NOBODY else ())):
            status, text = await self.send(path, **form)
            assert status < 500, path
            yield f"{path} {form}", text


async def prepare(agency: Agency) -> dict[str, list[str]]:
    """Begin a bulk run, and return the values of the placeholders of all pages, as `addresses` asks."""
    async with visiting(agency, OPERATOR) as visit:
        await visit.send("/problems", action="replay", chatbot=scene.SILENT, sure="yes")
    return {
        "/leads/{id}": [*agency.typical().values()] or [NOBODY],
        "/chatbots/{name}": [scene.TROUBLED, scene.SILENT, scene.UNUSED, "unknown"],
        "/destinations/{name}": [scene.SHEET, scene.UNREACHABLE, scene.REMOVED],
        "/problems/runs/{id}": ["1", "2"],
    }
