"""Has every lead arrived? What was received against what became of it, by chatbot and destination. Pure.

A lead is missing if its delivery is dead, if its event was not recognised, if it may be in quarantine, or if, where
that was asked, its destination does not hold the record any more. One that waits is not missing yet.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from bridge.store.base import DeliveryState

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
