"""The senders: each is one contact, and sends its next lead when the one before has been answered with success."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.acceptance.sending import SUCCESS, lead, signature, written

CONTACTS = 16
PAUSE = 0.06
"""Seconds between a contact's leads, about."""
LEADS = 40
"""How many leads a contact sends before another one takes its place: people do not ask a thousand times."""
AGAIN = 0.2
"""Seconds before a lead is sent again: the vendor waits a minute, and there is less to see in that."""
_TRY_SECONDS = 20.0


@dataclass
class Ledger:
    """What has been sent, and what was said to it."""

    sent: set[int] = field(default_factory=set)
    """The numbers of all leads that have been sent at least once."""
    acknowledged: set[int] = field(default_factory=set)
    """Those of them that were answered with success."""
    answers: Counter[str] = field(default_factory=Counter)
    """How often each status came, or none at all."""
    wrong: list[str] = field(default_factory=list)
    """Answers that the contract does not have."""

    def note(self, number: int, status: int, body: bytes, retry_after: str | None) -> None:
        """Write down an answer."""
        self.answers[str(status)] += 1
        if status == 200 and body == SUCCESS:
            self.acknowledged.add(number)
        elif status != 503 or not retry_after or b"success" in body.lower():
            self.wrong.append(f"{status} {body!r} Retry-After: {retry_after}")


@contextlib.asynccontextmanager
async def load(url: str, ledger: Ledger, seed: int) -> AsyncIterator[None]:
    """Send for as long as the context lasts; then each contact's last lead is insisted on."""
    over = asyncio.Event()
    connections = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connections, timeout=aiohttp.ClientTimeout(_TRY_SECONDS)) as session:
        contacts = [
            asyncio.create_task(_contact(session, url, number, ledger, over, seed + number))
            for number in range(CONTACTS)
        ]
        async with sending(contacts, over):
            yield


@contextlib.asynccontextmanager
async def sending(contacts: Sequence[asyncio.Task[None]], over: asyncio.Event) -> AsyncIterator[None]:
    """Let contacts send for as long as the context lasts; then, by `over`, each insists on its last lead and ends."""
    try:
        yield
        over.set()
        await asyncio.gather(*contacts)
    finally:
        for each in contacts:
            each.cancel()
        await asyncio.gather(*contacts, return_exceptions=True)


async def _contact(
    session: aiohttp.ClientSession, url: str, number: int, ledger: Ledger, over: asyncio.Event, seed: int
) -> None:
    chance = random.Random(seed)
    for sent in itertools.count():
        if over.is_set():
            return
        document = lead(Email=f"contact.{number}.{sent // LEADS}@example.com")
        session_id = document["SessionID"]
        body = written(document)
        ledger.sent.add(session_id)
        while session_id not in ledger.acknowledged:
            headers = {"Content-Type": "application/json", "X-Webhook-Signature": signature(body)}
            try:
                async with session.post(url, data=body, headers=headers) as answer:
                    read = await answer.read()
                    ledger.note(session_id, answer.status, read, answer.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError):
                ledger.answers["none"] += 1
            if session_id not in ledger.acknowledged:
                await asyncio.sleep(AGAIN)
        await asyncio.sleep(chance.uniform(0, 2 * PAUSE))
