"""Acknowledgement of problems: a person knows of a cause, so it is not open until its next case, or for some days.

A user of some chatbots acknowledges their part of a cause. For others it stays open, also for users of all chatbots who
look at this part; and a part that these acknowledge stays open for the client.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from bridge.errors import ConflictError, NotFoundError
from bridge.operations.audit import Action, ActionResult, Entry, Subject, Who
from bridge.operations.problems import Problem
from bridge.store import audit_log, user_state
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.user_state import Acknowledgement, scope_text

DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class ProblemList:
    """Open problems and acknowledged problems, each a matter for a person."""

    open: Sequence[Problem]
    acknowledged: Sequence[tuple[Problem, Acknowledgement]]


def sort_problems(
    connection: Connection,
    problems: Iterable[Problem],
    reader: Scope,
    scope: Scope,
    now: float,
) -> ProblemList:
    """Separate the acknowledged problems from the open ones.

    Args:
        connection: Connection to the store.
        problems: The problems of `scope`.
        reader: The chatbots that the reader sees.
        scope: The chatbots whose problems these are.
        now: The time.
    """
    scopes = {scope_text(reader, reader), scope_text(reader, scope)}
    given: dict[str, list[Acknowledgement]] = {}
    for each in user_state.acknowledged(connection, scopes):
        given.setdefault(each.cause, []).append(each)
    still_open, known = list[Problem](), list[tuple[Problem, Acknowledgement]]()
    for problem in problems:
        covering = [each for each in given.get(problem.key, ()) if each.covers(problem.latest_at, now)]
        if covering:
            known.append((problem, max(covering, key=lambda each: each.at)))
        else:
            still_open.append(problem)
    return ProblemList(still_open, known)


def named_problem(problems: Iterable[Problem], cause: str) -> Problem:
    """Return the problem of a cause. Raises NotFoundError."""
    found = next((each for each in problems if each.key == cause), None)
    if found is None:
        raise NotFoundError(f"{cause}: there is no such problem now", "problems")
    return found


def acknowledge(
    connection: Connection,
    who: Who,
    problem: Problem,
    scope: Scope,
    now: float,
    days: int | None = None,
    reader: Scope = EVERYTHING,
) -> ActionResult:
    """Acknowledge a problem of the chatbots in `scope`: until its next case, or whatever comes for some days.

    `reader` has the chatbots that the acting person sees.
    """
    through = now if problem.latest_at is None else problem.latest_at
    until = None if days is None else now + days * DAY_SECONDS
    user = who.name or who.role
    given = Acknowledgement(problem.key, scope_text(reader, scope), now, user, through, until)
    user_state.acknowledge(connection, given)
    facts: dict[str, str | int] = {} if days is None else {"days": days}
    entry = Entry(who, Action.ACKNOWLEDGE, Subject.PROBLEM, problem.key, facts=facts)
    audit_log.add_entry(connection, entry, now)
    end = "until its next case" if days is None else f"for {days} {'day' if days == 1 else 'days'}"
    return ActionResult((f"{problem.title}: {'acknowledged' if days is None else 'ignored'} {end}",), (entry,))


def reopen(
    connection: Connection,
    who: Who,
    cause: str,
    scopes: Iterable[Scope],
    now: float,
    reader: Scope = EVERYTHING,
) -> ActionResult:
    """End the acknowledgements of a cause for these scopes. Raises ConflictError if there are none."""
    ended = [user_state.reopen(connection, cause, scope_text(reader, each)) for each in scopes]
    if not any(ended):
        raise ConflictError(f"{cause}: nobody has acknowledged this")
    entry = Entry(who, Action.REOPEN, Subject.PROBLEM, cause)
    audit_log.add_entry(connection, entry, now)
    return ActionResult((f"{cause}: open again",), (entry,))
