"""Background jobs of the admin listener: bulk changes (runs), and checks of delivered records (inquiries).

A job lives in this process. Its progress can be watched and it can be cancelled. Nothing is lost if it ends early: a
run commits each of its steps, and an inquiry changes nothing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from bridge.admin import schemas
from bridge.admin.audit_log import AuditLog
from bridge.admin.authentication import Caller
from bridge.admin.query_threads import QueryThreads
from bridge.config.model import Config, Destination
from bridge.delivery.supervisor import Lanes
from bridge.errors import ConflictError, NotFoundError, StoreUnavailableError
from bridge.operations.audit import Action, Subject, Who
from bridge.operations.bulk import Bulk, Progress
from bridge.operations.reconcile import CheckTerms, Reconciliation
from bridge.operations.recovery import Recovery
from bridge.store import audit_log
from bridge.store.filter import SelectionExtent
from bridge.store.interface import Store
from bridge.store.secrets import StoreVault
from connectors.base import parse_duration

KEPT = 20
"""Number of jobs of each kind that are remembered after their end."""
TRIES = 5
"""Number of times that a step is tried while the store is in trouble."""
STORE_RETRY_SECONDS = 1.0
"""Seconds between two of these tries."""

log = structlog.get_logger()


@dataclass(slots=True)
class BulkRun:
    """A bulk change in the background. Changes while it is running."""

    id: int
    change: Bulk | Recovery
    progress: Progress
    state: str = "running"
    error: str | None = None


class BulkRuns:
    """All runs of this process. Lives in the loop's thread."""

    def __init__(self, query_threads: QueryThreads, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._query_threads = query_threads
        self._audit = audit
        self._clock = clock
        self._runs: deque[BulkRun] = deque(maxlen=KEPT)
        self._number = 0
        self._running: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()

    async def preview(self, change: Bulk | Recovery, through: int | None = None) -> SelectionExtent:
        """Count what a run would handle."""
        return await self._query_threads.ask(partial(change.extent, through=through))

    async def begin(self, caller: Caller, change: Bulk | Recovery, through: int | None) -> BulkRun:
        """Begin a run; one at a time, because two could undo each other. Raises ConflictError."""
        extent = await self.preview(change, through)
        async with self._beginning:
            if self._running and not self._running.done():
                raise ConflictError("another run is under way: wait for its end, or cancel it")
            number = self._number + 1
            entry = await self._audit.keep(change.entry(caller.who(), extent, number))
            run = BulkRun(number, change, Progress(extent, entry))
            self._number = number
            self._runs.appendleft(run)
            work = self._work(run, caller.who())
            self._running = asyncio.get_running_loop().create_task(work, name=f"run {run.id}")
            return run

    def all(self, caller: Caller) -> list[BulkRun]:
        """Return the runs that are remembered and that the caller may see, newest first."""
        return [each for each in self._runs if each.change.filter.scope.within(caller.scope)]

    def find(self, caller: Caller, number: int) -> BulkRun:
        """Return a run that is remembered. Raises NotFoundError."""
        run = next((each for each in self.all(caller) if each.id == number), None)
        if run is None:
            raise NotFoundError(f"{number}: no run of this process has this number")
        return run

    async def cancel(self, caller: Caller, run: BulkRun) -> None:
        """End a run after its current step, even if a store in trouble cannot keep the audit entry."""
        if run.state == "running":
            run.state = "cancelled"
            await self._audit.passed(caller, Action.CANCEL, Subject.RUN, str(run.id))

    async def close(self) -> None:
        """Cancel the run that is under way, and wait for the end of its step."""
        for run in self._runs:
            if run.state == "running":
                run.state = "cancelled"
        if self._running:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _work(self, run: BulkRun, who: Who) -> None:
        failures = 0
        while run.state == "running":
            step = partial(run.change.step, who=who, progress=run.progress, now=self._clock())
            try:
                run.progress = await self._query_threads.change(step)
            except StoreUnavailableError as error:
                failures += 1
                if failures >= TRIES:
                    run.state, run.error = "failed", str(error)
                await asyncio.sleep(STORE_RETRY_SECONDS)
                continue
            except Exception as error:
                run.state, run.error = "failed", "a fault of the program; the log says more"
                log.exception("fault", work="run", run=run.id, exc_info=error)
                return
            failures = 0
            if run.progress.ended:
                run.state = "done" if run.state == "running" else run.state
                break
        log.info("run_ended", run=run.id, state=run.state, done=run.progress.done)


def run_schema(run: BulkRun) -> schemas.RunSchema:
    """Return the API's description of a run."""
    return schemas.RunSchema.model_validate(
        {
            "id": run.id,
            "action": run.change.act.value,
            "chosen": run.change.chosen(),
            "state": run.state,
            "total": run.progress.extent.count,
            "done": run.progress.done,
            "refused": run.progress.refused,
            "error": run.error,
        }
    )


ASKED_LIMIT = 20_000
"""Maximum number of records that one destination is asked about, the newest: 200 calls."""
PAUSE_SECONDS = 1.0
"""Seconds between two calls to one destination, because the process of its lane may need its whole limit."""


@dataclass(slots=True)
class Inquiry:
    """A check in the background that the destinations still hold their records. Changes while it is running."""

    id: int
    span: str
    """The time before its beginning that it looks at, as a duration: `24h`."""
    entry: int
    """Id of its audit entry."""
    result: Reconciliation
    """Counts and answers so far."""
    state: str = "running"
    error: str | None = None
    total: int = 0
    """Number of records to ask about, once they are counted."""

    @property
    def asked(self) -> int:
        """Number of records that the destinations were asked about."""
        return sum(each.asked for each in self.result.answers.values())


class Inquiries:
    """All inquiries of this process. Lives in the loop's thread."""

    def __init__(
        self,
        store: Store,
        query_threads: QueryThreads,
        audit: AuditLog,
        lanes: Lanes,
        config: Callable[[], Config],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._query_threads = query_threads
        self._audit = audit
        self._lanes = lanes
        self._config = config
        self._clock = clock
        self._all: deque[Inquiry] = deque(maxlen=KEPT)
        self._running: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()

    async def begin(self, caller: Caller, span: str) -> Inquiry:
        """Begin an inquiry; one at a time, because each uses the destinations' rate limits. Raises ConflictError."""
        async with self._beginning:
            if self._running and not self._running.done():
                raise ConflictError("another inquiry is under way: wait for its end, or cancel it")
            number = self._all[0].id + 1 if self._all else 1
            entry = await self._audit.note(caller, Action.INQUIRE, Subject.INQUIRY, str(number), 0, span=span)
            result = Reconciliation(self._clock() - parse_duration(span), scope=caller.scope)
            inquiry = Inquiry(number, span, entry, result)
            self._all.appendleft(inquiry)
            work = self._work(inquiry)
            self._running = asyncio.get_running_loop().create_task(work, name=f"inquiry {number}")
            return inquiry

    def all(self, caller: Caller) -> list[Inquiry]:
        """Return the inquiries that are remembered and that the caller may see, newest first."""
        return [each for each in self._all if each.result.scope.within(caller.scope)]

    def find(self, caller: Caller, number: int) -> Inquiry:
        """Return an inquiry that is remembered. Raises NotFoundError."""
        inquiry = next((each for each in self.all(caller) if each.id == number), None)
        if inquiry is None:
            raise NotFoundError(f"{number}: no inquiry of this process has this number")
        return inquiry

    async def cancel(self, caller: Caller, inquiry: Inquiry) -> None:
        """End an inquiry after its current calls."""
        if inquiry.state == "running":
            inquiry.state = "cancelled"
            await self._audit.passed(caller, Action.CANCEL, Subject.INQUIRY, str(inquiry.id))

    async def close(self) -> None:
        """Cancel the inquiry that is under way; it changes nothing."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _work(self, inquiry: Inquiry) -> None:
        try:
            await inquiry.result.count(self._query_threads.ask, lambda: inquiry.state == "running")
            if inquiry.state == "running":
                await self._ask(inquiry)
        except StoreUnavailableError as error:
            inquiry.state, inquiry.error = "failed", str(error)
        except Exception as error:
            inquiry.state, inquiry.error = "failed", "a fault of the program; the log says more"
            log.exception("fault", work="inquiry", inquiry=inquiry.id, exc_info=error)
        else:
            inquiry.state = "done" if inquiry.state == "running" else inquiry.state
        log.info("inquiry_ended", inquiry=inquiry.id, state=inquiry.state, asked=inquiry.asked)

    async def _ask(self, inquiry: Inquiry) -> None:
        """Write the number of records to the audit entry, then ask the destinations."""
        config = self._config()
        inquiry.total = inquiry.result.prepare(config, ASKED_LIMIT)
        await self._query_threads.change(partial(audit_log.add, entry=inquiry.entry, count=inquiry.total))

        def going(destination: Destination) -> bool:
            # A destination with a new configuration has a new connector, and the old one is closed.
            return inquiry.state == "running" and self._config().destinations.get(destination.name) is destination

        terms = CheckTerms(self._opened, self._clock, going, ASKED_LIMIT, PAUSE_SECONDS)
        await inquiry.result.ask(config, self._query_threads.ask, terms)

    @asynccontextmanager
    async def _opened(self, destination: Destination) -> AsyncIterator[None]:
        """Open the connector unless a lane of this process has done so; it is closed with its lane."""
        if destination.name not in self._lanes.destinations:
            destination.connector.open(StoreVault(self._store, destination.name, self._clock))
        yield
