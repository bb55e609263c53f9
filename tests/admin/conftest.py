"""A bridge that was started from a file, a destination that answers, and people who look at its admin listener."""

import dataclasses
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import app
from bridge.admin.listener import Admin
from bridge.config.model import Config, StoreSettings
from bridge.config.reload import load_files
from bridge.ingress.signature import sign
from tests.building import KEY, SERIAL, FakeConnector, chatbot, config, destination, lead, route

OPERATOR = "the-token-of-an-operator"
VIEWER = "the-token-of-a-viewer"
CRM_TOKEN = "the-secret-of-the-crm"

CONFIG = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", admin_token: "${{ADMIN}}", viewer_token: "${{VIEWER}}"}}
store: {{url: "sqlite:///{folder}/leadbridge.db"}}
destinations:
  crm:
    connector: http
    url: {url}
    auth: {{bearer: "${{CRM_TOKEN}}"}}
    allow_private: true
chatbots:
  acme:
    serial_number: {serial}
    signing_keys: ["${{KEY}}"]
    signature_tolerance: 0s
    routes:
      - to: crm
        fields:
          email: {{from: Email, required: true}}
          name: "{{{{ FirstName }}}} {{{{ LastName }}}}"
"""


@dataclass
class Crm:
    """The destination: keeps what it gets."""

    records: list[Any] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.records.append(await request.json())
        return web.json_response({"id": len(self.records)})


@dataclass
class Watch:
    """A clock that runs, and can be set ahead."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Desk:
    """Somebody who looks at the admin listener."""

    bridge: app.Running
    session: aiohttp.ClientSession
    crm: Crm
    watch: Watch = field(default_factory=Watch, kw_only=True)

    async def ask(self, method: str, path: str, token: str | None = OPERATOR, **options: Any) -> tuple[int, Any]:
        """Ask the API."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers.update(options.pop("headers", {}))
        async with self.session.request(
            method, f"http://{self.bridge.admin}{path}", headers=headers, allow_redirects=False, **options
        ) as answer:
            text = await answer.text()
            return answer.status, orjson.loads(text) if answer.content_type == "application/json" else text

    async def see(self, path: str) -> tuple[int, str]:
        """Look at a page."""
        async with self.session.get(f"http://{self.bridge.admin}{path}") as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, **form: str) -> tuple[int, str]:
        """Send a form to a page."""
        async with self.session.post(f"http://{self.bridge.admin}{path}", data=form) as answer:
            return answer.status, await answer.text()

    async def send(self, key: bytes = KEY, **fields: Any) -> None:
        """Send a lead, as the vendor would."""
        body = orjson.dumps(lead(**fields))
        headers = {"X-Webhook-Signature": sign(key, str(int(time.time())), body)}
        async with self.session.post(f"http://{self.bridge.listen}/webhook", data=body, headers=headers) as answer:
            assert answer.status == (200 if key == KEY else 401)

    async def settled(self, path: str = "/api/deliveries?state=pending") -> None:
        """Wait until nothing waits any more."""
        while (await self.ask("GET", path))[1]["deliveries"]:
            pass


def browser(bridge: app.Running) -> aiohttp.ClientSession:
    """Make a session that keeps cookies, and names the origin of what it sends as a browser does."""
    jar = aiohttp.CookieJar(unsafe=True)
    return aiohttp.ClientSession(cookie_jar=jar, headers={"Origin": f"http://{bridge.admin}"})


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """All that the listener answers, as methods and paths."""
    found: list[tuple[str, str]] = []
    make = Admin.application

    def noted(admin: Admin) -> web.Application:
        application = make(admin)
        routers = (application.router, admin._make_console().router)
        every = (each for router in routers for each in router.routes())
        found.extend((each.method, each.resource.canonical) for each in every if each.resource)
        return application

    monkeypatch.setattr(Admin, "application", noted)
    return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    crm = Crm()
    application = web.Application()
    application.router.add_post("/leads", crm.answer)
    async with TestServer(application, host="127.0.0.1") as server:
        crm.url = str(server.make_url("/leads"))
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG.format(folder=tmp_path, url=crm.url, serial=SERIAL))
        environ = {"ADMIN": OPERATOR, "VIEWER": VIEWER, "CRM_TOKEN": CRM_TOKEN, "KEY": KEY.decode()}
        config, files = load_files(file, environ)
        watch = Watch()
        async with app.running(config, files, watch) as running, browser(running) as session:
            yield Desk(running, session, crm, watch=watch)


@pytest.fixture
def configured(tmp_path: Path) -> Config:
    made = config([chatbot("acme", route("crm"))], [destination("crm", FakeConnector())])
    return dataclasses.replace(made, store=StoreSettings(f"sqlite:///{tmp_path}/leadbridge.db", 1e9, 1e9))


@pytest.fixture
def guarded(configured: Config) -> Config:
    return dataclasses.replace(
        configured, server=dataclasses.replace(configured.server, admin_token=OPERATOR, viewer_token=VIEWER)
    )
