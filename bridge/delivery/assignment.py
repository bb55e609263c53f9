"""Assignment of lanes to the processes that serve one store. Pure.

Every process computes it from the same values, and comes to the same result, so none has to be asked. A difference of
a moment does no harm: a process takes a lane only when the lane is free.
"""

import heapq
import math
from collections.abc import Mapping


def shares(wanted: Mapping[str, frozenset[str]], holders: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Assign each lane to one process, as equally as the processes' configurations allow.

    Args:
        wanted: By process, the lanes that it is configured to work. They differ while a configuration is rolled out.
        holders: By lane, the process that works it now. It keeps the lane unless it has more than its share, or is
            leaving.
    """
    given: dict[str, set[str]] = {process: set() for process in sorted(wanted)}
    free = []
    for lane in sorted(frozenset[str]().union(*wanted.values())):
        holder = holders.get(lane)
        if holder in given and lane in wanted[holder]:
            given[holder].add(lane)
        else:
            free.append(lane)
    for lane in free:
        willing = [process for process in given if lane in wanted[process]]
        given[min(willing, key=lambda process: len(given[process]))].add(lane)
    while _even_out(given, wanted):
        pass
    return {process: frozenset(lanes) for process, lanes in given.items()}


def _even_out(given: Mapping[str, set[str]], wanted: Mapping[str, frozenset[str]]) -> bool:
    """Move lanes from a process that has many to one that has at least two fewer; False if there is none to move.

    Many lanes go at once, as long as neither of the two passes the average: moving thousands of them one by one would
    hold up the process for seconds.
    """
    by_count = sorted(given, key=lambda process: len(given[process]))
    average = sum(map(len, given.values())) / max(len(given), 1)
    for giver in reversed(by_count):
        for taker in by_count:
            if len(given[giver]) - len(given[taker]) < 2:  # noqa: PLR2004 - one fewer is equal enough
                break
            if lanes := given[giver] & wanted[taker]:
                count = min(len(given[giver]) - math.ceil(average), math.floor(average) - len(given[taker]))
                moved = heapq.nlargest(max(count, 1), lanes)
                given[giver].difference_update(moved)
                given[taker].update(moved)
                return True
    return False
