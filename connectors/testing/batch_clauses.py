"""Contract tests for batches: each record has an outcome of its own, whatever the answer says of the others."""

import asyncio
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import pytest

from connectors.base import Delivered, Outcome, Record, Rejected, Retry
from connectors.testing.answer_rows import Path, id_paths, lists_of, owners_of, part_at, with_words, without
from connectors.testing.contacts import Reply
from connectors.testing.faults import Fault
from connectors.testing.subject import Subject
from connectors.testing.trial import FakeT, Run, claim

_CROWD = 8
_LARGEST = 200  # records in a batch, enough for every API that is known
_SEVERAL = 4  # records whose answer is damaged, if a call takes as many; few lists have this length by chance
_REFUSED = 1  # position of the refused record among them
_MANY = 1000  # requests, more than a delivery sends

_MISSING = object()  # in place of a row: nothing

Damage = Callable[[Any], Any]
"""Returns what stands in place of a row."""

Change = Callable[[Run[FakeT], Reply], Reply]
"""Returns what the fake answers in place of its answer."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that the fake gave while it received a batch."""

    reply: Reply
    held: list[str]
    """The fake's content after the request."""


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A delivery of a batch without faults."""

    answers: Sequence[_Answer]
    ids: Sequence[str | None]

    @property
    def held(self) -> list[str]:
        """The fake's content in the end."""
        return self.answers[-1].held

    @property
    def rows(self) -> list[tuple[int, Path]]:
        """Lists with an element for each record, in answers to writes: number of the request, and path."""
        before: list[str] = []
        found = []
        for at, answer in enumerate(self.answers):
            if answer.held != before:
                found += [(at, path) for path in lists_of(answer.reply.document, len(self.ids))]
            before = answer.held
        return found

    def id_in_a_row(self, at: int, path: Path) -> list[Path]:
        """Return the places of a record's id inside the first row of a list; none if they are not clear."""
        rows = part_at(self.answers[at].reply.document, path)
        owners = owners_of(rows, self.ids)
        return id_paths(rows[0], self.ids[owners[0]] or "") if owners else []


