"""A bridge that was started from a file, a sandbox CRM behind it, and a real browser in front of it."""

import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from bridge import app
from bridge.config.reload import load_files
from bridge.ingress.signature import sign
from connectors.testing import Sandbox
from tests.browser.person import OPERATOR, Person
from tests.building import KEY, SERIAL, lead

VIEWER = "the-token-of-a-viewer"
SECONDS = 15.0
"""How long anything may take where time is not the point."""
REQUIRED = "phone: {from: PhoneNumber, required: true}"
"""The mistake of this configuration: most leads have no phone."""
CONFIG = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", admin_token: "${{ADMIN}}", viewer_token: "${{VIEWER}}"}}
store: {{url: "sqlite:///{folder}/store/leadbridge.db"}}
destinations:
  crm: {{connector: http, url: "{url}", allow_private: true}}
chatbots:
  acme:
    serial_number: {serial}
    signing_keys: ["${{KEY}}"]
    test_when: Content == "a test"
    routes:
      - to: crm
        fields:
          email: Email
          name: "{{{{ FirstName }}}} {{{{ LastName }}}}"
          message: Content
          {required}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in one event loop, so that they can share a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@dataclass
class Dashboard:
    """A running bridge."""

    running: app.Running
    crm: Sandbox
    file: Path
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """Where its dashboard is."""
        return f"http://{self.running.admin}"

    async def mend(self) -> None:
        """Take the mistake out of the configuration's file, and wait until the bridge has taken it up."""
        before = self.running.configuration()
        self.file.write_text(self.file.read_text().replace(REQUIRED, "phone: PhoneNumber"))
        await self.until(lambda _: self.running.configuration() is not before)

    async def send(self, *leads: dict[str, Any], key: bytes = KEY) -> None:
        """Send leads in one request, as the vendor would; with another key they are refused."""
        body = orjson.dumps(leads)
        headers = {"X-Webhook-Signature": sign(key, str(int(time.time())), body)}
        async with self.session.post(f"http://{self.running.listen}/webhook", data=body, headers=headers) as answer:
            assert answer.status == (200 if key == KEY else 401)

    async def dead(self, *leads: dict[str, Any]) -> None:
        """Send leads that the mapping fails for, and wait until all are dead letters."""
        before = (await self.ask("/api/overview"))["dead"]
        await self.send(*leads)
        await self.until(lambda found: found["dead"] == before + len(leads))

    async def delivered(self, **fields: Any) -> None:
        """Send a lead that arrives, and wait until it has."""
        await self.send(lead(PhoneNumber="+1 202 555 0123", **fields))
        await self.until(lambda found: self.crm.records and not found["pending"])

    async def until(self, condition: Callable[[Any], object]) -> None:
        """Wait until the overview is so."""
        deadline = time.monotonic() + SECONDS
        while not condition(found := await self.ask("/api/overview")):
            assert time.monotonic() < deadline, f"not within {SECONDS:g} s; it is {found}"

    async def ask(self, path: str) -> Any:
        """Ask the API."""
        async with self.session.get(self.url + path, headers={"Authorization": f"Bearer {OPERATOR}"}) as answer:
            assert answer.status == 200
            return await answer.json()


@pytest_asyncio.fixture(loop_scope="session")
async def dashboard(tmp_path: Path) -> AsyncIterator[Dashboard]:
    (tmp_path / "store").mkdir()
    async with Sandbox(key="email") as crm, aiohttp.ClientSession() as session:
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG.format(folder=tmp_path, url=crm.url, serial=SERIAL, required=REQUIRED))
        config, files = load_files(file, {"ADMIN": OPERATOR, "VIEWER": VIEWER, "KEY": KEY.decode()})
        async with app.running(config, files) as running:
            yield Dashboard(running, crm, file, session)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Chromium as the system has it, started once for all tests. A desk may be without, a build may not."""
    installed = shutil.which("chromium")
    if installed is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("no chromium on this machine: install it to see the dashboard in a browser (apt-get install chromium)")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """The browser without any page or cookie."""
    yield chromium
    for context in chromium.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def person(browser: Browser, dashboard: Dashboard) -> AsyncIterator[Person]:
    """Somebody at a desktop; a fault of any page that was seen fails the test at its end."""
    page = await browser.new_page(base_url=dashboard.url)
    somebody = Person(page)
    yield somebody
    assert somebody.complaints == []


@pytest.fixture
def album() -> Path | None:
    """The folder for pictures, where a person wants to look at them."""
    folder = os.environ.get("LEADBRIDGE_SCREENSHOTS")
    if not folder:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)
