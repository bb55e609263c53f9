"""Refusals of the HubSpot sandbox, in HubSpot's own words. Pure.

Every refusal is an exception, because it may become the body of an answer or one element of the `errors` of a batch.
Source of the forms: HubSpot's page on error handling and its guide to the object APIs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

VALIDATION = "VALIDATION_ERROR"
NOT_FOUND = "OBJECT_NOT_FOUND"
CONFLICT = "CONFLICT"
_SCOPES_PAGE = "https://developers.hubspot.com/scopes"


class RefusedError(Exception):
    """A refused call, or one refused input of a batch.

    Args:
        status: Status of the answer, if the whole call is refused.
        message: HubSpot's message.
        category: None if HubSpot sends none (JSON that cannot be read).
        errors: The `errors` of the body.
        context: Values by name, each a list of text.
        links: The `links` of the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        category: str | None = VALIDATION,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        context: Mapping[str, Sequence[str]] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.category = category
        self._errors = list(errors)
        self._context = dict(context or {})
        self._links = dict(links or {})

    def document(self, correlation_id: str) -> dict[str, Any]:
        """Return the body of the answer. The 409 of a single record names the other one in its message only."""
        parts = {
            "errors": self._errors,
            "links": self._links,
            "context": {} if self.category == CONFLICT else self._context,
            "category": self.category,
        }
        body = {"status": "error", "message": self.message, "correlationId": correlation_id}
        return body | {name: part for name, part in parts.items() if part}

    def element(self, trace_id: str | None) -> dict[str, Any]:
        """Return the element of a batch's `errors`, with this trace id if there is one."""
        context = {**({} if trace_id is None else {"objectWriteTraceId": [trace_id]}), **self._context}
        return {"status": "error", "category": self.category, "message": self.message, "context": context}


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value that a property does not accept."""

    name: str
    code: str
    """`PROPERTY_DOESNT_EXIST`, `INVALID_OPTION`, ..."""
    message: str


class InvalidValuesError(RefusedError):
    """Refused values of one record, or of a whole batch.

    The reasons are in a JSON array inside the message. `errors` repeats them, but only once for each property and code,
    so that the two lists can differ in length, as in recorded answers.

    Args:
        invalid: The values.
        portal: The account.
    """

    def __init__(self, invalid: Sequence[Invalid], portal: int) -> None:
        self.invalid = tuple(invalid)
        inside = [
            {
                "isValid": False,
                "message": each.message,
                "error": each.code,
                "name": each.name,
                "localizedErrorMessage": each.message,
                "portalId": portal,
            }
            for each in invalid
        ]
        once = {(each.name, each.code): each for each in invalid}.values()
        super().__init__(
            400,
            f"Property values were not valid: {orjson.dumps(inside).decode()}",
            errors=[
                {"message": each.message, "code": each.code, "context": {"propertyName": [each.name]}} for each in once
            ],
        )


def unreadable(reason: str, line: int = 1, column: int = 2) -> RefusedError:
    """Return the refusal of invalid JSON, or of a value of the wrong kind: it has no category."""
    return RefusedError(400, f"Invalid input JSON on line {line}, column {column}: {reason}", None)


def not_set(names: Sequence[str]) -> RefusedError:
    """Return the refusal of a document without required fields: it has no category either."""
    return unreadable(f"Some required fields were not set: [{', '.join(names)}]")


def not_found() -> RefusedError:
    """Return the answer for a record that does not exist."""
    return RefusedError(404, "resource not found", NOT_FOUND)


def unknown_address() -> RefusedError:
    """Return the answer for an unknown path. It has no category, unlike the one for an absent record."""
    return RefusedError(404, "resource not found", None)


def required_properties(verb: str, kind: str, names: Sequence[str]) -> RefusedError:
    """Return the refusal of a record without required properties; `verb` is creating or updating."""
    message = f"Error {verb} {kind.upper()}. Some required properties were not set."
    return RefusedError(400, message, context={"properties": list(names)})


def missing_scopes(scopes: Sequence[str]) -> RefusedError:
    """Return the refusal of a token without any of these scopes."""
    return RefusedError(
        403,
        "This app hasn't been granted all required scopes to make this call. "
        f"Read more about required scopes here: {_SCOPES_PAGE}.",
        "MISSING_SCOPES",
        errors=[
            {
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": list(scopes)},
            }
        ],
        links={"scopes": _SCOPES_PAGE},
    )
