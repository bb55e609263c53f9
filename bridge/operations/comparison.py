"""Differences between the dry runs of the same events with two configurations. Pure.

The dry runs are compared route by route. A change that many events share is reported once, with their number and a few
examples.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from bridge.config import Config
from bridge.event import decode
from bridge.operations.event_dry_run import FAILS, MATCHES, EventDryRun, RouteDryRun, dry_run_event
from bridge.store.queries import StoredEvent
from connectors.base import Preview

NOTHING: Final = object()
"""Marks a missing value."""
EXAMPLES: Final = 3
"""Maximum number of examples of one change."""
_MOMENTARY: Final = frozenset({"webhook-timestamp", "webhook-signature"})
"""Headers that differ from one moment to the next (https://www.standardwebhooks.com)."""


class ChangeKind(StrEnum):
    """Kinds of changes on a route, in the order of the report."""

    DEAD = "a dead letter now"
    STOPS = "not sent any more"
    STARTS = "sent now"
    FIXED = "no dead letter any more"
    LEFT_OUT = "left out now"
    """A field of the record has no value any more."""
    CHANGED = "changed"
    """A field has another value."""
    ADDED = "there now"
    """A field has a value, and had none."""
    REQUEST = "sent in another way"
    """The record is the same, and the request is not."""


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """A change for one event on one route."""

    chatbot: str
    route: str
    kind: ChangeKind
    part: str = ""
    """The field, or the part of the request."""
    before: Any = NOTHING
    after: Any = NOTHING
    """The value of the field or the part of the request; for a new delivery, the record."""
    why: str | None = None
    """Reason why it is not sent, or is or was a dead letter."""


@dataclass(frozen=True, slots=True, repr=False)
class Example:
    """An event with a change."""

    event: str
    """The event's id."""
    change: Change


@dataclass(slots=True, repr=False)
class Group:
    """The same change for several events."""

    chatbot: str
    route: str
    kind: ChangeKind
    part: str
    types: Counter[str] = field(default_factory=Counter)
    """Number of events of each type."""
    examples: list[Example] = field(default_factory=list)
    """The first examples that differ from each other."""

    @property
    def count(self) -> int:
        """Number of events with the change."""
        return self.types.total()

    def add(self, result: EventDryRun, change: Change) -> None:
        """Count an event; keep it as an example if there are few, and no similar one."""
        self.types[result.event.type or "event"] += 1
        if len(self.examples) < EXAMPLES and not any(_alike(each.change, change) for each in self.examples):
            self.examples.append(Example(result.event.id, change))


def compare_events(events: Iterable[StoredEvent], config: Config, other: Config | None) -> list[Group]:
    """Dry-run stored events under two configurations, and return the changes from `other` to `config`.

    Each event is routed as of its receipt. Without `other`, the result lists what `config` does with the events.
    """
    return group_changes(
        (_stored_dry_run(each, other) if other else None, _stored_dry_run(each, config)) for each in events
    )


def _stored_dry_run(event: StoredEvent, config: Config) -> EventDryRun:
    try:
        document = decode(event.payload)
    except ValueError:
        document = None
    return dry_run_event(event.payload, document, config, event.received_at, event.id)


def group_changes(pairs: Iterable[tuple[EventDryRun | None, EventDryRun]]) -> list[Group]:
    """Compare pairs of dry runs; the first of a pair is None if there is no other configuration.

    Returns the changes route by route, in the order of `ChangeKind`, the most frequent first.
    """
    groups: dict[tuple[str, str, ChangeKind, str], Group] = {}
    for before, after in pairs:
        for change in changes(before, after):
            key = (change.chatbot, change.route, change.kind, change.part)
            groups.setdefault(key, Group(*key)).add(after if after.event.type else before or after, change)
    kinds = list(ChangeKind)
    return sorted(groups.values(), key=lambda each: (each.chatbot, each.route, kinds.index(each.kind), -each.count))


def changes(before: EventDryRun | None, after: EventDryRun) -> list[Change]:
    """Compare two dry runs of one event."""
    chatbot = after.event.chatbot or (before.event.chatbot if before else None) or ""
    was = {each.route: each for each in before.routes} if before else {}
    now = {each.route: each for each in after.routes}
    gone = after.why or "there is no such route any more"
    return [
        change
        for route in dict.fromkeys([*now, *was])
        for change in _route_changes(chatbot, was.get(route), now.get(route), gone)
    ]


def _route_changes(chatbot: str, was: RouteDryRun | None, now: RouteDryRun | None, gone: str) -> Iterator[Change]:
    route = now.route if now else was.route if was else ""
    before, after = was.state if was else None, now.state if now else None
    if before == MATCHES == after and was and now:
        for kind, part, old, new in _differences(was, now):
            yield Change(chatbot, route, kind, part, old, new)
    elif after == MATCHES:
        fixed, record = before == FAILS, now.record if now else None
        why = was.why if was and fixed else None
        yield Change(
            chatbot, route, ChangeKind.FIXED if fixed else ChangeKind.STARTS, after=dict(record or {}), why=why
        )
    elif after == FAILS and before != FAILS:
        yield Change(chatbot, route, ChangeKind.DEAD, why=now.why if now else None)
    elif before in {MATCHES, FAILS} and after != FAILS:
        yield Change(chatbot, route, ChangeKind.STOPS, why=now.why if now else gone)


def _differences(was: RouteDryRun, now: RouteDryRun) -> Iterator[tuple[ChangeKind, str, Any, Any]]:
    """Compare the records, or the requests if the records are equal, because a request repeats its record."""
    old, new = was.record or {}, now.record or {}
    found = list(_different(old, new))
    if found:
        yield from ((_kind(before, after), name, before, after) for name, before, after in found)
    elif was.request and now.request:
        yield from ((ChangeKind.REQUEST, *each) for each in _different(_parts(was.request), _parts(now.request)))


def _kind(before: object, after: object) -> ChangeKind:
    if after is NOTHING:
        return ChangeKind.LEFT_OUT
    return ChangeKind.ADDED if before is NOTHING else ChangeKind.CHANGED


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*new, *old]):
        before, after = old.get(name, NOTHING), new.get(name, NOTHING)
        # `True == 1`, but a field that turns from one into the other has changed.
        if before != after or type(before) is not type(after):
            yield name, before, after


def _parts(request: Preview) -> dict[str, str]:
    headers = {f"header {name}": text for name, text in request.headers.items() if name.lower() not in _MOMENTARY}
    return {"method": request.method, "URL": request.url, **headers, "body": request.body}


def _alike(one: Change, other: Change) -> bool:
    return (one.before, one.after, one.why) == (other.before, other.after, other.why)


def counted(types: Mapping[str, int]) -> str:
    """Write a number of events: `38 leads`, `1 appointment`, `40 events`."""
    count = sum(types.values())
    what = next(iter(types)).lower() if len(types) == 1 else "event"
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
