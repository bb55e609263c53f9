"""An org's refusals, in Salesforce's words. Pure.

The same problem has different forms in two places: at the top level of an answer its code is the `errorCode`, in a row
of an sObject Collections answer it is the `statusCode` (REST API Developer Guide, Status Codes and Error Responses;
sObject Collections).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.testing.contacts import Reply


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a record or a call."""

    code: str
    message: str
    fields: tuple[str, ...] | None = ()
    """Fields at fault. None if the answer does not mention fields at all."""
    details: Mapping[str, Any] | None = None
    """Content before the code at the top level of an answer, such as the matches of a duplicate rule."""

    def at_top(self) -> dict[str, Any]:
        """Return the problem in the form of an answer that is an error as a whole."""
        if self.details is not None:
            return {**self.details, "errorCode": self.code, "message": self.message}
        document: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        return document if self.fields is None else {**document, "fields": list(self.fields)}

    def in_row(self) -> dict[str, Any]:
        """Return the problem in the form of a row's error."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields or ())}


class ProblemError(Exception):
    """A refused call, or one refused record of it; nothing of that record is written.

    Args:
        status: HTTP status, if the whole call is refused.
        problems: The problems, at least one.
        unread: True if the record could not even be read, so that a call with several records may fail as a whole.
    """

    def __init__(self, status: int, *problems: Problem, unread: bool = False) -> None:
        super().__init__("; ".join(f"{each.code}: {each.message}" for each in problems))
        self.status = status
        self.problems = problems
        self.unread = unread

    @property
    def reply(self) -> Reply:
        """Return the answer to a call that is refused as a whole."""
        return Reply(self.status, errors(self.problems))

    @property
    def row(self) -> dict[str, Any]:
        """Return the row of a collections answer."""
        return {"success": False, "errors": [each.in_row() for each in self.problems]}


def errors(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return the body of an error."""
    return [each.at_top() for each in problems]


def refused(status: int, code: str, message: str) -> ProblemError:
    """Return the refusal of a call, without fields."""
    return ProblemError(status, Problem(code, message, None))


def refused_record(code: str, message: str, *fields: str) -> ProblemError:
    """Return the refusal of a record, status 400."""
    return ProblemError(400, Problem(code, message, fields))


def not_found(message: str = "The requested resource does not exist") -> ProblemError:
    """Return the 404 of a missing address, record or external id field."""
    return refused(404, "NOT_FOUND", message)
