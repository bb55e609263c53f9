"""Who is to work which lane, where several processes serve one store. Pure.

Every process works it out for itself from what all of them see, and comes to the same answer. None has to be asked,
and a difference of a moment does no harm: a lane is taken only when it is free.
"""

import heapq
import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from bridge.delivery.sharding import shard

Lanes = AbstractSet[str]


def shares(wanted: Mapping[str, frozenset[str]], holders: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Give each process its lanes: all are given, none twice, and as equally as the processes' wishes allow.

    Equally in all, and so in the shards of each destination that is split: that is done for several processes to work
    it.

    Args:
        wanted: By process, the lanes that it would work. They differ while a configuration is being rolled out.
        holders: By lane, who works it now. It keeps the lane unless it has more than its share, or is leaving.
    """
    given: dict[str, set[str]] = {process: set() for process in sorted(wanted)}
    lanes = sorted(frozenset[str]().union(*wanted.values()))
    split: dict[str, set[str]] = {}
    for lane in lanes:
        if shard(lane).of > 1:
            split.setdefault(shard(lane).destination, set()).add(lane)
    free = []
    for lane in lanes:
        holder = holders.get(lane)
        if holder in given and lane in wanted[holder]:
            given[holder].add(lane)
        else:
            free.append(lane)
    for lane in free:
        willing = [process for process in given if lane in wanted[process]]
        kin = split.get(shard(lane).destination, frozenset[str]())
        given[min(willing, key=lambda process: (len(given[process] & kin), len(given[process])))].add(lane)
    while any(_spread(given, wanted, kin) for kin in split.values()) or _even_out(given, wanted, split):
        pass
    return {process: frozenset(lanes) for process, lanes in given.items()}


def _spread(given: Mapping[str, set[str]], wanted: Mapping[str, Lanes], kin: Lanes) -> bool:
    """Move one shard of a destination, whose lanes are `kin`, to who has at least two fewer of them."""
    having = {process: lanes & kin for process, lanes in given.items()}
    return _move(given, having, lambda giver, taker: having[giver] & wanted[taker])


def _even_out(given: Mapping[str, set[str]], wanted: Mapping[str, Lanes], split: Mapping[str, Lanes]) -> bool:
    """Move one lane to who has at least two fewer, but no shard to who has as many of its destination."""

    def movable(giver: str, taker: str) -> Lanes:
        lanes = given[giver] & wanted[taker]
        for kin in split.values():
            if len(given[giver] & kin) <= len(given[taker] & kin):
                lanes -= kin
        return lanes

    return _move(given, given, movable)


def _move(given: Mapping[str, set[str]], having: Mapping[str, Lanes], movable: Callable[[str, str], Lanes]) -> bool:
    """Move a lane from who has many to who has at least two fewer; False if there is none to move.

    Lanes that are no shards go many at once, as long as neither of the two passes the average: thousands of them, one
    by one, would hold up the process for seconds.
    """
    by_count = sorted(given, key=lambda process: len(having[process]))
    average = sum(len(lanes) for lanes in having.values()) / max(len(having), 1)
    for giver in reversed(by_count):
        for taker in by_count:
            if len(having[giver]) - len(having[taker]) < 2:  # noqa: PLR2004 - one fewer is equal enough
                break
            if lanes := movable(giver, taker):
                last = max(lanes)
                count = min(len(having[giver]) - math.ceil(average), math.floor(average) - len(having[taker]))
                whole = [lane for lane in lanes if shard(lane).of == 1] if count > 1 and shard(last).of == 1 else [last]
                moved = heapq.nlargest(max(count, 1), whole)
                given[giver].difference_update(moved)
                given[taker].update(moved)
                return True
    return False
