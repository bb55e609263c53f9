"""Overview of the store, and the flow of its leads from chatbots over routes to destinations. Reads only."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.event import EventState, Room
from bridge.operations.chatbots import silent_chatbots
from bridge.operations.lanes import list_lanes, own_lanes
from bridge.store import chatbot_queries, quarantine, statistics
from bridge.store.interface import DeliveryState
from bridge.store.lane_queries import LaneRow, LaneStatus, all_lanes
from bridge.store.statistics import DeadLetterCause
from bridge.store.tally import WARNED_STATE, day_of, span_counts

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class StoreOverview:
    """Counts of the whole store, or of a reader's chatbots."""

    day: statistics.Day
    accepted_today: int
    """Number of leads and appointments since midnight, UTC."""
    lanes: Sequence[LaneRow]
    causes: Sequence[DeadLetterCause]
    """Dead letters by destination and reason, the largest group first."""
    quarantined: Mapping[Room, int]
    """Number of requests in each room of the quarantine; empty rooms are left out."""

    @property
    def pending(self) -> int:
        """Number of pending deliveries."""
        return sum(each.pending for each in self.lanes)

    @property
    def dead(self) -> int:
        """Number of dead letters."""
        return sum(each.dead for each in self.lanes)

    @property
    def oldest_pending_at(self) -> float | None:
        """Receipt of the oldest event with a pending delivery; None if nothing is pending."""
        times = [each.oldest_pending_at for each in self.lanes if each.oldest_pending_at is not None]
        return min(times, default=None)


def read_overview(
    connection: Connection, config: Config, now: float, only: AbstractSet[str] | None = None
) -> StoreOverview:
    """Read the overview; with `only`, that of these chatbots."""
    day = statistics.day(connection, now, only)
    hours_today = int(now % DAY_SECONDS) // statistics.HOUR + 1
    return StoreOverview(
        day,
        sum(day.accepted[-hours_today:]),
        list_lanes(connection, config, now) if only is None else own_lanes(connection, config, now, only),
        statistics.dead_letter_causes(connection) if only is None else _own_causes(connection, only),
        quarantined_by_room(connection, only),
    )


def quarantined_by_room(connection: Connection, only: AbstractSet[str] | None = None) -> Counter[Room]:
    """Count the requests in each room of the quarantine; with `only`, those of these chatbots."""
    counts = Counter[Room]()
    for each in quarantine.room_counts(connection):
        counts[each.room] += each.count if only is None or each.chatbot in only else 0
    return +counts


def _own_causes(connection: Connection, only: AbstractSet[str]) -> list[DeadLetterCause]:
    counts = Counter[tuple[str, str]]()
    for each in chatbot_queries.dead_groups(connection, only):
        counts[each.destination, each.reason or ""] += each.number
    found = [DeadLetterCause(*cause, count) for cause, count in counts.items()]
    return sorted(found, key=lambda each: (-each.count, each.destination, each.reason))


_DELIVERED: Final = {DeliveryState.DELIVERED.value, WARNED_STATE}


class FlowState(StrEnum):
    """States of a chatbot, a route or a destination, the worst first."""

    BAD = "bad"
    """Leads were not delivered, or will not be without a person."""
    WAITING = "waiting"
    GOOD = "good"
    """Leads went through today."""
    QUIET = "quiet"
    """Nothing came today."""


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Numbers of a chatbot, a route or a destination."""

    today: int = 0
    """Leads of a chatbot that were received today (UTC), and else deliveries that were made today."""
    waiting: int = 0
    dead: int = 0

    @property
    def state(self) -> FlowState:
        """Return the state by its numbers."""
        if self.dead:
            return FlowState.BAD
        if self.waiting:
            return FlowState.WAITING
        return FlowState.GOOD if self.today else FlowState.QUIET


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A chatbot or a destination."""

    name: str
    counts: FlowCounts
    state: FlowState
    remark: str = ""
    """One word about its trouble, such as `silent` or `paused`."""


@dataclass(frozen=True, slots=True)
class FlowRoute:
    """The routes of a chatbot to one destination."""

    chatbot: str
    destination: str
    names: Sequence[str]
    """Names of the routes; empty if none is configured any more."""
    counts: FlowCounts


