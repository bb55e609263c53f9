"""Finds out whether a note, meeting or task is there already, before it is created: in batches, never per contact."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from connectors.answers import Answer
from connectors.base import Blame, Reason, Retry
from connectors.hubspot.calls import Calls
from connectors.hubspot.reading import Stored, answered, read_associated, read_values
from connectors.hubspot.remarks import BODIES, Activity
from connectors.hubspot.wire import Api, Request
from connectors.masking import Secrets

_SHARE_FOR_LOOKING = 0.5  # of the time that `deliver` has; who has not been looked up by then is left for later
_MOST = 100  # inputs of a batch
_MOST_PAGES = 10
_MOST_READ = 200  # of what one contact has; ids grow with time, and what is looked for is among the last
_MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True, repr=False)
class Due:
    """An activity that a contact is to have."""

    record_id: str
    activity: Activity
    contact: Stored
    """`new` where the contact, or its lead, has just been created: then it has no such activity yet."""
    lead: str | None = None
    """The id of the lead object that is to have it too."""


class Lookup:
    """Looks for activities in an account. `find` may be called in parallel, never for the same contact.

    One request lists what up to a hundred contacts have, another reads a hundred texts. What has been found out is
    kept in this process until `forget`, so that a call that is refused half-way is not made again in full: however few
    calls are allowed, each `find` gets further than the one before. It is not kept in the outcome's memo, for a process
    that is killed while it creates would leave that behind.

    A contact that has more than ten pages of notes, or an older one among more than two hundred, may be given one again
    whose creation was not answered.

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
        self._absent: dict[str, None] = {}

    def forget_all(self) -> None:
        """Say that another process may have created what was missing."""
        self._absent.clear()

    def forget(self, record_id: str) -> None:
        """Say that a record's activity is about to be created: from now on it may be there."""
        self._absent.pop(record_id, None)

    def keep(self, record_id: str) -> None:
        """Say that a record's activity is certainly not there."""
        self._absent[record_id] = None
        if len(self._absent) > _MOST_KNOWN:
            del self._absent[next(iter(self._absent))]

    async def find(self, kind: str, due: Sequence[Due]) -> dict[str, str | Retry | None]:
        """Give the id of each activity by that of its record; None: it is not there; `Retry`: it cannot be told."""
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
            trouble = Retry(Reason.TIMEOUT, f"there was no time left to look at its {kind}", Blame.RECORD)
        if trouble is None:
            return found
        return dict.fromkeys([each.record_id for each in unknown], trouble) | found

    async def _look(self, kind: str, due: Sequence[Due], found: dict[str, str | Retry | None]) -> Retry | None:
        """Look, and note in `found` what is known at once. Gives what to say of those that are left out of it."""
        listed = await self._listed(kind, list(dict.fromkeys(each.contact.id for each in due)))
        if isinstance(listed, Retry):
            return listed
        found |= {each.record_id: told for each in due if isinstance(told := listed[each.contact.id], Retry)}
        newest = {
            contact: sorted(ids, key=_age)[-_MOST_READ:]
            for contact, ids in listed.items()
            if not isinstance(ids, Retry)
        }
        bodies: dict[str, str] = {}
        self._decide(due, newest, bodies, found)
        # Who has little is known first.
        ids = list(dict.fromkeys(each for of_contact in sorted(newest.values(), key=len) for each in of_contact))
        for start in range(0, len(ids), _MOST):
            chunk = ids[start : start + _MOST]
            answer = await self._call(self._api.read(kind, chunk, BODIES[kind]))
            read = read_values(answer, BODIES[kind]) if isinstance(answer, Answer) else answer
            if isinstance(read, Retry):
                return read
            bodies |= dict.fromkeys(chunk, "") | read  # one that is not given has been deleted meanwhile
            self._decide(due, newest, bodies, found)
        return None

    def _decide(
        self,
        due: Sequence[Due],
        newest: Mapping[str, Sequence[str]],
        bodies: Mapping[str, str],
        found: dict[str, str | Retry | None],
    ) -> None:
        """Note of each contact whose texts have all been read whether the mark is in one of them."""
        for each in due:
            ids = newest.get(each.contact.id, ())
            if each.record_id in found or not all(one in bodies for one in ids):
                continue
            found[each.record_id] = next((one for one in ids if each.activity.mark in bodies[one]), None)
            if found[each.record_id] is None:
                self.keep(each.record_id)

    async def _listed(self, kind: str, contacts: Sequence[str]) -> dict[str, list[str] | Retry] | Retry:
        """Give the ids of what each contact has, page by page."""
        listed: dict[str, list[str] | Retry] = {}
        asking: dict[str, str | None] = dict.fromkeys(contacts)
        for _ in range(_MOST_PAGES):
            answer = await self._call(self._api.associated(kind, asking))
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

    async def _call(self, request: Request) -> Answer | Retry:
        """Give an answer of success, or what its absence means for the records: none of them is to blame for it."""
        return answered(await self._calls.send(request), self._secrets, self._now())


def _age(activity: str) -> tuple[int, str]:
    """Sort by id as a number, whatever its length."""
    return len(activity), activity
