"""Stored events under the configuration on disk, alone or compared with another one: `leadbridge explain --stored`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from bridge.cli import inputs, output
from bridge.config import Config
from bridge.event import decode
from bridge.operations.comparison import NOTHING, Change, ChangeKind, Group, counted, group
from bridge.operations.event_dry_run import EventDryRun, changed_texts, dry_run_event, value_text
from bridge.operations.store_access import open_store
from bridge.store.history import StoredEvent, recent_events

_VALUE = 40  # characters of an example, at most
_OF_A_PART = frozenset({ChangeKind.LEFT_OUT, ChangeKind.CHANGED, ChangeKind.ADDED, ChangeKind.REQUEST})


@dataclass(frozen=True, slots=True)
class Asked:
    """Events, and the configurations that they are tried under."""

    limit: int
    """How many of the last events."""
    chatbot: str | None
    path: Path | None
    against: Path | None
    """The configuration to compare with; None to show what `path` makes of the events."""


def compare(asked: Asked, *, as_json: bool) -> bool:
    """Show the result; return whether there is a dead letter that the other configuration does not make."""
    config = inputs.read_whole(asked.path)
    with open_store(config).reading() as connection:
        events = recent_events(connection, asked.limit, asked.chatbot)
    other = inputs.read_whole(asked.against) if asked.against else None
    groups = group(_foretold(each, other, config) for each in events)
    if as_json:
        changes = [_row(each) for each in groups]
        output.write_json(
            {"events": len(events), "compared_with": asked.against and str(asked.against), "changes": changes}
        )
    else:
        _show(groups, len(events), asked)
    return any(each.kind is ChangeKind.DEAD for each in groups)


def _foretold(event: StoredEvent, other: Config | None, config: Config) -> tuple[EventDryRun | None, EventDryRun]:
    """Foretell both sides, as if the event came now as it came then."""
    try:
        document = decode(event.payload)
    except ValueError:
        document = None
    before = dry_run_event(event.payload, document, other, event.received_at, event.id) if other else None
    return before, dry_run_event(event.payload, document, config, event.received_at, event.id)


def _row(each: Group) -> dict[str, Any]:
    return {
        "chatbot": each.chatbot,
        "route": each.route,
        "kind": each.kind.name.lower(),
        "part": each.part or None,
        "count": each.count,
        "types": dict(each.types),
        "examples": [{"event": example.event, **_sides(example.change)} for example in each.examples],
    }


def _sides(change: Change) -> dict[str, Any]:
    """Give what an example says; `before` and `after` are there only where there is a value."""
    sides = {"before": change.before, "after": change.after}
    why = {"why": change.why} if change.why else {}
    return {side: value for side, value in sides.items() if value is not NOTHING} | why


def _show(groups: Sequence[Group], events: int, asked: Asked) -> None:
    whose = f" of chatbot {asked.chatbot}" if asked.chatbot else ""
    if not events:
        output.say(f"There are no accepted events{whose} in the store yet.")
        return
    what = f"the last {events} events{whose}" if events > 1 else f"the last event{whose}"
    if asked.against:
        output.say(f"Compared with {asked.against}:")
        output.say(f"for {what}" if groups else f"nothing changes for {what}")
    else:
        output.say(f"For {what}:" if groups else f"Nothing would be sent for {what}.")
    for (chatbot, route), changes in groupby(groups, key=lambda each: (each.chatbot, each.route)):
        output.say()
        output.say(f"{chatbot}, route {route}")
        for each in changes:
            _show_group(each, compared=asked.against is not None)


def _show_group(each: Group, *, compared: bool) -> None:
    if each.kind in _OF_A_PART:
        lines = [_change_line(example.change) for example in each.examples]
    else:
        lines = [_ending_line(example.change, compared=compared) for example in each.examples]
    count = counted(each.types)
    output.say(f"  {count}: {lines[0]}", "red" if each.kind in {ChangeKind.DEAD, ChangeKind.STOPS} else None)
    for line in lines[1:]:
        output.say(f"  {'':{len(count)}}  {line}")


def _change_line(change: Change) -> str:
    part = f"`{change.part}`" if change.kind is not ChangeKind.REQUEST else f"the request's {change.part}"
    if change.before is NOTHING:
        return f"{part} is there now: {value_text(change.after, _VALUE)}"
    if change.after is NOTHING:
        return f"{part} is left out now, and was {value_text(change.before, _VALUE)}"
    before, after = changed_texts(change.before, change.after, _VALUE)
    return f"{part} {before} → {after}"


def _ending_line(change: Change, *, compared: bool) -> str:
    kind = change.kind.value if compared else change.kind.value.removesuffix(" now")
    record = f": {value_text(change.after, 2 * _VALUE)}" if change.kind is ChangeKind.STARTS else ""
    return f"{kind}{record}{f' ({change.why})' if change.why else ''}"
