"""Refused requests in the audit log: wrong tokens, and actions that a role does not allow.

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

from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import CALLER, REFUSED_TOKEN
from bridge.errors import StoreUnavailableError
from bridge.operations.audit import Action, Means, Who
from bridge.store import audit_log

WINDOW_SECONDS = 60.0
SINGLE_LIMIT = 10
"""Number of separate entries for the refusals of one address in a window."""
LOGGED_ADDRESSES = 50
"""Number of addresses with separate entries in a window; the others share entries."""
OTHERS: Final = "others"
"""Stands for their addresses."""
_STATUSES: Final = frozenset({401, 403, 429})

log = structlog.get_logger()


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