class BatchClauses(Subject[FakeT]):
    """Tests of calls with several records."""

    pytestmark: ClassVar = [pytest.mark.asyncio]

    async def test_batches_at_once_whose_token_has_expired_are_sent_again(self) -> None:
        """A 401 means that nothing was done, so each batch can be sent again with the one new token."""
        async with self.running() as run:
            self._batches(run)
            await run.one(self.record(0))
            self.expire(run.fake)
            before = self.tokens(run.fake)
            batches = [(self.record(number), self.record(number + 1)) for number in range(1, _CROWD, 2)]
            found = await asyncio.gather(*(run.deliver(*batch) for batch in batches))
            fetched = self.tokens(run.fake) - before
        outcomes = [outcome for batch in found for outcome in batch]
        claim(all(isinstance(each, Delivered) for each in outcomes), f"the token expired: {outcomes}")
        claim(fetched == 1, f"{len(batches)} batches need one new token, {fetched} were fetched")

    async def test_a_full_batch(self) -> None:
        """As many records as the API takes."""
        async with self.running() as run:
            self._batches(run)
            size = min(run.connector.max_batch, _LARGEST)
            outcomes = await run.deliver(*(self.record(number) for number in range(size)))
        claim(all(isinstance(each, Delivered) for each in outcomes), f"a batch of {size} gave {outcomes!r:.500}")
        ids = [each.remote_id for each in outcomes if isinstance(each, Delivered) and each.remote_id]
        claim(len(set(ids)) == len(ids), "two leads of a batch have the same remote_id")
        claim(len(self.held(run.fake)) >= size, f"{len(self.held(run.fake))} of {size} are held")

    async def test_each_outcome_of_a_batch_is_its_own_records(self) -> None:
        """A refused record stands alone, wherever it is in the batch."""
        bad = self.refused()
        for at in range(3):
            async with self.running() as run:
                self._batches(run)
                batch = [self.record(number, fields=bad if number == at else None) for number in range(3)]
                outcomes = await run.settle(batch)
            kinds = [type(each) for each in outcomes]
            wanted = [Rejected if number == at else Delivered for number in range(3)]
            claim(kinds == wanted, f"record {at + 1} of 3 is bad; outcomes: {outcomes}")
            claim(self.held(run.fake), "the good ones of the batch must be held")

    async def test_a_lost_answer_to_a_batch_costs_and_doubles_nothing(self) -> None:
        """The outcome of all its records is unknown, and they are delivered again."""
        wanted, _ = await self.clean(0, 1)
        async with self.running() as run:
            self._batches(run)
            run.fake.faults.next(Fault.disconnects(written=True), on=self.on)
            batch = [self.record(0), self.record(1)]
            await run.deliver(*batch)
            outcomes = [await run.until_delivered(each) for each in batch]
        for outcome in outcomes:
            self.check_arrival(run, wanted, outcome, "the answer to a batch was lost")

    async def test_one_person_twice_does_not_spoil_a_batch(self) -> None:
        """The two never share a call (`batch_key`), or the API takes both, or a batch that it refuses can be split."""
        wanted, _ = await self.clean(0)
        async with self.running() as run:
            self._batches(run)
            twins = [self.record(0), self.record(0, id="f" * 32)]
            keys = {run.connector.batch_key(each) for each in twins}
            outcomes = [await run.one(each) for each in twins] if len(keys) == 1 else await run.settle(twins)
        claim(all(isinstance(each, Delivered) for each in outcomes), f"one person twice gave {outcomes}")
        many = len(self.held(run.fake))
        claim(many <= 2 * len(wanted), f"one person twice left {many} things")

    async def test_a_record_of_a_batch_has_its_own_id(self) -> None:
        """Delivered again, one by one, each record has the same `remote_id`. An API may answer in any order."""
        async with self.running() as run:
            self._batches(run)
            batch = self._several()
            together = await run.deliver(*batch)
            alone = await _once_more(run, batch, together)
        claim(_ids(together) == _ids(alone), f"ids of a batch: {_ids(together)}; one by one: {_ids(alone)}")

    async def test_a_record_without_a_row_is_tried_again(self) -> None:
        """The answer lacks a row, or the row says nothing: nobody knows whether its record was written."""
        seen = await self._observed()
        if not seen.rows:
            pytest.skip("the answer to a batch has no list with an element for each record")
        for at, path in seen.rows:
            for said, damaged in {"is missing": _MISSING, "is null": None, "is {}": {}}.items():
                for position in (0, self._size - 1):
                    after = f"row {position + 1} of {self._size} {said} in the answer to request {at + 1}"
                    await self._check_damage(seen, at, path, position, partial(_instead, damaged), after)

    async def test_a_row_without_an_id_is_not_believed(self) -> None:
        """The rows of the others have the id of their record."""
        seen = await self._observed()
        places = [(at, path, inside) for at, path in seen.rows if (inside := seen.id_in_a_row(at, path))]
        if not places:
            pytest.skip("the rows of an answer have no ids of records")
        for at, path, inside in places:
            after = f"a row has no id in the answer to request {at + 1}"
            await self._check_damage(seen, at, path, 0, partial(without, paths=inside), after)

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_record_that_fails_for_now_is_tried_again(self, status: int) -> None:
        """A row with a status of its own means the same as an answer with this status; see `failing`."""

        def failing(_: Run[FakeT], reply: Reply) -> Reply:
            is_success = 200 <= reply.status < 300  # noqa: PLR2004 - 2xx
            return replace(reply, document=self.failing(reply.document, status)) if is_success else reply

        outcome = await self._refused_with(
            failing, "the rows of an answer have no status; if they have another word for it, override `failing`"
        )
        claim(isinstance(outcome, Retry), f"a row with {status} must give Retry, it gave {outcome!r}")

    async def test_a_row_shows_no_secret(self) -> None:
        """An API may repeat the token in the error of a row."""
        secrets: set[str] = set()

        def repeating(run: Run[FakeT], reply: Reply) -> Reply:
            secrets.update(self.secrets(run))
            said = f"(Authorization: Bearer {' '.join(sorted(secrets))})"
            return replace(reply, document=with_words(reply.document, said))

        outcome = await self._refused_with(repeating, "no answer to a refused record has a message")
        found = [each for each in secrets if each in repr(outcome)]
        claim(not found, f"a secret is shown in {outcome!r}: use `masked` of JsonApi, or `mask` of Secrets")

    async def test_a_row_shows_nobody_else(self) -> None:
        """The detail of a record says nothing of the others in its batch, although the answer does."""
        others = [value for number in range(self._size) if number != _REFUSED for value in self.personal(number)]

        def telling(_: Run[FakeT], reply: Reply) -> Reply:
            is_object = isinstance(reply.document, dict)
            return replace(reply, document={**reply.document, "received": others}) if is_object else reply

        outcome = await self._refused_with(telling, "no answer to a refused record is an object")
        found = [each for each in others if each in repr(outcome)]
        claim(not found, f"the outcome of a record shows another one: {outcome!r}")

    async def _check_damage(
        self, seen: _Delivery, at: int, path: Path, position: int, damage: Damage, after: str
    ) -> None:
        """Damage one row of an answer; fail if its record is not tried again, or if another one suffers."""
        __tracebackhide__ = True
        rows: list[Any] = []

        def edit(reply: Reply) -> Reply:
            document = deepcopy(reply.document)
            found = part_at(document, path)
            rows.extend(deepcopy(found))
            kept = damage(found[position])
            found[position : position + 1] = [] if kept is _MISSING else [kept]
            return replace(reply, document=document)

        async with self.running() as run:
            batch = self._several()
            self.spoil(run, at, Fault.edits(edit))
            outcomes = await run.deliver(*batch)
            in_the_end = await _once_more(run, batch, outcomes)
        owners = owners_of(rows, _ids(in_the_end))
        silent = [outcomes[owners[position]]] if owners else outcomes
        claim(any(isinstance(each, Retry) for each in silent), f"{after}: its record must be Retry, it gave {outcomes}")
        claim(not any(isinstance(each, Rejected) for each in outcomes), f"{after}: no record is Rejected: {outcomes}")
        for outcome in in_the_end:
            self.check_arrival(run, seen.held, outcome, after)

    async def _observed(self) -> _Delivery:
        """Deliver a batch without faults."""
        answers: list[_Answer] = []
        async with self.running() as run:
            self._batches(run)
            batch = self._several()

            def note(reply: Reply) -> Reply:
                answers.append(_Answer(reply, self.sorted_held(run.fake)))
                return reply

            run.fake.faults.next(Fault.edits(note), times=_MANY, on=self.on)
            outcomes = await run.deliver(*batch)
        claim(all(isinstance(each, Delivered) for each in outcomes), f"a batch of good leads gave {outcomes}")
        return _Delivery(answers, _ids(outcomes))

    async def _refused_with(self, change: Change[FakeT], otherwise: str) -> Outcome:
        """Deliver a batch with a refused record, whose answers are all changed.

        Returns:
            The outcome of that record; the test is skipped if there is no answer to change.
        """
        changed: list[bool] = []
        async with self.running() as run:
            self._batches(run)

            def edit(reply: Reply) -> Reply:
                edited = change(run, reply)
                changed.append(edited != reply)
                return edited

            run.fake.faults.next(Fault.edits(edit), times=_MANY, on=self.on)
            outcomes = await run.deliver(*self._several(refused=True))
        if not any(changed):
            pytest.skip(otherwise)
        return outcomes[_REFUSED]

    @property
    def _size(self) -> int:
        return min(_SEVERAL, self.connector.max_batch)

    def _several(self, *, refused: bool = False) -> list[Record]:
        """Return a batch, one of which the API refuses if wanted."""
        bad = self.refused() if refused else None
        return [self.record(number, fields=bad if number == _REFUSED else None) for number in range(self._size)]

    def _batches(self, run: Run[FakeT]) -> None:
        if not run.connector.batches():
            pytest.skip("a call of this connector takes one record")


def _instead(damaged: object, _: object) -> object:
    """Return what stands in place of any row."""
    return damaged


async def _once_more(run: Run[FakeT], batch: Sequence[Record], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Deliver each record of a batch again, alone, until it is delivered."""
    return [
        await run.until_delivered(replace(record, memo={**record.memo, **outcome.memo}))
        for record, outcome in zip(batch, outcomes, strict=True)
    ]


def _ids(outcomes: Sequence[Outcome]) -> list[str | None]:
    return [each.remote_id if isinstance(each, Delivered) else None for each in outcomes]
