"""Answers of Zoho CRM's API to outcomes and findings. Pure.

Source: zoho.com/crm/developer/docs/api/v8, "Upsert Records" and "Status Codes".
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from difflib import get_close_matches

from connectors.base import Blame, Delivered, Finding, MappedRoute, Outcome, Reason, Rejected, Retry, Severity
from connectors.http_client.json_api import Reply
from connectors.http_client.status_table import message_in

PER_RECORD_STATUSES = frozenset({207, 400})
"""Statuses whose document may describe each record: some failed, all failed."""

_SUCCESS = "SUCCESS"
_CONFLICTS = frozenset({"DUPLICATE_DATA", "MULTIPLE_OR_MULTI_ERRORS"})
_OF_A_FIELD = frozenset(
    {
        "DATA_MISMATCH",
        "DEPENDENT_FIELD_MISSING",
        "INVALID_DATA",
        "MANDATORY_NOT_FOUND",
        "MAPPING_MISMATCH",
        "PATTERN_NOT_MATCHED",
    }
)
"""Codes that name a field. Without the field the record may be accepted, unless the field is missing."""
_LOCKED = "RECORD_LOCKED"
"""Temporary: locked by a user, or while Zoho checks an image ("The New Error Codes in CRM API", Zoho's developer
community)."""
_PASSING = frozenset({"INTERNAL_ERROR", "INTERNAL_SERVER_ERROR", "TOO_MANY_REQUESTS", "RECORD_IN_BLUEPRINT"})
_SETTINGS = frozenset(
    {
        "INVALID_MODULE",
        "INVALID_URL_PATTERN",
        "LICENSE_LIMIT_EXCEEDED",
        "LIMIT_EXCEEDED",
        "MODULE_NOT_SUPPORTED",
        "NO_PERMISSION",
        "OAUTH_SCOPE_MISMATCH",
    }
)
"""Codes of an answer to the whole call that concern the account or the settings."""
_LIMITS = frozenset({"LICENSE_LIMIT_EXCEEDED", "LIMIT_EXCEEDED", "OAUTH_SCOPE_MISMATCH"})
"""Codes among them for which no record can be to blame."""
_SEVERAL = 5
"""Number of records with different keys that must all lack the same right before it counts as the account's."""


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """Answer to a write, and the outcome of each record."""

    reply: Reply | None
    """None if there was no answer with a document."""
    outcomes: Sequence[Outcome]


def is_inserted(reply: Reply | None, number: int) -> bool:
    """Return True if the record with this number in the request was created."""
    return reply is not None and reply.get("data", number, "action") == "insert"


def refused_field(reply: Reply | None, number: int) -> str | None:
    """Return the field for which the record with this number in the request was refused; None for other outcomes."""
    if reply is None or reply.get("data", number, "code") not in _OF_A_FIELD:
        return None
    name = reply.get("data", number, "details", "api_name")
    return name if isinstance(name, str) else None


def upsert_outcomes(reply: Reply, count: int, masked: Callable[[str], str]) -> Sequence[Outcome] | None:
    """Return the outcome of each record, in the order of the request.

    A right that a record lacks is its own problem (of its owner, or its layout) unless it is proven to be the
    account's: several records lack the same right and the answer has nothing else, or the code names a limit and
    nothing was written.

    Args:
        reply: The answer.
        count: Number of records that were sent.
        masked: Masks secrets in the API's messages.

    Returns:
        None if the answer does not describe each of them: then it accounts for none.
    """
    rows = reply.get("data")
    if not isinstance(rows, list) or len(rows) != count:
        return None
    each = [Reply(reply.status, row, reply.headers) for row in rows]
    codes = [str(row.get("code")) for row in each]
    several = count >= _SEVERAL and len(set(codes)) == 1
    shown = _SETTINGS if several else frozenset[str]() if _SUCCESS in codes else _LIMITS
    return [_outcome(row, masked, shown) for row in each]


def account_outcome(reply: Reply, masked: Callable[[str], str]) -> Retry | None:
    """Return the outcome of an answer about the account or the settings; None for any other answer."""
    code = reply.get("code")
    if not isinstance(code, str) or code not in _SETTINGS:
        return None
    detail = masked(f"it answered {reply.status}: {_error_text(reply)}")
    return Retry(Reason.FORBIDDEN, detail, Blame.DESTINATION, None, reply.status)


def _outcome(row: Reply, masked: Callable[[str], str], shown: AbstractSet[str]) -> Outcome:
    """Return the outcome of one verdict. The codes of `shown` count as the account's."""
    code, remote_id = row.get("code"), row.id_at("details", "id")
    if code == _SUCCESS and remote_id is not None:
        return Delivered(remote_id, status=row.status)
    if not isinstance(code, str) or code == _SUCCESS:
        why = f"it answered {row.status}, but does not account for this record"
        return Retry(Reason.BAD_ANSWER, why, Blame.RECORD, None, row.status)
    detail = masked(f"it answered {_error_text(row)}")
    if code in _SETTINGS:
        blame = Blame.DESTINATION if code in shown else Blame.RECORD
        return Retry(Reason.FORBIDDEN, detail, blame, None, row.status)
    if code == _LOCKED:
        return Retry(Reason.CONFLICT, detail, Blame.RECORD, None, row.status)
    if code in _PASSING:
        return Retry(Reason.SERVER_ERROR, detail, Blame.UNCLEAR, None, row.status)
    reason = Reason.CONFLICT if code in _CONFLICTS else Reason.REFUSED
    return Rejected(reason, detail, Blame.RECORD, row.status)


def _error_text(row: Reply) -> str:
    """Return code, field and message of an error: `MANDATORY_NOT_FOUND (Last_Name): required field not found`."""
    name = row.get("details", "api_name")
    field = f" ({name})" if isinstance(name, str) else ""
    return f"{row.get('code')}{field}: {message_in(row.document) or 'no reason given'}"


def findings(fields: Reply, mapped_route: MappedRoute, route: int) -> list[Finding]:
    """Return the differences between the mapped fields and those of the module."""
    known = {
        each["api_name"]: each for each in fields.get("fields") or () if isinstance(each, dict) and "api_name" in each
    }
    mapped = {each.name for each in mapped_route.fields}
    differences = [
        Finding(Severity.ERROR, f"no such field{_hint(name, known)}", route, name)
        for name in (each.name for each in mapped_route.fields)
        if name not in known
    ]
    differences += [
        Finding(Severity.ERROR, "must be mapped: the module requires it", route, name)
        for name, each in known.items()
        if each.get("system_mandatory") is True and name not in mapped
    ]
    return differences


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, 1)
    return f" (did you mean `{near[0]}`?)" if near else ""
