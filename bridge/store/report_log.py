"""The log of sent reports: for which time each receiver has got one, and who is sending at the moment.

Several processes share it. One of them claims a report in a single statement and sends it; the others find it claimed.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, select, update

from bridge.store.schema import reports
from bridge.store.transaction import insert_missing

FORGOTTEN_SECONDS: Final = 60 * 86_400.0
"""Age of the last report of a receiver that is forgotten: it is no longer configured."""


class ReportTarget(NamedTuple):
    """A receiver of a report."""

    name: str
    """Name of the report."""
    target: bytes
    """Keyed hash of the receiver's address."""


class TargetState(NamedTuple):
    """State of a receiver."""

    sent_for: float
    """Time for which it has got the last report."""
    claimed_until: float


def target_states(connection: Connection) -> dict[ReportTarget, TargetState]:
    """Return the state of each known receiver."""
    rows = connection.execute(select(reports))
    return {ReportTarget(row.name, bytes(row.target)): TargetState(row.sent_for, row.claimed_until) for row in rows}


def set_targets(connection: Connection, new: Mapping[ReportTarget, float], now: float) -> None:
    """Add receivers, each with the last time that it owes no report for. Forget those of long ago."""
    insert_missing(connection, reports, [{**each._asdict(), "sent_for": at} for each, at in sorted(new.items())])
    connection.execute(delete(reports).where(reports.c.sent_for < now - FORGOTTEN_SECONDS))


def claim_report(connection: Connection, target: ReportTarget, due_at: float, now: float, until: float) -> bool:
    """Claim the sending of a report until a time. Returns False if it was sent, or if another process sends it."""
    owed = reports.c.sent_for < due_at, reports.c.claimed_until <= now
    claimed = connection.execute(update(reports).where(*_is(target), *owed).values(claimed_until=until))
    return claimed.rowcount == 1


def note_sent(connection: Connection, target: ReportTarget, due_at: float) -> None:
    """Note that a receiver has got the report of a time."""
    connection.execute(update(reports).where(*_is(target)).values(sent_for=due_at, claimed_until=0.0))


def _is(target: ReportTarget) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return reports.c.name == target.name, reports.c.target == target.target
