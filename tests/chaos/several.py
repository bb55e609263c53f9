"""Three processes on one PostgreSQL under a steady load, one of them killed again and again, and the verdict.

Every process accepts, and works its share of the lanes. A contact's next lead comes when the one before has been
answered with success; until then it is sent again, to another process, as a proxy before them would. Two of the
destinations have a rate limit, and more to do than that allows.
"""

import asyncio
import bisect
import contextlib
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from tests.acceptance.configured import ENVIRONMENT, chatbot, http
from tests.acceptance.sending import lead, signature, written
from tests.acceptance.waiting import comes
from tests.benchmarks.children import Child, own
from tests.chaos.keyed import Arrived, take
from tests.chaos.load import Ledger, sending
from tests.chaos.ownership import Gaps, watched
from tests.chaos.supervised import Supervised

PROCESSES = 3
SPACING = 4.0
"""Seconds between two leads of a contact."""
AGAIN = 0.5
"""Seconds before a lead is sent again."""
TRY_SECONDS = 20.0
DRAIN_SECONDS = 180.0
LIMITS: Mapping[str, tuple[int, float]] = {"per_second": (20, 1.0), "per_ten_seconds": (100, 10.0)}
"""Requests, and the seconds that they may come in, of the destinations that have a limit."""
TOO_MANY: Mapping[str, int] = {"per_second": 24, "per_ten_seconds": 12}
"""Leads per second that go to them."""
OTHERS = ("north", "east", "south", "west")
"""Where all other leads go."""
LANES = (*OTHERS, *LIMITS)


@dataclass
class Result:
    """What a run has shown."""

    seconds: float = 0.0
    """Of load."""
    kills: int = 0
    sent: int = 0
    acknowledged: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    """How often each status came, or no whole answer."""
    arrived: int = 0
    """Requests at the destinations, repetitions and those that were failed among them."""
    lost: int = 0
    doubled: int = 0
    disorder: int = 0
    """Leads that arrived first after a later one of their contact."""
    gaps: Mapping[str, float] = field(default_factory=dict)
    """By lane: the longest time without an owner, in seconds."""
    samples: int = 0
    windows: Mapping[str, int] = field(default_factory=dict)
    """By destination with a limit: the most requests in any of its windows."""
    drained: float = 0.0
    """Seconds after the load until nothing was pending."""
    faults: list[str] = field(default_factory=list)
    """Lines of the programs' logs that tell of a fault of their own, and answers outside of the contract."""

    @property
    def rate(self) -> float:
        """Leads acknowledged per second of load."""
        return self.acknowledged / self.seconds


async def run(folder: Path, url: str, *, seconds: float, rate: int, every: float, seed: int = 1) -> Result:
    """Run once.

    Args:
        folder: An empty one.
        url: Of an empty database.
        seconds: How long the load lasts.
        rate: Leads per second.
        every: Seconds between two SIGKILLs.
        seed: Decides who is killed, and the destinations' faults.
    """
    result = Result()
    ledger = Ledger()
    contacts: dict[int, int] = {}
    with contextlib.ExitStack() as children:
        crms = {name: children.enter_context(own("tests.chaos.keyed", str(seed + at))) for at, name in enumerate(LANES)}
        async with _programs(folder, url, crms) as programs:
            gaps = Gaps(LANES, time.monotonic())
            async with watched(url, gaps, lambda: {each.pid for each in programs if each.alive}):
                began = time.monotonic()
                async with _load(programs, ledger, contacts, rate):
                    result.kills = await _kill(programs, began + every, began + seconds, every, random.Random(seed))
                result.seconds = time.monotonic() - began
                ended = time.monotonic()
                await comes(lambda: not _pending(url), DRAIN_SECONDS)
                result.drained = time.monotonic() - ended
            for each in programs:
                each.check_alive()
                assert await each.stop() == 0, f"the end was not in order: {each.told()}"
                result.faults += each.faults()
        arrived = {name: take(crm) for name, crm in crms.items()}
    result.gaps, result.samples = gaps.longest, gaps.samples
    result.faults += ledger.wrong
    judge(result, ledger, contacts, arrived)
    return result


def judge(
    result: Result, ledger: Ledger, contacts: Mapping[int, int], arrived: Mapping[str, Sequence[Arrived]]
) -> None:
    """Hold the ledger against what arrived. Pure.

    `contacts` says whose each lead is, which decides where it goes to.
    """
    result.sent, result.acknowledged = len(ledger.sent), len(ledger.acknowledged)
    result.answers = dict(ledger.answers)
    for name, requests in arrived.items():
        records = Counter(number for number, _ in {(each.lead, each.key) for each in requests if each.written})
        due = {number for number in ledger.acknowledged if destination_of(contacts[number]) == name}
        result.arrived += len(requests)
        result.lost += len(due - records.keys())
        result.doubled += sum(count > 1 for count in records.values())
        result.disorder += _disorder(requests, contacts)
    result.windows = {
        name: most_in_a_window([each.at for each in arrived[name]], per) for name, (_, per) in LIMITS.items()
    }


