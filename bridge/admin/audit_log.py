"""The audit log as the admin listener writes it: each entry in the store, and as a line of the log."""

from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from bridge.admin.authentication import Caller
from bridge.admin.desk import Desk
from bridge.errors import StoreUnavailableError
from bridge.operations.audit import Action, Entry, Subject, Who
from bridge.store import audit_log
from bridge.store.interface import Store

log = structlog.get_logger()

T = TypeVar("T")


class AuditLog:
    """Writes down who does what; any number of calls in parallel."""

    def __init__(self, store: Store, desk: Desk, clock: Callable[[], float]) -> None:
        self._store = store
        self._desk = desk
        self._clock = clock

    async def change(self, act: Callable[[Connection], tuple[T, Entry]]) -> T:
        """Change something in the store, and keep the entry that tells of it, in one transaction; see `Desk.change`.

        Where `act` raises, nothing was changed and nothing is kept.
        """
        now = self._clock()

        def both(connection: Connection) -> tuple[T, Entry]:
            result, entry = act(connection)
            audit_log.keep(connection, entry, now)
            return result, entry

        result, entry = await self._desk.change(both)
        log.info("audit", **entry.line())
        return result

    async def note(
        self,
        caller: Caller,
        action: Action,
        subject: Subject | None = None,
        subject_id: str | None = None,
        count: int | None = None,
        **facts: str | int,
    ) -> int:
        """Keep an entry by itself, before what it tells of is done or shown; give its id.

        Raises StoreUnavailableError: what is not written down must not be done.
        """
        entry = Entry(caller.who(), action, subject, subject_id, count, facts)
        number = await self._store.note(entry, self._clock())
        log.info("audit", **entry.line())
        return number

    async def passed(
        self, caller: Caller, action: Action, subject: Subject | None = None, subject_id: str | None = None
    ) -> None:
        """Keep what a store in trouble must not stop (a log-in, the end of a run): then the log alone has it."""
        try:
            await self.note(caller, action, subject, subject_id)
        except StoreUnavailableError as error:
            log.warning("audit_not_kept", error=str(error), **Entry(caller.who(), action, subject, subject_id).line())

    async def refused(self, who: Who, action: Action, count: int | None, **facts: str | int) -> int | None:
        """Keep a refusal; return the entry's id. Of a store in trouble the log alone has it, and the answer is None."""
        entry = Entry(who, action, count=count, facts=facts)
        log.warning("audit", **entry.line())
        try:
            return await self._store.note(entry, self._clock())
        except StoreUnavailableError as error:
            log.warning("audit_not_kept", error=str(error), **entry.line())
            return None

    async def count(self, add: Callable[[Connection], None]) -> None:
        """Raise the count of an entry. Raises StoreUnavailableError."""
        await self._desk.change(add)
