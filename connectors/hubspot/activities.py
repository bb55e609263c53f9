"""Notes, meetings and tasks: the lookup of those that exist already, and the creation of the missing ones.

Both work in batches, never per contact.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connectors.base import Blame, Reason, Rejected, Retry
from connectors.http_client.answer import Answer, Failure
from connectors.hubspot.answers import (
    Stored,
    is_success,
    is_unwritten,
    read_associated,
    read_batch,
    read_links,
    read_values,
    unclear_outcome,
)
from connectors.hubspot.client import HubSpotClient
from connectors.hubspot.errors import HubSpotProblem, RefusalHistory, problem_in_answer, record_outcome
from connectors.hubspot.remarks import BODIES, HubSpotActivity, mark_reader
from connectors.hubspot.requests import ALONE

_SHARE_FOR_LOOKING = 0.5  # of the time for a `deliver`; contacts not looked up by then are left for later
_MOST = 100  # inputs of a batch
_MOST_PAGES = 10
_MOST_READ = 200  # activities per contact; ids grow with time, and the wanted one is among the last
_MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True, repr=False)
class PlannedActivity:
    """An activity, or a deal, that a contact should have."""

    record_id: str
    """Id of the record, or of another activity of it; it is also the trace id."""
    activity: HubSpotActivity
    contact: Stored
    """The contact. `new` if the contact, or its lead, was created just now: it has no such activity yet."""
    lead: str | None = None
    """Record ID of the lead object that should have the activity too."""
    company: str | None = None
    """Record ID of the company that a deal belongs to."""


class Lookup:
    """Lookup of activities in an account. `find` may run in parallel, never for the same contact.

    One request lists the activities of up to a hundred contacts, another reads a hundred texts. Results are kept in
    this process until `forget`, so that a call that is refused half-way is not repeated in full: however few calls are
    allowed, each `find` gets further than the one before. They are not kept in the outcome's memo, because a process
    that is killed while it creates an activity would leave a wrong result behind.

    An activity whose creation was not answered may be created twice for a contact with more than ten pages of notes, or
    if it is not among the contact's newest two hundred.

    Args:
        client: Sends the requests.
        timeout: Seconds that a `deliver` may take.
    """

    def __init__(self, client: HubSpotClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout * _SHARE_FOR_LOOKING
        self._absent: dict[str, None] = {}

    def forget_all(self) -> None:
        """Forget all results, because another process may have created what was missing."""
        self._absent.clear()

    def forget(self, record_id: str) -> None:
        """Forget the result for a record whose activity is about to be created."""
        self._absent.pop(record_id, None)

    def keep(self, record_id: str) -> None:
        """Remember that a record's activity certainly does not exist."""
        self._absent[record_id] = None
        if len(self._absent) > _MOST_KNOWN:
            del self._absent[next(iter(self._absent))]

    async def find(self, kind: str, due: Sequence[PlannedActivity]) -> dict[str, str | Retry | None]:
        """Return the activity's id for each record; None if it does not exist, `Retry` if that is unknown."""
        found: dict[str, str | Retry | None] = {
            each.record_id: None for each in due if each.contact.new or each.record_id in self._absent
        }
        unknown = [each for each in due if each.record_id not in found]
        if not unknown:
            return found
        try:
            async with asyncio.timeout(self._timeout):
                trouble = await self._look(kind, unknown, found)
        except TimeoutError:
            trouble = Retry(Reason.TIMEOUT, f"there was no time left to look up its {kind}", Blame.RECORD)
        if trouble is None:
            return found
        return dict.fromkeys([each.record_id for each in unknown], trouble) | found

    async def _look(
        self, kind: str, due: Sequence[PlannedActivity], found: dict[str, str | Retry | None]
    ) -> Retry | None:
        """Look up activities and add the known ones to `found`. Return the outcome for the others."""
        listed = await self._listed(kind, list(dict.fromkeys(each.contact.id for each in due)))
        if isinstance(listed, Retry):
            return listed
        found |= {each.record_id: result for each in due if isinstance(result := listed[each.contact.id], Retry)}
        newest = {
            contact: sorted(ids, key=_age)[-_MOST_READ:]
            for contact, ids in listed.items()
            if not isinstance(ids, Retry)
        }
        bodies: dict[str, str] = {}
        self._decide(due, newest, bodies, found)
        # Contacts with few activities first, so that their results are complete early.
        ids = list(dict.fromkeys(each for of_contact in sorted(newest.values(), key=len) for each in of_contact))
        for start in range(0, len(ids), _MOST):
            chunk = ids[start : start + _MOST]
            answer = await self._client.result(self._client.requests.read(kind, chunk, BODIES[kind]))
            read = read_values(answer, BODIES[kind]) if isinstance(answer, Answer) else answer
            if isinstance(read, Retry):
                return read
            bodies |= dict.fromkeys(chunk, "") | read  # a missing one was deleted meanwhile
            self._decide(due, newest, bodies, found)
        return None

    def _decide(
        self,
        due: Sequence[PlannedActivity],
        newest: Mapping[str, Sequence[str]],
        bodies: Mapping[str, str],
        found: dict[str, str | Retry | None],
    ) -> None:
        """Search for the mark of each contact whose texts have all been read."""
        for each in due:
            ids = newest.get(each.contact.id, ())
            if each.record_id in found or not all(one in bodies for one in ids):
                continue
            found[each.record_id] = next((one for one in ids if each.activity.mark in bodies[one]), None)
            if found[each.record_id] is None:
                self.keep(each.record_id)

    async def _listed(self, kind: str, contacts: Sequence[str]) -> dict[str, list[str] | Retry] | Retry:
        """Return the ids of each contact's activities, page by page."""
        listed: dict[str, list[str] | Retry] = {}
        asking: dict[str, str | None] = dict.fromkeys(contacts)
        for _ in range(_MOST_PAGES):
            answer = await self._client.result(self._client.requests.associated(kind, asking))
            pages = read_associated(answer, list(asking)) if isinstance(answer, Answer) else answer
            if isinstance(pages, Retry):
                return pages
            asking = {}
            for contact, page in pages.items():
                before = listed.get(contact, [])
                if isinstance(page, Retry) or isinstance(before, Retry):
                    listed[contact] = page if isinstance(page, Retry) else before
                    continue
                listed[contact] = [*before, *page.ids]
                if page.after:
                    asking[contact] = page.after
            if not asking:
                break
        return listed


