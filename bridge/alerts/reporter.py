"""Sends the configured reports when they are due. Runs beside the traffic, in each process.

The store remembers for which time each receiver has got a report, so a report is sent once, also by several processes
and across restarts. A report that was due while no process ran is sent late, and only the newest one. A receiver that
does not take it is tried again. Only a process that dies between the sending and its note lets a report be sent twice.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection

from bridge.alerts.targets import SEND_SECONDS, Message, in_thread, send_message, target_label
from bridge.config.model import Config, ReportSettings
from bridge.errors import StoreUnavailableError
from bridge.store.interface import Store
from bridge.store.report_log import ReportTarget, claim_report, note_sent, set_targets, target_states

if TYPE_CHECKING:
    from bridge.identity import Identity
    from bridge.operations.report import Report

CHECK_SECONDS = 30.0
CLAIM_SECONDS = 300.0
"""Seconds for which a process claims a report. After a failure nobody tries it again before."""
AT_ONCE = 4
"""Reports that are sent at once: a mail server may refuse many connections."""
STOP_SECONDS = 5.0
"""Seconds that a stop waits for a report that is being sent."""

log = structlog.get_logger()

ReportQuery = Callable[[Callable[[Connection], "Report"]], Awaitable["Report"]]
"""Queries the store beside the traffic; raises StoreUnavailableError."""
Send = Callable[[str, Message], str | None]
"""Sends a message to a target: blocking, from any thread. Returns the reason of a failure, or None."""


@dataclass(frozen=True, slots=True, repr=False)
class _Receiver:
    """A receiver of a report; its address is a secret."""

    settings: ReportSettings
    url: str
    label: str
    """Name for the log."""


class Reporter:
    """Sender in the event loop's thread.

    Args:
        config: Returns the configuration in use.
        store: The store, which remembers what was sent.
        ask: Queries the store.
        clock: Returns seconds since the epoch.
        send: Sends a message.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        store: Store,
        ask: ReportQuery,
        clock: Callable[[], float],
        send: Send = send_message,
    ) -> None:
        self._config = config
        self._store = store
        self._ask = ask
        self._clock = clock
        self._send = send
        self._identity: Identity | None = None
        self._places = asyncio.Semaphore(AT_ONCE)
        self._sent: dict[ReportTarget, float] = {}
        """Reports that were sent, each with its time, until the store has noted it."""

    async def run(self) -> None:
        """Send the due reports until cancelled."""
        while True:
            try:
                await self.check()
            except StoreUnavailableError as error:
                log.warning("reports_wait_for_store", error=str(error))
            await asyncio.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Send the due reports. Raises StoreUnavailableError."""
        if not self._config().reports:
            return
        now = self._clock()
        for target, due_at in list(self._sent.items()):
            await self._note(target, due_at)
        receivers = await self._receivers()
        states = await self._store.query(target_states)
        dues = {target: last_due(each.settings, now) for target, each in receivers.items()}
        new = {target: due_at for target, due_at in dues.items() if target not in states}
        if new:
            # Nothing is owed for the time before a receiver was configured.
            await self._store.change(partial(set_targets, new=new, now=now))
        due = [
            self._send_due(target, each, dues[target])
            for target, each in receivers.items()
            if target in states and states[target].sent_for < dues[target] and states[target].claimed_until <= now
        ]
        await asyncio.gather(*due)

    async def _receivers(self) -> Mapping[ReportTarget, _Receiver]:
        config = self._config()
        if self._identity is None:
            self._identity = await self._store.identity(config.store.identity_key)
        digest = self._identity.digest
        return {
            ReportTarget(name, digest(url.encode())): _Receiver(settings, url, target_label(at, url, f"reports.{name}"))
            for name, settings in config.reports.items()
            for at, url in enumerate(settings.to)
        }

    async def _send_due(self, target: ReportTarget, to: _Receiver, due_at: float) -> None:
        async with self._places:
            await self._send_alone(target, to, due_at)

    async def _send_alone(self, target: ReportTarget, to: _Receiver, due_at: float) -> None:
        # Others may have taken their time.
        now = self._clock()
        claim = partial(claim_report, target=target, due_at=due_at, now=now, until=now + CLAIM_SECONDS)
        if not await self._store.change(claim):
            return
        work = asyncio.ensure_future(self._send_claimed(target, to, due_at, now))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            # The process stops: a report on its way is noted, so that the next process does not send it again.
            await asyncio.wait({work}, timeout=STOP_SECONDS)
            work.cancel()
            raise

    async def _send_claimed(self, target: ReportTarget, to: _Receiver, due_at: float, now: float) -> None:
        # Imported with the first report, because they are large.
        from bridge.alerts.report_text import report_message  # noqa: PLC0415
        from bridge.operations.report import read_report, span_before  # noqa: PLC0415

        settings = to.settings
        read = partial(
            read_report, config=self._config(), span=span_before(due_at), now=now, chatbots=settings.chatbots
        )
        message = report_message(settings.name, await self._ask(read))
        failure: str | None = f"no answer within {SEND_SECONDS:g} s"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEND_SECONDS):
                failure = await in_thread(partial(self._send, to.url, message))
        if failure is not None:
            log.error("report_not_sent", target=to.label, failure=failure)
            return
        log.info("report_sent", target=to.label)
        self._sent[target] = due_at
        await self._note(target, due_at)

    async def _note(self, target: ReportTarget, due_at: float) -> None:
        await self._store.change(partial(note_sent, target=target, due_at=due_at))
        del self._sent[target]


def last_due(settings: ReportSettings, now: float) -> float:
    """Return the last time at which a report was or is due. Pure."""
    local = datetime.fromtimestamp(now, settings.time_zone)
    day = local.date() - timedelta(days=(local.weekday() - settings.every.weekday) % 7)
    this_week = _moment(settings, day)
    return this_week if this_week <= now else _moment(settings, day - timedelta(weeks=1))


def _moment(settings: ReportSettings, day: date) -> float:
    """Return the time of a report on a day by the clock on the wall, so that it is the same hour all year."""
    every = settings.every
    at = datetime(day.year, day.month, day.day, every.hour, every.minute, tzinfo=settings.time_zone)
    return at.timestamp()
