"""Has every lead arrived? What was received against what became of it, by chatbot and destination. Pure.

A lead is missing if its delivery is dead, if its event was not recognised, if it may be in quarantine, or if, where
that was asked, its destination does not hold the record any more. One that waits is not missing yet.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from bridge.config.model import Config, Destination, Route
from bridge.delivery.quota import allowance
from bridge.store.interface import DeliveryState
from connectors.base import RemoteRecord

AT_ONCE = 100
"""Records that a destination is asked for in one call."""
NAMED = 100
"""The most deliveries that are named of a destination whose records are gone: the newest."""

Where: TypeAlias = tuple[str, str | None]
"""A chatbot, and a destination; None for events that no route took."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of events: of a part of them, or of all."""

    states: Mapping[Where, Mapping[DeliveryState, int]] = field(default_factory=dict)
    """How many deliveries are in which state; of what no route took there is none."""
    untaken: Mapping[Where, int] = field(default_factory=dict)
    """Events that no route took."""
    unrecognised: int = 0
    """Events of which nobody knows what they are."""
    quarantined: Mapping[str, int] = field(default_factory=dict)
    """By chatbot: refused requests that may be leads."""

    def __add__(self, other: "Counted") -> "Counted":
        """Give both parts together."""
        states = {
            where: dict(Counter(self.states.get(where, {})) + Counter(other.states.get(where, {})))
            for where in self.states.keys() | other.states.keys()
        }
        untaken = dict(Counter(self.untaken) + Counter(other.untaken))
        quarantined = dict(Counter(self.quarantined) + Counter(other.quarantined))
        return Counted(states, untaken, self.unrecognised + other.unrecognised, quarantined)

    def delivered(self, destination: str) -> int:
        """Give how many deliveries to a destination ended well."""
        return sum(
            states.get(DeliveryState.DELIVERED, 0) for (_, name), states in self.states.items() if name == destination
        )


@dataclass(frozen=True, slots=True, repr=False)
class Delivered:
    """A delivery that ended well, and the record it became."""

    id: int
    event_id: str
    chatbot: str
    route: str
    remote_id: str | None


@dataclass(frozen=True, slots=True)
class DeliveredPage:
    """Deliveries that ended well, newest first, `AT_ONCE` at most."""

    rows: Sequence[Delivered]
    next: int | None
    """From where to read on; None at the end. A page with few rows, or none, may have one."""


@dataclass(slots=True)
class Answered:
    """What a destination has said so far of what it was given. Grows while it is asked."""

    asked: int = 0
    """How many records were looked at; of some of them it may have said nothing."""
    held: Counter[str] = field(default_factory=Counter)
    """By chatbot."""
    gone: Counter[str] = field(default_factory=Counter)
    named: list[Delivered] = field(default_factory=list)
    """Those whose record is gone, the newest `NAMED` of them."""

    def note(self, page: Sequence[Delivered], told: Mapping[int, bool | None]) -> None:
        """Take in what was said of some deliveries, by their ids; of one that is not there nothing was."""
        self.asked += len(page)
        for each in page:
            if told.get(each.id) is None:
                continue
            (self.held if told[each.id] else self.gone)[each.chatbot] += 1
            if not told[each.id] and len(self.named) < NAMED:
                self.named.append(each)


@dataclass(frozen=True, slots=True)
class Line:
    """What became of a chatbot's events at one destination."""

    chatbot: str | None
    """None, and no destination, for all that was not recognised."""
    destination: str | None
    received: int
    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    discarded: int = 0
    quarantined: int = 0
    """Refused requests that may be leads; they count for no destination, and are not among those received."""
    held: int | None = None
    """Of those delivered; None where the destination was not asked."""
    gone: int | None = None
    untold: int | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """How many leads have not arrived, or are not there any more."""

    dead: int
    unrecognised: int
    gone: int
    quarantined: int = 0

    def __bool__(self) -> bool:
        """Whether any is."""
        return bool(self.dead or self.unrecognised or self.gone or self.quarantined)


def lines(counted: Counted, answered: Mapping[str, Answered] | None = None) -> list[Line]:
    """Give a line for each chatbot and destination, by name; the last one for what was not recognised, if any was."""
    held_back = {(chatbot, None) for chatbot in counted.quarantined}
    known = counted.states.keys() | counted.untaken.keys() | held_back
    wheres = sorted(known, key=lambda where: (where[0], where[1] or ""))
    found = [_line(where, counted, (answered or {}).get(where[1] or "")) for where in wheres]
    if counted.unrecognised:
        found.append(Line(None, None, counted.unrecognised, dead=counted.unrecognised))
    return found


