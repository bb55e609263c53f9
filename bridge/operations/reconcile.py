"""Reconciliation: received events compared with delivered records, by chatbot and destination.

A lead is missing if its delivery is dead, if its event was not recognised, if it may be in quarantine, or if its
destination was asked and does not hold the record any more. A lead that waits is not missing yet.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from bridge.config.model import Config, Destination, Route
from bridge.delivery.rate_limit import quota_hold
from bridge.store import figures, queries, search
from bridge.store.figures import OutcomeCounts, RouteEnds
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.interface import DeliveryState
from bridge.store.key_range import seq_at
from bridge.store.search import SPAN, DeliveredPage, DeliveredRecord
from connectors.base import RemoteRecord

NAMED = 100
"""Maximum number of missing records that are named for a destination: the newest."""


@dataclass(slots=True)
class RecordCheck:
    """Answers of a destination so far about the records it received. Grows while it is asked."""

    asked: int = 0
    """Number of records that were looked at, also those without an answer."""
    held: Counter[str] = field(default_factory=Counter)
    """Number of records that it still holds, by chatbot."""
    gone: Counter[str] = field(default_factory=Counter)
    named: list[DeliveredRecord] = field(default_factory=list)
    """Deliveries whose record is gone, the newest `NAMED` of them."""

    def note(self, page: Sequence[DeliveredRecord], answers: Mapping[int, bool | None]) -> None:
        """Add the answers about some deliveries, by their ids; an id that is missing has no answer."""
        self.asked += len(page)
        for each in page:
            if answers.get(each.id) is None:
                continue
            (self.held if answers[each.id] else self.gone)[each.chatbot] += 1
            if not answers[each.id] and len(self.named) < NAMED:
                self.named.append(each)


@dataclass(frozen=True, slots=True)
class Line:
    """Outcomes of a chatbot's events at one destination."""

    chatbot: str | None
    """None, without a destination, for unrecognised events."""
    destination: str | None
    received: int
    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    discarded: int = 0
    quarantined: int = 0
    """Number of refused requests that may be leads. They belong to no destination, and `received` leaves them out."""
    held: int | None = None
    """Number of delivered records that the destination holds; None if it was not asked."""
    gone: int | None = None
    unknown: int | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """Number of leads that have not arrived, or that their destination no longer holds."""

    dead: int
    unrecognised: int
    gone: int
    quarantined: int = 0

    def __bool__(self) -> bool:
        """Return True if any lead is missing."""
        return bool(self.dead or self.unrecognised or self.gone or self.quarantined)


def report_lines(counted: OutcomeCounts, answered: Mapping[str, RecordCheck] | None = None) -> list[Line]:
    """Return a line for each chatbot and destination, by name, then a line for unrecognised events if there are any."""
    held_back = {(chatbot, None) for chatbot in counted.quarantined}
    known = counted.states.keys() | counted.untaken.keys() | held_back
    wheres = sorted(known, key=lambda where: (where[0], where[1] or ""))
    found = [_line(where, counted, (answered or {}).get(where[1] or "")) for where in wheres]
    if counted.unrecognised:
        found.append(Line(None, None, counted.unrecognised, dead=counted.unrecognised))
    return found


def missing(counted: OutcomeCounts, answered: Mapping[str, RecordCheck] | None = None) -> Missing:
    """Count the missing leads."""
    dead = sum(states.get(DeliveryState.DEAD, 0) for states in counted.states.values())
    gone = sum(each.gone.total() for each in (answered or {}).values())
    return Missing(dead, counted.unrecognised, gone, sum(counted.quarantined.values()))


