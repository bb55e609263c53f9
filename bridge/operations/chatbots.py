"""Chatbots as an agency sees them: their leads of a week, what became of these, and who fell silent. Reads only."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection

from bridge.operations.tally import TallyTotals, period_totals
from bridge.store import figures
from bridge.store.figures import LastEvents
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.tally import DAY, day_of

WEEK: Final = 7
TYPICAL: Final = 0.5
"""Part of the deliveries that take no longer than the typical time."""
TREND: Final = 30
"""Days of the trend."""
LOOK_BACK: Final = 60
"""Days in which the usual pauses of a chatbot are looked for."""
REGULAR_DAYS: Final = 5
"""Days with leads from which a chatbot has a usual pause."""
LONGER: Final = 2
"""A chatbot is silent when its pause is longer than this many times its longest one."""
SILENCE_RULE: Final = (
    f"A chatbot is silent when it had leads on at least {REGULAR_DAYS} of the last {LOOK_BACK} days, and now has had "
    "none for more than twice as long as its longest pause in them."
)


@dataclass(frozen=True, slots=True)
class ChatbotSummary:
    """A chatbot and its leads."""

    name: str
    received: int
    """Leads of the last `WEEK` days, today included."""
    received_before: int
    """Leads of the week before."""
    share: float | None
    """Part that arrived of the deliveries of the last `WEEK` days; see `TallyTotals.share`."""
    typical: float | None
    """Seconds within which half of those that arrived did so."""
    waiting: int
    dead: int
    """Dead letters, of whatever age."""
    last_lead_at: float | None
    """Time of the last lead; the beginning of its day if it is not among the newest events."""
    last_signed_at: float | None
    """Time at which a signature is known to have held last."""
    silent: bool
    trend: Sequence[int]
    """Leads of each of the last `TREND` days; the last one is today."""

    @property
    def rank(self) -> tuple[int, int, int, int, str]:
        """Order of a list: silent ones, those with dead letters, those without any lead, then by what waits."""
        kind = 0 if self.silent else 1 if self.dead else 2 if self.last_lead_at is None else 3
        return kind, -self.dead, -self.waiting, -self.received, self.name


def list_chatbots(
    connection: Connection, names: Iterable[str], now: float, scope: Scope = EVERYTHING
) -> list[ChatbotSummary]:
    """Summarise these chatbots, worst first. No events outside the scope are examined."""
    week = period_totals(connection, now, WEEK, scope)
    last, proved = figures.last_events(connection), figures.proof_times(connection)
    days = figures.lead_days(connection, day_of(now) - LOOK_BACK + 1)
    waiting, dead = Counter[str](), Counter[str]()
    for counts, groups in (
        (waiting, figures.waiting_groups(connection, scope)),
        (dead, figures.dead_groups(connection, scope)),
    ):
        for each in groups:
            counts[each.chatbot or ""] += each.number
    found = []
    for name in names:
        present, before = week.chatbots.get(name, (TallyTotals(), TallyTotals()))
        times, counts_by_day = last.get(name, LastEvents(None, None)), days.get(name, {})
        own_days = [*counts_by_day]
        lead_at = times.lead_at or (float(own_days[-1] * DAY) if own_days else None)
        signed = [each for each in (times.signed_at, proved.get(name)) if each is not None]
        found.append(
            ChatbotSummary(
                name,
                present.received,
                before.received,
                present.share,
                present.quantile(TYPICAL),
                waiting[name],
                dead[name],
                lead_at,
                max(signed, default=None),
                is_silent(own_days, day_of(now)),
                [counts_by_day.get(day, 0) for day in range(day_of(now) + 1 - TREND, day_of(now) + 1)],
            )
        )
    return sorted(found, key=lambda each: each.rank)


def silent_chatbots(connection: Connection, names: Iterable[str], now: float) -> list[tuple[str, int]]:
    """Return the silent ones of these chatbots, each with the day of its last lead."""
    today = day_of(now)
    days = figures.lead_days(connection, today - LOOK_BACK + 1)
    found = {name: [*days.get(name, ())] for name in names}
    return [(name, own_days[-1]) for name, own_days in found.items() if is_silent(own_days, today)]


def is_silent(days: Sequence[int], today: int) -> bool:
    """Return True if a chatbot has fallen silent; see `SILENCE_RULE`. Pure.

    Args:
        days: Its days with leads, in order.
        today: The current day, which is not over.
    """
    if len(days) < REGULAR_DAYS:
        return False
    longest = max(later - day for day, later in pairwise(days))
    return today - days[-1] > LONGER * longest
