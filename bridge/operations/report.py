"""The report for people: leads, deliveries and speed of some days by chatbot, and the current problems. Reads only.

The dashboard shows it, `leadbridge report` prints it, and `bridge.alerts.reporter` sends it each week.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.errors import ConflictError, NotFoundError, did_you_mean
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.operations.figures import plural
from bridge.operations.problems import Problem, find_problems
from bridge.operations.tally import TallyTotals, period_totals
from bridge.store import audit_log, report_log
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.report_log import ReportRow
from bridge.store.tally import DAY, day_of

WEEK: Final = 7


@dataclass(frozen=True, slots=True)
class ReportSpan:
    """The days of a report, as days since the epoch, UTC."""

    first: int
    end: int
    """The day after the last one."""

    @property
    def days(self) -> int:
        """Number of days."""
        return self.end - self.first

    @property
    def first_date(self) -> date:
        """The first day."""
        return datetime.fromtimestamp(self.first * DAY, UTC).date()

    @property
    def last_date(self) -> date:
        """The last day."""
        return datetime.fromtimestamp((self.end - 1) * DAY, UTC).date()


@dataclass(frozen=True, slots=True)
class ReportLine:
    """Numbers of a chatbot, or of all together, and those of the equally long period before."""

    chatbot: str | None
    numbers: TallyTotals
    before: TallyTotals


@dataclass(frozen=True, slots=True)
class Report:
    """A report."""

    span: ReportSpan
    whole: ReportLine
    chatbots: Sequence[ReportLine]
    """Those with most leads first."""
    problems: Sequence[Problem]
    """Present problems, the worst first."""


def span_until_today(now: float, days: int) -> ReportSpan:
    """Return the last days; the last one is today, which is not over."""
    return ReportSpan(day_of(now) + 1 - days, day_of(now) + 1)


def span_before(moment: float, days: int = WEEK) -> ReportSpan:
    """Return the whole days before the day of a moment."""
    return ReportSpan(day_of(moment) - days, day_of(moment))


def read_report(
    connection: Connection, config: Config, span: ReportSpan, now: float, scope: Scope = EVERYTHING
) -> Report:
    """Read a report about the chatbots of a scope, those that are no longer configured included."""
    found = period_totals(connection, span.end * DAY - 1.0, span.days, scope)
    # Without the events of no known chatbot, which are no leads.
    known = {*config.chatbots, *(name for name in found.chatbots if name)} if scope.chatbots is None else scope.chatbots
    lines = [ReportLine(name, *found.pair(name)) for name in known]
    return Report(
        span,
        ReportLine(None, found.whole, found.before),
        sorted(lines, key=lambda each: (-each.numbers.received, each.chatbot or "")),
        find_problems(connection, config, now, scope=scope),
    )


def take_left(
    connection: Connection, who: Who, name: str, config: Config, now: float
) -> tuple[ReportRow, ActionResult]:
    """Take a report that was noted and has not reached all its receivers, to send it to these.

    Raises NotFoundError for a report that is not configured, and ConflictError if no receiver misses it.
    """
    if name not in config.reports:
        raise NotFoundError(f"{name}: the configuration has no such report{did_you_mean(name, config.reports)}")
    row = report_log.take_unsent(connection, name, now)
    if row is None:
        raise ConflictError(f"{name}: no receiver misses this report, or it is being sent")
    entry = Entry(who, Action.SEND_REPORT, Subject.REPORT, name, len(row.left))
    audit_log.add_entry(connection, entry, now)
    line = f"{name}: sent to {plural(len(row.left), 'receiver', 'receivers')}"
    return row, ActionResult((line,), (entry,))
