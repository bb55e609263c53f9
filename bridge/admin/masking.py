"""Personal data as it is shown to who has not asked for it: enough to tell two leads apart, too little to know them.

Pure. What an event says is masked by the names of its fields; what a destination has said about it, by looking for
what the event says in it; a mapped record, all texts and numbers of it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from bridge.event import EVENT_FIELDS, decode

_OPEN: Final = frozenset({"SerialNumber", "Type", "CreateTime", "SessionID"})
"""Fields that say nothing of the person."""
_LEAST: Final = 3
"""Characters of a value that is looked for in a text, at least."""
_EMAIL: Final = re.compile(r"[^\s@<>\"']+@[^\s@<>\"',;)]+")
_PHONE: Final = re.compile(r"\+?\d[\d ()./-]{6,}\d")


def masked(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Mask all texts and numbers in a JSON value; its keys stay."""
    if isinstance(value, Mapping):
        return {key: masked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each) for each in value]
    if isinstance(value, bool) or value is None or value == "":
        return value
    return masked_text(str(value))


def masked_text(text: str) -> str:
    """Keep the first character, and that it is an e-mail address."""
    return f"{text[:1]}•••@•••" if _EMAIL.fullmatch(text.strip()) else f"{text[:1]}•••"


def masked_payload(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Mask an event: the sender's fields by their names, whatever else by not knowing what it is."""
    if not isinstance(value, Mapping):
        return masked(value)
    return {
        key: each if key in _OPEN and not isinstance(each, dict | list) else masked(each) for key, each in value.items()
    }


def personal(payload: bytes) -> list[str]:
    """Give the texts of an event that say something of the person, the longest first."""
    try:
        document = decode(payload)
    except ValueError:
        return []
    if not isinstance(document, Mapping):
        return []
    texts = {str(document[name]).strip() for name in EVENT_FIELDS if name not in _OPEN and document.get(name)}
    return sorted((each for each in texts if len(each) >= _LEAST), key=len, reverse=True)


def masked_words(text: str | None, known: Iterable[str]) -> str | None:
    """Mask in a text what is known to be personal, and what looks like an e-mail address or a phone number."""
    if text is None:
        return None
    for each in known:
        text = re.sub(re.escape(each), lambda found: masked_text(found[0]), text, flags=re.IGNORECASE)
    text = _EMAIL.sub(lambda found: found[0] if "•" in found[0] else masked_text(found[0]), text)
    return _PHONE.sub(lambda found: masked_text(found[0]), text)
