"""Matching of stored bodies and texts with a person's e-mail address or phone number. Pure.

An address is found in any case, inside JSON escapes and percent-encoding, and in full-width letters. An address that is
only a part of a longer one (`ann@example.com` in `joann@example.com`) belongs to another person.

A phone number is compared by its digits: as the operator wrote it and, if its country is known, with and without the
country code. A number inside a longer row of digits, or after another country's code, is an unsure match.
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from bridge.event import EVENT_FIELDS, decode
from bridge.identity import LEAST_PHONE_DIGITS, Identity

_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")
_LONGER_BEFORE: Final = re.compile(r"[a-z0-9][.+_-]*\Z", re.IGNORECASE)
"""Text before an address that makes it the end of a longer one. Latin only: other scripts write no spaces."""
_LONGER_AFTER: Final = re.compile(r"[.-]?[a-z0-9]", re.IGNORECASE)
_LONGEST_BEFORE: Final = 64
"""Most characters of an address before its @ (RFC 5321 section 4.5.3.1.1), so a longer look back finds nothing."""
_DECODINGS: Final = 3
"""Levels of percent-encoding that are undone."""


class Mention(IntEnum):
    """Certainty of a match."""

    NONE = 0
    UNSURE = 1
    """The address or number is, or may be, only a part of a longer one."""
    SURE = 2


class EmailAddress:
    """An e-mail address to search for."""

    def __init__(self, email: str) -> None:
        """Raise ValueError if the address has white space, or nothing before or after its @."""
        self._plain = _folded(email.strip())
        name, at, domain = self._plain.rpartition("@")
        if not (name and at and domain) or any(each.isspace() for each in self._plain):
            raise ValueError("not an e-mail address; write NAME@DOMAIN")
        self._bytes = self._plain.encode()

    def __repr__(self) -> str:
        """Hide the address: a repr can end up in logs."""
        return "Address()"

    @property
    def spellings(self) -> tuple[bytes, ...]:
        """Usual forms of the address in files, in lower case: plain, JSON-escaped, percent-encoded."""
        return tuple(self._plain.replace("@", at).encode() for at in ("@", "\\u0040", "%40"))

    def in_body(self, body: bytes) -> Mention:
        """Search all texts and keys of a JSON value, and the bytes as text.

        The bytes can hold more than the value: a duplicate key that the parser dropped, or a body that is no JSON.
        """
        if body.isascii() and b"\\" not in body and b"%" not in body and self._bytes not in body.lower():
            # The usual case: no encoding can hide the address.
            return Mention.NONE
        as_text = self.in_text(body.decode("utf-8", "replace"))
        try:
            document = decode(body)
        except ValueError:
            return as_text
        return max(map(self.in_text, _texts(document)), default=as_text) if as_text is not Mention.SURE else as_text

    def in_text(self, text: str) -> Mention:
        """Search a text, as it is and without its escapes."""
        return max(self._in(_folded(each)) for each in _readings(text))

    def spellings_in(self, body: bytes) -> frozenset[bytes]:  # noqa: ARG002 - the interface of a number
        """Return no further spellings: `spellings` has all of an address."""
        return frozenset()

    def contacts(self, identity: Identity) -> set[int]:
        """Return the keys of the contacts whose events are this person's; see `bridge.event.Event.contact`."""
        return {identity.email_contact(self._plain)}

    def _in(self, folded: str) -> Mention:
        best = Mention.NONE
        at = folded.find(self._plain)
        while at >= 0:
            if not _longer(folded, at, at + len(self._plain)):
                return Mention.SURE
            best = Mention.UNSURE
            at = folded.find(self._plain, at + 1)
        return best