def missing(counted: Counted, answered: Mapping[str, Answered] | None = None) -> Missing:
    """Say how many are missing."""
    dead = sum(states.get(DeliveryState.DEAD, 0) for states in counted.states.values())
    gone = sum(each.gone.total() for each in (answered or {}).values())
    return Missing(dead, counted.unrecognised, gone, sum(counted.quarantined.values()))


def steps(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut the numbers from `first` to `last` into ranges of a size, both ends included."""
    for start in range(first, last + 1, size):
        yield start, min(start + size - 1, last)


def _line(where: Where, counted: Counted, answered: Answered | None) -> Line:
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
        # What is delivered after the count may have been asked for too.
        untold=None if held is None or gone is None else max(0, delivered - held - gone),
    )


DESTINATIONS_AT_ONCE = 10
SILENT_LIMIT = 3
"""So many calls in a row that tell nothing, and the destination is not asked any more."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How destinations are asked."""

    read: Callable[[str, int | None], Awaitable[DeliveredPage]]
    """Reads what was delivered to a destination, from where the page before it said. Raises StoreUnavailableError."""
    opened: Callable[[Destination], AbstractAsyncContextManager[None]]
    """Has its connector open meanwhile."""
    now: Callable[[], float]
    """Seconds since the epoch."""
    going: Callable[[Destination], bool] = lambda _: True
    """Whether to go on, asked before each call."""
    limit: int | None = None
    """The most records that one destination is asked for: the newest."""
    pause: float = 0.0
    """Seconds between two calls to one destination, which leave its limit to leads."""


async def ask_all(asking: Asking, config: Config, answered: Mapping[str, Answered]) -> None:
    """Ask the destinations that `answered` names, each by itself; what they say is noted there while it comes.

    Raises what `Asking.read` raises; then nobody is asked any more.
    """
    gate = asyncio.Semaphore(DESTINATIONS_AT_ONCE)
    routes = {(chatbot.name, route.name): route for chatbot in config.chatbots.values() for route in chatbot.routes}

    async def ask(destination: Destination) -> None:
        async with gate, asking.opened(destination):
            await _ask(asking, destination, routes, answered[destination.name])

    try:
        async with asyncio.TaskGroup() as group:
            for name in answered:
                group.create_task(ask(config.destinations[name]))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _ask(
    asking: Asking, destination: Destination, routes: Mapping[tuple[str, str], Route], answered: Answered
) -> None:
    silent = 0
    page = DeliveredPage((), None)
    while asking.going(destination) and silent < SILENT_LIMIT and not _spent(destination, asking.now()):
        page = await asking.read(destination.name, page.next)
        rows = page.rows if asking.limit is None else page.rows[: asking.limit - answered.asked]
        filed = _filed(rows, routes)
        told = await _told(destination, filed) if filed else {}
        answered.note(rows, told)
        silent = silent + 1 if filed and all(each is None for each in told.values()) else 0
        if page.next is None or answered.asked == asking.limit:
            return
        if filed:
            await asyncio.sleep(asking.pause)


def _filed(rows: Sequence[Delivered], routes: Mapping[tuple[str, str], Route]) -> list[tuple[int, RemoteRecord]]:
    """Give what can be asked for: it has an id there, and its route is still configured."""
    return [
        (each.id, RemoteRecord(each.remote_id, route.settings))
        for each in rows
        if each.remote_id and (route := routes.get((each.chatbot, each.route)))
    ]


async def _told(destination: Destination, filed: Sequence[tuple[int, RemoteRecord]]) -> Mapping[int, bool | None]:
    """Ask once; where there is no answer nothing is told."""
    try:
        async with asyncio.timeout(destination.timeout):
            said = list(await destination.connector.holds([each for _, each in filed]))
    except Exception:  # noqa: BLE001 - foreign code, and not to know is all there is to say of it
        return {}
    return dict(zip((each for each, _ in filed), said, strict=True)) if len(said) == len(filed) else {}


def _spent(destination: Destination, now: float) -> bool:
    try:
        return allowance(destination.connector.quotas()).retries_until > now
    except Exception:  # noqa: BLE001 - foreign code; what it does not tell forbids nothing
        return False
