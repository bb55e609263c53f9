"""From HubSpot's answers to what was written. Pure.

Nothing is assumed: a record counts as written only where an answer of success has a result for it.
"""

from collections.abc import Callable, Mapping, Sequence
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

_NONE_FOUND = "NO_ASSOCIATIONS_FOUND"
_REQUEST_TIMEOUT = 408


@dataclass(frozen=True, slots=True)
class Stored:
    """A record that HubSpot has."""

    id: str
    status: int
    new: bool = False
    """Whether this very call has created it."""
    url: str | None = None


def is_success(answer: Answer) -> bool:
    """Return whether a call succeeded as a whole. A batch may be 200, 201 or 207 with errors inside."""
    return 200 <= answer.status < 300  # noqa: PLR2004 - RFC 9110 section 15.3


def is_unwritten(answer: Answer | Failure) -> bool:
    """Return whether it is certain that a call has written nothing: it was not sent, or was refused."""
    if isinstance(answer, Failure):
        return not answer.sent
    return 400 <= answer.status < 500 and answer.status != _REQUEST_TIMEOUT  # noqa: PLR2004 - RFC 9110 section 15.5


def success_or_retry(result: Answer | Failure, secrets: Secrets, now: float) -> Answer | Retry:
    """Return the answer of success to a question, or what its absence means: no record is to blame for it.

    Args:
        result: What came of the call.
        secrets: Masks HubSpot's words.
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
    """Read the answer to a single create or update that succeeded."""
    stored = _stored(_object(answer), answer.status, new=new)
    return stored or unclear_outcome(answer, "does not say which record was written")


def read_batch(
    answer: Answer, asked: Sequence[tuple[str, str]], named: Callable[[Mapping[str, Any]], str | None], secrets: Secrets
) -> list[Stored | HubSpotProblem | None]:
    """Say of each input of a batch what its answer says of it, never by order; None: nothing.

    Where more errors are counted than inputs can be told to have failed, some of the results must be wrong, and none
    is believed.

    Args:
        answer: Of a batch call that succeeded.
        asked: Trace id and id of each input; the second is `""` for what is created.
        named: Gives the id of an input from the properties of its result. HubSpot's documentation has results with
            their trace ids and without.
        secrets: Masks HubSpot's words.
    """
    document = _object(answer)
    found: dict[str, Stored | HubSpotProblem] = {}
    for result in _objects(document, "results"):
        stored = _stored(result, answer.status, new=result.get("new") is True)
        properties = result.get("properties")
        key = result.get("objectWriteTraceId") or named(properties if isinstance(properties, dict) else {})
        if stored and not key and len(asked) == 1:
            key = asked[0][0]
        if stored and isinstance(key, str):
            found[key] = stored
    known = {name for each in asked for name in each}
    errors, explained = _objects(document, "errors"), 0
    for error in errors:
        problem = read_hubspot_problem(error, secrets)
        names = problem.trace_ids or problem.ids or ((asked[0][0],) if len(asked) == 1 else ())
        # An error outweighs a result: what is named in both is not known to be written.
        found |= dict.fromkeys(names, problem)
        explained += not known.isdisjoint(names)
    said = [found.get(trace) or found.get(key) for trace, key in asked]
    unexplained = max(_number_of_errors(document), len(errors)) - explained
    if unexplained > said.count(None):
        return [each if isinstance(each, HubSpotProblem) else None for each in said]
    return said


def read_search_result(answer: Answer) -> str | Retry | None:
    """Read the answer to a search: the id of the first record, None where there is none."""
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    return next((each["id"] for each in _objects(document, "results") if isinstance(each.get("id"), str)), None)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what a contact has."""

    ids: tuple[str, ...]
    after: str | None = None
    """Where the next page begins, if there is one."""


