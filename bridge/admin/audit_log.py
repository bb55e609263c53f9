"""Audit log of the admin listener: each entry is written to the store and to the log."""

from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from bridge.admin.authentication import Caller
from bridge.admin.query_threads import QueryThreads
from bridge.errors import StoreUnavailableError
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.store.interface import Store

log = structlog.get_logger()


class AuditLog:
    """Records the actions of callers; any number of calls in parallel."""

    def __init__(self, store: Store, query_threads: QueryThreads, clock: Callable[[], float]) -> None:
        self._store = store
        self._query_threads = query_threads
        self._clock = clock
        self.on_change: Callable[[], None] = lambda: None
        """Called after each change, so that remembered figures are counted anew."""

    async def change(self, operation: Callable[[Connection], ActionResult]) -> ActionResult:
        """Run an operation, which writes its audit entries in the same transaction; see `QueryThreads.change`.

        If `operation` raises, nothing is changed and no entry is kept.
        """
        result = await self._query_threads.change(operation)
        self.on_change()
        for entry in result.entries:
            log.info("audit", **entry.line())
        return result

    async def keep(self, entry: Entry) -> int:
        """Write an entry by itself, before its action is done; return its id.

        Raises StoreUnavailableError: an action that is not recorded must not be done.
        """
        number = await self._store.note(entry, self._clock())
        log.info("audit", **entry.line())
        return number

    async def note(
        self,
        caller: Caller,
        action: Action,
        subject: Subject | None = None,
        subject_id: str | None = None,
        count: int | None = None,
        **facts: str | int,
    ) -> int:
        """Make an entry and write it as `keep` does."""
        return await self.keep(Entry(caller.who(), action, subject, subject_id, count, facts))

    async def passed(
        self, caller: Caller, action: Action, subject: Subject | None = None, subject_id: str | None = None
    ) -> None:
        """Record an action that a store in trouble must not stop, as a login; then only the log has it."""
        try:
            await self.note(caller, action, subject, subject_id)
        except StoreUnavailableError as error:
            log.warning("audit_not_kept", error=str(error), **Entry(caller.who(), action, subject, subject_id).line())

    async def refused(self, who: Who, action: Action, count: int | None, **facts: str | int) -> int | None:
        """Record a refusal and return the entry's id, or None if the store is in trouble and only the log has it."""
        entry = Entry(who, action, count=count, facts=facts)
        log.warning("audit", **entry.line())
        try:
            return await self._store.note(entry, self._clock())
        except StoreUnavailableError as error:
            log.warning("audit_not_kept", error=str(error), **entry.line())
            return None

    async def count(self, add: Callable[[Connection], None]) -> None:
        """Raise the count of an entry. Raises StoreUnavailableError."""
        await self._query_threads.change(add)
