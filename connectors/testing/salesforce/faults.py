"""An org's typical errors, for `SalesforceSandbox.faults`. Nothing is written unless a name says so.

Each answers as the REST API does: `[{"message", "errorCode", "fields"}]` with the matching status.
"""

import orjson

from connectors.testing.faults import Fault
from connectors.testing.salesforce import limits
from connectors.testing.salesforce.org import locked
from connectors.testing.salesforce.problems import ProblemError, refused, refused_record

_JSON = {"Content-Type": "application/json;charset=UTF-8"}
_LOCKED_ID = "00Q5g00000000G1EAI"


def session_expired() -> Fault:
    """401 INVALID_SESSION_ID, for one call; `SalesforceSandbox.tokens.expire` does it for a token."""
    return _fault(session_error())


def total_limit() -> Fault:
    """403: the calls of 24 hours are used up."""
    return _fault(refused(403, "REQUEST_LIMIT_EXCEEDED", limits.TOTAL))


def concurrent_limit() -> Fault:
    """403: too many long calls are under way."""
    return _fault(refused(403, "REQUEST_LIMIT_EXCEEDED", limits.CONCURRENT))


def invalid_field(name: str) -> Fault:
    """400 INVALID_FIELD: a field that the object does not have, or that the user must not see."""
    return _fault(refused(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type Lead"))


def invalid_type(name: str) -> Fault:
    """400 INVALID_TYPE: an object that the org does not have."""
    return _fault(refused(400, "INVALID_TYPE", f"sObject type '{name}' is not supported."))


def api_disabled() -> Fault:
    """403 API_DISABLED_FOR_ORG: the edition has no API."""
    return _fault(refused(403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization."))


def insufficient_access() -> Fault:
    """403 INSUFFICIENT_ACCESS_OR_READONLY: the user may not write here."""
    error = refused(403, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
    return _fault(error)


def row_lock(*, in_trigger: bool = False) -> Fault:
    """400: somebody else is writing the record; as UNABLE_TO_LOCK_ROW, or as the failure of a trigger around it."""
    return _fault(locked(_LOCKED_ID, in_trigger=in_trigger))


def not_found() -> Fault:
    """404 NOT_FOUND: the record or the address is not there."""
    return _fault(refused(404, "NOT_FOUND", "The requested resource does not exist"))


def entity_deleted() -> Fault:
    """404 ENTITY_IS_DELETED: the record lies in the recycle bin."""
    return _fault(refused(404, "ENTITY_IS_DELETED", "entity is deleted"))


def retired() -> Fault:
    """410 GONE: the version of the API has been retired."""
    return _fault(refused(410, "GONE", "This API version has been retired. Use a newer version of the API."))


def validation_failed(message: str, *fields: str) -> Fault:
    """400 FIELD_CUSTOM_VALIDATION_EXCEPTION: a rule of the org's administrator refuses the record."""
    return _fault(refused_record("FIELD_CUSTOM_VALIDATION_EXCEPTION", message, *fields))


def unknown_exception() -> Fault:
    """500 UNKNOWN_EXCEPTION: an internal error, with its number."""
    message = "An unexpected error occurred. Please include this ErrorId if you contact support: 1234-5678 (1)"
    return _fault(refused(500, "UNKNOWN_EXCEPTION", message))


def server_unavailable() -> Fault:
    """503 SERVER_UNAVAILABLE: the instance is overloaded or in maintenance."""
    return _fault(refused(503, "SERVER_UNAVAILABLE", "The server is unavailable to handle the request"))


def gateway_page(status: int = 502) -> Fault:
    """502 or 504 with a page for people, from in front of the API."""
    return Fault.html_error(status)


def lost_answer() -> Fault:
    """Everything is written, and the connection closed without an answer."""
    return Fault.disconnects(written=True)


def token_refused(error: str = "invalid_grant", description: str | None = None) -> Fault:
    """400 of the token endpoint, for `SalesforceSandbox.token_faults`; without a description where there is none."""
    described = {} if description is None else {"error_description": description}
    return Fault.answers(400, _JSON, orjson.dumps({"error": error, **described}))


def session_error() -> ProblemError:
    """Return the refusal of an invalid token."""
    return refused(401, "INVALID_SESSION_ID", "Session expired or invalid")


def _fault(error: ProblemError) -> Fault:
    return Fault.answers(error.status, _JSON, orjson.dumps(error.reply.document))
