"""Limits on searches for a person: the reader, the kind of text, and the rate.

A viewer sees no personal data, but each answer to a search says whether the bridge knows somebody. So a viewer must
know the whole e-mail address or nearly all of the phone number already, and the number of searches is bounded: nobody
can try a list of people.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, RequestRefusedError, Role
from bridge.admin.request_schemas import SearchRequest
from bridge.operations.audit import Action

SEARCH_LIMIT: Final = 10
"""Searches of one session of a viewer in `SEARCH_SECONDS`, or of all programs that show the same token."""
SEARCH_TOTAL: Final = 60
"""Searches of all viewers together in `SEARCH_SECONDS`, because a viewer may log in again and again."""
SEARCH_SECONDS: Final = 60.0
VIEWER_DIGITS: Final = 10
"""Digits that a viewer must know of a phone number."""
_SESSIONS: Final = 1_000
_KINDS: Final = ("email", "phone", "email_part", "person_part")


class Searches:
    """Admits searches for a person and keeps them in the audit log. Lives in the loop's thread."""

    def __init__(self, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock
        self._at: OrderedDict[str, list[float]] = OrderedDict()
        """Times of the latest searches by session; the empty key has those of all viewers."""

    async def begin(self, caller: Caller, asked: Sequence[SearchRequest]) -> None:
        """Admit a search for any of the criteria, and log its kind, never its text. Raises RequestRefusedError."""
        kind = next((each for each in _KINDS if getattr(asked[0], each)), None)
        if kind is None:
            return
        if not caller.may(Role.OPERATOR):
            _check(asked)
            self._count(caller)
        await self._audit.note(caller, Action.SEARCH, by=kind)

    def _count(self, caller: Caller) -> None:
        now = self._clock()
        who = caller.who()
        bounds = {f"{who.means}/{who.session}": SEARCH_LIMIT, "": SEARCH_TOTAL}
        recent = {key: [at for at in self._at.get(key, ()) if 0 <= now - at < SEARCH_SECONDS] for key in bounds}
        for key, bound in bounds.items():
            if len(recent[key]) >= bound:
                wait = int(recent[key][-bound] + SEARCH_SECONDS - now) + 1
                raise RequestRefusedError(429, f"too many searches by viewers: try again in {wait} s", wait)
        for key, times in recent.items():
            self._at[key] = [*times, now]
            self._at.move_to_end(key)
        while len(self._at) > _SESSIONS:
            self._at.popitem(last=False)


def _check(asked: Sequence[SearchRequest]) -> None:
    """Refuse a viewer's search with too little of a person's data. Raises RequestRefusedError."""
    if any(each.email_part or each.person_part for each in asked):
        # Each answer to a part would reveal one more character of the address.
        raise RequestRefusedError(
            403, "only operators search for a part of a name or an address: write the whole e-mail address"
        )
    phones = [each.phone for each in asked if each.phone]
    if any(sum(map(str.isdigit, phone)) < VIEWER_DIGITS for phone in phones):
        raise RequestRefusedError(
            400, f"write at least {VIEWER_DIGITS} digits of the phone number, or the whole e-mail address"
        )
