"""Lanes: list them, pause and resume them.

Functions that change something run inside the caller's transaction and write their audit entry there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from bridge.config.model import Config
from bridge.errors import NotFoundError, did_you_mean
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.store import audit_log, commands, figures
from bridge.store.figures import Group
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.interface import Pause
from bridge.store.lane_queries import LaneRow, LaneStatus, all_lanes

DEFAULT_REASON: Final = "by an operator"
"""Reason of a pause without one of its own."""


@dataclass(frozen=True, slots=True)
class LaneFilter:
    """Filter for lanes. A field that is None matches every lane."""

    state: LaneStatus | None = None
    chatbot: str | None = None
    destination: str | None = None


def list_lanes(connection: Connection, config: Config, now: float, criteria: LaneFilter | None = None) -> list[LaneRow]:
    """Return the lanes by name: those of configured destinations, and of former ones that have rows in the store."""
    rows = all_lanes(connection, list(config.destinations), now)
    if criteria is None:
        return rows
    theirs = (
        None if criteria.chatbot is None else chatbots_by_destination(config, EVERYTHING.narrowed(criteria.chatbot))
    )
    return [
        row
        for row in rows
        if criteria.state in {None, row.state}
        and criteria.destination in {None, row.name}
        and (theirs is None or row.name in theirs)
    ]


def own_lanes(connection: Connection, config: Config, now: float, scope: Scope) -> list[LaneRow]:
    """Return the lanes of the destinations of these chatbots, each with the numbers of their own deliveries.

    A lane that is no longer configured is theirs as long as deliveries of theirs wait for it, or were given up.
    """
    waiting = _by_destination(figures.waiting_groups(connection, scope))
    dead = _by_destination(figures.dead_groups(connection, scope))
    theirs = {*destinations_of(config, scope), *waiting, *dead}
    return [
        replace(
            row,
            pending=sum(each.number for each in waiting.get(row.name, ())),
            oldest_pending_at=min((each.first_at for each in waiting.get(row.name, ())), default=None),
            dead=sum(each.number for each in dead.get(row.name, ())),
        )
        for row in list_lanes(connection, config, now)
        if row.name in theirs
    ]


def chatbots_by_destination(config: Config, scope: Scope = EVERYTHING) -> dict[str, list[str]]:
    """Return the names of the chatbots in a scope that have a route to each destination."""
    found: dict[str, list[str]] = {}
    for chatbot in config.chatbots.values():
        if scope.sees(chatbot.name):
            for name in dict.fromkeys(route.destination for route in chatbot.routes):
                found.setdefault(name, []).append(chatbot.name)
    return found


def chatbots_of(config: Config, destination: str, scope: Scope = EVERYTHING) -> list[str]:
    """Return the names of the chatbots in a scope that have a route to one destination."""
    return chatbots_by_destination(config, scope).get(destination, [])


def destinations_of(config: Config, scope: Scope = EVERYTHING) -> list[str]:
    """Return the names of all destinations, or only of those to which these chatbots have a route."""
    if scope.is_whole:
        return list(config.destinations)
    theirs = chatbots_by_destination(config, scope)
    return [name for name in config.destinations if name in theirs]


def removed_lanes(connection: Connection, config: Config, now: float) -> list[LaneRow]:
    """Return the destinations that are no longer configured and whose deliveries wait, by name."""
    return [each for each in list_lanes(connection, config, now) if each.pending and not each.configured]


def pause(
    connection: Connection, who: Who, name: str, config: Config, now: float, reason: str = DEFAULT_REASON
) -> ActionResult:
    """Pause the lanes of a destination until they are resumed. Raises NotFoundError."""
    _check(connection, name, config, now)
    commands.pause_lane(connection, name, Pause("operator", reason or DEFAULT_REASON, since=now))
    # The entry leaves the reason out: a person wrote it, and it may name another person.
    entry = Entry(who, Action.PAUSE, Subject.LANE, name)
    audit_log.add_entry(connection, entry, now)
    return ActionResult((f"lane {name}: paused until it is resumed",), (entry,))


def resume(connection: Connection, who: Who, name: str, config: Config, now: float) -> ActionResult:
    """Resume the lanes of a destination after a pause by an operator or by the lane. Raises NotFoundError."""
    _check(connection, name, config, now)
    was_paused = commands.resume_lane(connection, name, now)
    entry = Entry(who, Action.RESUME, Subject.LANE, name)
    audit_log.add_entry(connection, entry, now)
    return ActionResult((f"lane {name}: " + ("resumed" if was_paused else "was not paused"),), (entry,))


def _check(connection: Connection, name: str, config: Config, now: float) -> None:
    """Raise NotFoundError for a name that is neither configured nor has a lane in the store."""
    if name in config.destinations:
        return
    known = [each.name for each in list_lanes(connection, config, now)]
    if name not in known:
        raise NotFoundError(f"{name}: no destination has this name{did_you_mean(name, known)}")


def _by_destination(groups: Iterable[Group]) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for each in groups:
        found.setdefault(each.destination, []).append(each)
    return found
