"""The writing of records: upserts in batches, and single calls for records without a key."""

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
from connectors.hubspot.errors import HubSpotProblem, RefusalHistory, problem_in_answer, record_outcome
from connectors.hubspot.requests import ALONE, EMAIL, PHONE, UNCLEAR, HubSpotRequests, Lead

_SEARCH_LAG = 15.0  # seconds after which search is assumed to find a new record
_BETWEEN_SEARCHES = 0.25  # seconds: search has its own limit of 5 a second (usage guidelines)
_MOST_RECENT = 1000
_AT_ONCE = 5  # single calls for records of one batch
_NOT_FOUND = 404
_REFUSALS = (400, 409)

Refusal = Retry | Rejected

Written = tuple[Lead, Stored | Refusal]
"""A lead as it was finally sent, and its result."""


class Contacts:
    """Writer of records in an account. `write` may run in parallel, never with the same contact.

    A record that is refused for one optional property is sent again without it, once, together with the others of its
    batch. A record that exists under another key is updated by its id.

    A crash or a lost answer leaves the outcome unknown; the same upserts are repeated and do no harm. A contact without
    a key is searched by its phone first, and created if the search does not find it; so is a contact whose e-mail is
    refused, if it has a phone. Search lags some seconds behind writes, so this process remembers the contacts that it
    has just created. If a creation may have happened although its answer failed or was cancelled, the same phone is not
    searched before the lag is over. The outcome's memo holds the time of that creation, and this process remembers it
    too. Two contacts may result if the process is killed in between and another one starts within these seconds, or if
    the answer to a contact with neither key nor phone is lost.

    Args:
        client: Sends the requests.
        requests: Builds them.
        now: Seconds since the epoch.
        secrets: Masks HubSpot's messages.
    """

    def __init__(
        self, client: HubSpotClient, requests: HubSpotRequests, now: Callable[[], float], secrets: Secrets
    ) -> None:
        self._client = client
        self._requests = requests
        self._now = now
        self._secrets = secrets
        self._refusals = RefusalHistory(now)
        self._recent: dict[str, str] = {}
        self._unclear: dict[str, float] = {}
        self._searching = AsyncLimiter(1, _BETWEEN_SEARCHES)

    async def write(self, leads: Sequence[Lead]) -> list[Written]:
        """Write records that share object and key property, or a single one without a key; in the order given.

        Records that belong to a contact (`Lead.contact`) are created there. They must not exist yet.
        """
        if leads[0].key is None:
            return [await self._write_unkeyed(lead) for lead in leads]
        first = await self._upsert(leads)
        corrections = [_without_refused(lead, found, leads) for lead, found in zip(leads, first, strict=True)]
        corrected = [lead for lead in corrections if lead is not None]
        second = iter(await self._upsert(corrected) if corrected else ())
        results = [
            (lead, found) if other is None else (other, next(second))
            for lead, found, other in zip(leads, first, corrections, strict=True)
        ]
        few = asyncio.Semaphore(_AT_ONCE)

        async def settle(lead: Lead, found: "Stored | _Refused | Refusal") -> Written:
            if not isinstance(found, _Refused):
                return lead, found
            async with few:
                return await self._settled(lead, found, is_alone=len(leads) == 1)

        async with asyncio.TaskGroup() as group:
            settling = [group.create_task(settle(*each)) for each in results]
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
            # Sent alone, it may get an answer of its own.
            or replace(
                unclear_outcome(answer, "says nothing of this record", Blame.UNCLEAR if silent else Blame.RECORD),
                memo={**lead.record.memo, ALONE: "1"},
            )
            for lead, each in zip(leads, found, strict=True)
        ]

    async def _settled(self, lead: Lead, refusal: "_Refused", *, is_alone: bool) -> Written:
        """Turn a conflict into an update, and a refused e-mail into a lead without it; otherwise keep the refusal."""
        without = lead.without_email(refusal.problem.refused)
        if without is None or refusal.problem.category == "CONFLICT":
            return lead, await self._resolved(lead, refusal)
        if is_alone:
            return await self._write_unkeyed(without)
        # Searches are limited so strictly that many of them would use up the time of the batch.
        why = Retry(
            refusal.outcome.reason, refusal.outcome.detail, Blame.RECORD, None, refusal.outcome.status, {ALONE: "1"}
        )
        return lead, why

    async def _resolved(self, lead: Lead, refusal: "_Refused") -> Stored | Refusal:
        """Turn a conflict into an update of the existing record, and any other refusal into its outcome."""
        if not _is_there(lead, refusal.problem):
            return refusal.outcome
        email = lead.properties.get(EMAIL)
        if refusal.problem.existing:
            request = self._requests.update(lead, refusal.problem.existing)
        elif email:
            request = self._requests.update(lead, email, EMAIL)
        else:
            return refusal.outcome
        found = self._read(await self._client.send(request), lead, new=False)
        return found.outcome if isinstance(found, _Refused) else found

    async def _write_unkeyed(self, lead: Lead) -> Written:
        found = await self._known(lead)
        if isinstance(found, Retry | Rejected):
            return lead, found
        result = await self._one(lead, found)
        if isinstance(result, _Refused) and (lighter := lead.without(result.problem.refused)):
            lead, result = lighter, await self._one(lighter, found)
        stored = await self._resolved(lead, result) if isinstance(result, _Refused) else result
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
            detail = "it may have been created already, and HubSpot's search does not find new records yet"
            return Retry(Reason.CONFLICT, detail, Blame.RECORD, wait)
        await self._searching.acquire()
        answer = await self._client.send(self._requests.search(PHONE, phone))
        if isinstance(answer, Failure):
            return answer.outcome
        if not is_success(answer):
            return self._refusals.outcome(answer, problem_in_answer(answer, self._secrets), [lead.record.id])
        return read_search_result(answer)

    def _to_wait(self, lead: Lead, phone: str) -> float:
        """Return the seconds until search finds a contact whose creation was not answered."""
        unclear_at = max(self._unclear.get(phone, 0.0), float(lead.record.memo.get(UNCLEAR, 0.0)))
        return min(max(unclear_at + _SEARCH_LAG - self._now(), 0.0), _SEARCH_LAG)

    async def _one(self, lead: Lead, found: str | None) -> "Stored | _Refused | Refusal":
        """Update the contact that was found, or create one; also if the found one was deleted."""
        if found:
            result = self._read(await self._client.send(self._requests.update(lead, found)), lead, new=False)
            if not (isinstance(result, Retry) and result.status == _NOT_FOUND):
                return result
        return await self._create(lead)

    async def _create(self, lead: Lead) -> "Stored | _Refused | Refusal":
        """Create a contact, and remember the time if the outcome is unknown."""
        phone, is_clear = lead.properties.get(PHONE, ""), False
        try:
            answer = await self._client.send(self._requests.create(lead))
            created = self._read(answer, lead, new=True)
            is_clear = is_unwritten(answer) or isinstance(created, Stored)
        finally:  # also when cancelled
            if phone and not is_clear:
                _remember(self._unclear, phone, self._now())
        if is_clear or not isinstance(created, Retry):
            return created
        # An outcome that pauses the destination stays unchanged; the memo makes this record wait anyway.
        after = created.after if created.blame is Blame.DESTINATION else max(created.after or 0.0, _SEARCH_LAG)
        return replace(created, after=after, memo={UNCLEAR: str(self._now())})

    def _read(self, answer: Answer | Failure, lead: Lead, *, new: bool) -> "Stored | _Refused | Refusal":
        """Return the result in the answer to the creation or update of one record."""
        if isinstance(answer, Failure):
            return answer.outcome
        if is_success(answer):
            self._refusals.understood()
            return read_record(answer, new=new)
        problem = problem_in_answer(answer, self._secrets)
        outcome = self._refusals.outcome(answer, problem, [lead.record.id])
        return _Refused(problem, outcome) if answer.status in _REFUSALS else outcome


