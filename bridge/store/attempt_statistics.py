"""Calls to a destination: how many of the latest failed, and how long they took. Reads only, bounded."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from bridge.store.key_range import key_ends
from bridge.store.schema import attempts, deliveries, events
from bridge.store.search import SPAN

NEWEST: Final = 500
"""Most deliveries whose attempts are counted: the newest ones."""


@dataclass(frozen=True, slots=True)
class AttemptStatistics:
    """The attempts of the newest deliveries to a destination."""

    count: int = 0
    failed: int = 0
    typical: float | None = None
    """Seconds that half of them took at most; None without any."""
    slow: float | None = None
    """Seconds that 95 of 100 took at most."""
    since: float | None = None
    """Beginning of the first of them."""

    @property
    def error_rate(self) -> float | None:
        """Part of them that failed; None without any."""
        return self.failed / self.count if self.count else None


def attempt_statistics(
    connection: Connection, destination: str, only: AbstractSet[str] | None = None
) -> AttemptStatistics:
    """Read the attempts of the newest deliveries to a destination; with `only`, of those of these chatbots."""
    low = key_ends(connection, deliveries.c.id)[1] - SPAN
    newest = select(deliveries.c.id).where(deliveries.c.destination == destination, deliveries.c.id >= low)
    if only is not None:
        newest = newest.join(events, events.c.seq == deliveries.c.event_seq).where(events.c.chatbot.in_(only))
    chosen = newest.order_by(deliveries.c.id.desc()).limit(NEWEST).subquery("chosen")
    query = select(attempts.c.started_at, attempts.c.duration, attempts.c.outcome).join(
        chosen, chosen.c.id == attempts.c.delivery_id
    )
    rows = connection.execute(query).all()
    if not rows:
        return AttemptStatistics()
    times = sorted(row.duration for row in rows)
    return AttemptStatistics(
        len(rows),
        sum(row.outcome != "delivered" for row in rows),
        times[(len(times) - 1) // 2],
        times[(len(times) * 95 + 99) // 100 - 1],
        min(row.started_at for row in rows),
    )
