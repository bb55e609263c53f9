"""Decisions on records that Salesforce considers duplicates. Pure.

Salesforce Help, "Duplicate Rules": a rule alerts or blocks, and it may find records of another object (a contact for a
lead). A unique field finds a record without any rule.
"""

from dataclasses import dataclass

from connectors.salesforce.errors import DuplicateMatch, SalesforceProblem
from connectors.salesforce.settings import SalesforceRoute
from connectors.salesforce.status_codes import ErrorKind


@dataclass(frozen=True, slots=True)
class Update:
    """Decision to write into an existing record."""

    id: str
    warning: str
    otherwise: "Allow | None" = None
    """Alternative if the user may not write into that record; None if there is none."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Decision to save the record anyway, past a rule that only alerts."""

    warning: str


@dataclass(frozen=True, slots=True)
class Learn:
    """Decision to send the record alone, because the answer for several does not name what was found."""


def resolve(problem: SalesforceProblem, route: SalesforceRoute) -> Update | Allow | Learn | None:
    """Return the decision, or None if the record is to be refused.

    The best match of the same object is updated. A match of another object cannot be, nor can one that is not shared
    with the user, which a rule finds anyway. The record is then saved if the rule allows it, so that a customer who
    writes again is not lost.
    """
    if problem.kind is not ErrorKind.DUPLICATE or route.duplicates != "update":
        return None
    if problem.found_id:
        return Update(problem.found_id, f"written into {problem.found_id}, which has the same value of a unique field")
    own = [match for match in problem.matches if match.object.lower() == route.object.lower()]
    if own:
        others = f", the best of {len(own)} matches" if len(own) > 1 else ""
        otherwise = _allow(own[0]) if problem.allows_save else None
        return Update(own[0].id, f"written into {own[0].id}, which a duplicate rule found{others}", otherwise)
    if problem.matches and problem.allows_save:
        return _allow(problem.matches[0])
    return Learn() if problem.code == "DUPLICATES_DETECTED" and not problem.matches else None


def _allow(found: DuplicateMatch) -> Allow:
    return Allow(f"saved beside {found.object} {found.id}, which a duplicate rule found")
