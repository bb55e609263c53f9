"""The writing of records: upserts in batches, and single calls for records without a key."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connectors.base import Blame, Reason, Rejected, Retry, exchange_items
from connectors.http_client.answer import Answer, Failure
from connectors.hubspot.answers import (
    RECORD_ID,
    HeldRecord,
    Stored,
    is_success,
    is_unwritten,
    read_batch,
    read_record,
    read_search_result,
    received_items,
    unclear_outcome,
)
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.errors import HubSpotProblem, RefusalHistory, problem_in_answer, record_outcome
from connectors.hubspot.held_values import HeldValues, Refusal
from connectors.hubspot.requests import ALONE, EMAIL, PHONE, UNCLEAR, HubSpotRequest, Lead, sent_items
from connectors.phone_numbers import is_same_phone

_SEARCH_LAG = 15.0  # seconds after which search is assumed to find a new record
_MOST_RECENT = 1000
_AT_ONCE = 5  # single calls for records of one batch
_NOT_FOUND = 404
_REFUSALS = (400, 409)

Written = tuple[Lead, Stored | Refusal]
"""A lead as it was finally sent, and its result."""


class Contacts:
    """Writer of records in an account. `write` may run in parallel, never with the same contact.

    A record that is refused for optional properties is sent again without them, together with the others of its batch.
    A record that exists under another key is updated by its id. If some properties are not always written, the existing
    records are read first (`HeldValues`): two calls for a hundred records, and a third for those that are found by a
    secondary e-mail.

    A crash or a lost answer leaves the outcome unknown; the same upserts are repeated and do no harm. A contact without
    a key is searched by its phone first, and created if the search does not find it; so is a contact whose e-mail is
    refused, if it has a phone. Search lags some seconds behind writes, so this process remembers the contacts that it
    has just created, and the contact of the last delivery is read by its id first. If a creation may have happened
    although its answer failed or was cancelled, the same phone is not searched before the lag is over. The outcome's
    memo holds the time of that creation, and this process remembers it too. Two contacts may result if the process is
    killed in between and another one starts within these seconds, or if the answer to a contact with neither key nor
    phone is lost.

    Args:
        client: Sends the requests.
    """

    def __init__(self, client: HubSpotClient) -> None:
        self._client = client
        self._refusals = RefusalHistory(client.now)
        self._held = HeldValues(client)
        self._recent: dict[str, str] = {}
        self._unclear: dict[str, float] = {}

    async def write(self, leads: Sequence[Lead]) -> list[Written]:
        """Write records that share object and key property, or a single one without a key; in the order given.

        Records that belong to a contact (`Lead.contact`) are created there. They must not exist yet.
        """
        if leads[0].key is None:
            return [await self._write_unkeyed(lead) for lead in leads]
        reduced = await self._held.reduced(leads)
        results = await self._repaired([lead for lead in reduced if isinstance(lead, Lead)])
        few = asyncio.Semaphore(_AT_ONCE)

        async def settle(lead: Lead, found: "Stored | _Refused | Refusal") -> Written:
            if not isinstance(found, _Refused):
                return lead, found
            async with few:
                with exchange_items([(lead.record.id, None)]):
                    return await self._settled(lead, found, is_alone=len(leads) == 1)

        async with asyncio.TaskGroup() as group:
            settling = [group.create_task(settle(*each)) for each in results]
        settled = iter([each.result() for each in settling])
        return [
            next(settled) if isinstance(each, Lead) else (lead, each) for lead, each in zip(leads, reduced, strict=True)
        ]

    async def _repaired(self, leads: Sequence[Lead]) -> "list[tuple[Lead, Stored | _Refused | Refusal]]":
        """Send a batch, and the refused leads again without what was refused, until nothing is left to drop."""
        results: dict[str, tuple[Lead, Stored | _Refused | Refusal]] = {}
        sending = list(leads)
        while sending:
            found = await self._send(sending)
            results |= {lead.record.id: (lead, each) for lead, each in zip(sending, found, strict=True)}
            corrections = [_without_refused(lead, each, sending) for lead, each in zip(sending, found, strict=True)]
            # A lead that is sent again unchanged was refused with others; one of those must have changed.
            is_changed = any(
                each is not None and each is not lead for lead, each in zip(sending, corrections, strict=True)
            )
            sending = [each for each in corrections if each is not None] if is_changed else []
        return [results[lead.record.id] for lead in leads]

    async def _send(self, leads: Sequence[Lead]) -> "list[Stored | _Refused | Refusal]":
        """Send a batch in one call, or in two if some records are updated by their ids."""
        by_id, others = [lead for lead in leads if lead.found], [lead for lead in leads if not lead.found]
        sent: list[tuple[Lead, Stored | _Refused | Refusal]] = []
        if others:
            key, creates = others[0].key, others[0].contact is not None
            request = self._client.requests.create_leads(others) if creates else self._client.requests.upsert(others)
            found = await self._sent(request, others, key[0] if key else "")
            new = [replace(each, new=True) if creates and isinstance(each, Stored) else each for each in found]
            sent += zip(others, new, strict=True)
        if by_id:
            found = await self._sent(self._client.requests.update_batch(by_id), by_id, RECORD_ID)
            sent += zip(by_id, found, strict=True)
        results = {lead.record.id: each for lead, each in sent}
        return [results[lead.record.id] for lead in leads]

    async def _sent(
        self, request: HubSpotRequest, leads: Sequence[Lead], name: str
    ) -> "list[Stored | _Refused | Refusal]":
        """Send a batch whose results show the key of their input in the property `name`."""
        with exchange_items(sent_items(request)) as items:
            answer = await self._client.send(request)
        if isinstance(answer, Failure):
            return [answer.outcome] * len(leads)
        if not is_success(answer):
            problem = problem_in_answer(answer, self._client.secrets)
            outcome = self._refusals.outcome(answer, problem, [lead.record.id for lead in leads])
            if answer.status in _REFUSALS and (len(leads) == 1 or problem.is_schema):
                return [_Refused(problem, outcome)] * len(leads)
            return [outcome] * len(leads)
        self._refusals.understood()
        asked = [(lead.record.id, lead.found or (lead.key[1] if lead.key else "")) for lead in leads]
        found = read_batch(answer, asked, _value_of(name), self._client.secrets)
        items.received(received_items(answer, list(zip((lead.record.id for lead in leads), found, strict=True))))
        silent = all(each is None for each in found)
        return [
            _Refused(each, record_outcome(each, answer.status))
            if isinstance(each, HubSpotProblem)
            else each
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
            return await self._resolved(lead, refusal)
        if is_alone:
            return await self._write_unkeyed(without)
        # Searches are limited so strictly that many of them would use up the time of the batch.
        why = Retry(
            refusal.outcome.reason, refusal.outcome.detail, Blame.RECORD, None, refusal.outcome.status, {ALONE: "1"}
        )
        return lead, why

    async def _resolved(self, lead: Lead, refusal: "_Refused") -> Written:
        """Turn a conflict into an update of the existing record, and any other refusal into its outcome.

        A contact that is in conflict because of an e-mail has that e-mail, perhaps as a secondary one, so it is
        updated without it. If that contact and the key's are two, the key's contact is updated without the e-mail.
        """
        if not _is_there(lead, refusal.problem):
            return lead, refusal.outcome
        email, existing = lead.properties.get(EMAIL), refusal.problem.existing
        less = lead.less_email() if refusal.problem.category == "CONFLICT" else lead
        if existing:
            found = await self._update(less, existing)
        elif email:
            found = await self._update(less, email, EMAIL)
        else:
            return lead, refusal.outcome
        if isinstance(found, _Refused) and lead.key and lead.key[0] != EMAIL and lead.key[0] in found.problem.refused:
            lead = lead.without({EMAIL: "another contact has it"}) or lead
            found = await self._update(lead, lead.key[1], lead.key[0]) if lead.key else found
        return lead, found.outcome if isinstance(found, _Refused) else found

    async def _update(self, lead: Lead, found: str, by: str | None = None) -> "Stored | _Refused | Refusal":
        """Update the record with an id, or a value of `by`, with the properties that may be written to it."""
        reduced = await self._held.reduced_to(lead, found, by)
        if isinstance(reduced, Retry | Rejected):
            return reduced
        sent = reduced or lead
        result = self._read(await self._client.send(self._client.requests.update(sent, found, by)), lead, new=False)
        return replace(result, owner=sent.owner) if isinstance(result, Stored) else result

    async def _write_unkeyed(self, lead: Lead) -> Written:
        found = await self._known(lead)
        if isinstance(found, Retry | Rejected):
            return lead, found
        result = await self._one(lead, found)
        while isinstance(result, _Refused) and (lighter := lead.without(result.problem.refused)):
            lead, result = lighter, await self._one(lighter, found)
        lead, stored = await self._resolved(lead, result) if isinstance(result, _Refused) else (lead, result)
        phone = lead.properties.get(PHONE)
        # A contact that was found will be found again, and may have an e-mail: it must not be taken unread.
        if phone and isinstance(stored, Stored) and stored.new:
            _remember(self._recent, phone, stored.id)
        return lead, stored

    async def _known(self, lead: Lead) -> str | Refusal | None:
        """Return the id of the contact that a lead without a key belongs to, None for a new one."""
        phone = lead.properties.get(PHONE, "")
        known = lead.record.memo.get("contact") or self._recent.get(phone)
        if known or not phone:
            return known
        written = await self._written(lead, phone)
        if written is not None:
            return written
        if wait := self._to_wait(lead, phone):
            detail = "it may have been created already, and HubSpot's search does not find new records yet"
            return Retry(Reason.CONFLICT, detail, Blame.RECORD, wait)
        # A contact with an e-mail is another person than a lead whose e-mail HubSpot refuses (`is_other_person`).
        missing = EMAIL if EMAIL in lead.dropped else None
        await self._client.searching.acquire()
        answer = await self._client.send(self._client.requests.search(PHONE, phone, missing))
        if isinstance(answer, Failure):
            return answer.outcome
        if not is_success(answer):
            return self._refusals.outcome(answer, problem_in_answer(answer, self._client.secrets), [lead.record.id])
        return read_search_result(answer)

    async def _written(self, lead: Lead, phone: str) -> str | Refusal | None:
        """Return the id of the last delivery's contact, if it is one that the search for the phone may find."""
        contact = lead.record.written.memo.get("contact") if lead.record.written else None
        held = await self._held.one(lead, contact, [EMAIL, PHONE]) if contact else None
        if not isinstance(held, HeldRecord):
            return held
        is_other = EMAIL in lead.dropped and EMAIL in held.values
        return None if is_other or not is_same_phone(phone, held.values.get(PHONE, "")) else held.id

    def _to_wait(self, lead: Lead, phone: str) -> float:
        """Return the seconds until search finds a contact whose creation was not answered."""
        unclear_at = max(self._unclear.get(phone, 0.0), float(lead.record.memo.get(UNCLEAR, 0.0)))
        return min(max(unclear_at + _SEARCH_LAG - self._client.now(), 0.0), _SEARCH_LAG)

    async def _one(self, lead: Lead, found: str | None) -> "Stored | _Refused | Refusal":
        """Update the contact that was found, or create one; also if the found one was deleted."""
        if found:
            result = await self._update(lead, found)
            if not (isinstance(result, Retry) and result.status == _NOT_FOUND):
                return result
        return await self._create(lead)

    async def _create(self, lead: Lead) -> "Stored | _Refused | Refusal":
        """Create a contact, and remember the time if the outcome is unknown."""
        phone, is_clear = lead.properties.get(PHONE, ""), False
        try:
            answer = await self._client.send(self._client.requests.create(lead))
            created = self._read(answer, lead, new=True)
            is_clear = is_unwritten(answer) or isinstance(created, Stored)
        finally:  # also when cancelled
            if phone and not is_clear:
                _remember(self._unclear, phone, self._client.now())
        if is_clear or not isinstance(created, Retry):
            return created
        # An outcome that pauses the destination stays unchanged; the memo makes this record wait anyway.
        after = created.after if created.blame is Blame.DESTINATION else max(created.after or 0.0, _SEARCH_LAG)
        return replace(created, after=after, memo={UNCLEAR: str(self._client.now())})

    def _read(self, answer: Answer | Failure, lead: Lead, *, new: bool) -> "Stored | _Refused | Refusal":
        """Return the result in the answer to the creation or update of one record."""
        if isinstance(answer, Failure):
            return answer.outcome
        if is_success(answer):
            self._refusals.understood()
            return read_record(answer, new=new)
        problem = problem_in_answer(answer, self._client.secrets)
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


def _value_of(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    """Return a function that reads the id of an input from the properties of a result."""

    def value(properties: Mapping[str, Any]) -> str | None:
        found = properties.get(name)
        return found if isinstance(found, str) else None

    return value
