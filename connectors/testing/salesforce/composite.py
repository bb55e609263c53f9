"""Composite: up to 25 calls in one, where later ones can refer to the answers of earlier ones. Pure.

From the REST API Developer Guide, Composite. The outer answer is 200 whatever the results of the parts, unless the
request itself is invalid. A part inherits Accept, Authorization and Content-Type only, and must not set them itself;
every other header is its own (Composite Request Body).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from connectors.testing.contacts import Reply
from connectors.testing.salesforce.call import Call, read_target
from connectors.testing.salesforce.org import Org
from connectors.testing.salesforce.problems import Problem, ProblemError, errors, refused

_MOST = 25
_MOST_HEAVY = 5
_INHERITED = ("accept", "authorization", "content-type")
_PARTS = {"method", "url", "referenceId", "body", "httpHeaders"}
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
_REFERENCE = re.compile(r"@\{([A-Za-z0-9_]+)((?:\.\w+|\[\d+\])*)\}", re.ASCII)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]", re.ASCII)
_HALTED = "PROCESSING_HALTED"
_FIRST_ERROR = 400
_ROLLED_BACK = Problem(
    _HALTED, "The transaction was rolled back since another operation in the same transaction failed.", None
)


def answer_composite(org: Org, call: Call, newest: str, answer: Callable[[Call], Reply]) -> Reply:
    """Answer a composite call. Raises `ProblemError` if the request as a whole is invalid.

    Args:
        org: The org, in which a failed transaction is undone.
        call: The call.
        newest: The newest version of the API.
        answer: Answers a part; may raise `ProblemError`.
    """
    call.allow("POST")
    all_or_none = call.record.get("allOrNone", False)
    if not isinstance(all_or_none, bool):
        raise refused(400, "JSON_PARSER_ERROR", "allOrNone must be true or false")
    parts = _checked(call, newest)
    mark = org.rows.mark()
    replies: dict[str, Reply] = {}
    for part in parts:
        try:
            reply = answer(_resolved(part, replies, newest))
        except ProblemError as error:
            reply = error.reply
        replies[part["referenceId"]] = reply
        if all_or_none and reply.status >= _FIRST_ERROR:
            org.rows.undo_to(mark)
            lost = Reply(_FIRST_ERROR, errors([_ROLLED_BACK]))
            replies = {each["referenceId"]: reply if each is part else lost for each in parts}
            break
    return Reply(200, {"compositeResponse": [_shown(name, each) for name, each in replies.items()]})


def _checked(call: Call, newest: str) -> list[dict[str, Any]]:
    unknown = set(call.record) - {"allOrNone", "collateSubrequests", "compositeRequest"}
    parts = call.record.get("compositeRequest")
    if unknown or not isinstance(parts, list) or not all(isinstance(each, dict) for each in parts):
        raise refused(400, "JSON_PARSER_ERROR", "The body must have allOrNone and compositeRequest, a list of objects")
    if not parts:
        raise refused(400, "REQUIRED_FIELD_MISSING", "At least 1 subrequest is required")
    if len(parts) > _MOST:
        raise refused(400, "LIMIT_EXCEEDED", f"A composite request cannot have more than {_MOST} subrequests")
    for part in parts:
        _check_part(part)
    if len({part["referenceId"] for part in parts}) < len(parts):
        raise refused(400, "INVALID_INPUT", "Each referenceId must be unique")
    if sum(_is_heavy(part, newest) for part in parts) > _MOST_HEAVY:
        message = f"A composite request cannot have more than {_MOST_HEAVY} collections or queries"
        raise refused(400, "LIMIT_EXCEEDED", message)
    return parts


def _check_part(part: Mapping[str, Any]) -> None:
    if set(part) - _PARTS or not all(isinstance(part.get(name), str) for name in ("method", "url", "referenceId")):
        raise refused(400, "JSON_PARSER_ERROR", f"A subrequest has {', '.join(sorted(_PARTS))}, and no other key")
    if part["method"] not in _METHODS:
        raise refused(400, "INVALID_INPUT", f"method must be one of {', '.join(_METHODS)}")
    if not re.fullmatch(r"[A-Za-z0-9]\w*", part["referenceId"], re.ASCII):
        message = (
            f"Provided referenceId ('{part['referenceId']}') must start with a letter or a number, and it can contain "
            "only letters, numbers and underscores ('_')."
        )
        raise refused(400, "INVALID_INPUT", message)
    headers = part.get("httpHeaders", {})
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        raise refused(400, "JSON_PARSER_ERROR", "httpHeaders must be an object of texts")
    for name in headers:
        if name.lower() in _INHERITED:
            raise refused(400, "INVALID_INPUT", f"A subrequest must not have the header {name}")


def _is_heavy(part: Mapping[str, Any], newest: str) -> bool:
    try:
        _, path, _ = read_target(part["url"], newest)
    except ProblemError:
        return False  # the part's own answer will say so
    return path[:1] == ("query",) or path[:2] == ("composite", "sobjects")


def _resolved(part: Mapping[str, Any], replies: Mapping[str, Reply], newest: str) -> Call:
    version, path, query = read_target(str(_filled(part["url"], replies)), newest)
    if not path or path == ("composite",):
        raise refused(400, "INVALID_INPUT", "This resource cannot be a subrequest")
    return Call(
        method=part["method"],
        version=version,
        parts=path,
        query=query,
        headers=part.get("httpHeaders", {}),
        document=_filled(part.get("body"), replies),
    )


def _filled(value: Any, replies: Mapping[str, Reply]) -> Any:
    """Replace references by their values. Raises `ProblemError` for an unknown reference."""
    if isinstance(value, dict):
        return {name: _filled(each, replies) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, replies) for each in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _found(whole, replies)
    return _REFERENCE.sub(lambda found: str(_found(found, replies)), value)


def _found(reference: re.Match[str], replies: Mapping[str, Reply]) -> Any:
    name, path = reference.groups()
    value: Any = replies[name].document if name in replies and replies[name].status < _FIRST_ERROR else None
    for step in _STEP.finditer(path):
        if step[1] is not None:
            value = value.get(step[1]) if isinstance(value, dict) else None
        else:
            value = value[int(step[2])] if isinstance(value, list) and int(step[2]) < len(value) else None
    if value is None:
        message = f"Invalid reference specified. No value for {name}{path} found in {name}."
        raise refused(400, _HALTED, message)
    return value


def _shown(name: str, reply: Reply) -> dict[str, Any]:
    return {
        "body": reply.document,
        "httpHeaders": dict(reply.headers),
        "httpStatusCode": reply.status,
        "referenceId": name,
    }
