"""Steps of the demo: two sandbox CRMs, an inbox, the bridge on a fresh store, and a sender, all in this process."""

import asyncio
import contextlib
import html
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bridge.app import running
from bridge.config import Config, load
from bridge.ingress import javascript_json, signature
from bridge.store import queries
from bridge.store.filter import DeliveryFilter
from bridge.store.interface import DeliveryState
from bridge.store.preparation import driver_for
from bridge.store.search import find_deliveries
from connectors.testing import Fault, HubSpotSandbox, SalesforceSandbox, Sandbox

SERIAL_NUMBER = "59001dd73709417321c58b11693183a2"
SIGN_KEY = "demo-sign-key-7f3a9c"
OTHER_KEY = "somebody-elses-key-51"
OWNERS = {"ann@example.com": "11", "bob@example.com": "12"}
"""Salespeople in HubSpot: their ids by e-mail."""
PATIENCE = 15.0
"""Seconds after which every record must be in the CRMs."""

_CONFIG = """\
server:
  listen: 127.0.0.1:{listen}
  admin: 127.0.0.1:{admin}
store:
  url: sqlite:///{folder}/leadbridge.db
destinations:
  hubspot:
    connector: hubspot
    access_token: {token}
    base_url: {hubspot}
    allow_private: true        # the sandbox is on this machine
    retry: {{initial: 1s}}
  salesforce:
    connector: salesforce
    login_url: {salesforce}
    client_id: {client_id}
    client_secret: {client_secret}
    allow_private: true
    retry: {{initial: 1s}}
  salespeople:
    connector: notify
    to: ["json://{inbox}"]    # e-mail, Slack, Teams or an SMS have an address like this one
chatbots:
  demo-website:
    serial_number: {serial}
    signing_keys: ["${{DEMO_SIGN_KEY}}"]
    routes:
      - to: hubspot
        fields:
          email: {{from: Email, transform: [email]}}
          firstname: FirstName
          lastname: LastName
          phone: {{from: PhoneNumber, transform: [{{e164: US}}]}}
          lifecyclestage: {{value: lead, write: create}}
          hs_lead_status: {{from: Type, lookup: {{Lead: NEW, Appointment: CONNECTED}}, write: if_empty}}
        remark: Content
        owner: {{round_robin: [ann@example.com, bob@example.com]}}
        deal: {{stage: appointmentscheduled, name: "Chat with {{{{ FirstName }}}}"}}
      - to: salesforce
        external_id: Leadbridge_Id__c
        fields:
          Leadbridge_Id__c: "{{{{ SerialNumber }}}}-{{{{ SessionID }}}}"
          FirstName: FirstName
          LastName: LastName
          Email: {{from: Email, transform: [email]}}
          Phone: {{from: PhoneNumber, transform: [{{e164: US}}]}}
        remark: Content
      - to: salespeople
        events: [Lead]
        subject: "New lead: {{{{ FirstName }}}}"
        text: Content
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A request of the sender."""

    what: str
    fields: Mapping[str, Any]
    expected: int = 200
    """Expected status of the answer."""
    key: str = SIGN_KEY
    compact: bool = False
    """True if the signature covers the JSON form, as in the vendor's sample, and not the body as sent."""
    troubled: bool = False
    """True if both CRMs fail at first to take its record."""


GRACE = {"FirstName": "Grace", "LastName": "Hopper", "Email": "grace@example.com", "SessionID": 5}
STORY = (
    Step("a lead", {"FirstName": "David", "LastName": "Garcia", "Email": "David@Example.com", "Content": "A quote?"}),
    Step("the same again: the sender did not hear us", {"Email": "David@Example.com"}),
    Step(
        "Chinese name, + phone, signed over the JSON form",
        {"FirstName": "小明", "LastName": "王", "PhoneNumber": "+86 138 0013 8000", "SessionID": 2, "Content": "您好"},
        compact=True,
    ),
    Step(
        "no e-mail, only a phone",
        {"FirstName": "Ada", "PhoneNumber": "(415) 555-0100", "SessionID": 3, "Content": "Call me"},
    ),
    Step("signed with another key", {"FirstName": "Mallory", "SessionID": 4}, expected=401, key=OTHER_KEY),
    Step(
        "a lead while both CRMs fail: HubSpot writes and does not answer, Salesforce is down",
        {**GRACE, "Content": "Forty chairs"},
        troubled=True,
    ),
    Step("an appointment of the same person", {**GRACE, "Type": "Appointment"}),
)
"""Requests in their order. `_send` fills in the time of the appointment."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was sent, and its answer."""

    step: Step
    status: int
    answer: str

    @property
    def as_expected(self) -> bool:
        """True if the answer is as expected."""
        return self.status == self.step.expected


