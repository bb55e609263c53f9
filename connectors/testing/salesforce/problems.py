"""What an org refuses, and how it words it. Pure.

The same problem looks different in two places: at the top level of an answer its code is the `errorCode`, in a row of
an sObject Collections answer it is the `statusCode` (REST API Developer Guide, Status Codes and Error Responses;
sObject Collections).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.testing.contacts import Reply


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a record or a call."""

    code: str
    message: str
    fields: tuple[str, ...] | None = ()
    """The fields that it is about. None: an answer does not speak of fields at all."""
    details: Mapping[str, Any] | None = None
    """What stands before the code at the top level of an answer, such as the matches of a duplicate rule."""

    def at_top(self) -> dict[str, Any]:
        """Return it as a part of an answer that is an error as a whole."""
        if self.details is not None:
            return {**self.details, "errorCode": self.code, "message": self.message}
        document: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        return document if self.fields is None else {**document, "fields": list(self.fields)}

    def in_row(self) -> dict[str, Any]:
        """Return it as one of the errors of a row."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields or ())}


class ProblemError(Exception):
    """A call, or one record of it, is refused; nothing of that record has been written.

    Args:
        status: The HTTP status, where the whole call is refused.
        problems: Why, at least one.
        unread: Whether the record could not even be read, so that a call with several records may fail as a whole.
    """

    def __init__(self, status: int, *problems: Problem, unread: bool = False) -> None:
        super().__init__("; ".join(f"{each.code}: {each.message}" for each in problems))
        self.status = status
        self.problems = problems
        self.unread = unread

    @property
    def reply(self) -> Reply:
        """The answer to a call that is refused as a whole."""
        return Reply(self.status, errors(self.problems))

    @property
    def row(self) -> dict[str, Any]:
        """The row of a collections answer."""
        return {"success": False, "errors": [each.in_row() for each in self.problems]}


def errors(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return the body of an answer that is an error."""
    return [each.at_top() for each in problems]


def refused(status: int, code: str, message: str) -> ProblemError:
    """Make the refusal of a call, one that does not speak of fields."""
    return ProblemError(status, Problem(code, message, None))


def refused_record(code: str, message: str, *fields: str) -> ProblemError:
    """Make the refusal of a record, status 400."""
    return ProblemError(400, Problem(code, message, fields))


def not_found(message: str = "The requested resource does not exist") -> ProblemError:
    """Make the 404 of an address, a record or an external id field that is not there."""
    return refused(404, "NOT_FOUND", message)
