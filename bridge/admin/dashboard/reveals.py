"""Leads whose personal data somebody has asked to see: each for a quarter of an hour, in one session.

They are in memory only, so a restart masks everything again. Programs send a token with each request and have no
session: nothing is remembered for them.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller
from bridge.admin.dashboard.page import Holder, holder_of
from bridge.operations.audit import Action, Entry, Subject

REVEAL_SECONDS: Final = 15 * 60.0
"""Time for which one click shows the personal data of a lead."""
REVEALS_LIMIT: Final = 1_000
"""Most leads that are shown at once, in all sessions. Beyond it the oldest is masked early."""


class Reveals:
    """The leads that are shown. Lives in the loop's thread.

    Args:
        audit: Gets one entry for each reveal.
        clock: The time.
    """

    def __init__(self, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock
        self._until: OrderedDict[tuple[Holder, str], float] = OrderedDict()

    async def begin(self, caller: Caller, event: str, where: str | None = None) -> float:
        """Show a lead from now on, after an entry in the audit log; return the end. A second call changes nothing.

        `where` is the page, for the entry, if it is not the lead's own.

        Raises StoreUnavailableError if the entry cannot be written.
        """
        shown = self.until(caller, event)
        if shown is not None:
            return shown
        facts = {"where": where} if where else {}
        await self._audit.keep(Entry(caller.who(), Action.REVEAL, Subject.EVENT, event, facts=facts))
        end = self._clock() + REVEAL_SECONDS
        if caller.session is not None:
            self._until[holder_of(caller), event] = end
            self._until.move_to_end((holder_of(caller), event))
            while len(self._until) > REVEALS_LIMIT:
                self._until.popitem(last=False)
        return end

    def until(self, caller: Caller, event: str) -> float | None:
        """Return the time until which a lead is shown to a caller; None if it is masked."""
        end = self._until.get((holder_of(caller), event)) if caller.session is not None else None
        return end if end is not None and end > self._clock() else None

    def end(self, caller: Caller, event: str) -> None:
        """Mask a lead again before its time."""
        self._until.pop((holder_of(caller), event), None)