def read_associated(answer: Answer, contacts: Sequence[str]) -> dict[str, Page | Retry] | Retry:
    """Read the ids of the notes, meetings or tasks that contacts have, by the ids of the contacts.

    Of a contact without any, HubSpot says so in an error of its own (recorded answers). One that is not mentioned has
    none too, unless there are errors that do not say whose they are.
    """
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    found: dict[str, Page | Retry] = {}
    for each in _objects(document, "results"):
        source, paging = each.get("from"), each.get("paging")
        following = paging.get("next") if isinstance(paging, dict) else None
        after = following.get("after") if isinstance(following, dict) else None
        ids = tuple(str(one["toObjectId"]) for one in _objects(each, "to") if one.get("toObjectId"))
        if isinstance(source, dict):
            found[str(source.get("id"))] = Page(ids, after if isinstance(after, str) else None)
    errors = _objects(document, "errors")
    unexplained = _number_of_errors(document) > len(errors)
    for each in errors:
        context = each.get("context")
        named = context.get("fromObjectId") if isinstance(context, dict) else None
        if isinstance(named, list) and str(each.get("subCategory")).endswith(_NONE_FOUND):
            found |= dict.fromkeys(map(str, named), Page(()))
        else:
            unexplained = True
    rest = unclear_outcome(answer, "says nothing of one of the contacts", Blame.RECORD) if unexplained else Page(())
    return {contact: found.get(contact, rest) for contact in contacts}


def read_values(answer: Answer, name: str) -> dict[str, str] | Retry:
    """Read a property of records, by their ids."""
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear_outcome(answer, "has no results")
    values = {}
    for each in _objects(document, "results"):
        properties = each.get("properties")
        value = properties.get(name) if isinstance(properties, dict) else None
        values[str(each.get("id"))] = value if isinstance(value, str) else ""
    return values


def read_known(answer: Answer, names: Sequence[str]) -> dict[str, str] | Retry:
    """Read the answer to `Requests.find`: the ids of the records, by all values of these properties, in lower case.

    Several values stand with `;` between. What is not among them is not there, or not yet.
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
    answer: Answer, asked: Sequence[tuple[str, str]], secrets: Secrets
) -> dict[tuple[str, str], Retry | Rejected]:
    """Return the problems of associations that the answer does not confirm, by the ids of their two sides.

    The API reference has no field in which an error names its association.
    """
    document = _object(answer)
    made = {(_id_in(each, "from"), _id_in(each, "to")) for each in _objects(document, "results")}
    errors = [
        record_outcome(read_hubspot_problem(each, secrets), answer.status) for each in _objects(document, "errors")
    ]
    trouble = errors[0] if errors else unclear_outcome(answer, "says nothing of an association", Blame.RECORD)
    return {each: trouble for each in asked if each not in made}


def read_held(answer: Answer) -> frozenset[str] | None:
    """Read the answer to a read of `MERGED`: the ids that it knows, those that were merged away among them.

    None where it does not say what it has found.
    """
    values = read_values(answer, MERGED)
    if isinstance(values, Retry):
        return None
    return frozenset(values) | {each.strip() for merged in values.values() for each in merged.split(";") if each}


def read_definitions(answer: Answer) -> dict[str, dict[str, Any]]:
    """Read the definitions of an object's properties, by name."""
    return {str(each.get("name")): each for each in _objects(_object(answer), "results")}


def unclear_outcome(answer: Answer, why: str, blame: Blame = Blame.UNCLEAR) -> Retry:
    """Say that an answer of success does not tell what became of a record."""
    return Retry(Reason.BAD_ANSWER, f"it answered {answer.status}, but {why}", blame, None, answer.status)


def _number_of_errors(document: Mapping[str, Any]) -> int:
    number = document.get("numErrors")
    return number if isinstance(number, int) else 0


def _stored(document: Mapping[str, Any], status: int, *, new: bool) -> Stored | None:
    found, url = document.get("id"), document.get("url")
    if not isinstance(found, str) or not found:
        return None
    return Stored(found, status, new, url if isinstance(url, str) and url.startswith("https://") else None)


def _id_in(given: Mapping[str, Any], name: str) -> str:
    side = given.get(name)
    return str(side.get("id")) if isinstance(side, dict) else ""


def _object(answer: Answer) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _objects(document: object, name: str) -> list[dict[str, Any]]:
    given = document.get(name) if isinstance(document, dict) else None
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