LEAST_DIGITS: Final = LEAST_PHONE_DIGITS
"""Fewest digits of a phone number to search for."""
SURE_DIGITS: Final = 10
"""Digits from which a row of digits counts as a phone number in any field. Fewer count in `PhoneNumber` only."""
_NUMBER: Final = re.compile(r"[+\d\s().\-/]+")
_BETWEEN: Final = r"[\s().\-/]{0,3}"
_COUNTRY_BEFORE: Final = re.compile(r"(?:\+|\b00)[\s().\-/]{0,3}\d{1,4}[\s().\-/]{0,3}\Z")
_LONGEST_COUNTRY: Final = 16
_NO_DIGITS: Final = bytes(each for each in range(256) if each not in b"0123456789")


class PhoneNumber:
    """A phone number to search for."""

    def __init__(self, number: str, region: str | None = None) -> None:
        """Raise ValueError if this is no phone number. `region`, such as `US`, is for one without a country code."""
        text = unicodedata.normalize("NFKC", number).strip()
        digits = "".join(each for each in text if each.isdecimal())
        if len(digits) < LEAST_DIGITS or not _NUMBER.fullmatch(text):
            raise ValueError(f"not a phone number; write at least {LEAST_DIGITS} of its digits")
        forms = {digits, *number_forms(text, region)}
        self._forms = tuple(sorted((each for each in forms if len(each) >= LEAST_DIGITS), key=len, reverse=True))
        rows = "|".join(_BETWEEN.join(each) for each in self._forms)
        self._row = re.compile(rf"(?<![0-9])(?:00{_BETWEEN})?(?:{rows})(?![0-9])")

    def __repr__(self) -> str:
        """Hide the number: a repr can end up in logs."""
        return "Phone()"

    @property
    def spellings(self) -> tuple[bytes, ...]:
        """Digits of each form of the number, as most files hold them."""
        return tuple(each.encode() for each in self._forms)

    def contacts(self, identity: Identity) -> set[int]:
        """Return the keys that this person's events have as `contact` or `phone`; see `bridge.event.Event`."""
        return {identity.phone_contact(f"{zeros}{each}") for each in self._forms for zeros in ("", "00")}

    def in_body(self, body: bytes) -> Mention:
        """Search all texts of a JSON value, and a `PhoneNumber` that is a number. A body that is no JSON is a text."""
        if body.isascii() and b"\\" not in body and b"%" not in body:
            digits = body.translate(None, _NO_DIGITS)
            if not any(each.encode() in digits for each in self._forms):
                # The usual case.
                return Mention.NONE
        try:
            document = decode(body)
        except ValueError:
            return self.in_text(body.decode("utf-8", "replace"))
        return max((self._in_value(*each) for each in _members(document)), default=Mention.NONE)

    def in_text(self, text: str) -> Mention:
        """Search a text, as it is and without its escapes."""
        return max(self._in(_folded(each)) for each in _readings(text))

    def spellings_in(self, body: bytes) -> frozenset[bytes]:
        """Return the forms in which a body writes the number, in lower case."""
        text = body.decode("utf-8", "replace")
        return frozenset(found[0].encode().lower() for found in self._row.finditer(text))

    def _in_value(self, name: str, value: str) -> Mention:
        found = self.in_text(value)
        own = name == "PhoneNumber" or any(
            len(each) >= SURE_DIGITS for each in self._forms if each in _digits(_folded(value))
        )
        return found if own or found is Mention.NONE else Mention.UNSURE

    def _in(self, folded: str) -> Mention:
        best = Mention.NONE
        for found in self._row.finditer(folded):
            before = folded[max(0, found.start() - _LONGEST_COUNTRY) : found.start()]
            if not _COUNTRY_BEFORE.search(before):
                return Mention.SURE
            best = Mention.UNSURE
        if best is Mention.NONE and any(each in folded for each in self._forms if len(each) >= SURE_DIGITS):
            return Mention.UNSURE
        return best


Person: TypeAlias = EmailAddress | PhoneNumber

