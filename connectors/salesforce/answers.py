"""Reads the answers of collections, composites and queries. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.salesforce.errors import Problem, document_of, read_problem, unreadable
from connectors.salesforce.records import DESCRIPTION, Existing


@dataclass(frozen=True, slots=True)
class Written:
    """Salesforce has the record, under this id."""

    id: str


Verdict = Written | Problem | Retry | Rejected
"""What is known of one record: written, its own problem, or what came of the call as a whole."""


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """The answer to one part of a composite."""

    status: int
    body: Any

    @property
    def is_good(self) -> bool:
        """Whether it did what was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110 section 15.3


def read_rows(answer: Answer, count: int, secrets: Secrets) -> list[Verdict]:
    """Read a collection's results, which come in the order of the records ("sObject Collections").

    An answer of another length accounts for none of them.
    """
    document = document_of(answer)
    if not isinstance(document, list) or len(document) != count:
        return [unreadable(answer.status)] * count
    return [_row(each, answer.status, secrets) for each in document]


def read_parts(answer: Answer) -> dict[str, Part]:
    """Read a composite's answers by their names; what cannot be read is left out."""
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
    """Read the answer to a part that writes.

    Args:
        part: Its answer, None where there is none.
        status: Of the answer as a whole.
        secrets: Masks what Salesforce says.
        known_id: The record's id, where it was written by it: then there is no body (204).
    """
    if part is None:
        return unreadable(status)
    if part.is_good:
        said = part.body.get("id") if isinstance(part.body, dict) and part.body.get("success") is not False else None
        record_id = said if isinstance(said, str) and said else known_id
        return Written(record_id) if record_id else unreadable(status)
    if part.status == 300:  # noqa: PLR2004 - the external id is not unique; the body is a list of records
        return Problem(300, "", "several records have this external id; mark its field as unique and merge them")
    return read_problem(part.body, part.status, secrets) or _silent(part.status)


def read_found(parts: Sequence[Part | None], field: str) -> dict[str, Existing] | None:
    """Read the answers to `Requests.existing`: the records by their value in the field, without regard to case.

    None where one of the queries has no answer that can be used.
    """
    found: dict[str, Existing] = {}
    for part in parts:
        records = _records(part)
        if records is None:
            return None
        found |= {str(each[field]).casefold(): existing(each) for each in records if each.get(field) is not None}
    return found


def read_activities(part: Part | None, mark: str) -> str | None:
    """Give the id of the activity that has a mark in its description, None where there is none."""
    for each in _records(part) or ():
        description = each.get(DESCRIPTION)
        if isinstance(description, str) and mark in description:
            return str(each["Id"])
    return None


def is_answered(part: Part | None) -> bool:
    """Whether a query's answer can be used."""
    return _records(part) is not None


def existing(record: dict[str, Any]) -> Existing:
    """Read a record that has its id."""
    return Existing(str(record["Id"]), str(record[DESCRIPTION] or "") if DESCRIPTION in record else None)


def _records(part: Part | None) -> list[dict[str, Any]] | None:
    listed = part.body.get("records") if part and part.is_good and isinstance(part.body, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, dict) and each.get("Id") for each in listed):
        return None
    return listed


def _row(result: Any, status: int, secrets: Secrets) -> Verdict:  # noqa: ANN401 - any JSON value
    if not isinstance(result, dict):
        return unreadable(status)
    if result.get("success") is True and isinstance(result.get("id"), str) and result["id"]:
        return Written(result["id"])
    problem = read_problem(result.get("errors"), status, secrets)
    return problem or unreadable(status)


def _silent(status: int) -> Problem:
    """Stand for an error without a body; its status alone says whose trouble it is."""
    return Problem(status, "", "it gives no reason")


_CUT = frozenset({"string", "textarea", "phone", "url"})


@dataclass(frozen=True, slots=True)
class FieldShape:
    """One field. Names and types are those of the REST API's describe."""

    name: str
    type: str
    length: int | None
    """Characters at most; None where the type has no length."""
    createable: bool
    updateable: bool
    required: bool
    """Whether a new record is refused without it."""
    external_id: bool
    """Whether an upsert can find records by it."""
    unique: bool
    values: frozenset[str] | None
    """The only values of a restricted picklist; None where others are taken too."""

    @property
    def is_cut(self) -> bool:
        """Whether a text that is too long is shortened: a cut e-mail address or picklist value would be another one."""
        return self.type in _CUT


@dataclass(frozen=True, slots=True)
class Shape:
    """One object, as the user of the connector sees it."""

    name: str
    createable: bool
    updateable: bool
    fields: Mapping[str, FieldShape]
    """By name in lower case: Salesforce does not care about case."""

    def field(self, name: str) -> FieldShape | None:
        """Give the field of a name in any case; None where the object has none, or the user may not see it."""
        return self.fields.get(name.lower())

    def refuses(self, key: str) -> bool:
        """Whether nothing can be written by the field of this name: the object or the field is not as it must be."""
        field = self.field(key)
        return not self.createable or field is None or not (field.external_id and field.createable)

    def takes(self, name: str) -> bool:
        """Whether the field exists and can be written."""
        field = self.field(name)
        return field is not None and field.createable


def read_shape(document: Any) -> Shape | None:  # noqa: ANN401 - any JSON value
    """Read the answer of `describe`; None where it is not one, or names no field."""
    if not isinstance(document, dict) or not isinstance(document.get("fields"), list):
        return None
    fields = [
        _field(each) for each in document["fields"] if isinstance(each, dict) and isinstance(each.get("name"), str)
    ]
    if not fields:  # every object has some; without them all that is mapped would be taken for wrong
        return None
    return Shape(
        name=str(document.get("name", "")),
        createable=document.get("createable") is not False,
        updateable=document.get("updateable") is not False,
        fields={field.name.lower(): field for field in fields},
    )


def _field(said: Mapping[str, Any]) -> FieldShape:
    length = said.get("length")
    kind = str(said.get("type", ""))
    createable = said.get("createable") is not False
    # A checkbox is never null and never required: it is false where nothing is said.
    required = said.get("nillable") is False and not said.get("defaultedOnCreate") and kind != "boolean"
    return FieldShape(
        name=said["name"],
        type=kind,
        length=length if isinstance(length, int) and length > 0 else None,
        createable=createable,
        updateable=said.get("updateable") is not False,
        required=required and createable,
        external_id=bool(said.get("externalId") or said.get("idLookup")),
        unique=bool(said.get("unique")),
        values=_values(said),
    )


def _values(said: Mapping[str, Any]) -> frozenset[str] | None:
    listed = said.get("picklistValues")
    if not said.get("restrictedPicklist") or not isinstance(listed, list):
        return None
    active = (each for each in listed if isinstance(each, dict) and each.get("active") is not False)
    return frozenset(str(each["value"]) for each in active if "value" in each)
