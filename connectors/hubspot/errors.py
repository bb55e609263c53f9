"""HubSpot's errors, and their meaning for the records. Pure: the time is passed in.

Source: HubSpot's page on error handling, its usage guidelines, and recorded answers. Every part of an error may be
missing. Errors are distinguished by category: the codes inside, of which there is no complete list, only name
properties.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import orjson

from connectors.base import Blame, Delivered, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import classify, message_in, shorten, words_in

_INSIDE = "Property values were not valid: "
_EXISTING = re.compile(r"Existing ID:\s*(\d+)|(\d+) already has that value", re.ASCII)
_LIMIT = re.compile(r"reached your (\w+) limit", re.ASCII | re.IGNORECASE)
_POLICIES = {"daily": "DAILY", "secondly": "SECONDLY", "ten_secondly_rolling": "TEN_SECONDLY_ROLLING"}
_COORDINATES = re.compile(r"propertyName=(\w+)", re.ASCII)
_MISCONFIGURED = (
    (re.compile(r"by non-unique \S+ property", re.ASCII), "match is not a property with unique values"),
    (re.compile(r"^Unable to infer object type"), "there is no such object in the account, correct object"),
)
_OF_THE_SCHEMA = frozenset({"PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE"})
_FOR_GOOD = frozenset({"VALIDATION_ERROR", "OBJECT_NOT_FOUND", "CONFLICT"})
_LONGEST_ID = 64
_LOCKED_FOR = 2.0  # seconds, at least (page on error handling)
_WINDOW = 10.0  # seconds of the rolling window, where no header says otherwise
_DAY_IS_OVER = 1800.0  # seconds; the day ends at midnight in a time zone that the API does not report
_BAD_REQUEST = 400
_REFUSALS = (_BAD_REQUEST, 409)
_ENOUGH = 2
_MOST = 10_000
_HELD = "it names no category, so all records may be affected: check base_url, api_version and proxies on the way"


@dataclass(frozen=True, slots=True, repr=False)
class HubSpotProblem:
    """An error: a whole answer, or an element of a batch's `errors`."""

    category: str = ""
    words: str = ""
    """HubSpot's message for people, masked and shortened."""
    existing: str | None = None
    """Record ID of the existing record, if it is named."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Properties whose values are refused, with the reasons."""
    is_schema: bool = False
    """True if all of these are refused whatever their value: they do not exist, or cannot be written."""
    policy: str = ""
    """Limit that was reached: `SECONDLY`, `TEN_SECONDLY_ROLLING`, `DAILY`."""
    trace_ids: tuple[str, ...] = ()
    """Trace ids of the inputs of a batch that it concerns."""
    ids: tuple[str, ...] = ()
    """Ids of the inputs of a batch that it concerns."""


def read_hubspot_problem(document: object, secrets: Secrets) -> HubSpotProblem:
    """Return the error in a document. A part that is missing, or of another shape, is left empty."""
    if not isinstance(document, dict):
        return HubSpotProblem()
    message = _text(document.get("message"))
    inside = _inside(message)
    found = {name: (code, why) for name, code, why in (*_named_in(inside), *_listed(document))}
    if not found and (named := _COORDINATES.search(message)):
        found = {named[1]: ("", message)}
    words = "; ".join(filter(None, (_text(each.get("message")) for each in inside))) or message_in(document)
    context = document.get("context")
    existing = _texts(context, "existingId") or ["".join(each) for each in _EXISTING.findall(message)]
    return HubSpotProblem(
        category=_text(document.get("category")),
        words=_with_correlation(shorten(secrets.mask(_with_wants(words, document))), document),
        existing=existing[0] if existing else None,
        refused={name: shorten(secrets.mask(why)) for name, (_, why) in found.items()},
        is_schema=bool(found) and all(code in _OF_THE_SCHEMA for code, _ in found.values()),
        policy=_text(document.get("policyName")).upper() or _policy_in(message),
        trace_ids=_texts(context, "objectWriteTraceId"),
        ids=_texts(context, "ids"),
    )


def problem_in_answer(answer: Answer, secrets: Secrets) -> HubSpotProblem:
    """Return the error that an answer reports."""
    try:
        return read_hubspot_problem(answer.json(), secrets)
    except ValueError:
        words = words_in(answer.body, answer.headers.get("Content-Type", ""))
        return HubSpotProblem(words=shorten(secrets.mask(words)))


def answer_outcome(answer: Answer, problem: HubSpotProblem, now: float) -> Retry | Rejected:
    """Return the outcome of an unsuccessful answer for the records of the call."""
    outcome = classify(answer.status, answer.headers, now, problem.words)
    if isinstance(outcome, Delivered):
        return Retry(Reason.BAD_ANSWER, f"it answered {answer.status} with an error", status=answer.status)
    if answer.status == HTTPStatus.BAD_REQUEST:
        for pattern, why in _MISCONFIGURED:
            if pattern.search(problem.words):
                detail = f'it answered 400: {why} ("{problem.words}")'
                return Retry(Reason.REFUSED, detail, Blame.DESTINATION, None, 400)
    return _adjusted(outcome, answer, problem) if isinstance(outcome, Retry) else outcome


