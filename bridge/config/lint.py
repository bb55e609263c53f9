"""Checks of conditions that are always or never true, and of the fields that a route writes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bridge.config.diagnostics import ConfigPath
from bridge.config.merge import ConfigDraft
from bridge.event import EVENT_TYPES
from bridge.mapping.mapping import Mapping as FieldMapping

_TYPE: Final = "Type"


def check_when(draft: ConfigDraft, path: ConfigPath, events: Iterable[str]) -> None:
    """Report a condition that excludes all events of the given types."""
    types = [each for each in EVENT_TYPES if each in events]
    if types and _certain(draft, path, types) is False:
        which = " or ".join(f"`{each}`" for each in types)
        why = f": `Type` is {which} here, spelled exactly so" if _certain(draft, path, [None]) is None else ""
        draft.value_error(path, f"is never true, so no event takes this route{why}; correct it, or remove the route")


def check_test_when(draft: ConfigDraft, path: ConfigPath) -> None:
    """Warn of a condition that makes every event a test."""
    if _certain(draft, path, EVENT_TYPES) is True:
        draft.warn(path, "is true for every event: all events count as tests and none is delivered")


def check_write_modes(draft: ConfigDraft, path: ConfigPath, mapping: FieldMapping, *, can_tell: bool) -> None:
    """Report write modes that the connector cannot heed, and warn of constants and defaults that overwrite values.

    Args:
        draft: The configuration.
        path: Path of the fields.
        mapping: The fields.
        can_tell: True if the connector knows what the destination holds (`Connector.conditional_writes`).
    """
    if not can_tell:
        for name in mapping.names:
            if name in mapping.create_only or name in mapping.if_empty:
                what = "must be `always`: this connector cannot tell what the destination holds"
                draft.value_error((*path, name, "write"), what)
        return
    for name, kind in mapping.fillers.items():
        draft.warn(
            (*path, name),
            f"its {kind} overwrites what the CRM holds for a known person: add `write: if_empty` or `write: create`, "
            f"or `write: always` if it should",
        )


def _certain(draft: ConfigDraft, path: ConfigPath, types: Sequence[str | None]) -> bool | None:
    """Return the truth of a condition if it is the same for all types; None if it depends on the event."""
    text = draft.text(path)
    if text is None:
        return None
    candidates = types if _TYPE in text else [None]
    known: list[Mapping[str, Any]] = [{_TYPE: each} if each else {} for each in candidates]
    truths = {draft.expressions.certain_truth(text, each) for each in known}
    return truths.pop() if len(truths) == 1 else None