class _Refused:
    """A refusal that has not been handled yet."""

    def __init__(self, problem: HubSpotProblem, outcome: Retry | Rejected) -> None:
        self.problem = problem
        self.outcome = outcome


def _is_there(lead: Lead, problem: HubSpotProblem) -> bool:
    """Return True if a lead is refused because its record exists: HubSpot says so, or the key's value is taken."""
    has_key = lead.key is not None and lead.key[0] in problem.refused
    return problem.category == "CONFLICT" or (has_key and problem.existing is not None)


def _remember(memory: dict[str, Any], phone: str, value: object) -> None:
    memory.pop(phone, None)
    memory[phone] = value
    if len(memory) > _MOST_RECENT:
        del memory[next(iter(memory))]


def _without_refused(lead: Lead, found: "Stored | _Refused | Refusal", batch: Sequence[Lead]) -> Lead | None:
    """Return the lead to send again, without the refused properties; None if that would not help."""
    if not isinstance(found, _Refused) or found.problem.category == "CONFLICT":
        return None
    if not found.problem.refused:
        named = lead.named()  # HubSpot may miss the name
        return None if named is lead else named
    lighter = lead.without(found.problem.refused)
    if lighter is None and found.problem.is_schema and len(batch) > 1:
        # The whole call was refused for a property that this lead does not have.
        has_it = any(name in lead.properties for name in found.problem.refused)
        return None if has_it else lead
    return lighter


def _value_of(lead: Lead) -> Callable[[Mapping[str, Any]], str | None]:
    """Return a function that reads the id of an input from the properties of a result."""
    name = lead.key[0] if lead.key else ""

    def value(properties: Mapping[str, Any]) -> str | None:
        found = properties.get(name)
        return found if isinstance(found, str) else None

    return value
