"""When a lane goes on: by itself when a wait is over, each time, with nobody sending anything more; and not before."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from bridge.delivery.suspects import ATTEMPTS_LIMIT
from connectors.testing import Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, RETRY, chatbot, http, marked, settings
from tests.acceptance.destination import Deciding
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAUSES = 80
ASKED = 2.0
CONCURRENCY = 4
SHORT = 0.1
LONG = 5.0
BUSY = [f"busy{number}" for number in range(8)]
LEADS = 240
LIMITED = 20
BAD = "bad@example.com"
GIVE_UP = 2.0


class Bridge:
    """A program that is up, with a destination for each of the tests."""

    def __init__(self) -> None:
        self.paused = Sandbox()
        self.retried = Sandbox(key=None, required=["never"])
        self.limited = Sandbox()
        self.emptied = Sandbox()
        self.flaky = Sandbox(key="lead", seed=3)
        self.asking = Deciding(self._ask)
        self.busy = Deciding(self._refuse_some)
        self.poisoned = Deciding(lambda record: (404 if record["email"] == BAD else 201, {}))
        self.program: Program
        self.sender: Sender
        self._others = asyncio.Event()
        self._refused: set[tuple[int, str]] = set()

    def settings(self) -> dict[str, Any]:
        retry = {"initial": "30ms", "max": "30ms", "jitter": 0}
        results = {"each": "answer.results", "ok": "result.ok", "otherwise": "retry"}
        give_up = {**RETRY, "give_up_after": f"{GIVE_UP:g}s"}
        destinations = {
            "poisoned": http(self.poisoned.url, retry=give_up),
            "quiet": http(self.poisoned.url, retry=give_up),
            "paused": http(self.paused.url),
            "retried": http(self.retried.url, results=results, retry=retry),
            "limited": http(self.limited.url, rate_limit={"requests": 1, "per": "200ms"}),
            "emptied": http(self.emptied.url),
            "flaky": http(self.flaky.url, retry={"initial": f"{LONG:g}s", "jitter": 0}),
            "asking": http(self.asking.url, concurrency=CONCURRENCY),
        }
        routes = [marked(name) for name in destinations]
        for name in BUSY:
            # Many lanes that have something to do at the same moment.
            destinations[name] = http(self.busy.url)
            routes.append({**marked("busy", {"lead": "SessionID", "lane": {"value": name}}), "to": name})
        return settings(destinations, chatbot(routes))

    async def _ask(self, _: Any) -> tuple[int, Any, dict[str, str]]:
        """Ask to be left alone at the first call; the others that came with it are answered well a moment later."""
        if self.asking.calls > 1:
            await self._others.wait()
            return 201, {}, {}
        await until(lambda: self.asking.calls == CONCURRENCY, "other calls to be on their way beside the first")
        asyncio.get_running_loop().call_later(0.2, self._others.set)
        return 429, {}, {"Retry-After": f"{ASKED:g}"}

    def _refuse_some(self, record: Any) -> tuple[int, Any, dict[str, str]]:
        """Ask for a short wait at some leads' first call."""
        called = record["lead"], record["lane"]
        if record["lead"] % 5 or called in self._refused:
            return 201, {}, {}
        self._refused.add(called)
        return 429, {}, {"Retry-After": f"{SHORT:g}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bridge]:
    folder = tmp_path_factory.mktemp("lanes")
    made = Bridge()
    async with AsyncExitStack() as stack:
        crms = (made.paused, made.retried, made.limited, made.emptied, made.flaky, made.asking, made.busy)
        for crm in (*crms, made.poisoned):
            await stack.enter_async_context(crm)
        # Only now it is known where they listen.
        made.program = await stack.enter_async_context(Program(folder, made.settings(), ENVIRONMENT))
        await made.program.start()
        made.sender = await stack.enter_async_context(Sender(made.program))
        yield made


async def test_a_lane_comes_back_from_each_of_many_pauses(bridge: Bridge) -> None:
    """Each call is told to come again in a moment: that the lane wakes must not hang on what else happens."""
    bridge.paused.faults.next(Fault.answers(429, {"Retry-After": "0.03"}), times=PAUSES)
    await bridge.sender.deliver(lead(Content="paused"))
    await _goes_on(bridge.paused, bridge.program, PAUSES + 1)


async def test_a_retry_comes_at_its_time_each_time(bridge: Bridge) -> None:
    """The same for a record that is tried again without a pause of the lane."""
    await bridge.sender.deliver(lead(Content="retried"))
    await _goes_on(bridge.retried, bridge.program, PAUSES)


async def _goes_on(crm: Sandbox, program: Program, calls: int) -> None:
    """Wait until so many calls have come, and no longer than a few seconds for the next one."""
    began = time.time()
    while len(crm.ledger) < calls:
        before = len(crm.ledger)
        since = crm.ledger[-1].at if crm.ledger else began
        await until(
            lambda: len(crm.ledger) > before,  # noqa: B023 - is called before the next round
            lambda: f"call {before + 1}; the lane stands still for {time.time() - since:.1f} s: {program.told()}",  # noqa: B023 - see above
            seconds=5,
        )


async def test_nothing_is_sent_until_the_time_that_was_asked_for(bridge: Bridge) -> None:
    """Calls that were on their way already, and end well, say nothing about the time that was asked for."""
    leads = [lead(Content="asking") for _ in range(12)]
    await asyncio.gather(*map(bridge.sender.deliver, leads))
    await until(lambda: len(bridge.asking.taken()) == len(leads), lambda: f"all to arrive; {bridge.program.told()}")
    refused = next(each.at for each in bridge.asking.received if each.status == 429)
    early = [each.at - refused for each in bridge.asking.received if 0.1 < each.at - refused < ASKED - 0.1]
    assert not early, f"{len(early)} calls came {[round(each, 2) for each in early]} s after it asked for {ASKED:g} s"


async def test_a_lead_that_is_told_to_wait_waits_however_well_others_go(bridge: Bridge) -> None:
    """Leads come while others are answered: in whatever order the program does things, the wait holds."""
    for _ in range(LEADS):
        await bridge.sender.deliver(lead(Content="busy"))
    crm = bridge.busy
    await until(lambda: len(crm.taken()) == LEADS * len(BUSY), lambda: f"all to arrive; {bridge.program.told()}")
    waits = []
    for refused in (each for each in crm.received if each.status == 429):
        again = next(each for each in crm.received if each.status < 300 and each.document == refused.document)
        waits.append(again.at - refused.at)
    assert waits, "nothing was refused: this test shows nothing"
    early = [round(wait, 3) for wait in waits if wait < SHORT - 0.02]
    assert not early, f"{len(early)} of {len(waits)} came again after {early} s, asked to wait {SHORT} s"


async def test_a_destination_that_fails_now_and_then_does_not_stand_still(bridge: Bridge) -> None:
    """Three failures in a row may be chance: calls beside them that end well say that there is no need to pause."""
    crm = bridge.flaky
    crm.faults.share(Fault.answers(500), 0.25)
    crm.faults.share(Fault.slow(0.01), 1.0)
    leads = [lead(Content="flaky") for _ in range(LEADS)]
    await asyncio.gather(*map(bridge.sender.deliver, leads))
    await until(
        lambda: len(crm.records) > LEADS * 0.6,
        lambda: f"most to arrive at the first try: {len(crm.records)} of {LEADS} have; {bridge.program.told()}",
        seconds=2 * LONG,
    )


async def test_a_command_does_not_stop_a_lane_that_waits_for_its_rate_limit(bridge: Bridge) -> None:
    leads = [lead(Content="limited") for _ in range(LIMITED)]
    for each in leads:
        await bridge.sender.deliver(each)
    await until(lambda: len(bridge.limited.records) > 2, "the first to arrive")
    assert (await bridge.program.run("lanes", "pause", "retried")).status == 0, "any command that changes something"
    await until(
        lambda: len(bridge.limited.records) == len(leads),
        lambda: f"all to arrive: {len(bridge.limited.records)} of {len(leads)} have; {bridge.program.told()}",
        seconds=15,
    )


async def test_a_new_lead_goes_after_a_pause_in_which_the_queue_was_emptied(bridge: Bridge) -> None:
    crm, program = bridge.emptied, bridge.program
    crm.faults.share(Fault.answers(503, {"Retry-After": "2"}), 1.0)
    await bridge.sender.deliver(lead(Content="emptied"))
    await until(lambda: _paused(program, "emptied"), lambda: f"the lane to pause; {program.told()}")
    (row,) = await program.deliveries("--destination", "emptied")
    assert (await program.run("deliveries", "discard", str(row["id"]))).status == 0
    crm.faults.clear()
    await until(lambda: time.time() > _paused(program, "emptied")[-1]["until"] + 0.5, "the pause to be over")
    await bridge.sender.deliver(lead(Content="emptied"))
    await until(lambda: crm.records, lambda: f"the new lead to arrive; {program.told()}", seconds=10)


async def test_one_record_alone_cannot_keep_a_lane_paused(bridge: Bridge) -> None:
    """A destination answers one record, and only that, as if its address were wrong."""
    program = bridge.program
    for lane in ("poisoned", "quiet"):
        await bridge.sender.deliver(lead(Content=lane, Email=BAD))
    good = 0
    while _failed(program, "poisoned") <= ATTEMPTS_LIMIT:
        await bridge.sender.deliver(lead(Content="poisoned"))
        good += 1
        failed = _failed(program, "poisoned")
        await until(
            lambda: _delivered(program, "poisoned") == good and _failed(program, "poisoned") > failed,  # noqa: B023 - is called before the next round
            lambda: f"a good lead to go and the bad one to fail; {program.told()}",
        )
    assert len(_paused(program, "poisoned")) <= ATTEMPTS_LIMIT + 1
    await until(lambda: _failed(program, "quiet") > ATTEMPTS_LIMIT, lambda: f"more attempts; {program.told()}")
    await bridge.sender.deliver(lead(Content="quiet"))
    await until(lambda: _delivered(program, "quiet"), lambda: f"a new lead to go; {program.told()}", seconds=5)
    deadline = time.monotonic() + 20
    while len(dead := await program.deliveries("--state", "dead")) < 2:
        assert time.monotonic() < deadline, f"the records are not given up: {program.told()}"
        await asyncio.sleep(0.2)
    assert sorted((each["destination"], each["reason"]) for each in dead) == [
        ("poisoned", "not_found"),
        ("quiet", "not_found"),
    ]


def _failed(program: Program, destination: str) -> int:
    return sum(each["destination"] == destination and each["outcome"] == "retry" for each in program.events("attempt"))


def _delivered(program: Program, destination: str) -> int:
    attempts = program.events("attempt")
    return sum(each["destination"] == destination and each["outcome"] == "delivered" for each in attempts)


def _paused(program: Program, destination: str) -> list[dict[str, Any]]:
    return [line for line in program.events("lane_paused") if line["destination"] == destination]
