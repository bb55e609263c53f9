"""Limits on searches for a person: the reader, the kind of text, and the rate.

A viewer sees no personal data, but each answer to a search says whether the bridge knows somebody. So a viewer must
know the whole e-mail address or nearly all of the phone number already, and the number of searches is bounded: nobody
can try a list of people.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller, RefusedError, Role
from bridge.admin.request_schemas import SearchGiven
from bridge.operations.audit import Action

LIMIT: Final = 10
"""Searches of one session of a viewer in `SECONDS`, or of all programs that show the same token."""
TOTAL: Final = 60
"""Searches of all viewers together in `SECONDS`: a new login does not give somebody a new allowance for ever."""
SECONDS: Final = 60.0
DIGITS: Final = 10
"""Digits that a viewer must know of a phone number."""
_SESSIONS: Final = 1_000
_KINDS: Final = ("email", "phone", "email_part")


class Searches:
    """Admits searches for a person and keeps them in the audit log. Lives in the loop's thread."""

    def __init__(self, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock
        self._at: OrderedDict[str, list[float]] = OrderedDict()
        """The times of the latest searches, by session; those of all viewers have a list too."""

    async def begin(self, caller: Caller, asked: Sequence[SearchGiven]) -> None:
        """Admit a search for any of the criteria, and log its kind, never its text. Raises RefusedError."""
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
        bounds = {f"{who.means}/{who.session}": LIMIT, "": TOTAL}
        recent = {key: [at for at in self._at.get(key, ()) if 0 <= now - at < SECONDS] for key in bounds}
        for key, bound in bounds.items():
            if len(recent[key]) >= bound:
                wait = int(recent[key][-bound] + SECONDS - now) + 1
                raise RefusedError(429, f"too many searches by viewers: try again in {wait} s", wait)
        for key, times in recent.items():
            self._at[key] = [*times, now]
            self._at.move_to_end(key)
        while len(self._at) > _SESSIONS:
            self._at.popitem(last=False)


def _check(asked: Sequence[SearchGiven]) -> None:
    """Refuse what finds people of whom too little is known. Raises RefusedError."""
    if any(each.email_part for each in asked):
        # Each answer to a part would tell one more character of the address.
        raise RefusedError(403, "only operators look for a part of an address: write the whole of it")
    phones = [each.phone for each in asked if each.phone]
    if any(sum(map(str.isdigit, phone)) < DIGITS for phone in phones):
        raise RefusedError(400, f"write at least {DIGITS} digits of the phone number, or the whole e-mail address")