def _age(activity: str) -> tuple[int, str]:
    """Return a key that sorts ids as numbers."""
    return len(activity), activity


ActivityResult = str | Retry | Rejected
"""Record ID of the activity, or the reason why there is none."""


class Activities:
    """Writer of activities in an account. `write` may run in parallel, never for the same contact.

    A contact that was created in the same call cannot have any activity yet. All others are looked up first (`Lookup`).
    So a batch costs one call for new contacts, and three for a hundred known contacts with a hundred activities among
    them. An activity that a lead object should have too is associated with it in one more call, whether it was created
    or found. After a crash between the two calls only the contact has it, until the record is delivered again.

    Args:
        client: Sends the requests.
        timeout: Seconds that a `deliver` may take.
    """

    def __init__(self, client: HubSpotClient, timeout: float) -> None:
        self._client = client
        self._lookup = Lookup(client, timeout)
        self._refusals = {kind: RefusalHistory(client.now) for kind in BODIES}

    def open(self) -> None:
        """Forget all lookups, because another process may have worked on the account."""
        self._lookup.forget_all()

    async def write(
        self, due: Sequence[PlannedActivity], left_out: dict[str, tuple[str, ...]] | None = None
    ) -> dict[str, ActivityResult]:
        """Ensure that each of these activities exists, and return the results by record id.

        The names of refused optional properties are added to `left_out`.
        """
        done: dict[str, ActivityResult] = {}
        for kind in BODIES:
            of_kind = [each for each in due if each.activity.kind == kind]
            found = await self._lookup.find(kind, of_kind)
            done |= {record_id: each for record_id, each in found.items() if each is not None}
            missing = [each for each in of_kind if found[each.record_id] is None]
            if missing:
                done |= await self._repaired(kind, missing, {} if left_out is None else left_out)
            done |= await self._link(kind, of_kind, done)
        return done

    async def _link(
        self, kind: str, due: Sequence[PlannedActivity], done: Mapping[str, ActivityResult]
    ) -> dict[str, ActivityResult]:
        """Associate activities with their lead objects, and return the failures."""
        pairs = {
            each.record_id: (found, each.lead)
            for each in due
            if each.lead is not None and isinstance(found := done[each.record_id], str)
        }
        if not pairs:
            return {}
        request = self._client.requests.link(kind, list(pairs.values()))
        answer = await self._client.result(request)
        if isinstance(answer, Retry):
            return dict.fromkeys(pairs, answer)
        trouble = read_links(answer, list(pairs.values()), self._client.secrets)
        return {record_id: trouble[pair] for record_id, pair in pairs.items() if pair in trouble}

    async def _repaired(
        self, kind: str, due: Sequence[PlannedActivity], left_out: dict[str, tuple[str, ...]]
    ) -> dict[str, ActivityResult]:
        """Create activities, and those that were refused for optional properties once more without them."""
        problems: dict[str, HubSpotProblem] = {}
        done = await self._create(kind, due, problems)
        lighter = [
            replace(each, activity=less)
            for each in due
            if each.record_id in problems and (less := each.activity.without(problems[each.record_id].refused))
        ]
        if lighter:
            left_out |= {each.record_id: tuple(problems[each.record_id].refused) for each in lighter}
            done |= await self._create(kind, lighter, {})
        return done

    async def _create(
        self, kind: str, due: Sequence[PlannedActivity], problems: dict[str, HubSpotProblem]
    ) -> dict[str, ActivityResult]:
        """Create activities; add the problem of each that was refused to `problems`."""
        inputs = [each.activity.for_contact(each.contact.id, each.record_id, each.company) for each in due]
        for each in due:
            self._lookup.forget(each.record_id)
        answer = await self._client.send(self._client.requests.add(kind, inputs))
        if is_unwritten(answer):
            for each in due:
                self._lookup.keep(each.record_id)
        if isinstance(answer, Failure):
            return dict.fromkeys([each.record_id for each in due], answer.outcome)
        if not is_success(answer):
            if len(due) == 1:
                problems[due[0].record_id] = problem_in_answer(answer, self._client.secrets)
            return dict.fromkeys([each.record_id for each in due], self._refused(kind, due, answer))
        self._refusals[kind].understood()
        asked = [(each.record_id, each.activity.mark) for each in due]
        found = read_batch(answer, asked, mark_reader(kind), self._client.secrets)
        problems |= {
            each.record_id: one for each, one in zip(due, found, strict=True) if isinstance(one, HubSpotProblem)
        }
        return {each.record_id: _done(result, answer, kind) for each, result in zip(due, found, strict=True)}

    def _refused(self, kind: str, due: Sequence[PlannedActivity], answer: Answer) -> Retry | Rejected:
        """Return the outcome of a call that was refused as a whole."""
        problem = problem_in_answer(answer, self._client.secrets)
        outcome = self._refusals[kind].outcome(answer, problem, [each.record_id for each in due])
        if isinstance(outcome, Retry) or len(due) == 1:
            return outcome
        # The lane splits a batch only if nothing was written at all, so each record is sent alone.
        return Retry(outcome.reason, outcome.detail, Blame.RECORD, None, outcome.status, {ALONE: "1"})


def _done(result: Stored | HubSpotProblem | None, answer: Answer, kind: str) -> ActivityResult:
    match result:
        case Stored():
            return result.id
        case HubSpotProblem():
            return record_outcome(result, answer.status)
    return unclear_outcome(answer, f"says nothing of one of the {kind}", Blame.RECORD)
