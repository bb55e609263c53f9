"""From HubSpot's answers to what was written. Pure.

Nothing is assumed: a record counts as written only where an answer of success has a result for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.answers import Answer
from connectors.base import Blame, Reason, Retry
from connectors.hubspot.problems import Problem, read_problem
from connectors.hubspot.wire import MERGED
from connectors.masking import Secrets


@dataclass(frozen=True, slots=True)
class Stored:
    """A record that HubSpot has."""

    id: str
    status: int
    new: bool = False
    """Whether this very call has created it."""
    url: str | None = None


def is_success(answer: Answer) -> bool:
    """Tell whether a call succeeded as a whole. A batch may be 200, 201 or 207 with errors inside."""
    return 200 <= answer.status < 300  # noqa: PLR2004 - RFC 9110 section 15.3


def read_record(answer: Answer, *, new: bool) -> Stored | Retry:
    """Read the answer to a single create or update that succeeded."""
    stored = _stored(_object(answer), answer.status, new=new)
    return stored or unclear(answer, "does not say which record was written")


def read_batch(
    answer: Answer, asked: Sequence[tuple[str, str]], named: Callable[[Mapping[str, Any]], str | None], secrets: Secrets
) -> list[Stored | Problem | None]:
    """Say of each input of a batch what its answer says of it, never by order; None: nothing.

    Args:
        answer: Of a batch call that succeeded.
        asked: Trace id and id of each input; the second is `""` for what is created.
        named: Gives the id of an input from the properties of its result. HubSpot's documentation has results with
            their trace ids and without.
        secrets: Masks HubSpot's words.
    """
    document = _object(answer)
    found: dict[str, Stored | Problem] = {}
    for result in _objects(document, "results"):
        stored = _stored(result, answer.status, new=result.get("new") is True)
        properties = result.get("properties")
        key = result.get("objectWriteTraceId") or named(properties if isinstance(properties, dict) else {})
        if stored and not key and len(asked) == 1:
            key = asked[0][0]
        if stored and isinstance(key, str):
            found[key] = stored
    for error in _objects(document, "errors"):
        problem = read_problem(error, secrets)
        # An error outweighs a result: what is named in both is not known to be written.
        found |= dict.fromkeys((*problem.trace_ids, *(problem.ids if not problem.trace_ids else ())), problem)
        if not problem.trace_ids and not problem.ids and len(asked) == 1:
            found[asked[0][0]] = problem
    return [found.get(trace) or found.get(key) for trace, key in asked]


def read_found(answer: Answer) -> str | Retry | None:
    """Read the answer to a search: the id of the first record, None where there is none."""
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear(answer, "has no results")
    return next((each["id"] for each in _objects(document, "results") if isinstance(each.get("id"), str)), None)


def read_associated(answer: Answer, kind: str) -> list[str] | Retry:
    """Read the ids of a contact's notes, meetings or tasks; an object that has none is left out by HubSpot."""
    document = _object(answer)
    if not isinstance(document.get("id"), str):
        return unclear(answer, "does not show the contact")
    found = document.get("associations")
    of_kind = found.get(kind) if isinstance(found, dict) else None
    return [str(each["id"]) for each in _objects(of_kind, "results") if each.get("id")]


def read_values(answer: Answer, name: str) -> dict[str, str] | Retry:
    """Read a property of records, by their ids."""
    document = _object(answer)
    if not isinstance(document.get("results"), list):
        return unclear(answer, "has no results")
    values = {}
    for each in _objects(document, "results"):
        properties = each.get("properties")
        value = properties.get(name) if isinstance(properties, dict) else None
        values[str(each.get("id"))] = value if isinstance(value, str) else ""
    return values


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


def unclear(answer: Answer, why: str, blame: Blame = Blame.UNCLEAR) -> Retry:
    """Say that an answer of success does not tell what became of a record."""
    return Retry(Reason.BAD_ANSWER, f"it answered {answer.status}, but {why}", blame, None, answer.status)


def _stored(document: Mapping[str, Any], status: int, *, new: bool) -> Stored | None:
    found, url = document.get("id"), document.get("url")
    if not isinstance(found, str) or not found:
        return None
    return Stored(found, status, new, url if isinstance(url, str) and url.startswith("https://") else None)


def _object(answer: Answer) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _objects(document: object, name: str) -> list[dict[str, Any]]:
    given = document.get(name) if isinstance(document, dict) else None
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