def most_in_a_window(times: Sequence[float], per: float) -> int:
    """Give the most of these times that lie within any `per` seconds."""
    ordered = sorted(times)
    return max((bisect.bisect_left(ordered, at + per) - place for place, at in enumerate(ordered)), default=0)


def destination_of(contact: int) -> str:
    """Give where a contact's leads go: always to the same destination."""
    first = 0
    for name, per_second in TOO_MANY.items():
        first += round(per_second * SPACING)
        if contact < first:
            return name
    return OTHERS[contact % len(OTHERS)]


def _disorder(requests: Sequence[Arrived], contacts: Mapping[int, int]) -> int:
    newest: dict[int, int] = defaultdict(int)
    seen: set[int] = set()
    wrong = 0
    for each in requests:
        contact = contacts[each.lead]
        wrong += each.lead not in seen and each.lead < newest[contact]
        seen.add(each.lead)
        newest[contact] = max(newest[contact], each.lead)
    return wrong


async def _kill(programs: Sequence[Supervised], first: float, last: float, every: float, chance: random.Random) -> int:
    """Kill one of those that run at each of the times, and have each started again; give how many were killed."""
    starting: dict[Supervised, asyncio.Task[None]] = {}
    kills = 0
    try:
        while first + kills * every <= last:
            await asyncio.sleep(first + kills * every - time.monotonic())
            while not (up := [each for each in programs if each not in starting or starting[each].done()]):
                await asyncio.sleep(0.1)
            victim = chance.choice(up)
            await victim.kill()
            kills += 1
            starting[victim] = asyncio.create_task(victim.up())
        await asyncio.sleep(last - time.monotonic())
        await asyncio.gather(*starting.values())
    finally:
        for each in starting.values():
            each.cancel()
        await asyncio.gather(*starting.values(), return_exceptions=True)
    return kills


@contextlib.asynccontextmanager
async def _programs(folder: Path, url: str, crms: Mapping[str, Child]) -> AsyncIterator[Sequence[Supervised]]:
    settings = _settings(crms)
    environment = {**ENVIRONMENT, "STORE_URL": url}
    async with contextlib.AsyncExitStack() as stack:
        programs = []
        for number in range(PROCESSES):
            place = folder / str(number)
            place.mkdir()
            made = Supervised(place, folder / f"{number}.log", settings, environment)
            programs.append(await stack.enter_async_context(made))
        await asyncio.gather(*[each.up() for each in programs])
        yield programs


def _settings(crms: Mapping[str, Child]) -> dict[str, Any]:
    def limited(name: str) -> dict[str, Any]:
        if name not in LIMITS:
            return {}
        requests, per = LIMITS[name]
        return {"rate_limit": {"requests": requests, "per": f"{per:g}s"}}

    return {
        "store": {"url": "${STORE_URL}"},
        "destinations": {
            name: http(f"http://127.0.0.1:{crm.port}/leads", idempotency_key="quoted", **limited(name))
            for name, crm in crms.items()
        },
        "chatbots": {name: chatbot([name], serial_number=_serial(name)) for name in crms},
    }


def _serial(destination: str) -> str:
    return f"serial-number-of-{destination}"


def _pending(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return bool(connection.execute("SELECT 1 FROM deliveries WHERE state = 'pending' LIMIT 1").fetchall())


@contextlib.asynccontextmanager
async def _load(
    programs: Sequence[Supervised], ledger: Ledger, contacts: dict[int, int], rate: int
) -> AsyncIterator[None]:
    """Send for as long as the context lasts; then each contact's last lead is insisted on."""
    over = asyncio.Event()
    timeout = aiohttp.ClientTimeout(TRY_SECONDS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        began = time.monotonic()
        count = round(rate * SPACING)
        # Mixed, so that each destination's come evenly.
        places = random.Random(0).sample(range(count), count)
        senders = [
            asyncio.create_task(_contact(session, programs, ledger, contacts, contact, began + place / rate, over))
            for contact, place in enumerate(places)
        ]
        async with sending(senders, over):
            yield


async def _contact(
    session: aiohttp.ClientSession,
    programs: Sequence[Supervised],
    ledger: Ledger,
    contacts: dict[int, int],
    contact: int,
    due: float,
    over: asyncio.Event,
) -> None:
    """Send one contact's leads, one every `SPACING` seconds from `due` on."""
    serial = _serial(destination_of(contact))
    turn = itertools.islice(itertools.cycle(programs), contact % len(programs), None)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await over.wait()
        if over.is_set():
            return
        document = lead(Email=f"contact.{contact}@example.com", SerialNumber=serial)
        number = document["SessionID"]
        contacts[number] = contact
        ledger.sent.add(number)
        body = written(document)
        while True:
            headers = {"Content-Type": "application/json", "X-Webhook-Signature": signature(body)}
            try:
                async with session.post(next(turn).url, data=body, headers=headers) as answer:
                    said = await answer.read()
                    ledger.note(number, answer.status, said, answer.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError):
                ledger.answers["none"] += 1
            if number in ledger.acknowledged:
                break
            await asyncio.sleep(AGAIN)
        due += SPACING