_NAMES: Final = ("FirstName", "LastName")
_CONTACT: Final = ("Email", "PhoneNumber")
_SHORT_NAME: Final = 3
_SHORT_WORDS: Final = 6
_SEARCHED: Final = 16
"""Characters of a text that are looked up one by one in the time in which all of it is searched for one piece."""
_PIECE: Final = 16
"""Characters of a piece of a message. A text that repeats twice as many in a row is found."""


class PersonWords:
    """Words that destinations may repeat of a person: the address or number, and the contents of their events.

    A name matches as a whole word of three letters or more. A message, or a field that the vendor has added, matches
    when about 30 characters of it are repeated in a row, or all of a shorter one.
    """

    def __init__(self, person: Person) -> None:
        self._person = person
        self._words: set[str] = set()
        self._pieces: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        """Hide the words: a repr can end up in logs."""
        return "Words()"

    def add(self, payload: bytes) -> None:
        """Add the contents of an event of the person."""
        try:
            document = decode(payload)
        except ValueError:
            return
        for name, value in _members(document):
            if name not in EVENT_FIELDS or name in {*_NAMES, *_CONTACT, "Content"}:
                self._take(_spaced(value), _SHORT_NAME if name in _NAMES else _SHORT_WORDS)
        self._pattern = None

    def in_text(self, text: str) -> bool:
        """Return True if a text repeats something of the person."""
        if self._person.in_text(text) is Mention.SURE:
            return True
        return any(map(self._says, {_spaced(each) for each in _readings(text)}))

    def _take(self, value: str, least: int) -> None:
        if len(value) >= 2 * _PIECE:
            last = len(value) - _PIECE
            self._pieces.update(value[at : at + _PIECE] for at in (*range(0, last, _PIECE), last))
        elif len(value) >= least:
            self._words.add(value)

    def _says(self, text: str) -> bool:
        if self._pattern is None:
            longest = sorted(self._words, key=len, reverse=True)
            self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest)) or '(?!)'})(?!\w)")
        if self._pattern.search(text):
            return True
        if len(self._pieces) * _SEARCHED < len(text):
            return any(each in text for each in self._pieces)
        return any(text[at : at + _PIECE] in self._pieces for at in range(len(text)))


def number_forms(text: str, region: str | None) -> Iterator[str]:
    """Yield the digits of a number with its country code, without it, and in the national format."""
    import phonenumbers  # noqa: PLC0415 - 20 ms and some memory that only a search by phone should pay

    try:
        number = phonenumbers.parse(f"+{text[2:]}" if text.startswith("00") else text, region)
    except phonenumbers.NumberParseException:
        return
    if phonenumbers.is_possible_number(number):
        formats = phonenumbers.PhoneNumberFormat
        yield _digits(phonenumbers.format_number(number, formats.E164))
        yield phonenumbers.national_significant_number(number)
        yield _digits(phonenumbers.format_number(number, formats.NATIONAL))


def _digits(text: str) -> str:
    return "".join(each for each in text if each.isdecimal())


def _spaced(text: str) -> str:
    """Fold a text and reduce each white space to one blank."""
    return " ".join(_folded(text).split())


def _members(document: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """Yield each text of a JSON value, and a `PhoneNumber` that is a number, with the name of its member."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        name, each = waiting.pop()
        if isinstance(each, str):
            yield name, each
        elif isinstance(each, dict):
            waiting.extend(("", key) for key in each)
            waiting.extend(each.items())
        elif isinstance(each, list):
            waiting.extend((name, item) for item in each)
        elif name == "PhoneNumber" and isinstance(each, int | float):
            yield name, f"{each:.0f}"


def _longer(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _LONGEST_BEFORE) : start]
    return bool(_LONGER_BEFORE.search(before) or _LONGER_AFTER.match(text, end))


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _readings(text: str) -> Iterator[str]:
    """Yield the text, then without JSON escapes, then without percent-encoding."""
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
    """Yield each key and text of a JSON value, at any depth."""
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
