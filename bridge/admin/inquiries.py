"""Asking destinations whether they still hold what they were given: beside the traffic, watched, and cancelled.

An inquiry lives in this process and changes nothing, so that nothing is lost if it ends early.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from bridge.admin.audit_log import AuditLog
from bridge.admin.desk import Desk
from bridge.admin.login import Caller
from bridge.asking import Asking, ask_all
from bridge.audit import Action, Subject
from bridge.config.model import Config, Destination
from bridge.config.units import parse_duration
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.lanes import Lanes
from bridge.reconciliation import Answered, Counted, DeliveredPage, Line, lines, steps
from bridge.store import auditing, reconciling
from bridge.store.base import Store
from bridge.store.search import SPAN, seq_at
from bridge.vault import StoreVault

KEPT = 20
"""Inquiries that are remembered after their end."""
ASKED_LIMIT = 20_000
"""The most records that one destination is asked for, the newest: 200 calls."""
PAUSE_SECONDS = 1.0
"""Between two calls to one destination: whichever process works its lane may need all of its limit."""

log = structlog.get_logger()


@dataclass(slots=True)
class Inquiry:
    """One inquiry. Changes while it is running."""

    id: int
    span: str
    """How far back, as a duration: `24h`."""
    at: float
    """When it began."""
    entry: int
    """The id of its entry in the audit log."""
    state: str = "running"
    error: str | None = None
    counted: Counted = field(default_factory=Counted)
    total: int = 0
    """Records that are to be asked for, once they are counted."""
    answered: dict[str, Answered] = field(default_factory=dict)
    """By destination."""

    @property
    def since(self) -> float:
        """The time from which on events are looked at."""
        return self.at - parse_duration(self.span)

    @property
    def asked(self) -> int:
        """Give how many records have been asked for."""
        return sum(each.asked for each in self.answered.values())

    def lines(self) -> list[Line]:
        """Give what is known so far, by chatbot and destination."""
        return lines(self.counted, self.answered)


class Inquiries:
    """All inquiries of this process. Lives in the loop's thread."""

    def __init__(
        self,
        store: Store,
        desk: Desk,
        audit: AuditLog,
        lanes: Lanes,
        config: Callable[[], Config],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._desk = desk
        self._audit = audit
        self._lanes = lanes
        self._config = config
        self._clock = clock
        self._all: deque[Inquiry] = deque(maxlen=KEPT)
        self._running: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()

    async def begin(self, caller: Caller, span: str) -> Inquiry:
        """Begin one; one at a time, since each takes a part of the destinations' limits. Raises OperatorError."""
        async with self._beginning:
            if self._running and not self._running.done():
                raise OperatorError("another inquiry is under way: wait for its end, or cancel it")
            number = self._all[0].id + 1 if self._all else 1
            entry = await self._audit.note(caller, Action.INQUIRE, Subject.INQUIRY, str(number), 0, span=span)
            inquiry = Inquiry(number, span, self._clock(), entry)
            self._all.appendleft(inquiry)
            work = self._work(inquiry)
            self._running = asyncio.get_running_loop().create_task(work, name=f"inquiry {number}")
            return inquiry

    def all(self) -> list[Inquiry]:
        """Give those that are remembered, newest first."""
        return list(self._all)

    def find(self, number: int) -> Inquiry | None:
        """Give one of them."""
        return next((each for each in self._all if each.id == number), None)

    async def cancel(self, caller: Caller, inquiry: Inquiry) -> None:
        """Have one end after the calls that it is at."""
        if inquiry.state == "running":
            inquiry.state = "cancelled"
            await self._audit.passed(caller, Action.CANCEL, Subject.INQUIRY, str(inquiry.id))

    async def close(self) -> None:
        """Cut off what is running: it changes nothing."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _work(self, inquiry: Inquiry) -> None:
        try:
            first = await self._count(inquiry)
            if inquiry.state == "running":
                await self._ask(inquiry, first)
        except StoreUnavailableError as error:
            inquiry.state, inquiry.error = "failed", str(error)
        except Exception as error:
            inquiry.state, inquiry.error = "failed", "a fault of the program; the log says more"
            log.exception("fault", work="inquiry", inquiry=inquiry.id, exc_info=error)
        else:
            inquiry.state = "done" if inquiry.state == "running" else inquiry.state
        log.info("inquiry_ended", inquiry=inquiry.id, state=inquiry.state, asked=inquiry.asked)

    async def _count(self, inquiry: Inquiry) -> int:
        """Count all that was received, in steps, so that others need not wait; gives the number of the first."""
        first = await self._desk.ask(partial(seq_at, moment=inquiry.since))
        last = await self._desk.ask(reconciling.last_event)
        for start, end in steps(first, last, SPAN):
            if inquiry.state != "running":
                break
            inquiry.counted += await self._desk.ask(partial(reconciling.count, first=start, last=end))
        return first

    async def _ask(self, inquiry: Inquiry, first: int) -> None:
        """Ask the destinations that were given something, after it has been written down for how many records."""
        config = self._config()
        given = {name: min(inquiry.counted.delivered(name), ASKED_LIMIT) for name in config.destinations}
        inquiry.total = sum(given.values())
        inquiry.answered = {name: Answered() for name in given}
        await self._desk.change(partial(auditing.add, entry=inquiry.entry, count=inquiry.total))

        async def read(name: str, before: int | None) -> DeliveredPage:
            asked = partial(reconciling.delivered, destination=name, first=first, before=before)
            return await self._desk.ask(asked)

        def going(destination: Destination) -> bool:
            # One that has been configured anew has another connector, and the old one is closed.
            return inquiry.state == "running" and self._config().destinations.get(destination.name) is destination

        wanted: Mapping[str, Answered] = {name: inquiry.answered[name] for name in given if given[name]}
        asking = Asking(read, self._opened, self._clock, going, ASKED_LIMIT, PAUSE_SECONDS)
        await ask_all(asking, config, wanted)

    @asynccontextmanager
    async def _opened(self, destination: Destination) -> AsyncIterator[None]:
        """Have the connector know its vault, where no lane here has told it; it is closed when its lane would be."""
        if destination.name not in self._lanes.destinations:
            destination.connector.open(StoreVault(self._store, destination.name, self._clock))
        yield
