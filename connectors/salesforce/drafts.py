"""Records under way: what each is sent as, and what is taken out of one that was refused. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connectors.base import Reason, Retry
from connectors.salesforce.problems import DROPPED, Kind, Problem
from connectors.salesforce.reading import Verdict
from connectors.salesforce.rows import UNSEEN, Existing, Row
from connectors.salesforce.shape import Shape

Known = Mapping[str, Existing] | None
"""What Salesforce has already, by the key without regard to case; None where it does not tell."""

_UNASSIGNED = "assignment rules were not run, for whether it is new cannot be asked; let the user query {name}"
_UNSENT = Retry(Reason.CONNECTOR_ERROR, "not sent")


@dataclass(slots=True, repr=False)
class Draft:
    """A record under way through the rounds of one `deliver`."""

    row: Row
    is_new: bool
    """Whether it is sent as one that may be created."""
    existing: Existing | None
    verdict: Verdict
    """What is known of it so far."""
    warnings: tuple[str, ...] = ()


def drafted(row: Row, known: Known) -> Draft:
    """Say what a record is sent as: a new one, one that exists, or one that may, which is written as if it did."""
    if known is not None:
        existing = known.get(row.key.casefold()) if row.asks else None
        return Draft(row, existing is None, existing, _UNSENT)
    if not row.asks:
        return Draft(row, True, None, _UNSENT)  # noqa: FBT003 - it may be created
    return Draft(row, False, UNSEEN, _UNSENT)  # noqa: FBT003 - it is written as one that exists


def lightened(drafts: Sequence[Draft], shape: Shape | None) -> list[Draft]:
    """Take what is refused out of records; give those that are to be sent again. None where there is no other way.

    Where a call as a whole was refused for a field, those without it go again too, and one that has it and cannot go
    without it is left to its own trouble.
    """
    lighter, beside, is_told_apart = [], [], False
    for each in drafts:
        names = refused(each.row, each.verdict, shape)
        if names:
            each.row = each.row.without(names)
            lighter.append(each)
        elif isinstance(each.verdict, Problem) and each.verdict.whole:
            if each.row.has(each.verdict.named):
                each.verdict = replace(each.verdict, whole=False)
                is_told_apart = True
            else:
                beside.append(each)
    return lighter + beside if lighter or is_told_apart else []


def unassigned(row: Row, existing: Existing | None) -> tuple[str, ...]:
    """Warn of a record that may have been new, and that nobody has been assigned to."""
    told = existing is UNSEEN and row.is_assigned and row.route.assignment == "created"
    return (_UNASSIGNED.format(name=row.route.object),) if told else ()


def refused(row: Row, verdict: object, shape: Shape | None) -> tuple[str, ...]:
    """Give the fields that a record may go without and that are all that Salesforce has refused of it."""
    if not isinstance(verdict, Problem) or verdict.kind not in DROPPED:
        return ()
    unknown = row.unknown(shape) if verdict.kind is Kind.FIELD else ()
    return row.droppable((*verdict.named, *unknown), shape)


def is_incomplete(verdict: object) -> bool:
    """Whether a record is refused for nothing but what a new one requires."""
    return isinstance(verdict, Problem) and verdict.code == "REQUIRED_FIELD_MISSING"
