"""Notifications about conditions: which are due, and when a condition is over. Pure: the time is passed in.

A condition is reported once it has lasted longer than its patience. It is reported again after a while if it persists,
or at once if it has grown tenfold. It is over when it has been absent for a while, so that a condition that comes and
goes counts as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

CALM_SECONDS = 120.0
"""Seconds of absence after which a condition is over."""
GROWN = 10
"""Factor of growth after which a condition is reported again without waiting."""


class ConditionKey(NamedTuple):
    """Identity of a condition."""

    rule: str
    name: str = ""
    """Name of the destination or chatbot; empty for the bridge as a whole."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A problem at a moment. Its texts contain no personal data and no secret."""

    key: ConditionKey
    subject: str
    """A few words, also used to report its end: `hubspot: dead letters`."""
    detail: str
    """Severity, and the next step for a person."""
    size: int = 1
    patience: float = 0.0
    """Seconds that it may last before it is reported."""
    news_at: float | None = None
    """Time of the newest of several occurrences, in seconds since the epoch: only newer ones are reported again. None
    for a condition that is reported again as long as it lasts."""


@dataclass(frozen=True, slots=True)
class AlertState:
    """Memory of a condition between two checks."""

    subject: str
    since: float
    notified_at: float | None = None
    notified_size: int = 0
    absent_since: float | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One line of text for people."""

    text: str
    good: bool = False
    """True if it reports the end of a condition."""


def due_notifications(
    states: Mapping[ConditionKey, AlertState],
    conditions: Sequence[Condition],
    unobserved: frozenset[ConditionKey],
    now: float,
    *,
    repeat: float,
    begun_at: float,
) -> tuple[list[Notification], dict[ConditionKey, AlertState]]:
    """Return the notifications to send now, and the states for the next call.

    Args:
        states: States from the last call.
        conditions: Current conditions.
        unobserved: Conditions whose presence is unknown now.
        now: Seconds since the epoch.
        repeat: Seconds after which a persisting condition is reported again.
        begun_at: Occurrences before this time are not reported, because an earlier process has done so.
    """
    notifications: list[Notification] = []
    after: dict[ConditionKey, AlertState] = {}
    for condition in conditions:
        before = states.get(condition.key) or AlertState(condition.subject, now)
        after[condition.key] = replace(before, absent_since=None)
        if _is_due(condition, before, now, repeat, begun_at):
            still = "still: " if before.notified_at is not None and condition.news_at is None else ""
            notifications.append(Notification(f"{still}{condition.subject}: {condition.detail}"))
            after[condition.key] = AlertState(condition.subject, before.since, now, condition.size)
    for key in states.keys() - after.keys():
        before = states[key]
        absent_since = now if before.absent_since is None else before.absent_since
        if key in unobserved:
            after[key] = before
        elif before.notified_at is not None and now - absent_since < CALM_SECONDS:
            after[key] = replace(before, absent_since=absent_since)
        elif before.notified_at is not None:
            notifications.append(Notification(f"over: {before.subject}", good=True))
    return notifications, after


def _is_due(condition: Condition, before: AlertState, now: float, repeat: float, begun_at: float) -> bool:
    if before.notified_at is None:
        is_news = condition.news_at is None or condition.news_at >= begun_at
        return is_news and now - before.since >= condition.patience
    if condition.size >= before.notified_size * GROWN:
        return True
    is_news = condition.news_at is None or condition.news_at > before.notified_at
    return is_news and now - before.notified_at >= repeat
