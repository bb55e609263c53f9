"""A destination in every kind of trouble: nothing is lost, nothing is doubled, and each attempt can be read.

One program delivers to a destination for each kind of trouble, so that they are seen beside each other: one that is
in trouble does not hold up the others.
"""

import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import orjson
import pytest
import pytest_asyncio

from connectors.testing import Arrival, Fault, Sandbox
from tests.acceptance.configured import ENVIRONMENT, http, settings
from tests.acceptance.program import Program
from tests.acceptance.sending import Sender, lead
from tests.acceptance.waiting import comes

LEADS = 3
TIMEOUT = 1.0
WAIT = 2.0
"""Seconds that a destination asks to be left alone, where it asks."""
Make = Callable[[str], Fault]
"""Makes a fault at the time when the leads are sent; given an address to which redirects may lead."""


@dataclass(frozen=True)
class Trouble:
    """One kind of trouble."""

    faults: Sequence[Make] = ()
    """What goes wrong with the first calls, one after the other."""
    reasons: frozenset[str] = frozenset()
    """What the attempts that failed may be called."""
    statuses: frozenset[int | None] = frozenset({None})
    """The statuses that they may show."""
    by_key: bool = False
    """Whether the destination tells a repetition by the Idempotency-Key, instead of by the e-mail."""
    waits: bool = False
    """Whether the destination asks for `WAIT`."""
    settings: dict[str, Any] = field(default_factory=dict)


def calls(fault: Fault, times: int = 1) -> list[Make]:
    return [lambda _: fault] * times


def answers(status: int, wait: float | None = None, times: int = 1) -> list[Make]:
    return calls(Fault.answers(status, None if wait is None else {"Retry-After": f"{wait:g}"}), times)


def by_date(_: str) -> Fault:
    return Fault.answers(429, {"Retry-After": formatdate(time.time() + WAIT + 1, usegmt=True)})


AFTER_WRITE = calls(Fault.disconnects(written=True), 2)
LATE = calls(Fault.slow(2 * TIMEOUT), 2)

TROUBLES = {
    "it is down": Trouble(reasons=frozenset({"unreachable"})),
    "500": Trouble(answers(500, times=5), frozenset({"server_error"}), frozenset({500})),
    "502 with a page for people": Trouble(calls(Fault.html_error()), frozenset({"server_error"}), frozenset({502})),
    "503 with Retry-After": Trouble(answers(503, WAIT), frozenset({"server_error"}), frozenset({503}), waits=True),
    "429 with Retry-After in seconds": Trouble(
        answers(429, WAIT), frozenset({"rate_limited"}), frozenset({429}), waits=True
    ),
    "429 with Retry-After as a date": Trouble(
        [by_date],
        frozenset({"rate_limited"}),
        frozenset({429}),
        waits=True,
    ),
    "401 for a while": Trouble(answers(401, times=3), frozenset({"unauthorized"}), frozenset({401})),
    "404 for a while": Trouble(answers(404, times=3), frozenset({"not_found"}), frozenset({404})),
    "a slow drip": Trouble(calls(Fault.drips(0.2), 2), frozenset({"timeout"}), frozenset({None, 201, 200})),
    "half a body": Trouble(calls(Fault.half_an_answer(), 2), frozenset({"bad_answer"}), frozenset({None, 201, 200})),
    "a redirect": Trouble([Fault.redirects], frozenset({"redirect"}), frozenset({302})),
    "a redirect that keeps the method": Trouble(
        [lambda url: Fault.redirects(url, 307)], frozenset({"redirect"}), frozenset({307})
    ),
    "it hangs up before it writes": Trouble(
        calls(Fault.disconnects(written=False), 2), frozenset({"bad_answer", "unreachable"})
    ),
    "it hangs up after it has written": Trouble(AFTER_WRITE, frozenset({"bad_answer", "unreachable"})),
    "it hangs up after it has written, told by key": Trouble(
        AFTER_WRITE, frozenset({"bad_answer", "unreachable"}), by_key=True
    ),
    "it writes, and answers too late": Trouble(LATE, frozenset({"timeout"})),
    "it writes, and answers too late, told by key": Trouble(LATE, frozenset({"timeout"}), by_key=True),
    "200 with an error inside": Trouble(
        calls(Fault.error_inside(), 2),
        frozenset({"refused"}),
        frozenset({200}),
        settings={"success": {"when": "answer.ok"}},
    ),
}


@dataclass
class Ended:
    """What there is to see after all the trouble is over."""

    crms: dict[str, Sandbox]
    elsewhere: Sandbox
    stories: dict[str, list[dict[str, Any]]]
    """All about the deliveries of each destination, oldest first."""
    leads: set[int]


