"""The results in the answers of collections, composites and queries. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.base import Blame, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.salesforce.errors import SalesforceProblem, document_of, outcome, read_salesforce_problem, unreadable
from connectors.salesforce.records import DESCRIPTION, Existing
from connectors.salesforce.status_codes import ErrorKind


@dataclass(frozen=True, slots=True)
class Written:
    """A record in Salesforce, with its id."""

    id: str


Verdict = Written | SalesforceProblem | Retry | Rejected
"""The state of one record: written, its own problem, or the outcome of the call as a whole."""


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """The answer to one part of a composite."""

    status: int
    body: Any

    @property
    def is_good(self) -> bool:
        """Return True if the part succeeded."""
        return 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110 section 15.3


def read_collection(
    part: Part | None, count: int, secrets: Secrets, refused: Retry | Rejected | None = None
) -> list[Verdict]:
    """Return a collection's results, in the order of the records ("sObject Collections").

    If it is refused as a whole for one field, each record has that problem: often only some have the field. So has a
    single record whose value is refused; of several it is unclear whose value it is. An answer of another length
    accounts for none of them.

    Args:
        part: The answer, or its part of one; None if there is none.
        count: Number of the records.
        secrets: Masks Salesforce's messages.
        refused: Outcome of the answer for all records if it is not one of Salesforce's own errors.
    """
    results = own_results(part, count)
    if part is not None and results:
        return [_row(each, part.status, secrets) for each in results]
    problem = read_salesforce_problem(part.body, part.status, secrets) if part and not part.is_good else None
    if problem is None:
        return [refused or unreadable(part.status if part else 200)] * count
    if problem.kind is ErrorKind.FIELD:
        return [replace(problem, is_whole_call=True)] * count
    return [problem if problem.kind is ErrorKind.VALUE and count == 1 else outcome(problem, Blame.BATCH)] * count


def own_results(part: Part | None, count: int) -> list[Any]:
    """Return a collection's results as they stand in the answer; nothing unless there is one for each record."""
    if part is not None and part.status == 200 and isinstance(part.body, list) and len(part.body) == count:  # noqa: PLR2004 - RFC 9110
        return part.body
    return []


def read_parts(answer: Answer) -> dict[str, Part]:
    """Return a composite's answers by name, without unreadable ones."""
    document = document_of(answer)
    listed = document.get("compositeResponse") if isinstance(document, dict) else None
    return {
        each["referenceId"]: Part(each["httpStatusCode"], each.get("body"))
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
        and isinstance(each.get("referenceId"), str)
        and isinstance(each.get("httpStatusCode"), int)
    }


def read_write(part: Part | None, status: int, secrets: Secrets, known_id: str | None = None) -> Verdict:
    """Return the verdict of a part that writes.

    Args:
        part: Its answer, None if there is none.
        status: Status of the answer as a whole.
        secrets: Masks Salesforce's messages.
        known_id: Record ID, if the record was written by it: then there is no body (204).
    """
    if part is None:
        return unreadable(status)
    if part.is_good:
        returned_id = (
            part.body.get("id") if isinstance(part.body, dict) and part.body.get("success") is not False else None
        )
        record_id = returned_id if isinstance(returned_id, str) and returned_id else known_id
        return Written(record_id) if record_id else unreadable(status)
    if part.status == 300:  # noqa: PLR2004 - the external id is not unique; the body is a list of records
        return SalesforceProblem(
            300, "", "several records have this external id; mark its field as unique and merge them"
        )
    return read_salesforce_problem(part.body, part.status, secrets) or _silent(part.status)


def read_selection(parts: Sequence[Part | None]) -> list[Existing] | None:
    """Return the records in the answers to the queries of a selection; None if one has no usable answer."""
    found = [_records(part) for part in parts]
    if any(records is None for records in found):
        return None
    return [_existing(each) for records in found if records is not None for each in records]


def read_existing(parts: Sequence[Part | None], field: str) -> dict[str, Existing] | None:
    """Return the records of a selection by their value in the field, ignoring case; the first of equal ones.

    None if one of the queries has no usable answer.
    """
    records = read_selection(parts)
    if records is None:
        return None
    by_value = ((each.values.get(field.lower()), each) for each in reversed(records))
    return {str(value).casefold(): each for value, each in by_value if value is not None}


def read_activities(part: Part | None, mark: str) -> str | None:
    """Return the id of the activity with a mark in its description, None if there is none."""
    for each in _records(part) or ():
        description = each.get(DESCRIPTION)
        if isinstance(description, str) and mark in description:
            return str(each["Id"])
    return None


def is_answered(part: Part | None) -> bool:
    """Return True if a query has a usable answer."""
    return _records(part) is not None


def _existing(record: dict[str, Any]) -> Existing:
    return Existing(str(record["Id"]), {name.lower(): value for name, value in record.items() if name != "attributes"})


def _records(part: Part | None) -> list[dict[str, Any]] | None:
    """Return the records of a query; None if the answer is unusable, or is only the first page of several."""
    body = part.body if part and part.is_good and isinstance(part.body, dict) else {}
    listed = None if body.get("done") is False else body.get("records")
    if not isinstance(listed, list) or not all(isinstance(each, dict) and each.get("Id") for each in listed):
        return None
    return listed


def _row(result: Any, status: int, secrets: Secrets) -> Verdict:
    if not isinstance(result, dict):
        return unreadable(status)
    if result.get("success") is True and isinstance(result.get("id"), str) and result["id"]:
        return Written(result["id"])
    problem = read_salesforce_problem(result.get("errors"), status, secrets)
    return problem or unreadable(status)


def _silent(status: int) -> SalesforceProblem:
    """Return the problem of an error without a body, from its status alone."""
    return SalesforceProblem(status, "", "it states no reason")