@dataclass(frozen=True, slots=True)
class Stage:
    """The running sandboxes and the running bridge."""

    config: Config
    config_path: Path
    hubspot: HubSpotSandbox
    salesforce: SalesforceSandbox
    inbox: Sandbox
    """Messages to the salespeople, in the place of their e-mail or chat."""
    url: str
    """URL of the webhook."""
    dashboard: str
    """URL of the dashboard."""


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Start the CRMs and the bridge on loopback, in a folder of their own."""
    async with HubSpotSandbox(owners=OWNERS) as hubspot, SalesforceSandbox() as salesforce, Sandbox(key=None) as inbox:
        path = folder / "config.yaml"
        text = _CONFIG.format(
            folder=folder,
            listen=_free_port(),
            admin=_free_port(),
            hubspot=hubspot.origin,
            token=hubspot.access_token,
            salesforce=salesforce.origin,
            client_id=salesforce.tokens.client.id,
            client_secret=salesforce.tokens.client.secret,
            inbox=inbox.url.removeprefix("http://"),
            serial=SERIAL_NUMBER,
        )
        path.write_text(text)
        config = load(path, {"DEMO_SIGN_KEY": SIGN_KEY})
        async with running(config) as bridge:
            yield Stage(
                config, path, hubspot, salesforce, inbox, f"http://{bridge.listen}/webhook", f"http://{bridge.admin}/"
            )


async def play(stage: Stage, tell: Callable[[Sent], None]) -> list[Sent]:
    """Send all requests in their order, and wait until the CRMs have all records."""
    sent = []
    async with aiohttp.ClientSession() as session:
        for step in STORY:
            if step.troubled:
                # The failure must hit this request's records only.
                await _until_delivered(stage)
                stage.hubspot.faults.next(Fault.disconnects(written=True), on="/notes/batch/create")
                stage.salesforce.faults.next(Fault.answers(503), on="/composite/sobjects/")
            sent.append(await _send(session, stage.url, step))
            tell(sent[-1])
    await _until_delivered(stage)
    return sent


def story_deliveries(config: Config) -> list[queries.DeliveryRow]:
    """Read the deliveries from the store, oldest first."""
    with driver_for(config.store.url, config.store.encryption_keys).engine().connect() as connection:
        return find_deliveries(connection, DeliveryFilter()).rows[::-1]


async def _send(session: aiohttp.ClientSession, url: str, step: Step) -> Sent:
    day = datetime.now(UTC) + timedelta(days=14)
    fields = {
        "SerialNumber": SERIAL_NUMBER,
        "Type": "Lead",
        "FirstName": "",
        "LastName": "",
        "Email": "",
        "PhoneNumber": "",
        "CreateTime": time.strftime("%Y-%m-%dT%H:00:00.000000Z", time.gmtime()),
        "Content": f"By phone, on {day:%B} {day.day}, {day.year} at 10:00 AM UTC",
        "SessionID": 1,
        "URI": "www.example.com",
        **step.fields,
    }
    # .NET escapes characters outside ASCII; JavaScript's JSON form does not. Both must be read as the same text.
    body = json.dumps(fields, indent=1).encode()
    signed = (javascript_json.json_form(body) or body) if step.compact else body
    headers = {
        "Content-Type": "application/json",
        signature.HEADER: signature.sign(step.key.encode(), str(int(time.time())), signed),
    }
    async with session.post(url, data=body, headers=headers) as answer:
        return Sent(step, answer.status, await answer.text())


async def _until_delivered(stage: Stage) -> None:
    """Wait until all deliveries are made, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while any(  # noqa: ASYNC110 - the store is looked at from outside, as a person would
                each.state is not DeliveryState.DELIVERED for each in story_deliveries(stage.config)
            ):
                await asyncio.sleep(0.05)


def _free_port() -> int:
    import socket  # one look, so that the addresses can be shown before anything listens

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Row = dict[str, Any]


def of_hubspot(stage: Stage) -> list[Row]:
    """Return the contacts, then the records that belong to them."""
    crm = stage.hubspot
    names = {each.id: _name(each.properties, "firstname", "lastname") for each in crm.contacts}
    rows: list[Row] = [
        {
            "object": "contact",
            "id": each.id,
            "name": names[each.id],
            "email": each.properties.get("email"),
            "phone": each.properties.get("phone"),
        }
        for each in crm.contacts
    ]
    for kind, records, text, when in (
        ("note", crm.notes, "hs_note_body", ""),
        ("meeting", crm.meetings, "hs_meeting_body", "hs_meeting_start_time"),
        ("task", crm.tasks, "hs_task_body", ""),
    ):
        for each in records:
            said, _, _ = each.properties[text].partition("<br><br>")
            whose = ", ".join(names[contact] for contact in each.associations["contacts"])
            shown = {"text": html.unescape(said), "when": each.properties.get(when)}
            rows.append({"object": kind, "id": each.id, "name": whose, **shown})
    people = {owner_id: email for email, owner_id in OWNERS.items()}
    rows += [
        {
            "object": "deal",
            "id": each.id,
            "name": each.properties["dealname"],
            "text": f"owner: {people[each.properties['hubspot_owner_id']]}",
        }
        for each in crm.records("deals")
    ]
    return rows


def of_salesforce(stage: Stage) -> list[Row]:
    """Return the leads, then the records that belong to them."""
    crm = stage.salesforce
    rows: list[Row] = [
        {
            "object": "lead",
            "id": each.id,
            "name": _name(each.fields, "FirstName", "LastName"),
            "email": each.fields.get("Email"),
            "phone": each.fields.get("Phone"),
            "text": each.fields.get("Description"),
        }
        for each in crm.leads
    ]
    names = {row["id"]: row["name"] for row in rows}
    for kind, records in (("event", crm.events), ("task", crm.tasks)):
        for each in records:
            said, _, _ = each.fields["Description"].partition("\n\n")
            shown = {"text": said, "when": each.fields.get("StartDateTime")}
            rows.append({"object": kind, "id": each.id, "name": names[each.fields["WhoId"]], **shown})
    return rows


def of_inbox(stage: Stage) -> list[Row]:
    """Return the messages to the salespeople."""
    return [
        {"object": "message", "subject": each.fields["title"], "text": each.fields["message"].strip()}
        for each in stage.inbox.records
    ]


def _name(fields: Any, *parts: str) -> str:
    return " ".join(filter(None, (fields.get(part) for part in parts)))
