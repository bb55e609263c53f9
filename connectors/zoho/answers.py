"""Turns the answers of Zoho CRM's API into outcomes. Pure.

Source: zoho.com/crm/developer/docs/api/v8, "Upsert Records" and "Status Codes".
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from connectors.base import Blame, Delivered, Outcome, Reason, Rejected, Retry
from connectors.http_client.json_api import Reply
from connectors.http_client.status_table import message_in

PER_RECORD_STATUSES = frozenset({207, 400})
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


def upsert_outcomes(reply: Reply, count: int, masked: Callable[[str], str]) -> Sequence[Outcome] | None:
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


def account_outcome(reply: Reply, masked: Callable[[str], str]) -> Retry | None:
    """Say that an answer to the call as a whole is about the account or the settings, if it is."""
    code = reply.get("code")
    if not isinstance(code, str) or code not in _SETTINGS:
        return None
    detail = masked(f"it answered {reply.status}: {_said(reply)}")
    return Retry(Reason.FORBIDDEN, detail, Blame.DESTINATION, None, reply.status)


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
    """Return code, field and message of an error: `MANDATORY_NOT_FOUND (Last_Name): required field not found`."""
    name = row.get("details", "api_name")
    field = f" ({name})" if isinstance(name, str) else ""
    return f"{row.get('code')}{field}: {message_in(row.document) or 'no reason given'}"
