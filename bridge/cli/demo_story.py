"""What the demo does: a sandbox CRM, the bridge on a fresh store, and a sender, all in this process."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bridge import json_form, signature
from bridge.app import running
from bridge.config import Config, load
from bridge.store import questions
from bridge.store.opening import driver_for
from connectors.testing import Fault, Sandbox

SERIAL_NUMBER = "59001dd73709417321c58b11693183a2"
SIGN_KEY = "demo-sign-key-7f3a9c"
OTHER_KEY = "somebody-elses-key-51"
PATIENCE = 20.0
"""Seconds in which everything must have reached the CRM."""

_CONFIG = """\
server:
  listen: 127.0.0.1:{listen}
  admin: 127.0.0.1:{admin}
store:
  url: sqlite:///{folder}/leadbridge.db
destinations:
  crm:
    connector: http
    url: {crm}
    allow_private: true        # the sandbox CRM is on this machine
    idempotency_key: bare
    remote_id: answer.id
    retry: {{initial: 1s}}
chatbots:
  demo-website:
    serial_number: {serial}
    signing_keys: ["${{DEMO_SIGN_KEY}}"]
    routes:
      - to: crm
        fields:
          email: {{from: Email, transform: [email]}}
          name: "{{{{ FirstName }}}} {{{{ LastName }}}}"
          phone: {{from: PhoneNumber, transform: [{{e164: US}}]}}
          kind: {{from: Type, transform: [lower]}}
          note: "{{{{ Content | truncate(60) }}}}"
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the sender."""

    what: str
    fields: Mapping[str, Any]
    expected: int = 200
    """The status that the bridge must answer."""
    key: str = SIGN_KEY
    compact: bool = False
    """Whether the signature is over the JSON form, as in the vendor's sample, and not over the body as sent."""
    fault: Fault | None = None
    """What the CRM is to do wrong with the next call."""


STORY = (
    Step("a lead", {"FirstName": "David", "LastName": "Garcia", "Email": "David@Example.com", "Content": "A quote?"}),
    Step("the same again: the sender did not hear us", {"Email": "David@Example.com"}),
    Step(
        "Chinese name, + phone, signed over the JSON form",
        {"FirstName": "小明", "LastName": "王", "PhoneNumber": "+86 138 0013 8000", "SessionID": 2},
        compact=True,
    ),
    Step("no e-mail, only a phone", {"FirstName": "Ada", "PhoneNumber": "(415) 555-0100", "SessionID": 3}),
    Step("signed with another key", {"FirstName": "Mallory", "SessionID": 4}, expected=401, key=OTHER_KEY),
    Step(
        "a lead while the CRM fails: retried",
        {"FirstName": "Grace", "Email": "grace@example.com", "SessionID": 5},
        fault=Fault.answers(503),
    ),
    Step(
        "an appointment",
        {
            "Type": "Appointment",
            "FirstName": "Grace",
            "Email": "grace@example.com",
            "SessionID": 5,
            "Content": "Tuesday at ten, by phone",
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was sent, and its answer."""

    step: Step
    status: int
    answer: str

    @property
    def as_expected(self) -> bool:
        """Whether the bridge answered what it must."""
        return self.status == self.step.expected


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is up."""

    config: Config
    config_path: Path
    crm: Sandbox
    url: str
    """The bridge's webhook endpoint."""


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Start the CRM and the bridge on loopback, in a folder of their own."""
    async with Sandbox(key="email") as crm:
        path = folder / "config.yaml"
        ports = {"listen": _free_port(), "admin": _free_port()}
        path.write_text(_CONFIG.format(folder=folder, crm=crm.url, serial=SERIAL_NUMBER, **ports))
        config = load(path, {"DEMO_SIGN_KEY": SIGN_KEY})
        async with running(config) as bridge:
            yield Stage(config, path, crm, f"http://{bridge.listen}/webhook")


async def play(stage: Stage, tell: Callable[[Sent], None]) -> list[Sent]:
    """Send the story, one request after the other, and wait until the CRM has what it must get."""
    sent = []
    async with aiohttp.ClientSession() as session:
        for step in STORY:
            if step.fault:
                stage.crm.faults.next(step.fault)
            sent.append(await _send(session, stage.url, step))
            tell(sent[-1])
            if step.fault:
                await _until(lambda: any(each.fault for each in stage.crm.ledger))
    with contextlib.suppress(TimeoutError):
        await _until(lambda: all(each.state == "delivered" for each in deliveries(stage.config)))
    return sent


def deliveries(config: Config) -> list[questions.DeliveryRow]:
    """Read what the store says of the deliveries, oldest first."""
    with driver_for(config.store.url).engine().connect() as connection:
        return questions.delivery_page(connection, questions.Page())[::-1]


async def _send(session: aiohttp.ClientSession, url: str, step: Step) -> Sent:
    fields = {
        "SerialNumber": SERIAL_NUMBER,
        "Type": "Lead",
        "FirstName": "",
        "LastName": "",
        "Email": "",
        "PhoneNumber": "",
        "CreateTime": time.strftime("%Y-%m-%dT%H:00:00.000000Z", time.gmtime()),
        "Content": "",
        "SessionID": 1,
        "URI": "www.example.com",
        **step.fields,
    }
    # .NET escapes what is not ASCII; JavaScript's JSON form does not. Both must be read as the same text.
    body = json.dumps(fields, indent=1).encode()
    signed = (json_form.json_form(body) or body) if step.compact else body
    headers = {
        "Content-Type": "application/json",
        signature.HEADER: signature.sign(step.key.encode(), str(int(time.time())), signed),
    }
    async with session.post(url, data=body, headers=headers) as answer:
        return Sent(step, answer.status, await answer.text())


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not done():  # noqa: ASYNC110 - the CRM and the store are looked at from outside, as a person would
            await asyncio.sleep(0.05)


def _free_port() -> int:
    import socket  # noqa: PLC0415 - one look, so that the addresses can be shown before anything listens

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
