"""Creates notes, meetings and tasks, each once: looks before it creates where one may be there already."""

from collections.abc import Callable, Mapping, Sequence

from connectors.answers import Answer, Failure
from connectors.base import Blame, Rejected, Retry
from connectors.hubspot.calls import Calls
from connectors.hubspot.lookup import Due, Lookup
from connectors.hubspot.problems import Problem, outcome_for, problem_of
from connectors.hubspot.reading import Stored, answered, is_success, is_unwritten, read_batch, read_links, unclear
from connectors.hubspot.refusals import Refusals
from connectors.hubspot.remarks import BODIES, mark_in
from connectors.hubspot.wire import ALONE, Api
from connectors.masking import Secrets

Done = str | Retry | Rejected
"""The id of the activity, or why there is none."""


class Activities:
    """Creates activities in an account. `write` may be called in parallel, never for the same contact.

    A contact that this very call has created cannot have any yet; all others are looked at first (`Lookup`). So a
    batch costs one call for new contacts, and three for a hundred known ones with a hundred activities among them.
    What a lead object is to have too is associated with it in one more call, whether it was created or found: a crash
    between the two leaves it with the contact alone until the record comes again.

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
        self._secrets = secrets
        self._lookup = Lookup(calls, api, now, timeout, secrets)
        self._refusals = {kind: Refusals(now) for kind in BODIES}

    def open(self) -> None:
        """Begin anew: another process may have had the account in its hands meanwhile."""
        self._lookup.forget_all()

    async def write(self, due: Sequence[Due]) -> dict[str, Done]:
        """See that there is each of these activities, and say so by the ids of their records."""
        done: dict[str, Done] = {}
        for kind in BODIES:
            of_kind = [each for each in due if each.activity.kind == kind]
            found = await self._lookup.find(kind, of_kind)
            done |= {record_id: each for record_id, each in found.items() if each is not None}
            missing = [each for each in of_kind if found[each.record_id] is None]
            if missing:
                done |= await self._create(kind, missing)
            done |= await self._link(kind, of_kind, done)
        return done

    async def _link(self, kind: str, due: Sequence[Due], done: Mapping[str, Done]) -> dict[str, Done]:
        """Associate what there is now with the lead objects that are to have it too; give the trouble with that."""
        pairs = {
            each.record_id: (found, each.lead)
            for each in due
            if each.lead is not None and isinstance(found := done[each.record_id], str)
        }
        if not pairs:
            return {}
        request = self._api.link(kind, list(pairs.values()))
        answer = answered(await self._calls.send(request), self._secrets, self._now())
        if isinstance(answer, Retry):
            return dict.fromkeys(pairs, answer)
        trouble = read_links(answer, list(pairs.values()), self._secrets)
        return {record_id: trouble[pair] for record_id, pair in pairs.items() if pair in trouble}

    async def _create(self, kind: str, due: Sequence[Due]) -> dict[str, Done]:
        inputs = [each.activity.for_contact(each.contact.id, each.record_id) for each in due]
        for each in due:
            self._lookup.forget(each.record_id)
        answer = await self._calls.send(self._api.add(kind, inputs))
        if is_unwritten(answer):
            for each in due:
                self._lookup.keep(each.record_id)
        if isinstance(answer, Failure):
            return dict.fromkeys([each.record_id for each in due], answer.outcome)
        if not is_success(answer):
            return dict.fromkeys([each.record_id for each in due], self._refused(kind, due, answer))
        self._refusals[kind].understood()
        asked = [(each.record_id, each.activity.mark) for each in due]
        found = read_batch(answer, asked, mark_in(kind), self._secrets)
        return {each.record_id: _done(told, answer, kind) for each, told in zip(due, found, strict=True)}

    def _refused(self, kind: str, due: Sequence[Due], answer: Answer) -> Retry | Rejected:
        """Say what it means that a call was refused as a whole."""
        problem = problem_of(answer, self._secrets)
        outcome = self._refusals[kind].outcome(answer, problem, [each.record_id for each in due])
        if isinstance(outcome, Retry) or len(due) == 1:
            return outcome
        # Not split by the lane, which does that only where nothing at all was written: so each goes alone.
        return Retry(outcome.reason, outcome.detail, Blame.RECORD, None, outcome.status, {ALONE: "1"})


def _done(told: Stored | Problem | None, answer: Answer, kind: str) -> Done:
    match told:
        case Stored():
            return told.id
        case Problem():
            return outcome_for(told, answer.status)
    return unclear(answer, f"says nothing of one of the {kind}", Blame.RECORD)