def _destination(number: int, trouble: Trouble, crm: Sandbox) -> tuple[str, dict[str, Any]]:
    key = {"idempotency_key": "quoted"} if trouble.by_key else {}
    url = crm.url
    return f"crm{number}", http(url, timeout=f"{TIMEOUT:g}s", **key, **trouble.settings)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    """Send a few leads to all the destinations while they are in trouble, and wait until all have got them."""
    folder = tmp_path_factory.mktemp("faults")
    crms = {
        name: Sandbox(key=None if trouble.by_key else "email", port=_free_port()) for name, trouble in TROUBLES.items()
    }
    async with AsyncExitStack() as stack:
        elsewhere = await stack.enter_async_context(Sandbox())
        for name, trouble in TROUBLES.items():
            if trouble.faults:
                await stack.enter_async_context(crms[name])
        destinations = dict(
            _destination(number, trouble, crms[name]) for number, (name, trouble) in enumerate(TROUBLES.items())
        )
        program = await stack.enter_async_context(Program(folder, settings(destinations), ENVIRONMENT))
        await program.start()
        sender = await stack.enter_async_context(Sender(program))
        for name, trouble in TROUBLES.items():
            for fault in trouble.faults:
                crms[name].faults.next(fault(elsewhere.url))
        leads = [lead() for _ in range(LEADS)]
        for each in leads:
            await sender.deliver(each)
        # What is not delivered by then is for the tests to say, each of its own destination.
        await comes(lambda: _delivered(program) == LEADS * (len(TROUBLES) - 1))
        await stack.enter_async_context(crms["it is down"])
        complete = await comes(lambda: _delivered(program) == LEADS * len(TROUBLES), seconds=15)
        stories = await _stories(program, complete=complete)
        assert await program.stop() == 0
        yield Ended(crms, elsewhere, stories, {each["SessionID"] for each in leads})


def _delivered(program: Program) -> int:
    return sum(line["outcome"] == "delivered" for line in program.events("attempt"))


async def _stories(program: Program, *, complete: bool) -> dict[str, list[dict[str, Any]]]:
    rows = sorted(await (program.settled() if complete else program.deliveries()), key=lambda row: row["id"])
    stories = await program.stories([row["id"] for row in rows])
    return {
        name: [each for each in stories if each["destination"] == f"crm{number}"]
        for number, name in enumerate(TROUBLES)
    }


@pytest.mark.parametrize("name", TROUBLES)
def test_nothing_is_lost_and_nothing_doubled(name: str, ended: Ended) -> None:
    records = sorted(each.fields["lead"] for each in ended.crms[name].records)
    assert records == sorted(ended.leads), "what the destination holds in the end"
    pending = [each for each in ended.stories[name] if each["state"] != "delivered"]
    assert not pending, f"{len(pending)} of {LEADS} are not delivered though the trouble is over, such as {pending[0]}"


@pytest.mark.parametrize("name", TROUBLES)
def test_each_attempt_can_be_read(name: str, ended: Ended) -> None:
    trouble, stories = TROUBLES[name], ended.stories[name]
    assert len(stories) == LEADS
    for story in stories:
        assert [each["number"] for each in story["attempts"]] == list(range(1, story["tries"] + 1))
        assert [each["outcome"] for each in story["attempts"]][-1:] == ["delivered"]
    failed = [each for story in stories for each in story["attempts"] if each["outcome"] != "delivered"]
    assert failed, "no attempt failed, though the destination was in trouble"
    assert {each["reason"] for each in failed} <= trouble.reasons
    assert {each["status"] for each in failed} <= trouble.statuses
    assert all(each["detail"] for each in failed), f"an attempt that failed does not say why: {failed}"


@pytest.mark.parametrize("name", [name for name, trouble in TROUBLES.items() if trouble.faults])
def test_the_attempts_that_are_shown_are_the_calls_that_were_made(name: str, ended: Ended) -> None:
    shown = sum(len(story["attempts"]) for story in ended.stories[name])
    assert shown == len(ended.crms[name].ledger)


@pytest.mark.parametrize("name", [name for name, trouble in TROUBLES.items() if trouble.waits])
def test_a_lead_goes_again_only_after_the_time_that_was_asked_for(name: str, ended: Ended) -> None:
    calls_of: dict[int, list[Arrival]] = {}
    for call in ended.crms[name].ledger:
        calls_of.setdefault(orjson.loads(call.body)["lead"], []).append(call)
    refused = [of_one for of_one in calls_of.values() if of_one[0].fault]
    assert len(refused) == 1, "one call was refused"
    assert len(refused[0]) > 1, "it never came again"
    first, second = refused[0][:2]
    early = _asked(first) - second.at
    assert early < 0.1, f"it came again after {second.at - first.at:.2f} s, which is {early:.2f} s too early"


def _asked(call: Arrival) -> float:
    """Give the time until which the answer to a call asked to wait, in seconds since the epoch."""
    assert call.fault
    value = call.fault.headers["Retry-After"]
    return call.at + float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp()


@pytest.mark.parametrize("name", ["a redirect", "a redirect that keeps the method"])
def test_a_redirect_is_not_followed(name: str, ended: Ended) -> None:
    assert not ended.elsewhere.ledger, f"{len(ended.elsewhere.ledger)} calls went where a redirect led"


def test_a_lead_keeps_its_idempotency_key_through_all_tries(ended: Ended) -> None:
    for name in (name for name, trouble in TROUBLES.items() if trouble.by_key):
        keys: dict[int, set[str]] = {}
        for call in ended.crms[name].ledger:
            keys.setdefault(orjson.loads(call.body)["lead"], set()).add(call.headers["Idempotency-Key"])
        assert len(set().union(*keys.values())) == LEADS, f"{name}: {keys}"
