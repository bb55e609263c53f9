"""Who is to work which lane, where several processes serve one store. Pure.

Every process works it out for itself from what all of them see, and comes to the same answer. None has to be asked,
and a difference of a moment does no harm: a lane is taken only when it is free.
"""

from collections.abc import Mapping


def shares(wanted: Mapping[str, frozenset[str]], holders: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Give each process its lanes: all are given, none twice, and as equally as the processes' wishes allow.

    Args:
        wanted: By process, the lanes that it would work. They differ while a configuration is being rolled out.
        holders: By lane, who works it now. It keeps the lane unless it has more than its share, or is leaving.
    """
    given: dict[str, set[str]] = {process: set() for process in sorted(wanted)}
    free = []
    for lane in sorted(frozenset().union(*wanted.values())):
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
    """Move one lane from who has many to who has at least two fewer; False if there is none to move."""
    by_count = sorted(given, key=lambda process: len(given[process]))
    for giver in reversed(by_count):
        for taker in by_count:
            if len(given[giver]) - len(given[taker]) < 2:  # noqa: PLR2004 - one fewer is equal enough
                break
            if movable := given[giver] & wanted[taker]:
                lane = max(movable)
                given[giver].remove(lane)
                given[taker].add(lane)
                return True
    return False
