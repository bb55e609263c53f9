"""The reading of existing records, for properties that are not always written: the calls, and their order.

HubSpot has no conditional write. One batch read by key comes before the batch that writes, so a value that a person
enters between the two calls can be overwritten.
"""

from collections.abc import Sequence
from dataclasses import replace

from connectors.base import Blame, Reason, Rejected, Retry
from connectors.http_client.answer import Failure
from connectors.hubspot.answers import HeldRecord, is_success, read_held_records
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.errors import RefusalHistory, problem_in_answer
from connectors.hubspot.requests import ALONE, EMAIL, HubSpotRequest, Lead

ADDITIONAL = "hs_additional_emails"
"""Secondary e-mails of a contact, by which it is found too."""
_NOT_FOUND = 404

Refusal = Retry | Rejected


class HeldValues:
    """Reader of the values that an account holds.

    Args:
        client: Sends the requests.
    """

    def __init__(self, client: HubSpotClient) -> None:
        self._client = client
        self._refusals = RefusalHistory(client.now)

    async def reduced(self, leads: Sequence[Lead]) -> list[Lead | Refusal]:
        """Return leads that share object and key property as they may be written, in the order given.

        All leads with conditional properties are read in one call. A contact that is found by a secondary e-mail is
        updated by its id, and keeps its e-mails.
        """
        asked = [lead for lead in leads if lead.is_conditional]
        if not asked or asked[0].key is None:
            return list(leads)
        by = asked[0].key[0]
        keys = {lead.record.id: lead.key[1].lower() for lead in asked if lead.key}
        names = {name for lead in asked for name in lead.create_only | lead.if_empty}
        wanted = list(dict.fromkeys([by, *([ADDITIONAL] if by == EMAIL else []), *sorted(names)]))
        request = self._client.requests.find(
            asked[0].route.object, by, [lead.key[1] for lead in asked if lead.key], wanted
        )
        held = await self._read(request, asked)
        if not isinstance(held, list):
            return [held if lead.record.id in keys else lead for lead in leads]
        results: list[Lead | Refusal] = []
        matched = _matches(held, list(keys.values()), by)
        seen: set[str] = set()
        for lead in leads:
            record = matched.get(keys.get(lead.record.id, ""))
            if record is None:
                results.append(lead)
            elif isinstance(record, Retry):
                results.append(record)
            elif record.id in seen:
                results.append(Retry(Reason.CONFLICT, "another record of its batch is the same one", Blame.RECORD))
            else:
                seen.add(record.id)
                reduced = lead.beside(record.values)
                is_primary = record.values.get(by, "").lower() == keys[lead.record.id]
                apart = reduced.less_email() if by == EMAIL else reduced
                results.append(reduced if is_primary else replace(apart, found=record.id))
        return results

    async def reduced_to(self, lead: Lead, found: str, by: str | None = None) -> Lead | Refusal | None:
        """Return a lead as it may be written to the record with an id, or a value of `by`; None if that is missing."""
        if not lead.is_conditional:
            return lead
        held = await self.one(lead, found, sorted(lead.create_only | lead.if_empty), by)
        return lead.beside(held.values) if isinstance(held, HeldRecord) else held

    async def one(
        self, lead: Lead, found: str, wanted: Sequence[str], by: str | None = None
    ) -> HeldRecord | Refusal | None:
        """Return properties of the record with an id, or a value of `by`, for a lead; None if it is missing."""
        held = await self._read(self._client.requests.find(lead.route.object, by, [found], wanted), [lead])
        if not isinstance(held, list):
            return held
        return held[0] if held else None

    async def _read(self, request: HubSpotRequest, leads: Sequence[Lead]) -> list[HeldRecord] | Refusal:
        answer = await self._client.send(request)
        if isinstance(answer, Failure):
            return answer.outcome
        if is_success(answer):
            self._refusals.understood()
            return read_held_records(answer)
        problem = problem_in_answer(answer, self._client.secrets)
        if answer.status == _NOT_FOUND and problem.category == "OBJECT_NOT_FOUND":
            return []
        return self._refusals.outcome(answer, problem, [lead.record.id for lead in leads])


def _matches(held: Sequence[HeldRecord], keys: Sequence[str], by: str) -> dict[str, HeldRecord | Retry]:
    """Return the existing record of each key, in lower case; a key that is missing has none.

    A record that shows none of the keys belongs to one of those that are missing, as after a merge. If that leaves
    several possibilities, these records have to be sent alone.
    """
    found: dict[str, HeldRecord | Retry] = {}
    strangers = []
    for record in held:
        names = (by, ADDITIONAL) if by == EMAIL else (by,)
        own = [key for key in keys if any(record.has(name, key) for name in names)]
        found |= dict.fromkeys(own, record)
        if not own:
            strangers.append(record)
    missing = [key for key in keys if key not in found]
    if len(strangers) == 1 == len(missing):
        found[missing[0]] = strangers[0]
    elif strangers:
        why = "it reports an existing record without saying for which of the batch"
        found |= dict.fromkeys(missing, Retry(Reason.BAD_ANSWER, why, Blame.RECORD, memo={ALONE: "1"}))
    return found
