"""From records to the documents of Zoho CRM's API, and from its answers to outcomes. Pure.

Source: zoho.com/crm/developer/docs/api/v8, "Upsert Records" and "Status Codes".
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from difflib import get_close_matches
from typing import Any

from connectors.base import Blame, Delivered, Finding, Outcome, Reason, Record, Rejected, Retry, Severity, Wanted
from connectors.classify import message_in
from connectors.json_api import Reply
from connectors.zoho.settings import ZohoRoute

MAX_BATCH = 100
"""Records of one upsert, at most."""
TELLING = frozenset({207, 400})
"""Statuses whose document may speak of each record: some failed, all failed."""

_SUCCESS = "SUCCESS"
_CONFLICTS = frozenset({"DUPLICATE_DATA", "MULTIPLE_OR_MULTI_ERRORS"})
_LOCKED = "RECORD_LOCKED"
"""For now: by a user, or while Zoho checks an image ("The New Error Codes in CRM API", Zoho's developer community)."""
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
"""Codes of an answer to the call as a whole that are about the account or the settings."""
_LIMITS = frozenset({"LICENSE_LIMIT_EXCEEDED", "LIMIT_EXCEEDED", "OAUTH_SCOPE_MISMATCH"})
"""Those of them that a record cannot be to blame for."""
_SEVERAL = 5
"""Records, each with a key of its own, that must all lack the same right before it is taken for the account's."""


def route_of(record: Record) -> ZohoRoute:
    """Give the settings of the record's route."""
    return record.route if isinstance(record.route, ZohoRoute) else ZohoRoute()


def key_of(record: Record) -> Hashable:
    """Give what the record is found again by; None where it has nothing of it, and would be another one each time."""
    fields = ((name, record.fields.get(name)) for name in route_of(record).duplicate_check_fields)
    return next(((name, str(value).strip().lower()) for name, value in fields if value not in (None, "")), None)


def document(records: Sequence[Record]) -> dict[str, Any]:
    """Give what upserts the records, all of one route's settings."""
    route = route_of(records[0])
    made: dict[str, Any] = {
        "data": [dict(record.fields) for record in records],
        "duplicate_check_fields": list(route.duplicate_check_fields),
    }
    return made if route.trigger is None else {**made, "trigger": list(route.trigger)}


def outcomes(reply: Reply, count: int, masked: Callable[[str], str]) -> Sequence[Outcome] | None:
    """Say what became of each record, in the order of the request.

    Rights that a record lacks are its own trouble (of its owner, or its layout) unless there is proof that they are the
    account's: several records lack the same one, and nothing else was said; or the code names a limit, and nothing was
    written.

    Args:
        reply: The answer.
        count: How many records were sent.
        masked: Takes secrets out of the API's words.

    Returns:
        None where the answer does not speak of each of them: then it accounts for none.
    """
    rows = reply.get("data")
    if not isinstance(rows, list) or len(rows) != count:
        return None
    each = [Reply(reply.status, row, reply.headers) for row in rows]
    codes = [str(row.get("code")) for row in each]
    several = count >= _SEVERAL and len(set(codes)) == 1
    shown = _SETTINGS if several else frozenset[str]() if _SUCCESS in codes else _LIMITS
    return [_outcome(row, masked, shown) for row in each]


def held_back(reply: Reply, masked: Callable[[str], str]) -> Retry | None:
    """Say that an answer to the call as a whole is about the account or the settings, if it is."""
    code = reply.get("code")
    if not isinstance(code, str) or code not in _SETTINGS:
        return None
    detail = masked(f"it answered {reply.status}: {_said(reply)}")
    return Retry(Reason.FORBIDDEN, detail, Blame.DESTINATION, None, reply.status)


def findings(fields: Reply, wanted: Wanted, route: int) -> list[Finding]:
    """Compare the fields that a route maps with those that the module has."""
    known = {
        each["api_name"]: each for each in fields.get("fields") or () if isinstance(each, dict) and "api_name" in each
    }
    mapped = {each.name for each in wanted.fields}
    found = [
        Finding(Severity.ERROR, f"no such field{_hint(name, known)}", route, name)
        for name in (each.name for each in wanted.fields)
        if name not in known
    ]
    found += [
        Finding(Severity.ERROR, "must be mapped: the module requires it", route, name)
        for name, each in known.items()
        if each.get("system_mandatory") is True and name not in mapped
    ]
    return found


def _outcome(row: Reply, masked: Callable[[str], str], shown: AbstractSet[str]) -> Outcome:
    """Say what a verdict means, where the codes of `shown` are those of the account."""
    code, remote_id = row.get("code"), row.id_at("details", "id")
    if code == _SUCCESS and remote_id is not None:
        return Delivered(remote_id, status=row.status)
    if not isinstance(code, str) or code == _SUCCESS:
        why = f"it answered {row.status}, but does not say what became of this record"
        return Retry(Reason.BAD_ANSWER, why, Blame.RECORD, None, row.status)
    detail = masked(f"it answered {_said(row)}")
    if code in _SETTINGS:
        blame = Blame.DESTINATION if code in shown else Blame.RECORD
        return Retry(Reason.FORBIDDEN, detail, blame, None, row.status)
    if code == _LOCKED:
        return Retry(Reason.CONFLICT, detail, Blame.RECORD, None, row.status)
    if code in _PASSING:
        return Retry(Reason.SERVER_ERROR, detail, Blame.UNCLEAR, None, row.status)
    reason = Reason.CONFLICT if code in _CONFLICTS else Reason.REFUSED
    return Rejected(reason, detail, Blame.RECORD, row.status)


def _said(row: Reply) -> str:
    """Give code, field and message of an error: `MANDATORY_NOT_FOUND (Last_Name): required field not found`."""
    name = row.get("details", "api_name")
    field = f" ({name})" if isinstance(name, str) else ""
    return f"{row.get('code')}{field}: {message_in(row.document) or 'no reason given'}"


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, 1)
    return f" (did you mean `{near[0]}`?)" if near else ""
