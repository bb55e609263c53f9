"""Records to messages for people. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from connectors.base import Record
from connectors.event_text import Sources
from connectors.notify.settings import NotifyRoute

SUBJECT_LIMIT = 250
"""Maximum number of characters of a subject. Mail servers refuse header lines of more than 998 bytes (RFC 5322)."""
TEXT_LIMIT = 20_000
"""Maximum number of characters of a text."""
SENT = "sent"
"""Memo that names the addresses which have the message."""


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One message about one lead."""

    subject: str
    text: str


def message(record: Record, route: NotifyRoute, sources: Sources) -> Message:
    """Return the message about a record. Raises `ExpressionError` if a template fails on its values."""
    subject = " ".join(sources.text(route.subject, record.event).split())
    text = sources.text(route.text, record.event) if route.text else message_lines(record)
    return Message(subject[:SUBJECT_LIMIT], (text or subject)[:TEXT_LIMIT])


def message_lines(record: Record) -> str:
    """Return a line for each mapped field."""
    return "\n".join(f"{name}: {value}" for name, value in record.fields.items())


def mark(address: str) -> str:
    """Return a short name of an address, which does not reveal it, for the memo of an unfinished delivery."""
    return hashlib.sha256(address.encode()).hexdigest()[:8]


def sent_marks(memo: Mapping[str, str]) -> frozenset[str]:
    """Return the marks of the addresses that have the message already."""
    return frozenset(memo.get(SENT, "").split())


def sent_memo(marks: frozenset[str]) -> Mapping[str, str]:
    """Return the memo that names these addresses."""
    return {SENT: " ".join(sorted(marks))} if marks else {}
