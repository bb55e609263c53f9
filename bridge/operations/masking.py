"""Masking of personal data. Pure.

An event is masked by the names of its fields, a mapped record in all its texts and numbers. A destination's messages,
record ids and links are left out, because they may repeat any value: `MEANINGS` has a plain sentence for each reason.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge.event import EVENT_FIELDS, EVENT_TYPES, decode
from bridge.store.filter import EVERYTHING, Scope
from connectors.base import Reason

MEANINGS: Final[Mapping[Reason, str]] = {
    Reason.BAD_ANSWER: "The destination's answer could not be read.",
    Reason.CONFLICT: "The destination has a conflicting record, or another write is in progress.",
    Reason.CONNECTOR_ERROR: "The connector failed.",
    Reason.FORBIDDEN: "The destination does not allow this with the configured credentials.",
    Reason.GONE: "The destination's address has been retired.",
    Reason.MAPPING: "The mapping could not make a record of the event.",
    Reason.NOT_FOUND: "The destination does not know the address, or a record that the lead refers to.",
    Reason.RATE_LIMITED: "The destination takes no more requests for now.",
    Reason.REDIRECT: "The destination points to another address, and redirects are not followed.",
    Reason.REFUSED: "The destination refused the record.",
    Reason.SERVER_ERROR: "The destination failed.",
    Reason.TIMEOUT: "The destination did not answer in time.",
    Reason.TOO_LARGE: "The request or the answer is too large.",
    Reason.UNAUTHORIZED: "The destination refused the credentials.",
    Reason.UNREACHABLE: "The destination could not be reached.",
    Reason.UNROUTED: "The route or the destination is not in the configuration any more.",
}
HELD: Final = "An operator has paused this destination. Leads wait until somebody resumes it."

_OWN_WORDS: Final = frozenset({Reason.MAPPING.value, Reason.UNROUTED.value})
"""Reasons whose detail the bridge writes itself; it names a field or a route."""
_OPEN: Final[Mapping[str, re.Pattern[str]]] = {
    "SerialNumber": re.compile(r"[0-9a-f]{4,64}", re.ASCII),
    "Type": re.compile("|".join(EVENT_TYPES)),
    "CreateTime": re.compile(r"\d{4}-\d\d-\d\d([T ][\d:.]+)?(Z|[+-]\d\d:\d\d)?", re.ASCII),
    "SessionID": re.compile(r"\d{1,20}", re.ASCII),
}
"""Fields that say nothing about the person as long as they match these patterns."""
_LEAST: Final = 3
"""Minimum number of characters of a value that is searched in a text."""
_HIDDEN: Final = 3
"""Maximum length of a text that is hidden entirely, because it may be a whole name."""
_EMAIL: Final = re.compile(r"[^\s@<>\"']+@[^\s@<>\"',;)]+")
_PHONE: Final = re.compile(r"\+?\d[\d ()./-]{6,}\d")


@dataclass(frozen=True, slots=True)
class Audience:
    """The person who looks at data."""

    operator: bool = False
    reveal: bool = False
    """True to show personal data and a destination's messages: to operators only, after an entry in the audit log."""
    scope: Scope = EVERYTHING
    """The chatbots whose data they see."""

    def sees(self, chatbot: str | None) -> bool:
        """Return True if they see the data of a chatbot."""
        return self.scope.sees(chatbot)


VIEWER: Final = Audience()
OPERATOR_VIEW: Final = Audience(operator=True)
"""An operator to whom personal data is not revealed."""
OPEN: Final = Audience(operator=True, reveal=True)
"""A person who can read the store itself."""


def reason_text(reason: str | None) -> str | None:
    """Return the sentence that stands for a reason's code; None for anything else."""
    return next((text for code, text in MEANINGS.items() if code == reason), None)


def visible_detail(text: str | None, reason: str | None, audience: Audience, known: Iterable[str] = ()) -> str | None:
    """Return the detail of a failure if the audience may read it.

    Every operator sees the bridge's own messages, with `known` texts masked.
    """
    if audience.reveal:
        return text
    return masked_words(text, known) if audience.operator and reason in _OWN_WORDS else None


def mask_values(value: Any) -> Any:
    """Mask all texts and numbers in a JSON value; its keys stay."""
    return _masked(value, keys=False)


def masked_text(text: str) -> str:
    """Mask a text except its first character, if it is longer than a short name; an e-mail address keeps its @."""
    first = text[:1] if len(text) > _HIDDEN else ""
    return f"{first}•••@•••" if _EMAIL.fullmatch(text.strip()) else f"{first}•••"


def masked_payload(value: Any) -> Any:
    """Mask an event: known fields by their names, other fields with their keys, which may be personal data too."""
    if not isinstance(value, Mapping):
        return _masked(value, keys=True)
    known = {key: _field(key, each) for key, each in value.items() if key in EVENT_FIELDS}
    return known | _masked({key: each for key, each in value.items() if key not in EVENT_FIELDS}, keys=True)


def personal(payload: bytes) -> list[str]:
    """Return the texts of an event that are personal data, the longest first."""
    try:
        document = decode(payload)
    except ValueError:
        return []
    if not isinstance(document, Mapping):
        return []
    texts = {str(document[name]).strip() for name in EVENT_FIELDS if name not in _OPEN and document.get(name)}
    return sorted((each for each in texts if len(each) >= _LEAST), key=len, reverse=True)


def masked_words(text: str | None, known: Iterable[str]) -> str | None:
    """Mask known personal data in a text, and all e-mail addresses and phone numbers."""
    if text is None:
        return None
    for each in known:
        if len(each) > len(text):
            # A long pattern takes seconds to compile, and cannot match.
            continue
        text = re.sub(re.escape(each), lambda found: masked_text(found[0]), text, flags=re.IGNORECASE)
    text = _EMAIL.sub(lambda found: found[0] if "•" in found[0] else masked_text(found[0]), text)
    return _PHONE.sub(lambda found: masked_text(found[0]), text)


def _field(name: str, value: Any) -> Any:
    pattern = _OPEN.get(name)
    shown = pattern and isinstance(value, str | int) and pattern.fullmatch(str(value))
    return value if shown else _masked(value, keys=True)


def _masked(value: Any, *, keys: bool) -> Any:
    if isinstance(value, Mapping):
        names = [f"field {at}" for at in range(1, len(value) + 1)] if keys else value
        return {name: _masked(each, keys=keys) for name, each in zip(names, value.values(), strict=True)}
    if isinstance(value, list | tuple):
        return [_masked(each, keys=keys) for each in value]
    if isinstance(value, bool) or value is None or value == "":
        return value
    return masked_text(str(value))
