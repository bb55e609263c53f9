"""The log of reports: for which time each one was sent last, and the receivers that may not have got it.

A process notes a report before it sends it, in one statement, so that no report goes out twice. If the process dies in
between, the receivers stay noted as `left`. Then the report is a problem, and a person decides about it.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson
from sqlalchemy import Connection, Row, delete, select, update

from bridge.store.schema import reports
from bridge.store.transaction import insert_missing

SENDING_SECONDS: Final = 300.0
"""Seconds after the last try from which a report with receivers left is no longer being sent."""
FORGOTTEN_SECONDS: Final = 60 * 86_400.0
"""Age of the last sending of a report that is forgotten: it is no longer configured."""


class ReportRow(NamedTuple):
    """The last sending of a report."""

    name: str
    due_at: float
    """Time for which it was sent. Until the first one: a time before the report was configured."""
    left: frozenset[str]
    """Receivers that are not noted as having it, by their labels in the configuration."""
    tried_at: float
    """Time of the last step of the sending."""

    def is_unsent(self, now: float) -> bool:
        """Return whether receivers are left and nobody sends it any more."""
        return bool(self.left) and self.tried_at <= now - SENDING_SECONDS


def report_rows(connection: Connection) -> dict[str, ReportRow]:
    """Return the last sending of each known report."""
    return {row.name: _row(row) for row in connection.execute(select(reports))}


def add_reports(connection: Connection, new: Mapping[str, float], now: float) -> None:
    """Add reports, each with the last time for which nothing is owed. Forget those of long ago."""
    insert_missing(connection, reports, [{"name": name, "due_at": at} for name, at in sorted(new.items())])
    connection.execute(delete(reports).where(reports.c.due_at < now - FORGOTTEN_SECONDS))


def take_report(connection: Connection, name: str, due_at: float, receivers: Sequence[str], now: float) -> bool:
    """Take a report that is due, to send it. Returns False if another process has taken it."""
    values = {"due_at": due_at, "left": orjson.dumps(receivers).decode(), "tried_at": now}
    owed = reports.c.name == name, reports.c.due_at < due_at
    return connection.execute(update(reports).where(*owed).values(values)).rowcount == 1


def take_unsent(connection: Connection, name: str, now: float) -> ReportRow | None:
    """Take a report whose sending has ended with receivers left, to send it to these. Returns None if there is none."""
    unsent = reports.c.name == name, reports.c.left != "[]", reports.c.tried_at <= now - SENDING_SECONDS
    row = connection.execute(update(reports).where(*unsent).values(tried_at=now).returning(*reports.c)).one_or_none()
    return None if row is None else _row(row)


def note_try(connection: Connection, report: ReportRow, receiver: str, now: float, *, sent: bool) -> None:
    """Note whether a receiver has got a report. A newer report in its place stays as it is."""
    this = reports.c.name == report.name, reports.c.due_at == report.due_at
    row = connection.execute(select(reports).where(*this).with_for_update()).one_or_none()
    if row is not None:
        left = _row(row).left - ({receiver} if sent else set())
        values = {"left": orjson.dumps(sorted(left)).decode(), "tried_at": now}
        connection.execute(update(reports).where(*this).values(values))


def _row(row: Row[tuple[str, float, str, float]]) -> ReportRow:
    return ReportRow(row.name, row.due_at, frozenset(orjson.loads(row.left)), row.tried_at)
