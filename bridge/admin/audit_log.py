"""Audit log of the admin listener: changes and refused requests, each written to the store and to the log.

Anybody who reaches the listener can be refused as often as they like, so the entries are bounded. The first refusals of
an address in a minute have an entry each. Further ones share one entry whose count grows.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from sqlalchemy import Connection

from bridge.admin.authentication import CALLER, REFUSED_TOKEN, Caller
from bridge.admin.query_threads import QueryThreads
from bridge.errors import StoreUnavailableError
from bridge.operations.audit import Action, ActionResult, Entry, Means, Subject, Who
from bridge.store import audit_log
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
        self,
        caller: Caller,
        action: Action,
        subject: Subject | None = None,
        subject_id: str | None = None,
        count: int | None = None,
    ) -> None:
        """Record an action that a store in trouble must not stop, as a login; then only the log has it."""
        try:
            await self.note(caller, action, subject, subject_id, count)
        except StoreUnavailableError as error:
            entry = Entry(caller.who(), action, subject, subject_id, count)
            log.warning("audit_not_kept", error=str(error), **entry.line())

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


WINDOW_SECONDS = 60.0
SINGLE_LIMIT = 10
"""Number of separate entries for the refusals of one address in a window."""
LOGGED_ADDRESSES = 50
"""Number of addresses with separate entries in a window; the others share entries."""
OTHERS: Final = "others"
"""Stands for their addresses."""
_STATUSES: Final = frozenset({401, 403, 429})


@dataclass(slots=True)
class _Window:
    """The refusals of one address in a minute."""

    count: int = 0
    entry: int | None = None
    """Id of the entry that counts the refusals beyond `SINGLE_LIMIT`."""
    unwritten: int = 0
    """Number of refusals that the entry does not count yet."""


class RefusalLog:
    """Writes refusals to the audit log; any number in parallel. Create it inside the running loop."""

    def __init__(self, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock
        self._windows: dict[tuple[str, Action], _Window] = {}
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()

    async def note(self, request: web.Request, status: int) -> None:
        """Write a refusal, unless the request had neither a token nor a session."""
        caller, token = request.get(CALLER), request.get(REFUSED_TOKEN)
        if status not in _STATUSES or (caller is None and not token):
            return
        now = self._clock()
        if now >= self._until or now < self._until - WINDOW_SECONDS:
            await self._end()
            self._until = now + WINDOW_SECONDS
        action = Action.REFUSED_TOKEN if caller is None else Action.REFUSED_ACTION
        address = request.remote or OTHERS
        if (address, action) not in self._windows and len(self._windows) >= LOGGED_ADDRESSES:
            address = OTHERS
        window = self._windows.setdefault((address, action), _Window())
        window.count += 1
        unknown = Who("unknown", Means.TOKEN, None, address)
        if window.count <= SINGLE_LIMIT:
            await self._audit.refused(caller.who() if caller else unknown, action, None, **_place(request))
        elif window.count == SINGLE_LIMIT + 1:
            self._timer = self._timer or asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._over)
            # Visible at once; the count follows when the minute is over.
            window.entry = await self._audit.refused(unknown, action, 1)
        else:
            window.unwritten += 1

    async def close(self) -> None:
        """Write the counts that are not written yet."""
        if self._timer:
            self._timer.cancel()
        await asyncio.gather(*self._writing)
        await self._end()

    def _over(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._end(), name="refusals")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _end(self) -> None:
        """Write the counts of the windows, and forget them."""
        windows, self._windows = self._windows, {}
        for window in windows.values():
            if window.entry is None or not window.unwritten:
                continue
            try:
                await self._audit.count(partial(audit_log.add, entry=window.entry, count=window.unwritten))
            except StoreUnavailableError as error:
                log.warning("audit_not_kept", error=str(error), count=window.unwritten)


def _place(request: web.Request) -> dict[str, str]:
    """Name the route by its own path, since the request's path may hold anything: `api.lanes.name.pause`."""
    resource = request.match_info.route.resource
    words = [each.strip("{}") for each in (resource.canonical if resource else "").split("/") if each]
    return {"method": request.method, "where": ".".join(words) or "overview"}
