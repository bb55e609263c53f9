"""What Salesforce's errors mean: one table of its error codes, and what each makes of a record. Pure.

The codes and texts are those of the REST API Developer Guide ("Status Codes and Error Responses") and of the SOAP API
Developer Guide ("StatusCode"). An answer as a whole has `errorCode`, a row of a collection `statusCode`; both are read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import classify, message_in, shorten

LONG_PAUSE = 900.0
"""Seconds until a used-up day is asked for again: its 24 hours roll, so calls come back all the time."""
SHORT_PAUSE = 5.0
"""Seconds until a call is tried again that was one too many at once."""

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,99}", re.ASCII)
_NAME = re.compile(r"[A-Za-z][\w.]{0,99}", re.ASCII)
_COLUMN = re.compile(r"column '([A-Za-z]\w{0,99})'", re.ASCII)
_COLUMNS = re.compile(r"fields: ([\w, ]{1,999})", re.ASCII)
_SEVERAL = 5
"""People whose records must all meet the same trouble before it is taken for the org's."""
_RECORD_ID = re.compile(r"\bid: ?([A-Za-z0-9]{18}|[A-Za-z0-9]{15})\b")


_DUPLICATES = ("duplicateResult", "duplicateResut")  # the second is Salesforce's own spelling, up to about v60


@dataclass(frozen=True, slots=True)
class DuplicateMatch:
    """Another record that a duplicate rule has found."""

    id: str
    object: str
    confidence: float


