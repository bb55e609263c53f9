"""Pauses of lanes that are over: when each began and ended, who paused, and why.

A row is written in the transaction that ends the pause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from bridge.store.encryption import keys_of
from bridge.store.schema import lanes, pauses

KEPT: Final = 50
"""Most pauses of a lane that are kept: the newest ones."""


@dataclass(frozen=True, slots=True)
class PastPause:
    """A pause that is over."""

    since: float
    ended_at: float
    by: str
    """`operator` or `lane`."""
    reason: str | None
    """A word of `connectors.base.Reason`; None for an operator's pause."""


def keep_pause(connection: Connection, name: str, now: float, *, by: str | None = None) -> None:
    """Keep the current pause of a lane as one that is over.

    Args:
        connection: In the transaction that ends or replaces the pause.
        name: Name of the lane.
        now: End of the pause.
        by: The only author whose pause is kept; None for every author.
    """
    row = connection.execute(select(lanes).where(lanes.c.name == name).with_for_update()).one_or_none()
    if row is None or row.paused_by is None or row.paused_since is None or by not in {None, row.paused_by}:
        return
    own = pauses.c.lane == name
    connection.execute(delete(pauses).where(own, pauses.c.since == row.paused_since))
    reason = keys_of(connection).open_text(row.pause_reason, "lanes.pause_reason", name)
    connection.execute(
        insert(pauses).values(
            lane=name,
            since=row.paused_since,
            ended_at=max(now, row.paused_since),
            paused_by=row.paused_by,
            reason=None if row.paused_by == "operator" else reason,
        )
    )
    # A lane that stops and goes on all day must not fill the table.
    newest = select(pauses.c.since).where(own).order_by(pauses.c.since.desc()).limit(KEPT)
    connection.execute(delete(pauses).where(own, pauses.c.since.not_in(newest.scalar_subquery())))


def past_pauses(connection: Connection, name: str, limit: int = KEPT) -> Sequence[PastPause]:
    """Return the pauses of a lane that are over, newest first."""
    query = select(pauses).where(pauses.c.lane == name).order_by(pauses.c.since.desc()).limit(limit)
    return [PastPause(row.since, row.ended_at, row.paused_by, row.reason) for row in connection.execute(query)]
