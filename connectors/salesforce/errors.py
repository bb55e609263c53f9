"""Salesforce's errors: their kinds, the matches in duplicate errors, and the outcomes for records. Pure.

The codes and texts are those of the REST API Developer Guide ("Status Codes and Error Responses") and of the SOAP API
Developer Guide ("StatusCode"). An answer as a whole has `errorCode`, a row of a collection `statusCode`; both are read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from connectors.http_client.answer import Answer
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import classify, message_in, shorten
from connectors.salesforce.status_codes import KINDS, ErrorKind

LONG_PAUSE = 900.0
"""Seconds until the next try after a used-up day: its 24 hours roll, so calls become available all the time."""
SHORT_PAUSE = 5.0
"""Seconds until the next try after too many simultaneous calls."""

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,99}", re.ASCII)
_NAME = re.compile(r"[A-Za-z][\w.]{0,99}", re.ASCII)
_COLUMN = re.compile(r"column '([A-Za-z]\w{0,99})'", re.ASCII)
_COLUMNS = re.compile(r"fields: ([\w, ]{1,999})", re.ASCII)
_UNREAD = re.compile(
    r"^JSON_PARSER_ERROR: .*? from (?:VALUE_[A-Z_]+ value )?(.*?) or request may be missing", re.DOTALL
)
_SEVERAL = 5
"""Number of people blamed records must all meet the same problem before it counts as the org's."""
_RECORD_ID = re.compile(r"\bid: ?([A-Za-z0-9]{18}|[A-Za-z0-9]{15})\b")


_NO_ACCESS_TO_REFERENCE = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
_LIMIT = re.compile(r"cpu time|concurrent|timed out|too many (?:soql|dml)", re.IGNORECASE)
_ABOUT_OWNERS = frozenset(
    {
        "INACTIVE_OWNER_OR_USER",
        "INVALID_OWNER",
        "INVALID_USERID",
        "NO_SUCH_USER_EXISTS",
        "OP_WITH_INVALID_USER_TYPE_EXCEPTION",
        "TRANSFER_REQUIRES_READ",
    }
)
_ABOUT_REFERENCES = frozenset(
    {"INVALID_CROSS_REFERENCE_KEY", "INVALID_CROSS_REFERENCE_TYPE_FOR_FIELD", "INVALID_ID_FIELD", "MALFORMED_ID"}
)
_DUPLICATES = ("duplicateResult", "duplicateResut")  # the second is Salesforce's own spelling, up to about v60
_REASONS = {403: Reason.FORBIDDEN, 404: Reason.NOT_FOUND, 410: Reason.GONE}
_REFUSALS = frozenset({400, 403, 404, 405, 410, 501})


@dataclass(frozen=True, slots=True)
class DuplicateMatch:
    """Another record that a duplicate rule has found."""

    id: str
    object: str
    confidence: float


