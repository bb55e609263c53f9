"""What becomes of a record that Salesforce takes for a duplicate. Pure.

Salesforce Help, "Duplicate Rules": a rule alerts or blocks, and what it finds may be of another object (a contact for a
lead). A unique field finds a record without any rule.
"""

from dataclasses import dataclass

from connectors.salesforce.errors import DuplicateMatch, Kind, SalesforceProblem
from connectors.salesforce.settings import SalesforceRoute


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


def resolve(problem: SalesforceProblem, route: SalesforceRoute) -> Update | Allow | Learn | None:
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


def _allow(found: DuplicateMatch) -> Allow:
    return Allow(f"saved beside {found.object} {found.id}, which a duplicate rule found")
