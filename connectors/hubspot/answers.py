"""The results in HubSpot's answers. Pure.

Nothing is assumed: a record counts as written only if a successful answer has a result for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Blame, Reason, Rejected, Retry
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.hubspot.errors import (
    HubSpotProblem,
    answer_outcome,
    problem_in_answer,
    read_hubspot_problem,
    record_outcome,
)
from connectors.hubspot.requests import MERGED

RECORD_ID = "hs_object_id"
_NONE_FOUND = "NO_ASSOCIATIONS_FOUND"
_ABSENT = "OBJECT_NOT_FOUND"
_REQUEST_TIMEOUT = 408


@dataclass(frozen=True, slots=True)
class Stored:
    """A record in HubSpot."""

    id: str
    status: int
    new: bool = False
    """True if this call created it."""
    url: str | None = None
    owner: str = ""
    """Owner that the record had before, by id, if it was read."""


def is_success(answer: Answer) -> bool:
    """Return True if a call succeeded as a whole. A batch may be 200, 201, or 207 with errors inside."""
    return 200 <= answer.status < 300  # noqa: PLR2004 - RFC 9110 section 15.3


def is_unwritten(answer: Answer | Failure) -> bool:
    """Return True if a call certainly wrote nothing: it was not sent, or was refused."""
    if isinstance(answer, Failure):
        return not answer.sent
    return 400 <= answer.status < 500 and answer.status != _REQUEST_TIMEOUT  # noqa: PLR2004 - RFC 9110 section 15.5


def success_or_retry(result: Answer | Failure, secrets: Secrets, now: float) -> Answer | Retry:
    """Return a successful answer, or the outcome of its absence. No record is to blame.

    Args:
        result: Result of the call.
        secrets: Masks HubSpot's messages.
        now: Seconds since the epoch.
    """
    if isinstance(result, Failure):
        return result.outcome
    if is_success(result):
        return result
    outcome = answer_outcome(result, problem_in_answer(result, secrets), now)
    if isinstance(outcome, Retry):
        return outcome
    return Retry(outcome.reason, outcome.detail, Blame.UNCLEAR, None, outcome.status)


def read_record(answer: Answer, *, new: bool) -> Stored | Retry:
    """Return the record in the answer to a single create or update that succeeded."""
    stored = _stored(_object(answer), answer.status, new=new)
    return stored or unclear_outcome(answer, "does not say which record was written")


def read_batch(
    answer: Answer,
    inputs: Sequence[tuple[str, str]],
    id_in: Callable[[Mapping[str, Any]], str | None],
    secrets: Secrets,
) -> list[Stored | HubSpotProblem | None]:
    """Return the result for each input of a batch, matched by id and never by order; None if there is none.

    If the answer counts more errors than inputs can have failed, some results must be wrong, and none is trusted.

    Args:
        answer: Answer to a batch call that succeeded.
        inputs: Trace id and id of each input; the second is `""` for a creation.
        id_in: Returns the id of an input from the properties of its result, which include its record id. HubSpot
            documents results with and without their trace ids.
        secrets: Masks HubSpot's messages.
    """
    document = _object(answer)
    found: dict[str, Stored | HubSpotProblem] = {}
    for result in _objects(document, "results"):
        stored = _stored(result, answer.status, new=result.get("new") is True)
        properties = result.get("properties")
        known = {RECORD_ID: stored.id if stored else None, **(properties if isinstance(properties, dict) else {})}
        key = result.get("objectWriteTraceId") or id_in(known)
        if stored and not key and len(inputs) == 1:
            key = inputs[0][0]
        if stored and isinstance(key, str):
            found[key] = stored
    names_sent = {name for each in inputs for name in each}
    errors, explained = _objects(document, "errors"), 0
    for error in errors:
        problem = read_hubspot_problem(error, secrets)
        names = problem.trace_ids or problem.ids or ((inputs[0][0],) if len(inputs) == 1 else ())
        # An error outweighs a result: a record named in both may not have been written.
        found |= dict.fromkeys(names, problem)
        explained += not names_sent.isdisjoint(names)
    results = [found.get(trace) or found.get(key) for trace, key in inputs]
    unexplained = max(_number_of_errors(document), len(errors)) - explained
    if unexplained > results.count(None):
        return [each if isinstance(each, HubSpotProblem) else None for each in results]
    return results


def received_items(
    answer: Answer, found: Sequence[tuple[str, "Stored | HubSpotProblem | None"]]
) -> Iterator[tuple[str, object]]:
    """Yield for each record of a batch, by its trace id, its own item of the answer, or None.

    `found` is what `read_batch` made of the answer. An error that names several records belongs to none of them.
    """
    document = _object(answer)
    results = {each.get("id"): each for each in _objects(document, "results")}
    errors = {}
    for each in _objects(document, "errors"):
        context = each.get("context")
        named = context.get("objectWriteTraceId") if isinstance(context, dict) else None
        if isinstance(named, list) and len(named) == 1:
            errors[str(named[0])] = each
    for trace, result in found:
        yield trace, results.get(result.id) if isinstance(result, Stored) else errors.get(trace)


def read_search_result(answer: Answer) -> str | Retry | None:
    """Return the id of the first record that a search found, None if there is none."""
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    return next((each["id"] for each in _objects(document, "results") if isinstance(each.get("id"), str)), None)


@dataclass(frozen=True, slots=True)
class ActivityPage:
    """One page of a contact's activities."""

    ids: tuple[str, ...]
    after: str | None = None
    """Start of the next page, if there is one."""


