"""`leadbridge explain --stored`: dry runs of stored events, alone or compared with another configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from bridge.cli import inputs, output
from bridge.operations.comparison import NOTHING, Change, ChangeKind, Group, compare_events, counted
from bridge.operations.event_dry_run import changed_texts, value_text
from bridge.operations.store_access import open_store
from bridge.store.queries import recent_events

_VALUE = 40  # maximum number of characters of an example
_OF_A_PART = frozenset({ChangeKind.LEFT_OUT, ChangeKind.CHANGED, ChangeKind.ADDED, ChangeKind.REQUEST})


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """Request for the dry runs of stored events."""

    limit: int
    """Number of the last events."""
    chatbot: str | None
    path: Path | None
    against: Path | None
    """The configuration to compare with; None to show the deliveries under `path` alone."""


def show_comparison(request: ComparisonRequest, *, as_json: bool) -> bool:
    """Show the result; return True if a delivery would newly be a dead letter."""
    config = inputs.read_whole(request.path)
    other = inputs.read_whole(request.against) if request.against else None
    with output.waiting("running the stored events through the configuration"):
        with open_store(config).reading() as connection:
            events = recent_events(connection, request.limit, request.chatbot)
        groups = compare_events(events, config, other)
    if as_json:
        changes = [_row(each) for each in groups]
        output.write_json(
            {"events": len(events), "compared_with": request.against and str(request.against), "changes": changes}
        )
    else:
        _show(groups, len(events), request)
    return any(each.kind is ChangeKind.DEAD for each in groups)


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
    """Return the values of an example; `before` and `after` are there only if they have a value."""
    sides = {"before": change.before, "after": change.after}
    why = {"why": change.why} if change.why else {}
    return {side: value for side, value in sides.items() if value is not NOTHING} | why


def _show(groups: Sequence[Group], events: int, request: ComparisonRequest) -> None:
    whose = f" of chatbot {request.chatbot}" if request.chatbot else ""
    if not events:
        output.say(f"There are no accepted events{whose} in the store yet.")
        return
    what = f"the last {events} events{whose}" if events > 1 else f"the last event{whose}"
    if request.against:
        output.say(f"Compared with {request.against}:")
        output.say(f"for {what}" if groups else f"nothing changes for {what}")
    else:
        output.say(f"For {what}:" if groups else f"Nothing would be sent for {what}.")
    for (chatbot, route), changes in groupby(groups, key=lambda each: (each.chatbot, each.route)):
        output.say()
        output.say(f"{chatbot}, route {route}")
        for each in changes:
            _show_group(each, compared=request.against is not None)


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
