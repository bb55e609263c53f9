"""Decisions about messages: which problems are reported, and when they are over. Pure: the time is passed in.

A problem is reported once it has lasted longer than its patience. It is reported again after a while if it persists, or
at once if it has grown tenfold. It is over when it has been absent for a while, so that a recurring problem counts as
one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

CALM_SECONDS = 120.0
"""Seconds of absence after which a problem is over."""
GROWN = 10
"""Factor of growth after which a problem is reported again without waiting."""


class Key(NamedTuple):
    """Identity of a problem."""

    kind: str
    whom: str = ""
    """Name of the destination or chatbot; empty for the bridge as a whole."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem at a moment. Its texts contain no personal data and no secret."""

    key: Key
    subject: str
    """A few words, also used to report its end: `hubspot: dead letters`."""
    detail: str
    """Severity, and the next step for a person."""
    size: int = 1
    patience: float = 0.0
    """Seconds that it may last before it is reported."""
    news_at: float | None = None
    """Time of the newest of several occurrences, in seconds since the epoch: only newer ones are reported again. None
    for a problem that is reported again as long as it lasts."""


@dataclass(frozen=True, slots=True)
class Known:
    """Memory of a problem between two calls."""

    subject: str
    since: float
    told_at: float | None = None
    told_size: int = 0
    gone_since: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One line of text for people."""

    text: str
    good: bool = False
    """True if it reports the end of a problem."""


def tell(
    known: Mapping[Key, Known],
    troubles: Sequence[Trouble],
    unsure: frozenset[Key],
    now: float,
    *,
    repeat: float,
    begun_at: float,
) -> tuple[list[Message], dict[Key, Known]]:
    """Return the messages to send now, and the memory for the next call.

    Args:
        known: Memory from the last call.
        troubles: Current problems.
        unsure: Problems whose presence is unknown now.
        now: Seconds since the epoch.
        repeat: Seconds after which a persisting problem is reported again.
        begun_at: Occurrences before this time are not reported, because an earlier process has done so.
    """
    messages: list[Message] = []
    remembered: dict[Key, Known] = {}
    for trouble in troubles:
        before = known.get(trouble.key) or Known(trouble.subject, now)
        remembered[trouble.key] = replace(before, gone_since=None)
        if _is_due(trouble, before, now, repeat, begun_at):
            still = "still: " if before.told_at is not None and trouble.news_at is None else ""
            messages.append(Message(f"{still}{trouble.subject}: {trouble.detail}"))
            remembered[trouble.key] = Known(trouble.subject, before.since, now, trouble.size)
    for key in known.keys() - remembered.keys():
        before = known[key]
        gone_since = now if before.gone_since is None else before.gone_since
        if key in unsure:
            remembered[key] = before
        elif before.told_at is not None and now - gone_since < CALM_SECONDS:
            remembered[key] = replace(before, gone_since=gone_since)
        elif before.told_at is not None:
            messages.append(Message(f"over: {before.subject}", good=True))
    return messages, remembered


def _is_due(trouble: Trouble, before: Known, now: float, repeat: float, begun_at: float) -> bool:
    if before.told_at is None:
        is_news = trouble.news_at is None or trouble.news_at >= begun_at
        return is_news and now - before.since >= trouble.patience
    if trouble.size >= before.told_size * GROWN:
        return True
    is_news = trouble.news_at is None or trouble.news_at > before.told_at
    return is_news and now - before.told_at >= repeat