def steps(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Divide the numbers from `first` to `last` into ranges of a size, both ends included."""
    for start in range(first, last + 1, size):
        yield start, min(start + size - 1, last)


def _line(where: RouteEnds, counted: OutcomeCounts, answered: RecordCheck | None) -> Line:
    chatbot, destination = where
    states = counted.states.get(where, {})
    delivered = states.get(DeliveryState.DELIVERED, 0)
    held, gone = (answered.held[chatbot], answered.gone[chatbot]) if answered else (None, None)
    return Line(
        chatbot,
        destination,
        received=sum(states.values()) + counted.untaken.get(where, 0),
        delivered=delivered,
        waiting=states.get(DeliveryState.PENDING, 0),
        dead=states.get(DeliveryState.DEAD, 0),
        discarded=states.get(DeliveryState.DISCARDED, 0),
        quarantined=counted.quarantined.get(chatbot, 0) if destination is None else 0,
        held=held,
        gone=gone,
        # Records that were delivered after the count may have been asked for too.
        unknown=None if held is None or gone is None else max(0, delivered - held - gone),
    )


PageReader = Callable[[str, int | None], Awaitable[DeliveredPage]]
"""Reads a page of a destination's delivered records from a position. Raises StoreUnavailableError."""
DESTINATIONS_AT_ONCE = 10
SILENT_LIMIT = 3
"""Number of calls in a row without an answer after which a destination is not asked any more."""


@dataclass(frozen=True, slots=True)
class CheckTerms:
    """Terms for asking destinations about their records."""

    opened: Callable[[Destination], AbstractAsyncContextManager[None]]
    """Keeps the destination's connector open for the calls."""
    now: Callable[[], float]
    """Seconds since the epoch."""
    going: Callable[[Destination], bool] = lambda _: True
    """Returns False to end the calls; asked before each call."""
    limit: int | None = None
    """Maximum number of records that one destination is asked about: the newest."""
    pause: float = 0.0
    """Seconds between two calls to one destination, which leave its limit to leads."""


async def ask_all(read: PageReader, terms: CheckTerms, config: Config, answered: Mapping[str, RecordCheck]) -> None:
    """Ask the destinations in `answered` in parallel, and add their answers there as they arrive.

    Raises what `read` raises; then no destination is asked any more.
    """
    gate = asyncio.Semaphore(DESTINATIONS_AT_ONCE)
    routes = {(chatbot.name, route.name): route for chatbot in config.chatbots.values() for route in chatbot.routes}

    async def ask(destination: Destination) -> None:
        async with gate, terms.opened(destination):
            await _ask(read, terms, destination, routes, answered[destination.name])

    try:
        async with asyncio.TaskGroup() as group:
            for name in answered:
                group.create_task(ask(config.destinations[name]))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _ask(
    read: PageReader,
    terms: CheckTerms,
    destination: Destination,
    routes: Mapping[tuple[str, str], Route],
    answered: RecordCheck,
) -> None:
    silent = 0
    page = DeliveredPage((), None)
    while terms.going(destination) and silent < SILENT_LIMIT and not _spent(destination, terms.now()):
        page = await read(destination.name, page.next)
        rows = page.rows if terms.limit is None else page.rows[: terms.limit - answered.asked]
        askable = _askable(rows, routes)
        answers = await _answers(destination, askable) if askable else {}
        answered.note(rows, answers)
        silent = silent + 1 if askable and all(each is None for each in answers.values()) else 0
        if page.next is None or answered.asked == terms.limit:
            return
        if askable:
            await asyncio.sleep(terms.pause)


def _askable(
    rows: Sequence[DeliveredRecord], routes: Mapping[tuple[str, str], Route]
) -> list[tuple[int, RemoteRecord]]:
    """Return the records that can be asked about: they have an id, and their route is still configured."""
    return [
        (each.id, RemoteRecord(each.remote_id, route.settings))
        for each in rows
        if each.remote_id and (route := routes.get((each.chatbot, each.route)))
    ]


async def _answers(destination: Destination, askable: Sequence[tuple[int, RemoteRecord]]) -> Mapping[int, bool | None]:
    """Ask once; return nothing if there is no answer."""
    try:
        async with asyncio.timeout(destination.timeout):
            answers = list(await destination.connector.holds([each for _, each in askable]))
    except Exception:  # noqa: BLE001 - foreign code; without an answer nothing is known
        return {}
    return dict(zip((each for each, _ in askable), answers, strict=True)) if len(answers) == len(askable) else {}


def _spent(destination: Destination, now: float) -> bool:
    try:
        return quota_hold(destination.connector.quotas()).retries_until > now
    except Exception:  # noqa: BLE001 - foreign code; without a quota nothing is forbidden
        return False


_T = TypeVar("_T")


class StoreReader(Protocol):
    """Runs a query on the store, all of it from one moment."""

    async def __call__(self, query: Callable[[Connection], _T], /) -> _T:
        """Return the result of the query. Raises StoreUnavailableError."""


@dataclass(slots=True)
class Reconciliation:
    """Events since a time and their outcomes. Grows while it is counted and while destinations are asked."""

    since: float
    """Time of receipt of the oldest events."""
    counted: OutcomeCounts = field(default_factory=OutcomeCounts)
    answers: dict[str, RecordCheck] = field(default_factory=dict)
    """Answers of the destinations that are asked."""
    first: int = 0
    """Number of the first event."""
    scope: Scope = EVERYTHING
    """The only chatbots whose events are looked at; None for all."""

    async def count(self, read: StoreReader, going: Callable[[], bool] = lambda: True) -> None:
        """Count the events in short steps, because a long query keeps the write-ahead log from starting anew.

        Ends early when `going` returns False.
        """
        self.first = await read(partial(seq_at, moment=self.since))
        last = await read(queries.last_event)
        self.counted += await read(partial(figures.count_quarantined, since=self.since, scope=self.scope))
        for start, end in steps(self.first, last, SPAN):
            if not going():
                return
            self.counted += await read(partial(figures.count_events, first=start, last=end, scope=self.scope))

    def prepare(self, config: Config, limit: int | None = None) -> int:
        """Begin an empty answer for each destination; return how many records all of them will be asked about."""
        self.answers = {name: RecordCheck() for name in config.destinations}
        counts = [self.counted.delivered(name) for name in self.answers]
        return sum(counts if limit is None else (min(each, limit) for each in counts))

    async def ask(self, config: Config, read: StoreReader, terms: CheckTerms) -> None:
        """Ask the destinations with delivered records, after `prepare`. Raises StoreUnavailableError."""

        async def page(destination: str, before: int | None) -> DeliveredPage:
            return await read(
                partial(
                    search.delivered_page, destination=destination, first=self.first, before=before, scope=self.scope
                )
            )

        await ask_all(
            page, terms, config, {name: each for name, each in self.answers.items() if self.counted.delivered(name)}
        )

    def lines(self) -> list[Line]:
        """Return the results so far, by chatbot and destination."""
        return report_lines(self.counted, self.answers)

    def missing(self) -> Missing:
        """Count the missing leads so far."""
        return missing(self.counted, self.answers)


def count_newest(
    connection: Connection, since: float, limit: int, scope: Scope = EVERYTHING
) -> tuple[OutcomeCounts, bool]:
    """Count the events since a time, at most the newest `limit`; return True as well if these are all of them.

    Those in the scope are counted.
    """
    first, last = seq_at(connection, since), queries.last_event(connection)
    low = max(first, last + 1 - limit)
    counted = figures.count_events(connection, low, last, scope)
    counted += figures.count_quarantined(connection, since, scope)
    return counted, low == first
