"""Whether a stored body or text names an e-mail address, however it is written. Pure.

A JSON text can hide an address in escapes, a URI in percent signs, and a chat in full-width letters; case does not
count. An address that only is a part of a longer one (`ann@example.com` in `joann@example.com`) is another person's.
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final
from urllib.parse import unquote

from bridge.event import decode

ERASED: Final = "[erased]"
"""What stands in a text in place of the address."""

_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")
_LONGER_BEFORE: Final = re.compile(r"[a-z0-9][.+_-]*\Z", re.IGNORECASE)
"""What makes of an address the end of a longer one; other scripts are written without spaces, so they do not."""
_LONGER_AFTER: Final = re.compile(r"[.-]?[a-z0-9]", re.IGNORECASE)
_LONGEST_BEFORE: Final = 64
"""Characters of an address before its @, at most (RFC 5321 section 4.5.3.1.1): as far as it is worth looking back."""
_DECODINGS: Final = 3
"""How often one address may have been percent-encoded."""


class Mention(IntEnum):
    """How sure it is that an address stands somewhere."""

    NONE = 0
    UNSURE = 1
    """As a part of a longer address only, or of what may be one."""
    SURE = 2


class Address:
    """An e-mail address that is looked for."""

    def __init__(self, email: str) -> None:
        """Take the address. Raises ValueError if it has not a part before and after an @, or has white space."""
        self._plain = _folded(email.strip())
        name, at, domain = self._plain.rpartition("@")
        if not (name and at and domain) or any(each.isspace() for each in self._plain):
            raise ValueError("not an e-mail address; write NAME@DOMAIN")
        self._bytes = self._plain.encode()
        self._anywhere = re.compile(re.escape(email.strip()), re.IGNORECASE)

    def __repr__(self) -> str:
        """Say nothing of the address: a repr ends up in logs."""
        return "Address()"

    @property
    def plain(self) -> str:
        """The address in lower case, as most texts hold it."""
        return self._plain

    @property
    def spellings(self) -> tuple[bytes, ...]:
        """What most files hold of it, in lower case: it, as JSON may escape it, and as a URI does."""
        return tuple(self._plain.replace("@", at).encode() for at in ("@", "\\u0040", "%40"))

    def in_body(self, body: bytes) -> Mention:
        """Look into all texts and keys of a JSON value, and into the bytes as text.

        Those hold what the value does not: a member that another one of its name has replaced, and all of a body that
        is no JSON.
        """
        if body.isascii() and b"\\" not in body and b"%" not in body and self._bytes not in body.lower():
            # What nearly every body is: one that hides nothing.
            return Mention.NONE
        as_text = self.in_text(body.decode("utf-8", "replace"))
        try:
            document = decode(body)
        except ValueError:
            return as_text
        return max(map(self.in_text, _texts(document)), default=as_text) if as_text is not Mention.SURE else as_text

    def in_text(self, text: str) -> Mention:
        """Look into a text, as it is and without its escapes."""
        return max(self._in(_folded(each)) for each in _readings(text))

    def erased(self, text: str) -> str:
        """Give the text with the address left out wherever it surely is meant."""
        return self._anywhere.sub(lambda found: found[0] if _longer(text, *found.span()) else ERASED, text)

    def _in(self, folded: str) -> Mention:
        best = Mention.NONE
        at = folded.find(self._plain)
        while at >= 0:
            if not _longer(folded, at, at + len(self._plain)):
                return Mention.SURE
            best = Mention.UNSURE
            at = folded.find(self._plain, at + 1)
        return best


def _longer(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _LONGEST_BEFORE) : start]
    return bool(_LONGER_BEFORE.search(before) or _LONGER_AFTER.match(text, end))


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _readings(text: str) -> Iterator[str]:
    """Give the text, then what it is without the escapes of a JSON inside it, then without those of a URI."""
    yield text
    if "\\" in text:
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
        yield text
    for _ in range(_DECODINGS):
        if "%" not in text:
            return
        text = unquote(text)
        yield text


def _texts(document: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """Give every key and text of a JSON value, however deep it is."""
    waiting = [document]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting.extend(each.keys())
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
