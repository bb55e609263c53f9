"""Contract tests for writing: each lead arrives, and no lead arrives twice."""

import asyncio
from typing import Any, ClassVar

import pytest

from connectors.base import Blame, Delivered, Retry, WrittenRecord
from connectors.testing.faults import Fault
from connectors.testing.subject import Subject
from connectors.testing.trial import FakeT, Run, claim

_TIMEOUT = 0.2  # seconds of a call that is to run out of time
_LONG = 5.0  # seconds; the caller is gone long before
_CROWD = 8
_LARGEST = 200  # records in a batch, enough for every API that is known
_LOST = {
    "the connection closes after the write": Fault.disconnects(written=True),
    "the connection closes before the write": Fault.disconnects(written=False),
    "half an answer": Fault.half_an_answer(),
    "a 500 after the write": Fault.answers(500, written=True),
    "a 500 before the write": Fault.answers(500),
    "a page of a gateway after the write": Fault(status=502, written=True, body=b"<html></html>"),
    "a 429": Fault.answers(429, {"Retry-After": "0"}),
    "a 401": Fault.answers(401),
}


class WriteClauses(Subject[FakeT]):
    """Tests of the final content."""

    pytestmark: ClassVar = [pytest.mark.asyncio]

    @pytest.mark.parametrize("fault", _LOST.values(), ids=list(_LOST))
    async def test_a_fault_at_any_request_costs_and_doubles_nothing(self, fault: Fault) -> None:
        """The fault hits each request of a delivery in turn; later attempts find out what was done."""
        wanted, requests = await self.clean(0)
        for at in range(requests):
            async with self.running() as run:
                self.spoil(run, at, fault)
                outcome = await run.until_delivered(self.record(), is_repeat=False)
            self.check_arrival(run, wanted, outcome, f"request {at + 1} of {requests} went wrong")

    @pytest.mark.parametrize("written", [True, False], ids=["after the write", "before the write"])
    async def test_a_time_out_at_any_request_costs_and_doubles_nothing(self, *, written: bool) -> None:
        """The call is cut off, its outcome is unknown, and the next attempt finds out."""
        wanted, requests = await self.clean(0)
        for at in range(requests):
            async with self.fake() as fake:
                async with self.at_work(fake, seconds=_TIMEOUT) as run:
                    self.spoil(run, at, Fault.slow(_LONG, written=written))
                    cut = await run.one(self.record())
                    told = isinstance(cut, Retry) and cut.blame is not Blame.RECORD
                    claim(told, f"a time-out must give Retry, it gave {cut!r}")
                fake.faults.clear()
                async with self.at_work(fake) as run:
                    outcome = await run.until_delivered(self.record(memo=cut.memo))
            self.check_arrival(run, wanted, outcome, f"request {at + 1} of {requests} ran out of time")

    async def test_killed_after_any_request_it_doubles_nothing(self) -> None:
        """The process is killed before it stores an outcome: the lead is delivered again without any memory."""
        wanted, requests = await self.clean(0)
        for at in range(requests):
            async with self.fake() as fake:
                async with self.at_work(fake) as run:
                    await self._cancelled_at(run, at)
                fake.faults.clear()
                async with self.at_work(fake) as run:
                    outcome = await run.one(self.record())
            self.check_arrival(run, wanted, outcome, f"it was killed at request {at + 1} of {requests}")

    async def test_cancelled_at_any_request_it_works_on(self) -> None:
        """A cancelled call ends at once, and the same connector accepts the same lead again."""
        wanted, requests = await self.clean(0)
        for at in range(requests):
            async with self.running() as run:
                await self._cancelled_at(run, at)
                run.fake.faults.clear()
                outcome = await run.until_delivered(self.record())
            self.check_arrival(run, wanted, outcome, f"it was cancelled at request {at + 1} of {requests}")

    async def test_the_same_lead_twice_is_held_once(self) -> None:
        """A replay, and a delivery whose outcome could not be stored."""
        wanted, _ = await self.clean(0)
        async with self.running() as run:
            first = await run.one(self.record())
            unknown = await run.one(self.record())
            replayed = await run.one(self.record(is_repeat=True, memo=first.memo))
        self.check_arrival(run, wanted, first, "it was the first time")
        self.check_arrival(run, wanted, unknown, "the first outcome was lost")
        self.check_arrival(run, wanted, replayed, "it was replayed")

    async def test_many_at_once(self) -> None:
        """`deliver` is called in parallel."""
        wanted, _ = await self.clean(*range(_CROWD))
        async with self.running() as run:
            outcomes = await asyncio.gather(*(run.one(self.record(number)) for number in range(_CROWD)))
        for outcome in outcomes:
            self.check_arrival(run, wanted, outcome, f"{_CROWD} were written at once")
        ids = [each.remote_id for each in outcomes if isinstance(each, Delivered) and each.remote_id]
        claim(len(set(ids)) == len(ids), f"two leads have the same remote_id: {ids}")

    async def test_a_401_among_many_is_nobodys_fault(self) -> None:
        """Either the token is renewed and the request repeated, or the destination pauses; the others arrive."""
        async with self.running() as run:
            run.fake.faults.next(Fault.answers(401), on=self.on)
            outcomes = await asyncio.gather(*(run.one(self.record(number)) for number in range(_CROWD)))
        for outcome in outcomes:
            good = isinstance(outcome, Delivered) or (isinstance(outcome, Retry) and outcome.blame is Blame.DESTINATION)
            claim(good, f"one 401 among {_CROWD} calls gave {outcome!r}")
        claim(any(isinstance(each, Delivered) for each in outcomes), "one 401 must not fail all calls")

    async def test_tokens_that_expire_in_the_middle_are_renewed_once(self) -> None:
        """All callers notice at the same time; one fetches a new token, and every lead arrives."""
        wanted, _ = await self.clean(*range(_CROWD))
        async with self.running() as run:
            first = await run.one(self.record(0))
            self.expire(run.fake)
            before = self.tokens(run.fake)
            outcomes = await asyncio.gather(*(run.one(self.record(number)) for number in range(1, _CROWD)))
            fetched = self.tokens(run.fake) - before
        for outcome in (first, *outcomes):
            self.check_arrival(run, wanted, outcome, "the token expired")
        claim(fetched == 1, f"{_CROWD - 1} callers need one new token, {fetched} were fetched")

    async def test_another_person_with_the_same_weaker_key_is_not_changed(self) -> None:
        """Families and reception desks share phones: the lead arrives, and nothing of the other record changes."""
        _, weaker = self.keys()
        async with self.running() as run:
            first = await run.one(self.record(0))
            held = self.sorted_held(run.fake)
            later = {**self.fields(1), weaker: self.fields(0)[weaker]}
            claim(isinstance(first, Delivered), f"a good lead must be delivered, it gave {first!r}")
            await run.one(self.record(1, later))  # its outcome is lost
            second = await run.one(self.record(1, later))
            now = self.sorted_held(run.fake)
        claim(isinstance(second, Delivered), f"a lead with a shared {weaker} must be delivered, it gave {second!r}")
        claim(set(held) <= set(now), f"the first person must stay\n  {held}\nand is\n  {now}")
        if isinstance(first, Delivered) and isinstance(second, Delivered):
            is_new = second.remote_id != first.remote_id
            claim(is_new or second.warning, "a lead that gets no record of its own needs a warning")

    async def test_what_an_earlier_delivery_wrote_is_taken_only_if_it_is_the_same_person(self) -> None:
        """`Record.written` may lead to a record that is gone, or to one of somebody else: the lead arrives anyway."""
        if not self.connector.uses_written:
            pytest.skip("the connector does not use `Record.written`")
        wanted, _ = await self.clean(0, 1)
        async with self.running() as run:
            first = await run.one(self.record(0))
            claim(isinstance(first, Delivered), f"a good lead must be delivered, it gave {first!r}")
            other = WrittenRecord(first.remote_id if isinstance(first, Delivered) else None, first.memo)
            second = await run.one(self.record(1, written=other))
        self.check_arrival(run, wanted, second, "`written` was another person's")
        wanted, _ = await self.clean(0)
        async with self.running() as run:
            gone = WrittenRecord("987654321", dict.fromkeys(first.memo, "987654321"))
            again = await run.one(self.record(0, written=gone))
        self.check_arrival(run, wanted, again, "the record in `written` was deleted")

    async def test_a_field_that_is_not_always_written_is_kept(self) -> None:
        """`Record.create_only` and `Record.if_empty` keep what the API holds, and are written to a new record."""
        name = self.conditional()
        claim(self.connector.conditional_writes, "want `conditional_writes = True`")
        given = self.fields(0)
        later = {**given, name: f"{given[name]} later"}
        modes: list[dict[str, Any]] = [{"create_only": frozenset({name})}, {"if_empty": frozenset({name})}]
        for number, mode in enumerate(modes):
            async with self.running() as run:
                first = await run.one(self.record(0, **mode))
                held = self.sorted_held(run.fake)
                second = await run.one(self.record(0, later, id=f"{number}" * 32, **mode))
                claim(isinstance(first, Delivered) and isinstance(second, Delivered), f"{first!r}, {second!r}")
                claim(str(given[name]) in str(held), f"{mode} must be written to a new record, held: {held}")
                claim(f"{given[name]} later" not in str(self.held(run.fake)), f"{mode} must keep the value of {name}")
                await run.one(self.record(0, later, id="e" * 32))
                claim(f"{given[name]} later" in str(self.held(run.fake)), f"`held` must show {name}")

    async def _cancelled_at(self, run: Run[FakeT], at: int) -> None:
        """Cancel a delivery once one of its requests has arrived and has been processed."""
        self.spoil(run, at, Fault.slow(_LONG))
        call = asyncio.create_task(run.connector.deliver([self.record()]))
        while self.hit(run.fake) <= at and not call.done():  # noqa: ASYNC110 - a fake has no event to wait for
            await asyncio.sleep(0.001)
        call.cancel()
        done, _ = await asyncio.wait([call], timeout=2)
        claim(done, "a call that is cancelled must end at once")
        claim(call.cancelled(), "CancelledError must not be swallowed")
