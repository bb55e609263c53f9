"""Which troubles are worth a message, and when they are over. Pure: the time is passed in.

A trouble is told once, after it has lasted as long as it may; told again after a while if it is still there, or at once
when it has grown tenfold; and told to be over when it has been gone for a while, so that one that comes and goes is
one trouble.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

CALM_SECONDS = 120.0
"""How long a trouble must have been gone to be over."""
GROWN = 10
"""So many times the size that was told last, and it is told again without waiting."""


class Key(NamedTuple):
    """What tells one trouble from another."""

    kind: str
    whom: str = ""
    """The destination or chatbot that it is about; empty for the bridge as a whole."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong at a moment. Its texts hold no personal data and no secret."""

    key: Key
    subject: str
    """A few words, which also say that it is over: `hubspot: dead letters`."""
    detail: str
    """How bad it is, and what to do."""
    size: int = 1
    patience: float = 0.0
    """Seconds that it may last before it is told."""
    news_at: float | None = None
    """When the newest of many came, in seconds since the epoch: told again only for newer ones. None for what is told
    again as long as it lasts."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a trouble."""

    subject: str
    since: float
    told_at: float | None = None
    told_size: int = 0
    gone_since: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One line for people."""

    text: str
    good: bool = False
    """Whether it says that a trouble is over."""


def tell(
    known: Mapping[Key, Known],
    troubles: Sequence[Trouble],
    unsure: frozenset[Key],
    now: float,
    *,
    repeat: float,
    begun_at: float,
) -> tuple[list[Message], dict[Key, Known]]:
    """Say what to tell now, and what to remember.

    Args:
        known: What the last call said to remember.
        troubles: What is wrong now.
        unsure: Troubles of which it cannot be said now whether they are there.
        now: Seconds since the epoch.
        repeat: Seconds after which a trouble that is still there is told again.
        begun_at: News from before that time are not told: whoever looked then has told them.
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
