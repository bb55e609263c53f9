"""A connector at work on a fake, in the bridge's manner: with time-outs, retries and split batches.

Needs pytest, which the bridge itself does not: nothing that runs in production may import this module.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

import aiohttp
import pytest

from connectors.base import Blame, Connector, Delivered, Outcome, Reason, Record, Rejected, Retry
from connectors.testing.faults import Faults
from connectors.testing.server import Arrival

_TRIES = 5  # after a fault that happens once, an attempt or two must do


class Fake(Protocol):
    """An API for the tests of a connector, such as `connectors.testing.Sandbox`: real HTTP on loopback."""

    @property
    def faults(self) -> Faults:
        """Return the faults of its requests."""
        ...

    @property
    def ledger(self) -> Sequence[Arrival]:
        """Return all requests in order, whatever their answer."""
        ...

    async def __aenter__(self) -> Self:
        """Start the server."""
        ...

    async def __aexit__(self, *_: object) -> object:
        """Stop the server. Its content can still be read."""
        ...


FakeT = TypeVar("FakeT", bound=Fake)


def claim(holds: object, message: str) -> None:
    """Fail the test with the connector's duty as the message, unless the condition holds."""
    __tracebackhide__ = True
    if not holds:
        pytest.fail(message, pytrace=False)


@dataclass(frozen=True, slots=True)
class Run(Generic[FakeT]):
    """A connector at work on a fake."""

    fake: FakeT
    connector: Connector
    timeout: float
    """Seconds that one `deliver` may take."""

    async def deliver(self, *records: Record) -> Sequence[Outcome]:
        """Deliver in one call as the bridge does, with a time-out, and check the form of the outcomes."""
        __tracebackhide__ = True
        try:
            outcomes = await asyncio.wait_for(self.connector.deliver(records), self.timeout)
        except TimeoutError:
            return [Retry(Reason.TIMEOUT, "cut off")] * len(records)
        claim(len(outcomes) == len(records), f"deliver gave {len(outcomes)} outcomes for {len(records)} records")
        for outcome in outcomes:
            _check_form(outcome)
        return outcomes

    async def one(self, record: Record) -> Outcome:
        """Deliver a single record."""
        (outcome,) = await self.deliver(record)
        return outcome

    async def until_delivered(self, record: Record, *, is_repeat: bool = True) -> Outcome:
        """Deliver a record until it succeeds, each attempt with the memo of the earlier ones."""
        outcome = await self.one(replace(record, is_repeat=is_repeat))
        memo = {**record.memo, **outcome.memo}
        for _ in range(_TRIES):
            if not isinstance(outcome, Retry):
                break
            outcome = await self.one(replace(record, is_repeat=True, memo=memo))
            memo |= outcome.memo
        return outcome

    async def settle(self, records: Sequence[Record]) -> list[Outcome]:
        """Deliver a batch as the bridge does: split it if it is refused as a whole, until a record stands alone."""
        outcomes = list(await self.deliver(*records))
        refused = all(isinstance(each, Rejected) and each.blame is Blame.BATCH for each in outcomes)
        if len(records) == 1 or not refused:
            return outcomes
        half = len(records) // 2
        return [*await self.settle(records[:half]), *await self.settle(records[half:])]


def _check_form(outcome: Outcome) -> None:
    __tracebackhide__ = True
    claim(isinstance(outcome, Delivered | Retry | Rejected), f"deliver gave a {type(outcome).__name__} as an outcome")
    good = {str}.issuperset(map(type, (*outcome.memo, *outcome.memo.values())))
    claim(good, "a memo is kept as JSON: names and values must be text")
    if isinstance(outcome, Delivered):
        return
    claim(outcome.detail.strip(), f"an outcome without a detail tells the operator nothing: {outcome!r}")
    claim("\n" not in outcome.detail, f"a detail is one line: {outcome.detail!r}")
    if isinstance(outcome, Rejected):
        claim(outcome.blame in (Blame.RECORD, Blame.BATCH), f"who is rejected is a record or a batch: {outcome!r}")


@asynccontextmanager
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fail if the block leaves a running task, or an open aiohttp session."""
    tasks, sessions = asyncio.all_tasks(), set(map(id, _open_sessions()))
    yield
    await asyncio.sleep(0)
    left = [str(task.get_coro()) for task in asyncio.all_tasks() - tasks if not task.done()]
    still_open = [session for session in _open_sessions() if id(session) not in sessions]
    for session in still_open:
        await session.close()
    claim(not left, f"still at work after close: {left}")
    claim(not still_open, f"{len(still_open)} HTTP sessions are open after close")


def _open_sessions() -> list[aiohttp.ClientSession]:
    """Return open sessions from the garbage collector. Compares types, because a proxy may imitate any class."""
    found = (each for each in gc.get_objects() if issubclass(type(each), aiohttp.ClientSession))
    return [session for session in found if not session.closed]
