"""The keyed hashes of an installation: an event's id, the key of its person, digests. Pure.

Without the key nobody can confirm a guess. An unkeyed hash of a phone number is found by trying all numbers, in
seconds. The key belongs to the installation (`bridge.store.installation`), so its processes agree.

BLAKE2b takes the key and a purpose (RFC 7693; `person` in hashlib), so hashes of two purposes tell nothing of each
other. A copy of a hash that already holds its key costs as little as plain SHA-256 does.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import orjson

from bridge.ingress import javascript_json

KEY_BYTES: Final = 32
CHECK_BYTES: Final = 16
_ID_BYTES: Final = 11
_CONTACT_BYTES: Final = 8
LEAST_PHONE_DIGITS: Final = 7
"""Fewer digits are no whole phone number."""
_IDENTIFYING = itemgetter("SerialNumber", "Type", "SessionID", "CreateTime", "Email", "PhoneNumber")
_NO_DIGITS = bytes(each for each in range(256) if each not in b"0123456789")


class Identity:
    """Makes the keyed hashes of one installation. Thread-safe."""

    __slots__ = ("_digest", "_email", "_event", "_key", "_phone", "_session", "_unrecognised")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"an identity key has {KEY_BYTES} bytes")
        self._key = key
        self._event = self._keyed(b"event", _ID_BYTES)
        self._unrecognised = self._keyed(b"unrecognised", _ID_BYTES)
        self._email = self._keyed(b"email", _CONTACT_BYTES)
        self._phone = self._keyed(b"phone", _CONTACT_BYTES)
        self._session = self._keyed(b"session", _CONTACT_BYTES)
        self._digest = self._keyed(b"digest", 32)

    def __repr__(self) -> str:
        """Show nothing of the key."""
        return "Identity()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return hash(self.check)

    def __reduce__(self) -> tuple[type["Identity"], tuple[bytes]]:
        return Identity, (self._key,)

    @property
    def key(self) -> bytes:
        """Return the key itself, for the one place that keeps it."""
        return self._key

    @property
    def check(self) -> bytes:
        """Return a hash of the key itself: equal for equal keys, and safe to keep where the key must not be."""
        return self._keyed(b"check", CHECK_BYTES).digest()

    def of_event(self, fields: Mapping[str, Any]) -> tuple[str, int, int | None]:
        """Return the id, the contact and the phone of a recognised event, in one pass.

        The id is equal for requests that agree, after trimming, in chatbot (its serial number), `Type`, `SessionID`,
        `CreateTime`, `Email` and `PhoneNumber`. It begins with the time of creation, so that new events lie side by
        side in the unique index (docs/architecture.md, "Identity").

        The contact is the key that is equal for events of one person: by e-mail, else by phone, else by chat session.
        The phone is the `phone_contact` of the event's number where the contact is that of its e-mail address.
        """
        parts = [value.strip() if isinstance(value, str) else str(value) for value in _IDENTIFYING(fields)]
        serial, _, session, created, email, phone = parts
        hashed = self._event.copy()
        hashed.update(orjson.dumps(parts))
        event_id = _created(created[:19]) + hashed.hexdigest()
        digits = _digits(phone) if phone else ""
        if email:
            by_phone = _number(self._phone, digits) if len(digits) >= LEAST_PHONE_DIGITS else None
            return event_id, _number(self._email, email.casefold()), by_phone
        if digits:
            return event_id, _number(self._phone, digits), None
        return event_id, _number(self._session, f"{serial}/{session}"), None

    def event_id(self, fields: Mapping[str, Any]) -> str:
        """Return the id of a recognised event; see `of_event`."""
        return self.of_event(fields)[0]

    def contact(self, fields: Mapping[str, Any]) -> int:
        """Return the contact of an event; see `of_event`."""
        return self.of_event(fields)[1]

    def unrecognised_id(self, payload: bytes, document: Any) -> str:
        """Return the id of an event that is not recognised: equal where the canonical JSON (or else the bytes) is."""
        hashed = self._unrecognised.copy()
        hashed.update(payload if document is None else javascript_json.stringify(document, sort_keys=True))
        return _created("") + hashed.hexdigest()

    def email_contact(self, text: str) -> int:
        """Return the `contact` of an e-mail address, in whatever case."""
        return _number(self._email, text.strip().casefold())

    def phone_contact(self, text: str) -> int:
        """Return the `contact` of a phone number, however its digits are grouped."""
        return _number(self._phone, _digits(text))

    def digest(self, data: bytes) -> bytes:
        """Return 32 bytes: equal for equal data of this installation."""
        hashed = self._digest.copy()
        hashed.update(data)
        return hashed.digest()

    def _keyed(self, purpose: bytes, size: int) -> "hashlib.blake2b":
        return hashlib.blake2b(digest_size=size, key=self._key, person=purpose)


STAND_IN: Final = Identity(bytes(KEY_BYTES))
"""For events that are never stored, where an id is needed and none may be shown."""


def _number(keyed: "hashlib.blake2b", text: str) -> int:
    """Return 63 bits, which every engine's integer holds."""
    hashed = keyed.copy()
    hashed.update(text.encode())
    return int.from_bytes(hashed.digest()) >> 1


@lru_cache(maxsize=64)
def _created(time: str) -> str:
    """Return a time to the second as 10 hexadecimal digits, 0 where it cannot be read; the vendor writes UTC."""
    try:
        seconds = int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp())
    except ValueError:
        seconds = 0
    return min(max(seconds, 0), (1 << 40) - 1).to_bytes(5).hex()


def _digits(text: str) -> str:
    # Less than half the time that a pattern takes.
    return text.encode("ascii", "ignore").translate(None, _NO_DIGITS).decode()