def duplicate_of(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an error says of a duplicate, nothing where it is about something else."""
    found: Mapping[str, Any] = next((error[name] for name in _DUPLICATES if isinstance(error.get(name), dict)), {})
    return found


def read_matches(duplicate: Mapping[str, Any]) -> list[DuplicateMatch]:
    """Return the records that a duplicate rule found, the surest first, each once."""
    results = duplicate.get("matchResults")
    found: dict[str, DuplicateMatch] = {}
    for result in results if isinstance(results, list) else ():
        listed = result.get("matchRecords") if isinstance(result, dict) else None
        for each in listed if isinstance(listed, list) else ():
            match = _match(each, result)
            if match and match.confidence > found.get(match.id, DuplicateMatch("", "", -1.0)).confidence:
                found[match.id] = match
    return sorted(found.values(), key=lambda match: -match.confidence)


def _match(said: Any, result: Mapping[str, Any]) -> DuplicateMatch | None:  # noqa: ANN401 - any JSON value
    record = said.get("record") if isinstance(said, dict) else None
    if not isinstance(record, dict) or not isinstance(record.get("Id"), str):
        return None
    attributes = record.get("attributes")
    kind = attributes.get("type") if isinstance(attributes, dict) else result.get("entityType")
    confidence = said.get("matchConfidence")
    return DuplicateMatch(record["Id"], str(kind), float(confidence) if isinstance(confidence, int | float) else 0.0)


class Kind(Enum):
    """What is to be done about an error."""

    ACCOUNT = "account"
    """The org, its storage or its version of the API: nothing that a record could be to blame for."""
    BUSY = "busy"
    """Too many calls at once."""
    CONFIGURATION = "configuration"
    """Rights or names are not as they must be, for this record (whose owner, or whose reference, the user may not see)
    or for all of them: the code is the same."""
    DUPLICATE = "duplicate"
    """A duplicate rule, or a unique field, has found another record."""
    EXHAUSTED = "exhausted"
    """The day's calls are used up."""
    FIELD = "field"
    """A field is not there, or the user may not write it; without it the record may be taken."""
    HALTED = "halted"
    """Nothing is wrong with it: something else of the same transaction failed."""
    LOCKED = "locked"
    """Another write holds the row."""
    REFUSED = "refused"
    """The record itself is refused."""
    SERVER = "server"
    """Salesforce failed."""
    SESSION = "session"
    """The access token does not hold any more."""
    VALUE = "value"
    """The value of a field is refused; without it the record may be taken."""
    VANISHED = "vanished"
    """The record has been deleted meanwhile; an upsert makes another one."""


_KINDS: Mapping[str, Kind] = {
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": Kind.HALTED,
    "API_CURRENTLY_DISABLED": Kind.ACCOUNT,
    "API_DISABLED_FOR_ORG": Kind.ACCOUNT,
    "DUPLICATES_DETECTED": Kind.DUPLICATE,
    "DUPLICATE_VALUE": Kind.DUPLICATE,
    "ENTITY_IS_DELETED": Kind.VANISHED,
    "GONE": Kind.ACCOUNT,
    "INVALID_EMAIL_ADDRESS": Kind.VALUE,
    "INVALID_FIELD": Kind.FIELD,
    "INVALID_FIELD_FOR_INSERT_UPDATE": Kind.FIELD,
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": Kind.VALUE,
    "INVALID_SESSION_ID": Kind.SESSION,
    "INVALID_TYPE": Kind.CONFIGURATION,
    "INVALID_TYPE_ON_FIELD_IN_RECORD": Kind.VALUE,
    "NOT_FOUND": Kind.CONFIGURATION,
    "NUMBER_OUTSIDE_VALID_RANGE": Kind.VALUE,
    "ORG_LOCKED": Kind.ACCOUNT,
    "PROCESSING_HALTED": Kind.HALTED,
    "QUERY_TIMEOUT": Kind.SERVER,
    "REQUEST_RUNNING_TOO_LONG": Kind.SERVER,
    "SERVER_UNAVAILABLE": Kind.SERVER,
    "STORAGE_LIMIT_EXCEEDED": Kind.ACCOUNT,
    "STRING_TOO_LONG": Kind.VALUE,
    "UNABLE_TO_LOCK_ROW": Kind.LOCKED,
    "UNKNOWN_EXCEPTION": Kind.SERVER,
    "UNSUPPORTED_API_VERSION": Kind.ACCOUNT,
}


DROPPED = (Kind.VALUE, Kind.FIELD)
"""What is said of a part of the record, so that the rest of it may be taken."""


@dataclass(frozen=True, slots=True, repr=False)
class SalesforceProblem:
    """One error, of an answer as a whole or of one record."""

    status: int
    """Of the answer, or of the part of a composite one."""
    code: str
    """Empty where it has none."""
    message: str
    """In Salesforce's words, masked and not too long."""
    fields: tuple[str, ...] = ()
    """The fields that it names."""
    matches: tuple[DuplicateMatch, ...] = ()
    allows_save: bool = False
    """Whether the duplicate rule lets the record be saved all the same."""
    is_whole_call: bool = False
    """Whether the call was refused with it, so that it may be about another record of it."""

    @property
    def kind(self) -> Kind:
        """What is to be done about it. A code that nobody knows refuses the record, and 5xx is Salesforce's fault."""
        # A trigger passes a lock on under a code of its own. Two rows with one key, as Salesforce compares keys, are in
        # each other's way too: both may go, but not together.
        if "UNABLE_TO_LOCK_ROW" in self.message or "uplicate external id specified" in self.message:
            return Kind.LOCKED
        if self.code == "REQUEST_LIMIT_EXCEEDED":
            return Kind.BUSY if "oncurrent" in self.message else Kind.EXHAUSTED
        if self.code.startswith("INSUFFICIENT_ACCESS"):
            return Kind.CONFIGURATION
        return _KINDS.get(self.code) or (Kind.SERVER if self.status >= 500 else Kind.REFUSED)  # noqa: PLR2004 - 5xx

    @property
    def found_id(self) -> str | None:
        """The id of the record that has the value of a unique field already, where the message tells it."""
        found = _RECORD_ID.search(self.message) if self.code == "DUPLICATE_VALUE" else None
        return found[1] if found else None

    @property
    def named(self) -> tuple[str, ...]:
        """The fields that it is about: those that it lists, or else those in its message.

        `Email: invalid email address: x`, `No such column 'X' on sobject of type Lead`,
        `Unable to create/update fields: X, Y. Please check ...`.
        """
        if self.fields or self.kind not in (Kind.VALUE, Kind.FIELD):
            return self.fields
        if self.kind is Kind.VALUE:
            return (self.message.partition(":")[0],)
        column, columns = _COLUMN.search(self.message), _COLUMNS.search(self.message)
        if column is not None:
            return (column[1],)
        return tuple(each.strip() for each in columns[1].split(",")) if columns is not None else ()

    @property
    def words(self) -> str:
        """Code, message and fields in one line, for the operator."""
        named = (
            f" [{', '.join(self.fields)}]" if self.fields and not all(f in self.message for f in self.fields) else ""
        )
        return f"{self.code or self.status}: {self.message}{named}" if self.message else self.code or str(self.status)


def read_salesforce_problem(document: Any, status: int, secrets: Secrets) -> SalesforceProblem | None:  # noqa: ANN401 - any JSON value
    """Read an error, or a list of them, as one; None where there is none.

    What only says that something else failed counts least, and a refused value or field less than what refuses the
    record without it too. Where only such are refused, all of them are named.
    """
    listed = document if isinstance(document, list) else [document]
    found = [_problem(each, status, secrets) for each in listed if isinstance(each, dict) and _code(each)]
    values = [each for each in found if each.kind in DROPPED]
    others = [each for each in found if each.kind not in (Kind.HALTED, *DROPPED)]
    if not others and values:
        return replace(values[0], fields=tuple(name for each in values for name in each.fields))
    return next(iter(others or found), None)


def call_outcome(answer: Answer, now: float, secrets: Secrets) -> Retry | Rejected | None:
    """Say what an answer means for every record of the call; None where each has a result of its own in it."""
    if answer.status == 200:  # noqa: PLR2004 - RFC 9110; collections and composites have no other success
        return None
    problem = read_salesforce_problem(document_of(answer), answer.status, secrets)
    if problem is None:
        meant = classify(answer.status, answer.headers, now)
        return unreadable(answer.status) if isinstance(meant, Delivered) else meant
    return outcome(problem, Blame.BATCH)


def document_of(answer: Answer) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON of an answer; None where it is none."""
    try:
        return answer.json()
    except ValueError:
        return None


def unreadable(status: int) -> Retry:
    """Say that an answer does not account for the record, which may or may not have been written."""
    return Retry(Reason.BAD_ANSWER, "its answer says nothing of this record", Blame.UNCLEAR, None, status)


def outcome(
    problem: SalesforceProblem, blame: Blame = Blame.RECORD, memo: Mapping[str, str] | None = None
) -> Retry | Rejected:
    """Say what an error makes of a record.

    Wrong rights or names are an administrator's to mend, so the record comes again, and is given up in time.

    Args:
        problem: The error.
        blame: `RECORD` where the answer tells this record from the others, else `BATCH`: then wrong rights or names are
            those of the destination.
        memo: What the outcome is to keep.
    """
    kind, status, words, kept = problem.kind, problem.status, problem.words, memo or {}
    if kind in (Kind.REFUSED, Kind.VALUE):
        return Rejected(Reason.REFUSED, words, blame, status, kept)
    if kind is Kind.DUPLICATE:
        return Rejected(Reason.CONFLICT, words, blame, status, kept)
    reason, whose, after = _RETRIES[kind]
    if kind in _MENDED:
        reason = _REASONS.get(status, Reason.FORBIDDEN if "ACCESS" in problem.code else reason)
        words += "; correct object, external_id, fields or api_version, or give the user the rights"
    if kind is not Kind.ACCOUNT and kind in _MENDED and blame is Blame.RECORD:
        whose = Blame.RECORD
    return Retry(reason, words, whose, after, status, kept)


_RETRIES: Mapping[Kind, tuple[Reason, Blame, float | None]] = {
    Kind.ACCOUNT: (Reason.REFUSED, Blame.DESTINATION, None),
    Kind.BUSY: (Reason.RATE_LIMITED, Blame.DESTINATION, SHORT_PAUSE),
    Kind.CONFIGURATION: (Reason.REFUSED, Blame.DESTINATION, None),
    Kind.EXHAUSTED: (Reason.RATE_LIMITED, Blame.DESTINATION, LONG_PAUSE),
    Kind.FIELD: (Reason.REFUSED, Blame.DESTINATION, None),
    Kind.HALTED: (Reason.CONFLICT, Blame.UNCLEAR, None),
    Kind.LOCKED: (Reason.CONFLICT, Blame.RECORD, None),
    Kind.SERVER: (Reason.SERVER_ERROR, Blame.UNCLEAR, None),
    Kind.SESSION: (Reason.UNAUTHORIZED, Blame.DESTINATION, None),
    Kind.VANISHED: (Reason.CONFLICT, Blame.RECORD, None),
}
_MENDED = (Kind.ACCOUNT, Kind.CONFIGURATION, Kind.FIELD)
_REASONS = {403: Reason.FORBIDDEN, 404: Reason.NOT_FOUND, 410: Reason.GONE}


def record_outcomes(
    verdicts: Sequence[Outcome | SalesforceProblem],
    memos: Sequence[Mapping[str, str]],
    people: Sequence[str],
    *,
    described: bool = False,
) -> list[Outcome]:
    """Say what became of the records of a call.

    Wrong rights or names that a record meets are its own trouble, whatever is beside it: one whose reference the user
    may not see must not hold up the others. They are the destination's where there is proof of it: the call as a
    whole was refused, or the org's own description says so, or every record meets them, and these are of several
    people.

    Args:
        verdicts: What is known of each record: an outcome, or its error.
        memos: What the outcome of each error is to keep.
        people: Whom each record is about, in whatever words.
        described: Whether the org's description says that nothing can be written by this route.
    """
    wrong = [each for each in verdicts if isinstance(each, SalesforceProblem) and each.kind in _MENDED]
    same = len(wrong) == len(verdicts) and len({each.code for each in wrong}) == 1
    held = described or (same and len(set(people)) >= _SEVERAL)
    return [
        outcome(each, Blame.BATCH if each.kind in _MENDED and (held or each.is_whole_call) else Blame.RECORD, memo)
        if isinstance(each, SalesforceProblem)
        else each
        for each, memo in zip(verdicts, memos, strict=True)
    ]


def _code(error: Mapping[str, Any]) -> str:
    code = error.get("errorCode") or error.get("statusCode")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _is_name(said: object) -> bool:
    return isinstance(said, str) and _NAME.fullmatch(said) is not None


def _problem(error: Mapping[str, Any], status: int, secrets: Secrets) -> SalesforceProblem:
    fields = error.get("fields")
    duplicate = duplicate_of(error)
    return SalesforceProblem(
        status,
        secrets.mask(_code(error)),
        shorten(secrets.mask(message_in(error.get("message")))),
        tuple(secrets.mask(each) for each in fields if _is_name(each)) if isinstance(fields, list) else (),
        tuple(read_matches(duplicate)),
        allows_save=duplicate.get("allowSave") is True,
    )


def is_refusal(outcome: Retry | Rejected) -> bool:
    """Return whether a question would get the same answer again: it is about rights or names, not about the moment."""
    return outcome.status in _REFUSALS and (isinstance(outcome, Rejected) or outcome.after is None)


_REFUSALS = frozenset({400, 403, 404, 405, 410, 501})