def read_associated(answer: Answer, contacts: Sequence[str]) -> dict[str, ActivityPage | Retry] | Retry:
    """Return the ids of contacts' notes, meetings or tasks, by the ids of the contacts.

    HubSpot reports a contact without any in an error of its own (recorded answers). A contact that is not mentioned has
    none either, unless there are errors that do not name their contact.
    """
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    found: dict[str, ActivityPage | Retry] = {}
    for each in _objects(document, "results"):
        source, paging = each.get("from"), each.get("paging")
        following = paging.get("next") if isinstance(paging, dict) else None
        after = following.get("after") if isinstance(following, dict) else None
        ids = tuple(str(one["toObjectId"]) for one in _objects(each, "to") if one.get("toObjectId"))
        if isinstance(source, dict):
            found[str(source.get("id"))] = ActivityPage(ids, after if isinstance(after, str) else None)
    errors = _objects(document, "errors")
    unexplained = _number_of_errors(document) > len(errors)
    for each in errors:
        context = each.get("context")
        named = context.get("fromObjectId") if isinstance(context, dict) else None
        if isinstance(named, list) and str(each.get("subCategory")).endswith(_NONE_FOUND):
            found |= dict.fromkeys(map(str, named), ActivityPage(()))
        else:
            unexplained = True
    rest = (
        unclear_outcome(answer, "says nothing of one of the contacts", Blame.RECORD)
        if unexplained
        else ActivityPage(())
    )
    return {contact: found.get(contact, rest) for contact in contacts}


def read_values(answer: Answer, name: str) -> dict[str, str] | Retry:
    """Return the values of a property, by the ids of the records."""
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    values = {}
    for each in _objects(document, "results"):
        properties = each.get("properties")
        value = properties.get(name) if isinstance(properties, dict) else None
        values[str(each.get("id"))] = value if isinstance(value, str) else ""
    return values


@dataclass(frozen=True, slots=True, repr=False)
class HeldRecord:
    """An existing record and its values."""

    id: str
    values: Mapping[str, str]
    """Values of the properties that were asked for, without empty ones."""

    def has(self, name: str, value: str) -> bool:
        """Return True if the value, in lower case, is that of a property, or one of several separated by `;`."""
        held = self.values.get(name, "").lower()
        return value in (held, *(each.strip() for each in held.split(";")))


def read_held_records(answer: Answer) -> list[HeldRecord] | Retry:
    """Return the records in the answer to `HubSpotRequests.find`. A record that is missing does not exist.

    Ids that do not exist are in an error of the category OBJECT_NOT_FOUND (recorded answers of v3). Any other error
    leaves it open whether the other records exist.
    """
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    errors = _objects(document, "errors")
    absent = sum(each.get("category") == _ABSENT for each in errors)
    if absent < max(len(errors), min(_number_of_errors(document), 1)):
        return unclear_outcome(answer, "does not say which records exist")
    found = []
    for each in _objects(document, "results"):
        stored, properties = _stored(each, answer.status, new=False), each.get("properties")
        if stored is None or not isinstance(properties, dict):
            return unclear_outcome(answer, "has a record without its id or its properties")
        found.append(HeldRecord(stored.id, {name: str(value) for name, value in properties.items() if value}))
    return found


