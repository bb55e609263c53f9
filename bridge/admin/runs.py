"""Actions on many deliveries: done in steps beside the traffic, watched, and cancelled.

A run lives in this process. What its steps have done stays done if it is cancelled or the process ends; the same run
begun again goes on with the rest, for only deliveries in the state that was asked for are touched.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from bridge.admin import shapes
from bridge.admin.audit_log import AuditLog
from bridge.admin.desk import Desk
from bridge.admin.login import Caller
from bridge.admin.reader import Reader
from bridge.admin.sources import Asked
from bridge.admin.views import View
from bridge.audit import Action, Subject
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store import bulk
from bridge.store.bulk import Act, Chosen

KEPT = 20
"""Runs that are remembered after their end."""
TRIES = 5
"""How often a step is tried while the store is in trouble."""
TROUBLE_SECONDS = 1.0
"""How long it waits in between."""

_ACTIONS = {Act.REPLAY: Action.REPLAY_ALL, Act.DISCARD: Action.DISCARD_ALL}

log = structlog.get_logger()


@dataclass(slots=True)
class Run:
    """One run. Changes while it is running."""

    id: int
    act: Act
    chosen: Chosen
    total: int
    done: int = 0
    state: str = "running"
    error: str | None = None
    after: int = 0
    """The id of the last delivery that is done."""
    entry: int = 0
    """The id of its entry in the audit log, which counts what it has done."""


class Runs:
    """All runs of this process. Lives in the loop's thread."""

    def __init__(self, desk: Desk, reader: Reader, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._reader = reader
        self._audit = audit
        self._clock = clock
        self._runs: deque[Run] = deque(maxlen=KEPT)
        self._number = 0
        self._running: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()

    async def preview(self, chosen: Chosen, through: int | None = None) -> bulk.Extent:
        """Count what a run would touch."""
        return await self._reader.do(Asked(View(bulk.extent, {"chosen": chosen, "through": through})))

    async def begin(self, caller: Caller, act: Act, chosen: Chosen, through: int | None) -> Run:
        """Begin a run; one at a time, else two could undo each other. Raises OperatorError."""
        found = await self.preview(chosen, through)
        async with self._beginning:
            if self._running and not self._running.done():
                raise OperatorError("another run is under way: wait for its end, or cancel it")
            run = Run(self._number + 1, act, chosen, found.count)
            facts: dict[str, str | int] = {"of": run.total, "through": found.through, **shown(chosen)}
            run.entry = await self._audit.note(caller, _ACTIONS[act], Subject.RUN, str(run.id), 0, **facts)
            self._number = run.id
            self._runs.appendleft(run)
            work = self._work(run, found.through)
            self._running = asyncio.get_running_loop().create_task(work, name=f"run {run.id}")
            return run

    def all(self) -> list[Run]:
        """Give those that are remembered, newest first."""
        return list(self._runs)

    def find(self, number: int) -> Run | None:
        """Give one of them."""
        return next((run for run in self._runs if run.id == number), None)

    async def cancel(self, caller: Caller, run: Run) -> None:
        """Have a run end after the step that it is at, also where a store in trouble cannot keep that it was wanted."""
        if run.state == "running":
            run.state = "cancelled"
            await self._audit.passed(caller, Action.CANCEL, Subject.RUN, str(run.id))

    async def close(self) -> None:
        """Cancel what is running, and wait for the end of its step."""
        for run in self._runs:
            if run.state == "running":
                run.state = "cancelled"
        if self._running:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _work(self, run: Run, through: int) -> None:
        failures = 0
        while run.state == "running":
            step = partial(
                bulk.step,
                chosen=run.chosen,
                act=run.act,
                after=run.after,
                through=through,
                entry=run.entry,
                now=self._clock(),
            )
            try:
                ids = await self._desk.change(step)
            except StoreUnavailableError as error:
                failures += 1
                if failures >= TRIES:
                    run.state, run.error = "failed", str(error)
                await asyncio.sleep(TROUBLE_SECONDS)
                continue
            except Exception as error:
                run.state, run.error = "failed", "a fault of the program; the log says more"
                log.exception("fault", work="run", run=run.id, exc_info=error)
                return
            failures = 0
            if not ids:
                run.state = "done" if run.state == "running" else run.state
                break
            run.done += len(ids)
            run.after = ids[-1]
        log.info("run_ended", run=run.id, state=run.state, done=run.done)


def shown(chosen: Chosen) -> dict[str, str]:
    """Give what chooses, without what does not."""
    given = {
        "state": chosen.state.value,
        "chatbot": chosen.chatbot,
        "destination": chosen.destination,
        "reason": chosen.reason,
    }
    return {name: value for name, value in given.items() if value is not None}


def run_shape(run: Run) -> shapes.Run:
    """Show a run."""
    return shapes.Run.model_validate(
        {
            "id": run.id,
            "action": run.act.value,
            "chosen": shown(run.chosen),
            "state": run.state,
            "total": run.total,
            "done": run.done,
            "error": run.error,
        }
    )
