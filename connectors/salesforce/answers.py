"""The results in the answers of collections, composites and queries. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.salesforce.errors import SalesforceProblem, document_of, read_salesforce_problem, unreadable
from connectors.salesforce.records import DESCRIPTION, Existing


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


def read_rows(answer: Answer, count: int, secrets: Secrets) -> list[Verdict]:
    """Return a collection's results, in the order of the records ("sObject Collections").

    An answer of another length accounts for none of them.
    """
    document = document_of(answer)
    if not isinstance(document, list) or len(document) != count:
        return [unreadable(answer.status)] * count
    return [_row(each, answer.status, secrets) for each in document]


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


def read_existing(parts: Sequence[Part | None], field: str) -> dict[str, Existing] | None:
    """Return the records in the answers to `SalesforceRequests.existing`, by their value in the field, ignoring case.

    None if one of the queries has no usable answer.
    """
    found: dict[str, Existing] = {}
    for part in parts:
        records = _records(part)
        if records is None:
            return None
        found |= {str(each[field]).casefold(): existing(each) for each in records if each.get(field) is not None}
    return found


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


def existing(record: dict[str, Any]) -> Existing:
    """Return a record from a query result with an id."""
    return Existing(str(record["Id"]), str(record[DESCRIPTION] or "") if DESCRIPTION in record else None)


def _records(part: Part | None) -> list[dict[str, Any]] | None:
    listed = part.body.get("records") if part and part.is_good and isinstance(part.body, dict) else None
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