@dataclass(frozen=True, slots=True)
class Flow:
    """The picture as numbers. Chatbots that share destinations stand together."""

    chatbots: Sequence[FlowNode]
    routes: Sequence[FlowRoute]
    """In the order of the chatbots."""
    destinations: Sequence[FlowNode]

    @property
    def lines(self) -> Iterator[tuple[FlowNode, Sequence[tuple[FlowRoute, str]]]]:
        """Each chatbot with its routes, and with the word about the trouble of their destinations."""
        remarks = {each.name: each.remark for each in self.destinations}
        found: dict[str, list[tuple[FlowRoute, str]]] = {}
        for route in self.routes:
            found.setdefault(route.chatbot, []).append((route, remarks.get(route.destination, "")))
        for chatbot in self.chatbots:
            yield chatbot, found.get(chatbot.name, ())


def read_flow(connection: Connection, config: Config, now: float, only: AbstractSet[str] | None = None) -> Flow:
    """Read the flow of all chatbots, or `only` of these. Of what waits and was given up the newest are counted."""
    names = [name for name in config.chatbots if only is None or name in only]
    today, waiting, dead = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in span_counts(connection, [(day_of(now), day_of(now) + 1)], only):
        if row.state in (_DELIVERED if row.destination else {EventState.ACCEPTED.value}):
            today[row.chatbot, row.destination] += row.number
    for counts, groups in (
        (waiting, chatbot_queries.waiting_groups(connection, only)),
        (dead, chatbot_queries.dead_groups(connection, only)),
    ):
        for each in groups:
            counts[each.chatbot or "", each.destination] += each.number

    def summed(pairs: Sequence[tuple[str, str]], received: int | None = None) -> FlowCounts:
        done, waits, given_up = (sum(counts[pair] for pair in pairs) for counts in (today, waiting, dead))
        return FlowCounts(done if received is None else received, waits, given_up)

    routes = _routes(config, names, [*waiting, *dead])
    found = [FlowRoute(*pair, routes[pair], summed([pair])) for pair in routes]
    of_chatbot, of_destination = dict[str, list[tuple[str, str]]](), dict[str, list[tuple[str, str]]]()
    for pair in routes:
        of_chatbot.setdefault(pair[0], []).append(pair)
        of_destination.setdefault(pair[1], []).append(pair)
    silent = {name for name, _ in silent_chatbots(connection, names, now)}
    chatbots = [_chatbot(name, summed(of_chatbot.get(name, ()), today[name, ""]), silent) for name in names]
    lanes = {each.name: each for each in all_lanes(connection, list(config.destinations), now)}
    ends = dict.fromkeys(destination for _, destination in routes)
    if only is None:
        ends |= dict.fromkeys(config.destinations)
    destinations = [_destination(lanes[name], summed(of_destination.get(name, ()))) for name in ends if name in lanes]
    return _ordered(chatbots, found, destinations)


def _routes(
    config: Config, names: Sequence[str], owed: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Sequence[str]]:
    """Return the names of the routes by chatbot and destination, those included whose deliveries only wait or died."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        for route in config.chatbots[name].routes:
            found.setdefault((name, route.destination), []).append(route.name)
    known = {*names}
    for pair in owed:
        if pair[0] in known:
            found.setdefault(pair, [])
    return dict(found)


def _chatbot(name: str, counts: FlowCounts, silent: AbstractSet[str]) -> FlowNode:
    if name in silent:
        return FlowNode(name, counts, FlowState.BAD, "silent")
    return FlowNode(name, counts, counts.state)


def _destination(lane: LaneRow, counts: FlowCounts) -> FlowNode:
    match lane.state:
        case LaneStatus.RUNNING:
            return FlowNode(lane.name, counts, counts.state)
        case LaneStatus.PAUSED if lane.pause and lane.pause.by == "operator":
            return FlowNode(lane.name, counts, FlowState.WAITING, lane.state.value)
        case _:
            return FlowNode(lane.name, counts, FlowState.BAD, lane.state.value)


def _ordered(chatbots: Sequence[FlowNode], routes: Sequence[FlowRoute], destinations: Sequence[FlowNode]) -> Flow:
    """Order the parts so that few lines cross: chatbots by their first destination, destinations by their chatbots."""
    first: dict[str, str] = {}
    for route in routes:
        first.setdefault(route.chatbot, route.destination)
    placed = sorted(chatbots, key=lambda each: (each.name not in first, first.get(each.name, ""), each.name))
    place = {each.name: at for at, each in enumerate(placed)}
    rows = sorted(routes, key=lambda each: (place[each.chatbot], each.destination))
    places: dict[str, list[int]] = {}
    for at, route in enumerate(rows):
        places.setdefault(route.destination, []).append(at)

    def middle(node: FlowNode) -> float:
        own = places.get(node.name)
        return sum(own) / len(own) if own else float(len(rows))

    return Flow(placed, rows, sorted(destinations, key=lambda each: (middle(each), each.name)))
