"""Numbers of the past, from the tally: today, 7 and 30 days, each with the period before."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import Connection

from bridge.event import EventState
from bridge.operations.store_access import OpenStore
from bridge.store.interface import DeliveryState
from bridge.store.tally import (
    SPEED_BANDS,
    SPEED_BOUNDS,
    WARNED_STATE,
    SpanCount,
    add_counts,
    day_of,
    missing_counts,
    span_counts,
)

PERIODS = (1, 7, 30)
"""Days of each period. Today is the last day of all of them."""
_SPANS = (0, 1, 2, 7, 14, 30, 60)
"""Limits, in days before tomorrow, of the spans that the periods and those before them consist of."""
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

    @property
    def received(self) -> int:
        """Number of leads and appointments, without tests and unrecognised events."""
        return self.states[EventState.ACCEPTED.value]

    @property
    def delivered(self) -> int:
        """Number of delivered ones, with and without a warning."""
        return self.states[DeliveryState.DELIVERED.value]

    def share(self, waiting: int) -> float | None:
        """Return the part that arrived of all deliveries that ended or wait; None if there are none."""
        total = self.delivered + max(0, self.states[DeliveryState.DEAD.value]) + waiting
        return self.delivered / total if total else None

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers of those delivered under 5 s, 1 min and 1 h, and later."""
        counts = [0] * (len(SPEED_BANDS) + 1)
        for bucket, count in self.buckets.items():
            counts[bisect_right(SPEED_BANDS, SPEED_BOUNDS[bucket - 1] if bucket else 0.0)] += count
        return tuple(counts)

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
    whole: TallyTotals
    before: TallyTotals
    chatbots: Mapping[str, tuple[TallyTotals, TallyTotals]]
    """The same of each chatbot with any number; the name is empty for events of no known chatbot."""


def period_totals(connection: Connection, now: float) -> Sequence[PeriodTotals]:
    """Return the numbers of each of the `PERIODS`. Days begin at midnight UTC."""
    tomorrow = day_of(now) + 1
    spans = [(tomorrow - end, tomorrow - first) for first, end in pairwise(_SPANS)]
    counts = span_counts(connection, spans)
    return [_period(counts, days) for days in PERIODS]


def _period(counts: Sequence[SpanCount], days: int) -> PeriodTotals:
    present = range(_SPANS.index(days))
    before = range(_SPANS.index(days), _SPANS.index(2 * days))
    chatbots: dict[str, tuple[TallyTotals, TallyTotals]] = {}
    found = PeriodTotals(days, TallyTotals(), TallyTotals(), chatbots)
    for row in counts:
        place = 0 if row.span in present else 1 if row.span in before else None
        if place is not None:
            pair = chatbots.setdefault(row.chatbot, (TallyTotals(), TallyTotals()))
            pair[place].add(row)
            (found.whole, found.before)[place].add(row)
    return found


def complete_tally(store: OpenStore) -> int:
    """Add to the tally the rows of the store that it lacks, and return their number."""
    with store.reading() as connection:
        missing = missing_counts(connection)
    with store.writing(queue=False) as connection:
        add_counts(connection, missing)
    return sum(missing.values())
