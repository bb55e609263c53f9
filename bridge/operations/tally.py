"""Numbers of the past, from the tally: of the last days, each period with the one before, and of each day."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection

from bridge.event import EventState
from bridge.store.figures import waiting_days
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.interface import DeliveryState
from bridge.store.tally import (
    SPEED_BANDS,
    SPEED_BOUNDS,
    WARNED_STATE,
    SpanCount,
    day_counts,
    day_of,
    span_counts,
)

PERIODS = (1, 7, 30)
"""Days of the periods that Home shows. Today is the last day of all of them."""
_EPOCH = datetime.fromtimestamp(0, UTC).date()
_DELIVERED = frozenset({DeliveryState.DELIVERED.value, WARNED_STATE})


@dataclass(slots=True)
class TallyTotals:
    """Numbers of a period. Events are counted by the day of their receipt, deliveries by the day of their end."""

    states: Counter[str] = field(default_factory=Counter)
    """By `EventState`: events. By `DeliveryState`: deliveries that have ended."""
    warned: int = 0
    """Number of the delivered ones with a warning."""
    buckets: Counter[int] = field(default_factory=Counter)
    """Delivered ones by their time from receipt to delivery; see `bridge.store.tally.SPEED_BOUNDS`."""
    waiting: int = 0
    """Deliveries of leads received in the period that wait now, of the newest ones."""

    @property
    def received(self) -> int:
        """Number of leads and appointments, without tests and unrecognised events."""
        return self.states[EventState.ACCEPTED.value]

    @property
    def delivered(self) -> int:
        """Number of delivered ones, with and without a warning."""
        return self.states[DeliveryState.DELIVERED.value]

    @property
    def share(self) -> float | None:
        """Part that arrived of the deliveries that ended or wait; None if there are none."""
        total = self.delivered + self.missing
        return self.delivered / total if total else None

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers of those delivered under 5 s, 1 min and 1 h, and later."""
        counts = [0] * (len(SPEED_BANDS) + 1)
        for bucket, count in self.buckets.items():
            counts[bisect_right(SPEED_BANDS, SPEED_BOUNDS[bucket - 1] if bucket else 0.0)] += count
        return tuple(counts)

    @property
    def dead(self) -> int:
        """Number of those that were given up, and still are."""
        # A replay takes its dead letter away, which a tally that was lost in part does not have.
        return max(0, self.states[DeliveryState.DEAD.value])

    @property
    def error_rate(self) -> float | None:
        """Part that was given up of the deliveries that ended by themselves; None if there are none."""
        total = self.delivered + self.dead
        return self.dead / total if total else None

    @property
    def missing(self) -> int:
        """Number of deliveries that did not arrive: given up, or waiting."""
        return self.dead + self.waiting

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which a share of the deliveries was made; None if there are none.

        Within a bucket they are taken as evenly spread, so the error is at most the width of the bucket.
        """
        wanted, passed = share * self.buckets.total(), 0
        for bucket, count in sorted(self.buckets.items()):
            if count and passed + count >= wanted:
                low = SPEED_BOUNDS[bucket - 1] if bucket else 0.0
                high = SPEED_BOUNDS[min(bucket, len(SPEED_BOUNDS) - 1)]
                return low + (high - low) * (wanted - passed) / count
            passed += count
        return None

    def add(self, row: SpanCount) -> None:
        """Add a count."""
        is_delivered = row.state in _DELIVERED
        self.states[DeliveryState.DELIVERED.value if is_delivered else row.state] += row.number
        self.warned += row.number if row.state == WARNED_STATE else 0
        if is_delivered:
            self.buckets[row.bucket] += row.number


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """Numbers of a period and of the equally long one before."""

    days: int
    whole: TallyTotals = field(default_factory=TallyTotals)
    before: TallyTotals = field(default_factory=TallyTotals)
    chatbots: dict[str, tuple[TallyTotals, TallyTotals]] = field(default_factory=dict)
    """The same of each chatbot with any number; the name is empty for events of no known chatbot."""

    def pair(self, chatbot: str) -> tuple[TallyTotals, TallyTotals]:
        """Return the numbers of a chatbot."""
        return self.chatbots.setdefault(chatbot, (TallyTotals(), TallyTotals()))


def period_totals(connection: Connection, now: float, days: int, scope: Scope = EVERYTHING) -> PeriodTotals:
    """Return the numbers of the last days, today included. Days begin at midnight UTC."""
    tomorrow = day_of(now) + 1
    found = PeriodTotals(days)
    whole = (found.whole, found.before)
    for row in span_counts(connection, [(tomorrow - days, tomorrow), (tomorrow - 2 * days, tomorrow - days)], scope):
        whole[row.span].add(row)
        found.pair(row.chatbot)[row.span].add(row)
    for each in waiting_days(connection, scope):
        span = (day_of(now) - each.day) // days
        if span in {0, 1}:
            whole[span].waiting += each.number
            found.pair(each.chatbot or "")[span].waiting += each.number
    return found


def destination_totals(
    connection: Connection, now: float, days: int, scope: Scope = EVERYTHING
) -> dict[str, TallyTotals]:
    """Return the numbers of the last days by destination, today included."""
    found: dict[str, TallyTotals] = {}
    for row in span_counts(connection, [(day_of(now) + 1 - days, day_of(now) + 1)], scope):
        if row.destination:
            found.setdefault(row.destination, TallyTotals()).add(row)
    return found


@dataclass(frozen=True, slots=True)
class TallyHistory:
    """Numbers of all chatbots together, or of those of a reader."""

    periods: Sequence[PeriodTotals]
    """One for each of the `PERIODS`, without chatbots."""
    days: Sequence[tuple[date, TallyTotals]]
    """The days of the longest period, the oldest first."""


def read_history(connection: Connection, now: float, scope: Scope = EVERYTHING) -> TallyHistory:
    """Read the numbers that Home shows."""
    longest = max(PERIODS)
    first = day_of(now) + 1 - 2 * longest
    totals = [TallyTotals() for _ in range(2 * longest)]
    for row in day_counts(connection, first, first + len(totals), scope):
        totals[row.span].add(row)
    for each in waiting_days(connection, scope):
        if 0 <= each.day - first < len(totals):
            totals[each.day - first].waiting += each.number
    return TallyHistory(
        [PeriodTotals(days, _sum(totals[-days:]), _sum(totals[-2 * days : -days])) for days in PERIODS],
        [(_EPOCH + timedelta(days=first + at), totals[at]) for at in range(longest, 2 * longest)],
    )


def _sum(parts: Iterable[TallyTotals]) -> TallyTotals:
    found = TallyTotals()
    for each in parts:
        found.states.update(each.states)
        found.buckets.update(each.buckets)
        found.warned += each.warned
        found.waiting += each.waiting
    return found
