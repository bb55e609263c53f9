"""What becomes of a record that Salesforce takes for a duplicate. Pure.

Salesforce Help, "Duplicate Rules": a rule alerts or blocks, and what it finds may be of another object (a contact for a
lead). A unique field finds a record without any rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.salesforce.errors import Kind, Problem
from connectors.salesforce.settings import SalesforceRoute

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


@dataclass(frozen=True, slots=True)
class Update:
    """Write into the record of this id."""

    id: str
    warning: str
    otherwise: "Allow | None" = None
    """What to do where the user may not write into that record; None: nothing else can be done."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Save it all the same, past a rule that only alerts."""

    warning: str


@dataclass(frozen=True, slots=True)
class Learn:
    """Send it once more by itself, for the answer for several does not say what was found."""


def resolve(problem: Problem, route: SalesforceRoute) -> Update | Allow | Learn | None:
    """Say what to do, or None where the record is to be refused.

    The surest match of the object itself is updated. A match of another object cannot be, nor one that is not shared
    with the user, which a rule finds all the same: then the record is saved where the rule allows it, for a customer
    who writes again must not be lost.
    """
    if problem.kind is not Kind.DUPLICATE or route.duplicates != "update":
        return None
    if problem.found_id:
        return Update(problem.found_id, f"written into {problem.found_id}, which has the same value of a unique field")
    own = [match for match in problem.matches if match.object.lower() == route.object.lower()]
    if own:
        others = f", the surest of {len(own)} matches" if len(own) > 1 else ""
        otherwise = _allow(own[0]) if problem.allows_save else None
        return Update(own[0].id, f"written into {own[0].id}, which a duplicate rule found{others}", otherwise)
    if problem.matches and problem.allows_save:
        return _allow(problem.matches[0])
    known = problem.matches or problem.code == "DUPLICATE_VALUE"
    return None if known else Learn()


def _allow(found: Match) -> Allow:
    return Allow(f"saved beside {found.object} {found.id}, which a duplicate rule found")
