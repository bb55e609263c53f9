"""Creates notes, meetings and tasks, each once: looks before it creates where one may be there already."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from connectors.answers import Answer, Failure
from connectors.base import Blame, Reason, Rejected, Retry
from connectors.hubspot.calls import Calls
from connectors.hubspot.problems import Problem, outcome_for, outcome_of, problem_of
from connectors.hubspot.reading import Stored, is_success, read_associated, read_batch, read_values, unclear
from connectors.hubspot.remarks import BODIES, Activity, mark_in
from connectors.hubspot.wire import Api, Request
from connectors.masking import Secrets

_SHARE_FOR_LOOKING = 0.5  # of the time that `deliver` has; who has not been looked up by then is left for later
_MOST = 100  # inputs of a batch


@dataclass(frozen=True, slots=True, repr=False)
class Due:
    """An activity that a contact is to have."""

    record_id: str
    activity: Activity
    contact: Stored


Done = str | Retry | Rejected
"""The id of the activity, or why there is none."""


class Activities:
    """Creates activities in an account. `write` may be called in parallel, never for the same contact.

    A contact that this very call has created cannot have any yet. All others are looked at first: one request for each
    contact, and one for a hundred of what they have. What HubSpot lists with a contact is read; where a contact has
    more than fits there, one created by a call whose answer was lost may be created again.

    Args:
        calls: Sends the requests.
        api: Makes them.
        now: Seconds since the epoch.
        timeout: Seconds that a `deliver` may take.
        secrets: Masks HubSpot's words.
    """

    def __init__(self, calls: Calls, api: Api, now: Callable[[], float], timeout: float, secrets: Secrets) -> None:
        self._calls = calls
        self._api = api
        self._now = now
        self._timeout = timeout * _SHARE_FOR_LOOKING
        self._secrets = secrets

    async def write(self, due: Sequence[Due]) -> dict[str, Done]:
        """See that there is each of these activities, and say so by the ids of their records."""
        done: dict[str, Done] = {}
        for kind in BODIES:
            of_kind = [each for each in due if each.activity.kind == kind]
            done |= await self._found(kind, [each for each in of_kind if not each.contact.new])
            missing = [each for each in of_kind if each.record_id not in done]
            if missing:
                done |= await self._create(kind, missing)
        return done

    async def _found(self, kind: str, due: Sequence[Due]) -> dict[str, Done]:
        """Give the activities that are there already, and outcomes for those of which that cannot be told."""
        if not due:
            return {}
        listed = await self._listed(kind, due)
        done: dict[str, Done] = {
            record_id: each for record_id, each in listed.items() if isinstance(each, Retry | Rejected)
        }
        ids = [found for each in listed.values() if isinstance(each, list) for found in each]
        bodies = await self._bodies(kind, list(dict.fromkeys(ids)))
        if isinstance(bodies, Retry | Rejected):
            return done | {each.record_id: bodies for each in due if each.record_id not in done}
        for each in due:
            of_contact = listed[each.record_id]
            for found in of_contact if isinstance(of_contact, list) else ():
                if each.activity.mark in bodies.get(found, ""):
                    done[each.record_id] = found
        return done

    async def _listed(self, kind: str, due: Sequence[Due]) -> dict[str, list[str] | Retry | Rejected]:
        """Ask for the ids of what each contact has. Contacts for which the time is too short come again later."""
        asking = {each.record_id: asyncio.create_task(self._list(kind, each.contact.id)) for each in due}
        late = Retry(Reason.TIMEOUT, f"written, but there was no time left to look at its {kind}", Blame.RECORD)
        try:
            await asyncio.wait(asking.values(), timeout=self._timeout)
            return {record_id: each.result() if each.done() else late for record_id, each in asking.items()}
        finally:
            for each in asking.values():
                each.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _list(self, kind: str, contact: str) -> list[str] | Retry | Rejected:
        answer = await self._call(self._api.associated(contact, kind))
        return read_associated(answer, kind) if isinstance(answer, Answer) else answer

    async def _bodies(self, kind: str, ids: Sequence[str]) -> dict[str, str] | Retry | Rejected:
        """Read the texts of activities, by their ids."""
        bodies: dict[str, str] = {}
        for start in range(0, len(ids), _MOST):
            answer = await self._call(self._api.read(kind, ids[start : start + _MOST], BODIES[kind]))
            values = read_values(answer, BODIES[kind]) if isinstance(answer, Answer) else answer
            if isinstance(values, Retry | Rejected):
                return values
            bodies |= values
        return bodies

    async def _create(self, kind: str, due: Sequence[Due]) -> dict[str, Done]:
        inputs = [each.activity.for_contact(each.contact.id, each.record_id) for each in due]
        answer = await self._call(self._api.add(kind, inputs))
        if not isinstance(answer, Answer):
            return dict.fromkeys([each.record_id for each in due], answer)
        asked = [(each.record_id, each.activity.mark) for each in due]
        found = read_batch(answer, asked, mark_in(kind), self._secrets)
        return {each.record_id: _done(told, answer, kind) for each, told in zip(due, found, strict=True)}

    async def _call(self, request: Request) -> Answer | Retry | Rejected:
        """Give an answer of success, or what its absence means for the records."""
        answer = await self._calls.send(request)
        if isinstance(answer, Failure):
            return answer.outcome
        if is_success(answer):
            return answer
        return outcome_of(answer, problem_of(answer, self._secrets), self._now())


def _done(told: Stored | Problem | None, answer: Answer, kind: str) -> Done:
    match told:
        case Stored():
            return told.id
        case Problem():
            return outcome_for(told, answer.status)
    return unclear(answer, f"says nothing of one of the {kind}", Blame.RECORD)