def duplicate_of(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the duplicate part of an error, empty for another error."""
    found: Mapping[str, Any] = next((error[name] for name in _DUPLICATES if isinstance(error.get(name), dict)), {})
    return found


def read_matches(duplicate: Mapping[str, Any]) -> list[DuplicateMatch]:
    """Return the records that a duplicate rule found, the best first, each once."""
    results = duplicate.get("matchResults")
    found: dict[str, DuplicateMatch] = {}
    for result in results if isinstance(results, list) else ():
        listed = result.get("matchRecords") if isinstance(result, dict) else None
        for each in listed if isinstance(listed, list) else ():
            match = _match(each, result)
            if match and match.confidence > found.get(match.id, DuplicateMatch("", "", -1.0)).confidence:
                found[match.id] = match
    return sorted(found.values(), key=lambda match: -match.confidence)


def _match(match: Any, result: Mapping[str, Any]) -> DuplicateMatch | None:
    record = match.get("record") if isinstance(match, dict) else None
    if not isinstance(record, dict) or not isinstance(record.get("Id"), str):
        return None
    attributes = record.get("attributes")
    kind = attributes.get("type") if isinstance(attributes, dict) else result.get("entityType")
    confidence = match.get("matchConfidence")
    return DuplicateMatch(record["Id"], str(kind), float(confidence) if isinstance(confidence, int | float) else 0.0)


DROPPED = (ErrorKind.VALUE, ErrorKind.FIELD)
"""Kinds that concern part of a record, without which the rest may be accepted."""


@dataclass(frozen=True, slots=True, repr=False)
class SalesforceProblem:
    """One error, of an answer as a whole or of one record."""

    status: int
    """Status of the answer, or of the part of a composite."""
    code: str
    """Error code; empty if there is none."""
    message: str
    """Salesforce's message, masked and shortened."""
    fields: tuple[str, ...] = ()
    """Fields that the error lists."""
    matches: tuple[DuplicateMatch, ...] = ()
    allows_save: bool = False
    """True if the duplicate rule lets the record be saved anyway."""
    is_whole_call: bool = False
    """True if the whole call was refused with it, so that it may concern another record."""

    @property
    def kind(self) -> ErrorKind:
        """Return the kind of the error. An unknown code refuses the record, and a 5xx is Salesforce's fault."""
        # A trigger reports a lock under another code. Two rows with equal keys, as Salesforce compares keys, block each
        # other too: each can be written, but not both together.
        if "UNABLE_TO_LOCK_ROW" in self.message or "uplicate external id specified" in self.message:
            return ErrorKind.LOCKED
        if self.code == "REQUEST_LIMIT_EXCEEDED":
            return ErrorKind.BUSY if "oncurrent" in self.message else ErrorKind.EXHAUSTED
        if self.code == _NO_ACCESS_TO_REFERENCE and self.fields:
            return ErrorKind.VALUE
        known = KINDS.get(self.code)
        if known is None and self.code.startswith("INSUFFICIENT_ACCESS"):
            return ErrorKind.CONFIGURATION
        if known is ErrorKind.NESTED:
            return ErrorKind.LOCKED if _LIMIT.search(self.message) else ErrorKind.REFUSED
        return known or (ErrorKind.SERVER if self.status >= 500 else ErrorKind.REFUSED)  # noqa: PLR2004 - 5xx

    @property
    def found_id(self) -> str | None:
        """Return the id of the record that already has the value of a unique field, if the message names it."""
        found = _RECORD_ID.search(self.message) if self.code == "DUPLICATE_VALUE" else None
        return found[1] if found else None

    @property
    def named(self) -> tuple[str, ...]:
        """Return the fields at fault: those listed in the error, or else those in its message.

        `Email: invalid email address: x`, `No such column 'X' on sobject of type Lead`, `Unable to create/update
        fields: X, Y. Please check ...`.
        """
        if self.fields or self.kind not in (ErrorKind.VALUE, ErrorKind.FIELD):
            return self.fields
        if self.code in _ABOUT_OWNERS:
            return ("OwnerId",)
        if self.kind is ErrorKind.VALUE:
            return (self.message.partition(":")[0],)
        column, columns = _COLUMN.search(self.message), _COLUMNS.search(self.message)
        if column is not None:
            return (column[1],)
        return tuple(each.strip() for each in columns[1].split(",")) if columns is not None else ()

    @property
    def is_about_a_reference(self) -> bool:
        """Return True if a field with a record id is at fault and the error does not list it."""
        return not self.fields and self.code in _ABOUT_REFERENCES

    @property
    def words(self) -> str:
        """Return code, message and fields in one line, for the operator."""
        named = (
            f" [{', '.join(self.fields)}]" if self.fields and not all(f in self.message for f in self.fields) else ""
        )
        return f"{self.code or self.status}: {self.message}{named}" if self.message else self.code or str(self.status)


def read_salesforce_problem(document: Any, status: int, secrets: Secrets) -> SalesforceProblem | None:
    """Return an error, or a list of them, as one problem; None if there is none.

    An error that only reports the failure of another part has the lowest rank. A refused value or field ranks below an
    error that refuses the record without it too. If there are only refused values or fields, all of them are named.
    """
    listed = document if isinstance(document, list) else [document]
    found = [_problem(each, status, secrets) for each in listed if isinstance(each, dict) and _code(each)]
    values = [each for each in found if each.kind in DROPPED]
    others = [each for each in found if each.kind not in (ErrorKind.HALTED, *DROPPED)]
    if not others and values:
        return replace(values[0], fields=tuple(name for each in values for name in each.fields))
    return next(iter(others or found), None)


def call_outcome(answer: Answer, now: float, secrets: Secrets) -> Retry | Rejected | None:
    """Return the outcome of an answer for all records; None if it has a result for each."""
    if answer.status == 200:  # noqa: PLR2004 - RFC 9110; collections and composites have no other success
        return None
    problem = read_salesforce_problem(document_of(answer), answer.status, secrets)
    if problem is None:
        verdict = classify(answer.status, answer.headers, now)
        return unreadable(answer.status) if isinstance(verdict, Delivered) else verdict
    return outcome(problem, Blame.BATCH)


def unread_fields(verdict: object, sent: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of a record that was sent alone whose value Salesforce cannot read.

    A JSON_PARSER_ERROR shows the value (`from VALUE_STRING value x or request may be missing ...`) but not its field.
    """
    words = verdict.detail if isinstance(verdict, Rejected) else getattr(verdict, "words", "")
    unread = _UNREAD.search(words)
    if unread is None:
        return ()
    return tuple(name for name, value in sent.items() if value is not None and _is_shown(value, unread[1]))


def _is_shown(value: object, shown: str) -> bool:
    """Return True if Salesforce shows a value so. It does not show the content of a map or list."""
    if isinstance(value, dict | list):
        return shown.startswith(("START_", "an object"))
    return shown == (str(value).lower() if isinstance(value, bool) else str(value))


def document_of(answer: Answer) -> Any:
    """Return the JSON of an answer; None if it is not JSON."""
    try:
        return answer.json()
    except ValueError:
        return None


def unreadable(status: int) -> Retry:
    """Return the outcome of an answer that does not account for the record, which may have been written."""
    return Retry(Reason.BAD_ANSWER, "its answer says nothing of this record", Blame.UNCLEAR, None, status)


def outcome(
    problem: SalesforceProblem, blame: Blame = Blame.RECORD, memo: Mapping[str, str] | None = None
) -> Retry | Rejected:
    """Return the outcome of an error for a record.

    Wrong rights or names are for an administrator to correct, so the record is tried again, and given up in time.

    Args:
        problem: The error.
        blame: `RECORD` if the answer separates this record from the others, else `BATCH`: then wrong rights or names
            are those of the destination.
        memo: Memo of the outcome.
    """
    kind, status, words = problem.kind, problem.status, problem.words
    memo = memo or {}
    if kind in (ErrorKind.REFUSED, ErrorKind.VALUE, ErrorKind.CONVERTED):
        return Rejected(Reason.REFUSED, words, blame, status, memo)
    if kind is ErrorKind.DUPLICATE:
        return Rejected(Reason.CONFLICT, words, blame, status, memo)
    reason, blamed, after = _RETRIES[kind]
    if kind in _CORRECTABLE:
        reason = _REASONS.get(status, Reason.FORBIDDEN if "ACCESS" in problem.code else reason)
        words += "; correct object, external_id, fields or api_version, or give the user the rights"
    if kind is not ErrorKind.ACCOUNT and kind in _CORRECTABLE and blame is Blame.RECORD:
        blamed = Blame.RECORD
    return Retry(reason, words, blamed, after, status, memo)


_RETRIES: Mapping[ErrorKind, tuple[Reason, Blame, float | None]] = {
    ErrorKind.ACCOUNT: (Reason.REFUSED, Blame.DESTINATION, None),
    ErrorKind.BUSY: (Reason.RATE_LIMITED, Blame.DESTINATION, SHORT_PAUSE),
    ErrorKind.CONFIGURATION: (Reason.REFUSED, Blame.DESTINATION, None),
    ErrorKind.EXHAUSTED: (Reason.RATE_LIMITED, Blame.DESTINATION, LONG_PAUSE),
    ErrorKind.FIELD: (Reason.REFUSED, Blame.DESTINATION, None),
    ErrorKind.HALTED: (Reason.CONFLICT, Blame.UNCLEAR, None),
    ErrorKind.HELD: (Reason.CONFLICT, Blame.RECORD, None),
    ErrorKind.LOCKED: (Reason.CONFLICT, Blame.RECORD, None),
    ErrorKind.SERVER: (Reason.SERVER_ERROR, Blame.UNCLEAR, None),
    ErrorKind.SESSION: (Reason.UNAUTHORIZED, Blame.DESTINATION, None),
    ErrorKind.VANISHED: (Reason.CONFLICT, Blame.RECORD, None),
}
_CORRECTABLE = (ErrorKind.ACCOUNT, ErrorKind.CONFIGURATION, ErrorKind.FIELD)


def record_outcomes(
    verdicts: Sequence[Outcome | SalesforceProblem],
    memos: Sequence[Mapping[str, str]],
    people: Sequence[str],
    *,
    described: bool = False,
) -> list[Outcome]:
    """Return the outcomes of the records of a call.

    Wrong rights or names are the record's own problem, whatever happens to the others: a record blamed reference the
    user may not see must not delay them. They are the destination's problem only with proof: the call as a whole was
    refused, or the org's own description confirms it, or every record meets them and the records are about several
    people.

    Args:
        verdicts: State of each record: an outcome, or its error.
        memos: Memo for the outcome of each error.
        people: Person of each record, in any notation.
        described: True if the org's description confirms that this route cannot write anything.
    """
    wrong = [each for each in verdicts if isinstance(each, SalesforceProblem) and each.kind in _CORRECTABLE]
    same = len(wrong) == len(verdicts) and len({each.code for each in wrong}) == 1
    held = described or (same and len(set(people)) >= _SEVERAL)
    return [
        outcome(each, Blame.BATCH if each.kind in _CORRECTABLE and (held or each.is_whole_call) else Blame.RECORD, memo)
        if isinstance(each, SalesforceProblem)
        else each
        for each, memo in zip(verdicts, memos, strict=True)
    ]


def _code(error: Mapping[str, Any]) -> str:
    code = error.get("errorCode") or error.get("statusCode")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


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
    """Return True if a query would get the same answer again: it is about rights or names, not the moment."""
    return outcome.status in _REFUSALS and (isinstance(outcome, Rejected) or outcome.after is None)