def _adjusted(meant: Retry, answer: Answer, problem: HubSpotProblem) -> Retry:
    """Return the outcome adjusted to HubSpot's own use of a status."""
    match answer.status:
        case 404 if problem.category == "OBJECT_NOT_FOUND":  # without a category the address is wrong
            return replace(meant, reason=Reason.NOT_FOUND, blame=Blame.RECORD)
        case 423:
            return replace(meant, after=max(meant.after or 0.0, _LOCKED_FOR))
        case 429:
            return replace(meant, after=_wait(answer, problem.policy) if meant.after is None else meant.after)
        case 477:
            return replace(meant, blame=Blame.DESTINATION)
    return meant


def record_outcome(problem: HubSpotProblem, status: int) -> Retry | Rejected:
    """Return the outcome of an error about one record of a call. An error that may be temporary is tried again."""
    detail = f'it refuses the record ("{problem.words or problem.category or "no reason given"}")'
    reason = Reason.CONFLICT if problem.category == "CONFLICT" else Reason.REFUSED
    if problem.category in _FOR_GOOD:
        return Rejected(reason, detail, Blame.RECORD, status)
    return Retry(reason, detail, Blame.RECORD, None, status)


def _wait(answer: Answer, policy: str) -> float:
    """Return the seconds to wait after a 429 without Retry-After, which is documented for 477 only."""
    if policy == "DAILY":
        return _DAY_IS_OVER
    if policy == "SECONDLY":
        return 1.0
    interval = answer.headers.get("X-HubSpot-RateLimit-Interval-Milliseconds", "")
    return int(interval) / 1000 if interval.isdecimal() else _WINDOW


def _policy_in(message: str) -> str:
    """Return the limit that a message names: `You have reached your daily limit`."""
    named = _LIMIT.search(message)
    return _POLICIES.get(named[1].lower(), "") if named else ""


def _inside(message: str) -> list[dict[str, Any]]:
    """Return the JSON array inside a message."""
    _, found, text = message.partition(_INSIDE)
    if not found:
        return []
    try:
        reasons = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    return [each for each in reasons if isinstance(each, dict)] if isinstance(reasons, list) else []


def _named_in(inside: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for each in inside:
        if name := _text(each.get("name")):
            yield name, _text(each.get("error")), _text(each.get("message")) or _text(each.get("error"))


def _listed(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    errors = document.get("errors")
    for each in errors if isinstance(errors, list) else ():
        if isinstance(each, dict):
            for name in _texts(each.get("context"), "propertyName"):
                yield name, _text(each.get("code")), _text(each.get("message")) or _text(each.get("code"))


def _with_wants(words: str, document: Mapping[str, Any]) -> str:
    """Return the message with a hint at the remedy: the required scopes, the missing properties."""
    errors = document.get("errors")
    told = [document, *(errors if isinstance(errors, list) else ())]
    contexts = [each.get("context") for each in told if isinstance(each, dict)]
    scopes = dict.fromkeys(scope for each in contexts for scope in _texts(each, "requiredGranularScopes"))
    missing = _texts(document.get("context"), "properties")
    parts = (
        words,
        f"one of the scopes {', '.join(scopes)} is required" if scopes else "",
        f"missing: {', '.join(missing)}" if missing else "",
    )
    return "; ".join(filter(None, parts))


def _with_correlation(words: str, document: Mapping[str, Any]) -> str:
    """Return the message with the id by which HubSpot's support finds the call."""
    found = _text(document.get("correlationId"))
    return (
        f"{words}; correlation id {found[:_LONGEST_ID]}".removeprefix("; ") if found.isprintable() and found else words
    )


def _texts(context: object, name: str) -> tuple[str, ...]:
    """Return a list of texts in a context; HubSpot's ids are sometimes numbers, and sometimes not in a list."""
    given = context.get(name) if isinstance(context, dict) else None
    values = given if isinstance(given, list) else [given]
    return tuple(str(each) for each in values if isinstance(each, str | int) and not isinstance(each, bool))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class RefusalHistory:
    """Judge of refusals of one kind of call, from the answers to other calls.

    A batch that is refused without a category is split by the lane until its records stand alone. A record that is
    refused alone is tried again and pauses the destination, which is reported; the lane then tries other records too.
    If one of those is accepted meanwhile and this record is refused once more, the record is to blame, and it becomes a
    dead letter. So a fault that affects all loses no lead, and a fault of one record delays the others by one pause. A
    record that is alone in the queue stays paused and blocks nobody, until another one arrives or somebody acts. After
    a restart the judgement begins anew.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._understood = 0
        self._refused: dict[str, int] = {}
        self._in_a_row = 0

    def understood(self) -> None:
        """Record an answer that proves that such calls are accepted."""
        self._understood += 1
        self._in_a_row = 0

    def outcome(self, answer: Answer, problem: HubSpotProblem, records: Sequence[str]) -> Retry | Rejected:
        """Return the outcome of an unsuccessful answer for the records with these ids."""
        outcome = answer_outcome(answer, problem, self._now())
        if answer.status not in _REFUSALS or isinstance(outcome, Retry):
            return outcome
        if answer.status != _BAD_REQUEST or problem.category or problem.refused:
            self.understood()
            return outcome
        held = Retry(outcome.reason, f"{outcome.detail}; {_HELD}", Blame.DESTINATION, None, answer.status)
        if len(records) > 1:
            # Splitting would only repeat the same refusal for each record.
            return held if self._in_a_row >= _ENOUGH else outcome
        (record,) = records
        before = self._refused.pop(record, None)
        if before is not None and before < self._understood:
            return replace(outcome, blame=Blame.RECORD)
        self._refused[record] = self._understood
        if len(self._refused) > _MOST:
            del self._refused[next(iter(self._refused))]
        self._in_a_row += 1
        return held
