"""A folder with a configuration and a store, filled by the code that fills a real one, and the commands on it."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from bridge.cli import app
from bridge.config import Config, load
from bridge.delivery import retry
from bridge.identity import Identity
from bridge.ingress.routing import route
from bridge.ingress.signature import sign
from bridge.ingress.verification import read_claim, verify
from bridge.store.installation import adopt
from bridge.store.interface import Lease, Pause, QuarantinedRequest
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from connectors.base import Delivered, Outcome, Reason, Rejected
from tests.building import NOW, SCHEDULE, SERIAL, lead

OTHER_SERIAL = "0123456789abcdef0123456789abcdef"
KEY = "the-key-of-acme-0123456789"
SECRET = "the-token-of-the-crm-9876"

CONFIGURATION = f"""
server:
  listen: 127.0.0.1:0
  admin: 127.0.0.1:0
store:
  url: sqlite:///leadbridge.db
destinations:
  crm: {{connector: http, url: "http://127.0.0.1:9/leads", allow_private: true, auth: {{bearer: "${{TOKEN}}"}}}}
  mail: {{connector: http, url: "http://127.0.0.1:9/mail", allow_private: true}}
chatbots:
  acme:
    serial_number: {SERIAL}
    signing_keys: ["${{ACME_KEY}}"]
    test_when: Email == "test@example.com"
    routes:
      - to: crm
        events: [Lead]
        fields: {{email: Email, name: "{{{{ FirstName }}}} {{{{ LastName }}}}", phone: PhoneNumber}}
      - to: mail
        when: Content == "mail me"
        fields: {{email: {{from: Email, transform: [lower]}}, company: {{from: URI, required: true}}}}
"""
OTHER_CHATBOT = f"""
chatbots:
  other:
    serial_number: {OTHER_SERIAL}
    signing_keys: ["${{ACME_KEY}}"]
    routes:
      - {{to: crm, fields: {{email: Email}}}}
"""

T = TypeVar("T")


class Place:
    """The folder, as the working directory of the commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "config.yaml"
        self.path.write_text(CONFIGURATION)
        self.environ = {"TOKEN": SECRET, "ACME_KEY": KEY}
        self.driver = SqliteDriver(make_url(f"sqlite:///{folder}/leadbridge.db"))

    def __call__(self, *arguments: object, stdin: str | bytes | None = None) -> Result:
        """Run a command in this process; what would be a traceback is raised here."""
        runner = CliRunner(env=self.environ)
        texts = [str(each) for each in arguments]
        return runner.invoke(app, texts, input=stdin, prog_name="leadbridge", catch_exceptions=False)

    def rows(self, *arguments: object) -> list[dict[str, Any]]:
        """Run a listing that must succeed, and read its JSON."""
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert isinstance(found, list)
        return found

    def config(self) -> Config:
        return load(self.path, self.environ)

    def configure(self, text: str) -> None:
        """Replace the configuration on disk."""
        self.path.write_text(text)

    def know_other(self) -> None:
        """Have the configuration know the other chatbot too."""
        text = CONFIGURATION + OTHER_CHATBOT.split("chatbots:\n")[1]
        self.configure(text)

    def with_store(self, work: Callable[[SqlStore], Coroutine[Any, Any, T]]) -> T:
        """Do something with the store as a serving process does."""

        async def run() -> T:
            store = SqlStore(self.driver)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def identity(self) -> Identity:
        """Return what ids are made with."""
        with self.driver.engine().begin() as connection:
            return adopt(connection, self.config().store.identity_key)

    def receive(self, *documents: Any, now: float = NOW) -> list[str]:
        """Take events in, each in a request of its own; gives their ids."""
        config = self.config()
        bodies = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in documents]
        ids: list[str] = []
        identity = self.identity()

        async def work(store: SqlStore) -> None:
            for body in bodies:
                claim = read_claim(body, None, config)
                verified = verify(claim, [sign(KEY.encode(), str(int(now)), body)], now, config)
                routed = [route(each, config.chatbots.get(each.chatbot or ""), now, identity) for each in verified]
                await store.accept(routed)
                ids.extend(each.event.id for each in routed)

        self.with_store(work)
        return ids

    def settle(self, destination: str, outcomes: dict[int, Outcome], now: float = NOW) -> None:
        """Have a lane try deliveries, with these outcomes by their ids."""

        async def work(store: SqlStore) -> None:
            lease = (await store.claim("lane", [destination], now, 10.0))[destination]
            for delivery in await store.read(destination, list(outcomes)):
                call = retry.CallTiming(now, 0.25)
                decided = retry.decide(delivery, outcomes[delivery.id], call, SCHEDULE, 0.0, excused=False)
                await store.settle(lease, [decided])
            await store.release("lane")

        self.with_store(work)

    def pause(self, destination: str, pause: Pause) -> None:
        """Have a lane pause itself."""

        async def work(store: SqlStore) -> None:
            leases: dict[str, Lease] = await store.claim("lane", [destination], NOW, 10.0)
            await store.pause(leases[destination], pause, NOW)
            await store.release("lane")

        self.with_store(work)

    def quarantine(self, *requests: QuarantinedRequest) -> None:
        """Keep refused requests."""
        identity = self.identity()

        async def work(store: SqlStore) -> None:
            for request in requests:
                assert await store.quarantine(request, identity)

        self.with_store(work)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder with a configuration and no store yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEADBRIDGE_CONFIG", raising=False)
    return Place(tmp_path)


@pytest.fixture
def leadbridge(place: Place, empty_store: bytes) -> Place:
    """A folder with a configuration and an empty store."""
    place.driver.path.write_bytes(empty_store)
    place.driver.path.chmod(0o600)
    return place


@pytest.fixture
def filled(leadbridge: Place) -> Place:
    """A store with five leads: two delivered, one dead, one pending after a failure, one new; each for the crm."""
    leadbridge.receive(*(lead(Email=f"person{number}@example.com") for number in range(1, 6)))
    outcomes: dict[int, Outcome] = {
        1: Delivered("17", "https://crm.example.com/17", status=200),
        2: Delivered("18", status=200),
        3: Rejected(Reason.REFUSED, "it wants a last name", status=422),
        4: failed(),
    }
    leadbridge.settle("crm", outcomes)
    return leadbridge


def failed() -> Outcome:
    from connectors.base import Blame, Retry

    return Retry(Reason.CONFLICT, "another write is in progress", Blame.RECORD, status=409)


def states(rows: Sequence[dict[str, Any]]) -> dict[Any, str]:
    """Give the state of each row by its id."""
    return {row["id"]: row["state"] for row in rows}
