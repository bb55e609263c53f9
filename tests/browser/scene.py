"""An agency's month: 40 chatbots, 2,500 leads over 30 days, and every kind of trouble, written by real code."""

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from bridge.config import Config, load
from bridge.delivery import retry
from bridge.event import EventState
from bridge.ingress.routing import route
from bridge.ingress.signature import sign
from bridge.ingress.verification import read_claim, verify
from bridge.store.installation import adopt
from bridge.store.interface import DeliveryState, Lease, Pause, QuarantinedRequest, RoutedEvent
from bridge.store.preparation import migrate
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver
from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from tests.building import SCHEDULE

DAY: Final = 86_400.0
HOUR: Final = 3_600.0
PAUSED_SECONDS: Final = 600.0
"""Length of the pause of `UNREACHABLE` that is over."""
LEADS: Final = 2_500
SILENT: Final = "harbor-hotel"
"""A chatbot that sent leads every day and has sent none for nine days."""
UNUSED: Final = "north-winery"
"""A chatbot that never sent anything."""
TROUBLED: Final = "lakeside-dental"
"""The chatbot with most dead letters."""
CLIENTS: Final = (TROUBLED, "lakeside-motors")
"""Chatbots of one client, who has a user: one has dead letters, and what the other sends waits."""
REMOVED: Final = "old-crm"
"""A destination that is no longer configured, with deliveries that wait."""
UNREACHABLE: Final = "crm-02"
"""A destination whose server refuses connections."""
SHEET: Final = "sheet"
DESTINATIONS: Final = (*(f"crm-{number:02}" for number in range(1, 11)), SHEET)
KINDS: Final = ("dental", "hotel", "law", "motors", "roofing", "school", "winery", "yoga")
PLACES: Final = ("harbor", "lakeside", "north", "old-town", "sunny")
CHATBOTS: Final = tuple(f"{place}-{kind}" for place in PLACES for kind in KINDS)
FIRST: Final = ("Ada", "David", "Grace", "Zoë", "José", "Mei", "Omar", "Nina", "Ivan", "Ruth", "Lars", "Aïcha")
LAST: Final = (
    "Lovelace",
    "García",
    "Hopper",
    "Müller",
    "Ortiz",
    "Chen",
    "Haddad",
    "Kowalska",
    "Petrov",
    "Levi",
    "Berg",
)


