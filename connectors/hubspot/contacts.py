"""Writes the records themselves: upserts in batches, and one by one what has no key. The calls, and their order."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiolimiter import AsyncLimiter

from connectors.base import Blame, Reason, Rejected, Retry
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.hubspot.answers import (
    Stored,
    is_success,
    is_unwritten,
    read_batch,
    read_record,
    read_search_result,
    unclear_outcome,
)
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.errors import HubSpotProblem, Refusals, problem_in_answer, record_outcome
from connectors.hubspot.requests import ALONE, EMAIL, PHONE, UNCLEAR, HubSpotRequests, Lead

_SEARCH_LAG = 15.0  # seconds after which search is taken to know what was written
_BETWEEN_SEARCHES = 0.25  # seconds: search is limited to 5 a second, whatever else is allowed (usage guidelines)
_MOST_RECENT = 1000
_AT_ONCE = 5  # single calls for records of one batch
_NOT_FOUND = 404
_REFUSALS = (400, 409)

Refusal = Retry | Rejected

Written = tuple[Lead, Stored | Refusal]
"""A lead as it was sent in the end, and what came of it."""


class Contacts:
    """Writes records into an account. `write` may be called in parallel, never with the same contact.

    What is refused for one optional property goes again without it, once, and all of a batch's together. A record that
    is there already under another key is updated by its id.

    A crash or a lost answer leaves open what was written; the same upserts come again and do no harm. A contact
    without a key is looked for by its phone first, and created if search does not know it; so is one whose e-mail is
    refused, if it has a phone. Search lags behind writes by some seconds, so contacts created a moment ago are
    remembered (those of this process). After a creation that may have been written though its answer says otherwise, or
    was not waited for, there is no search for the same phone before it has caught up: the outcome's memo tells when
    that was, and this process remembers it too. A process that is killed in between, and another one that begins within
    these seconds, may create it twice; so may any lost answer to a contact with neither key nor phone.

    Args:
        client: Sends the requests.
        requests: Builds them.
        now: Seconds since the epoch.
        secrets: Masks HubSpot's words.
    """

    def __init__(
        self, client: HubSpotClient, requests: HubSpotRequests, now: Callable[[], float], secrets: Secrets
    ) -> None:
        self._client = client
        self._requests = requests
        self._now = now
        self._secrets = secrets
        self._refusals = Refusals(now)
        self._recent: dict[str, str] = {}
        self._unclear: dict[str, float] = {}
        self._searching = AsyncLimiter(1, _BETWEEN_SEARCHES)

    async def write(self, leads: Sequence[Lead]) -> list[Written]:
        """Write records that share object and key property, or a single one without a key; in the order given.

        Those that belong to a contact (`Lead.contact`) are created there, and are not to be known to exist.
        """
        if leads[0].key is None:
            return [await self._write_unkeyed(lead) for lead in leads]
        first = await self._upsert(leads)
        again = [_mended(lead, found, leads) for lead, found in zip(leads, first, strict=True)]
        mended = [lead for lead in again if lead is not None]
        second = iter(await self._upsert(mended) if mended else ())
        told = [
            (lead, found) if other is None else (other, next(second))
            for lead, found, other in zip(leads, first, again, strict=True)
        ]
        few = asyncio.Semaphore(_AT_ONCE)

        async def settle(lead: Lead, found: "Stored | _Refused | Refusal") -> Written:
            if not isinstance(found, _Refused):
                return lead, found
            async with few:
                return await self._settled(lead, found, is_alone=len(leads) == 1)

        async with asyncio.TaskGroup() as group:
            settling = [group.create_task(settle(*each)) for each in told]
        return [each.result() for each in settling]

    async def _upsert(self, leads: Sequence[Lead]) -> "list[Stored | _Refused | Refusal]":
        """Send a batch: an upsert, or the creation of lead objects."""
        creates = leads[0].contact is not None
        answer = await self._client.send(
            self._requests.create_leads(leads) if creates else self._requests.upsert(leads)
        )
        if isinstance(answer, Failure):
            return [answer.outcome] * len(leads)
        if not is_success(answer):
            problem = problem_in_answer(answer, self._secrets)
            outcome = self._refusals.outcome(answer, problem, [lead.record.id for lead in leads])
            if answer.status in _REFUSALS and (len(leads) == 1 or problem.is_schema):
                return [_Refused(problem, outcome)] * len(leads)
            return [outcome] * len(leads)
        self._refusals.understood()
        asked = [(lead.record.id, lead.key[1] if lead.key else "") for lead in leads]
        found = read_batch(answer, asked, _value_of(leads[0]), self._secrets)
        silent = all(each is None for each in found)
        return [
            _Refused(each, record_outcome(each, answer.status))
            if isinstance(each, HubSpotProblem)
            else (replace(each, new=True) if each and creates else each)
            # Alone it may get an answer of its own, if there is one to be had.
            or replace(
                unclear_outcome(answer, "says nothing of this record", Blame.UNCLEAR if silent else Blame.RECORD),
                memo={**lead.record.memo, ALONE: "1"},
            )
            for lead, each in zip(leads, found, strict=True)
        ]

    async def _settled(self, lead: Lead, told: "_Refused", *, is_alone: bool) -> Written:
        """Turn a conflict into an update, and a refused e-mail into a lead without; else it stays refused."""
        without = lead.without_email(told.problem.refused)
        if without is None or told.problem.category == "CONFLICT":
            return lead, await self._resolved(lead, told)
        if is_alone:
            return await self._write_unkeyed(without)
        # Searches are so few that many of them would take all the time that the batch has.
        why = Retry(told.outcome.reason, told.outcome.detail, Blame.RECORD, None, told.outcome.status, {ALONE: "1"})
        return lead, why

    async def _resolved(self, lead: Lead, told: "_Refused") -> Stored | Refusal:
        """Turn a conflict into an update of the record that is there, and any other refusal into its outcome."""
        if not _is_there(lead, told.problem):
            return told.outcome
        email = lead.properties.get(EMAIL)
        if told.problem.existing:
            request = self._requests.update(lead, told.problem.existing)
        elif email:
            request = self._requests.update(lead, email, EMAIL)
        else:
            return told.outcome
        found = self._read(await self._client.send(request), lead, new=False)
        return found.outcome if isinstance(found, _Refused) else found

    async def _write_unkeyed(self, lead: Lead) -> Written:
        found = await self._known(lead)
        if isinstance(found, Retry | Rejected):
            return lead, found
        told = await self._one(lead, found)
        if isinstance(told, _Refused) and (mended := lead.without(told.problem.refused)):
            lead, told = mended, await self._one(mended, found)
        stored = await self._resolved(lead, told) if isinstance(told, _Refused) else told
        phone = lead.properties.get(PHONE)
        if phone and isinstance(stored, Stored):
            _remember(self._recent, phone, stored.id)
        return lead, stored

    async def _known(self, lead: Lead) -> str | Refusal | None:
        """Return the id of the contact that a lead without a key belongs to, None for a new one."""
        phone = lead.properties.get(PHONE, "")
        known = lead.record.memo.get("contact") or self._recent.get(phone)
        if known or not phone:
            return known
        if wait := self._to_wait(lead, phone):
            detail = "it may have been created already, and search does not know yet what was written a moment ago"
            return Retry(Reason.CONFLICT, detail, Blame.RECORD, wait)
        await self._searching.acquire()
        answer = await self._client.send(self._requests.search(PHONE, phone))
        if isinstance(answer, Failure):
            return answer.outcome
        if not is_success(answer):
            return self._refusals.outcome(answer, problem_in_answer(answer, self._secrets), [lead.record.id])
        return read_search_result(answer)

    def _to_wait(self, lead: Lead, phone: str) -> float:
        """Return the seconds until search knows what a creation may have written whose answer is not known."""
        unclear_at = max(self._unclear.get(phone, 0.0), float(lead.record.memo.get(UNCLEAR, 0.0)))
        return min(max(unclear_at + _SEARCH_LAG - self._now(), 0.0), _SEARCH_LAG)

    async def _one(self, lead: Lead, found: str | None) -> "Stored | _Refused | Refusal":
        """Update the contact that was found, or create one; also where what was found is gone."""
        if found:
            told = self._read(await self._client.send(self._requests.update(lead, found)), lead, new=False)
            if not (isinstance(told, Retry) and told.status == _NOT_FOUND):
                return told
        return await self._create(lead)

    async def _create(self, lead: Lead) -> "Stored | _Refused | Refusal":
        """Create a contact, and remember when where that may have happened without being said."""
        phone, is_clear = lead.properties.get(PHONE, ""), False
        try:
            answer = await self._client.send(self._requests.create(lead))
            created = self._read(answer, lead, new=True)
            is_clear = is_unwritten(answer) or isinstance(created, Stored)
        finally:  # also where it is cut off
            if phone and not is_clear:
                _remember(self._unclear, phone, self._now())
        if is_clear or not isinstance(created, Retry):
            return created
        # What asks for a pause of everything is left as it is; the memo makes this record wait all the same.
        after = created.after if created.blame is Blame.DESTINATION else max(created.after or 0.0, _SEARCH_LAG)
        return replace(created, after=after, memo={UNCLEAR: str(self._now())})

    def _read(self, answer: Answer | Failure, lead: Lead, *, new: bool) -> "Stored | _Refused | Refusal":
        """Read the answer to the creation or update of one record."""
        if isinstance(answer, Failure):
            return answer.outcome
        if is_success(answer):
            self._refusals.understood()
            return read_record(answer, new=new)
        problem = problem_in_answer(answer, self._secrets)
        outcome = self._refusals.outcome(answer, problem, [lead.record.id])
        return _Refused(problem, outcome) if answer.status in _REFUSALS else outcome


class _Refused:
    """A refusal, before it is known whether anything can be done about it."""

    def __init__(self, problem: HubSpotProblem, outcome: Retry | Rejected) -> None:
        self.problem = problem
        self.outcome = outcome


def _is_there(lead: Lead, problem: HubSpotProblem) -> bool:
    """Return whether a lead is refused because its record is there already: in so many words, or by its key's value."""
    has_key = lead.key is not None and lead.key[0] in problem.refused
    return problem.category == "CONFLICT" or (has_key and problem.existing is not None)


def _remember(kept: dict[str, Any], phone: str, value: object) -> None:
    kept.pop(phone, None)
    kept[phone] = value
    if len(kept) > _MOST_RECENT:
        del kept[next(iter(kept))]


def _mended(lead: Lead, found: "Stored | _Refused | Refusal", batch: Sequence[Lead]) -> Lead | None:
    """Return what is to be sent again: the lead without what was refused; None where that would not help."""
    if not isinstance(found, _Refused) or found.problem.category == "CONFLICT":
        return None
    if not found.problem.refused:
        named = lead.named()  # as it may be the name that is missed
        return None if named is lead else named
    mended = lead.without(found.problem.refused)
    if mended is None and found.problem.is_schema and len(batch) > 1:
        # The whole call was refused for a property that this lead has nothing of.
        has_it = any(name in lead.properties for name in found.problem.refused)
        return None if has_it else lead
    return mended


def _value_of(lead: Lead) -> Callable[[Mapping[str, Any]], str | None]:
    """Return what finds the id of an input in the properties of a result."""
    name = lead.key[0] if lead.key else ""

    def value(properties: Mapping[str, Any]) -> str | None:
        found = properties.get(name)
        return found if isinstance(found, str) else None

    return value