def read_known(answer: Answer, names: Sequence[str]) -> dict[str, str] | Retry:
    """Return the ids in the answer to `HubSpotRequests.find`, by all values of the properties, in lower case.

    Several values are separated by `;`. A value that is missing does not exist, or not yet.
    """
    known: dict[str, str] = {}
    for name in names:
        values = read_values(answer, name)
        if isinstance(values, Retry):
            return values
        for record, value in values.items():
            known |= dict.fromkeys((each.strip().lower() for each in (value, *value.split(";"))), record)
    known.pop("", None)
    return known


def read_links(
    answer: Answer, pairs: Sequence[tuple[str, str]], secrets: Secrets
) -> dict[tuple[str, str], Retry | Rejected]:
    """Return the problems of associations that the answer does not confirm, by the ids of their two sides.

    The API reference has no field in which an error names its association.
    """
    document = _object(answer)
    confirmed = {(_id_in(each, "from"), _id_in(each, "to")) for each in _objects(document, "results")}
    errors = [
        record_outcome(read_hubspot_problem(each, secrets), answer.status) for each in _objects(document, "errors")
    ]
    trouble = errors[0] if errors else unclear_outcome(answer, "says nothing of an association", Blame.RECORD)
    return {each: trouble for each in pairs if each not in confirmed}


def read_held(answer: Answer) -> frozenset[str] | None:
    """Return the ids known in the answer to a read of `MERGED`, including those that were merged away.

    None if the answer does not list its results.
    """
    values = read_values(answer, MERGED)
    if isinstance(values, Retry):
        return None
    return frozenset(values) | {each.strip() for merged in values.values() for each in merged.split(";") if each}


def read_owners(answer: Answer) -> list[tuple[str, str]] | Retry:
    """Return the ids of owners with their e-mails in lower case. A queue may have no e-mail."""
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    results = _objects(document, "results")
    return [(str(each.get("id")), str(each.get("email") or "").lower()) for each in results if each.get("id")]


def read_pipelines(answer: Answer) -> dict[str, list[str]]:
    """Return the ids of the stages of each pipeline, by its id, without archived ones."""
    return {
        str(each.get("id")): [
            str(stage.get("id")) for stage in _objects(each, "stages") if stage.get("archived") is not True
        ]
        for each in _objects(_object(answer), "results")
        if each.get("archived") is not True
    }


def read_list(answer: Answer) -> tuple[str, str]:
    """Return the object and the processing type of a list."""
    found = _object(answer).get("list")
    return (str(found.get("objectTypeId")), str(found.get("processingType"))) if isinstance(found, dict) else ("", "")


def read_added(answer: Answer) -> frozenset[str] | None:
    """Return the ids that a list does not take because they do not exist; None if the answer cannot be read."""
    document = _object(answer)
    missing = document.get("recordIdsMissing")
    if not isinstance(missing, list):
        return None if "recordsIdsAdded" not in document else frozenset()
    return frozenset(map(str, missing))


def read_definitions(answer: Answer) -> dict[str, dict[str, Any]]:
    """Return the definitions of an object's properties, by name."""
    return {str(each.get("name")): each for each in _objects(_object(answer), "results")}


def unclear_outcome(answer: Answer, why: str, blame: Blame = Blame.UNCLEAR) -> Retry:
    """Return the outcome of a success that does not account for a record."""
    return Retry(Reason.BAD_ANSWER, f"it answered {answer.status}, but {why}", blame, None, answer.status)


def _number_of_errors(document: Mapping[str, Any]) -> int:
    number = document.get("numErrors")
    return number if isinstance(number, int) else 0


def _stored(document: Mapping[str, Any], status: int, *, new: bool) -> Stored | None:
    found, url = document.get("id"), document.get("url")
    if not isinstance(found, str) or not found:
        return None
    return Stored(found, status, new, url if isinstance(url, str) and url.startswith("https://") else None)


def _id_in(association: Mapping[str, Any], name: str) -> str:
    side = association.get(name)
    return str(side.get("id")) if isinstance(side, dict) else ""


def _object(answer: Answer) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _objects(document: object, name: str) -> list[dict[str, Any]]:
    values = document.get(name) if isinstance(document, dict) else None
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []
