"""Sends the configured reports when they are due. Runs beside the traffic, in each process.

A process notes a report in the store before it sends it, so a report is sent once, also by several processes and across
restarts. A report that was due while no process ran is sent late, and only the newest one. A report that was noted and
has not reached a receiver is a problem (`bridge.operations.problems`), and a person sends it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection

from bridge.alerts.targets import SEND_SECONDS, Message, in_thread, send_message
from bridge.config.model import Config, ReportSettings
from bridge.errors import StoreUnavailableError
from bridge.store.filter import Scope
from bridge.store.interface import Store
from bridge.store.report_log import ReportRow, add_reports, note_try, report_rows, take_report

if TYPE_CHECKING:
    from bridge.operations.report import Report

CHECK_SECONDS = 30.0
AT_ONCE = 4
"""Reports that are sent at once: a mail server may refuse many connections."""

log = structlog.get_logger()

ReportQuery = Callable[[Callable[[Connection], "Report"]], Awaitable["Report"]]
"""Queries the store beside the traffic; raises StoreUnavailableError."""
Send = Callable[[str, Message], str | None]
"""Sends a message to a target: blocking, from any thread. Returns the reason of a failure, or None."""


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
        self._places = asyncio.Semaphore(AT_ONCE)

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
        configured = self._config().reports
        if not configured:
            return
        now = self._clock()
        rows = await self._store.query(report_rows)
        dues = {name: last_due(each, now) for name, each in configured.items()}
        if new := {name: due_at for name, due_at in dues.items() if name not in rows}:
            # Nothing is owed for the time before a report was configured.
            await self._store.change(partial(add_reports, new=new, now=now))
        due = [name for name, due_at in dues.items() if name in rows and rows[name].due_at < due_at]
        await asyncio.gather(*(self._send_due(configured[name], dues[name]) for name in due))

    async def send_left(self, row: ReportRow) -> Mapping[str, str]:
        """Send a report that was taken to the receivers that are left. Returns the failures by receiver."""
        settings = self._config().reports[row.name]
        return await self._send_taken(settings, row, await self._message(settings, row.due_at))

    async def _send_due(self, settings: ReportSettings, due_at: float) -> None:
        # Made before it is taken: from then on, a failure is a matter for a person.
        message, now = await self._message(settings, due_at), self._clock()
        receivers = sorted(settings.receivers)
        take = partial(take_report, name=settings.name, due_at=due_at, receivers=receivers, now=now)
        if await self._store.change(take):
            await self._send_taken(settings, ReportRow(settings.name, due_at, frozenset(receivers), now), message)

    async def _message(self, settings: ReportSettings, due_at: float) -> Message:
        # Imported with the first report, because they are large.
        from bridge.alerts.report_text import report_message  # noqa: PLC0415
        from bridge.operations.report import read_report, span_before  # noqa: PLC0415

        read = partial(
            read_report,
            config=self._config(),
            span=span_before(due_at),
            now=self._clock(),
            scope=Scope(settings.chatbots),
        )
        return report_message(settings.name, await self._ask(read))

    async def _send_taken(self, settings: ReportSettings, row: ReportRow, message: Message) -> Mapping[str, str]:
        left = {label: url for label, url in settings.receivers.items() if label in row.left}
        failures = await asyncio.gather(*(self._send_to(row, label, url, message) for label, url in left.items()))
        return {label: failure for label, failure in zip(left, failures, strict=True) if failure is not None}

    async def _send_to(self, row: ReportRow, label: str, url: str, message: Message) -> str | None:
        failure: str | None = f"no answer within {SEND_SECONDS:g} s"
        async with self._places:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    failure = await in_thread(partial(self._send, url, message))
        if failure is None:
            log.info("report_sent", target=label)
        else:
            log.error("report_not_sent", target=label, failure=failure)
        note = partial(note_try, report=row, receiver=label, now=self._clock(), sent=failure is None)
        await self._store.change(note)
        return failure


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
