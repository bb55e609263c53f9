"""What a duplicate rule says that it has found. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DUPLICATES = ("duplicateResult", "duplicateResut")  # the second is Salesforce's own spelling, up to about v60


@dataclass(frozen=True, slots=True)
class Match:
    """Another record that a duplicate rule has found."""

    id: str
    object: str
    confidence: float


def duplicate_of(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what an error says of a duplicate, nothing where it is about something else."""
    found: Mapping[str, Any] = next((error[name] for name in _DUPLICATES if isinstance(error.get(name), dict)), {})
    return found


def read_matches(duplicate: Mapping[str, Any]) -> list[Match]:
    """Give the records that a duplicate rule found, the surest first, each once."""
    results = duplicate.get("matchResults")
    found: dict[str, Match] = {}
    for result in results if isinstance(results, list) else ():
        listed = result.get("matchRecords") if isinstance(result, dict) else None
        for each in listed if isinstance(listed, list) else ():
            match = _match(each, result)
            if match and match.confidence > found.get(match.id, Match("", "", -1.0)).confidence:
                found[match.id] = match
    return sorted(found.values(), key=lambda match: -match.confidence)


def _match(said: Any, result: Mapping[str, Any]) -> Match | None:  # noqa: ANN401 - any JSON value
    record = said.get("record") if isinstance(said, dict) else None
    if not isinstance(record, dict) or not isinstance(record.get("Id"), str):
        return None
    attributes = record.get("attributes")
    kind = attributes.get("type") if isinstance(attributes, dict) else result.get("entityType")
    confidence = said.get("matchConfidence")
    return Match(record["Id"], str(kind), float(confidence) if isinstance(confidence, int | float) else 0.0)