@dataclass(slots=True)
class SentLead:
    """A lead as it was sent, and what became of it."""

    chatbot: str
    first_name: str
    last_name: str
    email: str
    phone: str
    received_at: float
    event_id: str = ""
    state: EventState = EventState.ACCEPTED
    deliveries: dict[str, "SentDelivery"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Full name of the person."""
        return f"{self.first_name} {self.last_name}"


@dataclass(slots=True)
class SentDelivery:
    """State of a lead at one destination."""

    state: DeliveryState
    seconds: float | None = None
    """From receipt to delivery."""
    warning: bool = False
    tried: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """The store and configuration on disk, and everything that was sent."""

    folder: Path
    config: Path
    environ: Mapping[str, str]
    now: float
    leads: tuple[SentLead, ...]
    """Accepted, test and unrecognised events, oldest first."""
    quarantined: int

    def since(self, days: float) -> Iterator[SentLead]:
        """Return the accepted leads of the last days."""
        return (
            each
            for each in self.leads
            if each.state is EventState.ACCEPTED and each.received_at >= self.now - days * DAY
        )


def build(folder: Path, crm: str, now: float, *, leads: int = LEADS) -> Scene:
    """Write the configuration and the store into an empty folder.

    Args:
        folder: Where `config.yaml` and `leadbridge.db` go.
        crm: URL of a server that takes what is still to be delivered.
        now: End of the month, in seconds since the epoch.
        leads: How many were sent; with none, nothing was refused either, as on the first day.
    """
    environ = {f"KEY_{number:02}": f"signing-key-of-chatbot-{number:02}" for number in range(len(CHATBOTS))}
    environ |= {"ADMIN": "the-token-of-an-operator", "VIEWER": "the-token-of-a-viewer"}
    environ |= {"CLIENT": "the-token-of-a-client"}
    before, after = folder / "before.yaml", folder / "config.yaml"
    before.write_text(_configuration(folder, crm, removed=False))
    after.write_text(_configuration(folder, crm, removed=True))
    driver = SqliteDriver(make_url(f"sqlite:///{folder}/leadbridge.db"))
    migrate(driver.engine())
    sent = tuple(sorted(_leads(random.Random(19), now, leads), key=lambda each: each.received_at))
    quarantined = asyncio.run(_fill(driver, load(before, environ), sent, now)) if sent else 0
    before.unlink()
    return Scene(folder, after, environ, now, sent, quarantined)


def _serial(number: int) -> str:
    return f"{number:032x}"


def _configuration(folder: Path, crm: str, *, removed: bool) -> str:
    lines = [
        "server:",
        '  {listen: "127.0.0.1:0", admin: "127.0.0.1:0", admin_token: "${ADMIN}", viewer_token: "${VIEWER}",',
        f'  users: [{{name: client, token: "${{CLIENT}}", role: operator, chatbots: [{", ".join(CLIENTS)}]}}]}}',
        f'store: {{url: "sqlite:///{folder}/leadbridge.db"}}',
        "destinations:",
    ]
    for name in DESTINATIONS if removed else (*DESTINATIONS, REMOVED):
        url = "http://127.0.0.1:9/leads" if name == UNREACHABLE else f"{crm}/{name}"
        lines.append(f'  {name}: {{connector: http, url: "{url}", allow_private: true}}')
    lines.append("chatbots:")
    for number, name in enumerate(CHATBOTS):
        lines += [
            f"  {name}:",
            f'    serial_number: "{_serial(number)}"',
            f'    signing_keys: ["${{KEY_{number:02}}}"]',
        ]
        lines += ["    signature_tolerance: 0s", '    test_when: Content == "a test"', "    routes:"]
        for each in _destinations(number, removed=removed):
            lines += [f"      - to: {each}", "        fields:", "          email: Email"]
            lines += ['          name: "{{ FirstName }} {{ LastName }}"', "          phone: PhoneNumber"]
            lines += ["          message: Content"]
    return "\n".join([*lines, ""])


def _destinations(number: int, *, removed: bool) -> list[str]:
    """Return the destinations of a chatbot: its account, for some the sheet, and once for one the removed one."""
    found = [DESTINATIONS[number % 10]]
    if number % 5 == 0:
        found.append(SHEET)
    if not removed and CHATBOTS[number] == "sunny-yoga":
        found.append(REMOVED)
    return found


def _leads(chance: random.Random, now: float, count: int) -> Iterator[SentLead]:
    for number in range(count):
        chatbot = _chatbot(chance, number)
        silent = chatbot == SILENT
        age = chance.uniform(9.2 if silent else 0.0, 30.0) * DAY if number % 50 else chance.uniform(0.0, 0.02) * DAY
        if silent and age < 9 * DAY:
            age += 9.2 * DAY
        first, last = chance.choice(FIRST), chance.choice(LAST)
        email = f"person{number:04}@{chatbot}.example"
        yield SentLead(chatbot, first, last, email, f"+1 202 555 {number:04}", now - age - 60.0)


def _chatbot(chance: random.Random, number: int) -> str:
    while True:
        # Large clients have more leads than small ones.
        found = CHATBOTS[int(len(CHATBOTS) * chance.random() ** 1.5)] if number % 3 else chance.choice(CHATBOTS)
        if found != UNUSED:
            return found


async def _fill(driver: SqliteDriver, config: Config, leads: tuple[SentLead, ...], now: float) -> int:
    with driver.engine().begin() as connection:
        identity = adopt(connection, config.store.identity_key)
    store = SqlStore(driver)
    chance = random.Random(20)
    try:
        routed: list[RoutedEvent] = []
        for number, lead in enumerate(leads):
            body = _body(lead, number, chance)
            claim = read_claim(body, None, config)
            key = f"signing-key-of-chatbot-{CHATBOTS.index(lead.chatbot):02}".encode()
            (verified,) = verify(claim, [sign(key, str(int(lead.received_at)), body)], lead.received_at, config)
            each = route(verified, config.chatbots[lead.chatbot], lead.received_at, identity)
            lead.event_id, lead.state = each.event.id, each.event.state
            lead.deliveries = {to.destination: SentDelivery(DeliveryState.PENDING) for to in each.deliveries}
            routed.append(each)
        for start in range(0, len(routed), 100):
            await store.accept(routed[start : start + 100])
        by_event = {lead.event_id: lead for lead in leads}
        for destination in (*DESTINATIONS, REMOVED):
            await _settle(store, destination, by_event, chance, now)
        requests = [
            QuarantinedRequest(
                chatbot=CHATBOTS[3],
                body=_body(leads[number], 10_000 + number, chance),
                signature="t=1,v1=00",
                received_at=now - number * 3600.0,
            )
            for number in range(5)
        ]
        kept = [await store.quarantine(each, identity) for each in requests]
    finally:
        await store.close()
    return sum(kept)


def _body(lead: SentLead, number: int, chance: random.Random) -> bytes:
    kind = chance.random()
    document = {
        "SerialNumber": _serial(CHATBOTS.index(lead.chatbot)),
        "Type": "Unknown kind" if kind < 0.004 else "Appointment" if kind < 0.1 else "Lead",
        "FirstName": lead.first_name,
        "LastName": lead.last_name,
        "Email": lead.email,
        "PhoneNumber": lead.phone,
        "CreateTime": "2026-11-24T10:00:00.512302Z",
        "Content": "a test" if 0.1 < kind < 0.108 else "Could I have a quote?",
        "SessionID": number,
        "URI": f"www.{lead.chatbot}.example",
    }
    return json.dumps(document).encode()


async def _settle(
    store: SqlStore, destination: str, leads: Mapping[str, SentLead], chance: random.Random, now: float
) -> None:
    lease: Lease = (await store.claim("lane", [destination], now, 10.0))[destination]
    after = 0
    while due := await store.due(destination, after, 100):
        after = due[-1].id
        settlements = []
        for delivery in await store.read(destination, [each.id for each in due]):
            lead = leads[delivery.event_id]
            outcome, seconds = _outcome(lead, destination, chance, now)
            if outcome is None:
                continue
            timing = retry.CallTiming(lead.received_at + seconds - 0.25, 0.25)
            settlements.append(retry.decide(delivery, outcome, timing, SCHEDULE, 0.0, excused=False))
            state = settlements[-1].state
            warned = isinstance(outcome, Delivered) and outcome.warning is not None
            done = seconds if state is DeliveryState.DELIVERED else None
            lead.deliveries[destination] = SentDelivery(state, done, warned, tried=True)
        if settlements:
            await store.settle(lease, settlements)
    if destination == UNREACHABLE:
        began_at = now - 2 * HOUR
        await store.pause(lease, Pause("lane", Reason.TIMEOUT, None, now - HOUR, began_at), began_at)
        await store.pause(lease, None, began_at + PAUSED_SECONDS)
        refused = Pause("lane", Reason.UNREACHABLE, "connection refused", now + HOUR, now - HOUR)
        await store.pause(lease, refused, now - HOUR)
    await store.release("lane")


def _outcome(lead: SentLead, destination: str, chance: random.Random, now: float) -> tuple[Outcome | None, float]:
    """Return the outcome of a delivery, None if it still waits, and the seconds from receipt to it."""
    if destination == REMOVED:
        return None, 0.0
    seconds = chance.choices(
        [chance.uniform(0.4, 4.5), chance.uniform(6, 55), chance.uniform(70, 3_000), chance.uniform(4_000, 7_000)],
        [90, 6, 3, 1],
    )[0]
    if destination == UNREACHABLE and lead.received_at > now - 0.2 * DAY:
        failed = Retry(Reason.UNREACHABLE, "connection refused", Blame.DESTINATION)
        return (failed, 1.0) if chance.random() < 0.1 else (None, 0.0)
    kind = chance.random()
    if kind < (0.25 if lead.chatbot == TROUBLED else 0.005):
        return Rejected(Reason.REFUSED, f"Property values were not valid: {lead.email}", status=400), 1.0
    warning = "phone was left out: it is not valid there" if kind > 0.985 else None
    return Delivered(f"record-{lead.event_id[:8]}", "https://crm.example.com/1", warning, status=200), seconds
