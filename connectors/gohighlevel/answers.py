"""Answers of HighLevel's API 2.0 to outcomes, quotas and findings. Pure."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from connectors.base import Delivered, Finding, Quota, Rejected, Retry, Severity
from connectors.gohighlevel.requests import CUSTOM, KEYS
from connectors.http_client.json_api import Reply

_UNKNOWN_RENEWAL = 900.0  # seconds; the answers do not show when the day of an account begins
_SHARE_KEPT = 10  # a tenth of the day's calls is reserved for new leads


SUCCESSES = range(200, 300)
_NAMED = re.compile(r"(?:property )?(\w+)(?: should not exist| must | should )", re.ASCII)
_CUSTOM_FIELDS = "customFields"


def emails_of(contact: Mapping[str, Any]) -> list[object]:
    """Return a contact's primary e-mail and its additional ones."""
    others = contact.get("additionalEmails")
    held = [contact.get("email"), *(others if isinstance(others, list) else [])]
    return [each.get("email") if isinstance(each, dict) else each for each in held]


def is_duplicate(reply: Reply) -> bool:
    """Return True if a location that allows no duplicates refuses a new contact because of another one."""
    return reply.status == 400 and isinstance(reply.get("meta", "matchingField"), str)  # noqa: PLR2004 - RFC 9110


def refused_fields(reply: Reply, fields: Mapping[str, Any], *, is_known: bool) -> list[str]:
    """Return the mapped fields that an answer refuses, without the keys of a new contact.

    The API names a field in the messages of a 422: `property x should not exist`, `x must be a string`. It names custom
    fields as a whole. A key that another contact has is named in `meta.matchingField` of a 400 (recorded for creations;
    for updates not documented).
    """
    messages = reply.get("message") if reply.status == 422 else None  # noqa: PLR2004 - RFC 9110
    texts = messages if isinstance(messages, list) else [messages]
    named = {found[1] for each in texts if isinstance(each, str) and (found := _NAMED.match(each))} - set(KEYS)
    if is_known and reply.status == 400:  # noqa: PLR2004 - RFC 9110
        named.add(str(reply.get("meta", "matchingField")))
    return [name for name in fields if (_CUSTOM_FIELDS if name.startswith(CUSTOM) else name) in named]


def delivered_contact(reply: Reply, sent: Mapping[str, Any]) -> Delivered | None:
    """Return the outcome of a written contact; None if the answer names no id, and so accounts for nothing.

    If the e-mail belongs to one contact and the phone to another, the API drops the phone silently (issue 37 of
    GoHighLevel/highlevel-api-docs): the answer then shows the contact without it.
    """
    remote_id = reply.id_at("contact", "id")
    if remote_id is None:
        return None
    contact = reply.get("contact")
    dropped = [key for key in KEYS if sent.get(key) and key in contact and not contact[key]]
    warning = f"{' and '.join(dropped)} not accepted: another contact may have it" if dropped else None
    return Delivered(remote_id, warning=warning, status=reply.status, left_out=tuple(dropped))


def quotas(headers: Mapping[str, str], now: float) -> Sequence[Quota]:
    """Return the allowances in an answer's headers (marketplace.gohighlevel.com, "Rate Limits").

    Args:
        headers: By name, in any case.
        now: Seconds since the epoch.
    """
    found = []
    day, left = _number(headers, "X-RateLimit-Limit-Daily"), _number(headers, "X-RateLimit-Daily-Remaining")
    if day is not None and left is not None:
        found.append(Quota("daily", day, left, now + _UNKNOWN_RENEWAL, day // _SHARE_KEPT))
    burst, left = _number(headers, "X-RateLimit-Max"), _number(headers, "X-RateLimit-Remaining")
    span = _number(headers, "X-RateLimit-Interval-Milliseconds")
    if burst is not None and left is not None and span is not None:
        found.append(Quota("burst", burst, left, now + span / 1000))
    return found


def finding(answer: Reply | Retry | Rejected) -> Finding:
    """Return the finding for an answer about the location."""
    if isinstance(answer, Reply):
        return Finding(Severity.NOTE, "reachable, credentials accepted; the fields were not checked")
    if answer.status == HTTPStatus.UNAUTHORIZED:
        what = f"{answer.detail}; create a private integration token of this location"
        return Finding(Severity.ERROR, what, setting=("access_token",))
    if answer.status == HTTPStatus.FORBIDDEN:
        what = "reachable; the token may not read the location, so it is unknown whether it may write contacts"
        return Finding(Severity.NOTE, what)
    if answer.status in (400, 404, 422):
        return Finding(Severity.ERROR, f"{answer.detail}; correct location_id", setting=("location_id",))
    severity = Severity.WARNING if answer.status else Severity.ERROR
    return Finding(severity, f"{answer.detail}; ask again later, or correct base_url", setting=("base_url",))


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text) if text.isdecimal() and text.isascii() else None
