"""Encryption at rest, value by value. Each encrypted value is bound to its row.

A sealed value is a header (a mark, a version, the key's id), a random nonce, and the output of AES-256-GCM. The
header, the column and the identity of the row are the associated data. A value that was moved to another row, cut off
or changed in one bit is therefore refused. A text column holds the same bytes as base64, behind its own mark.

Without keys, values are stored in plain. A plain value that begins like a sealed one gets a mark, so that a sender
cannot make a plain value pass for a sealed one.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, overload

from bridge.errors import OperatorError, StoreUnavailableError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from sqlalchemy import ColumnElement, Connection, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

KEY_BYTES: Final = 32
ID_BYTES: Final = 6
MARK: Final = b"\x00LBE\xff"
"""First bytes of a sealed value. With the version and the key's id they are 12 bytes: 16 characters of base64."""
TEXT_MARK: Final = "\x01LBE:"
"""First characters of a sealed text. PostgreSQL's text type accepts this control character."""

_PLAIN: Final = MARK + b"\x00"
_SEALED: Final = MARK + b"\x01"
HEADER_BYTES: Final = len(_SEALED) + ID_BYTES
"""Length of `KeyRing.beginning`."""
_NONCE: Final = 12
_TAG: Final = 16
OVERHEAD: Final = HEADER_BYTES + _NONCE + _TAG
"""Bytes that sealing adds to a value."""
_INFO: Final = "key_ring"

RowIdentity = bytes | str | int | float
"""A part of a row's identity. It never changes."""


class KeyMissingError(StoreUnavailableError):
    """A value is sealed with a key that is not in `store.encryption_keys`."""

    def __init__(self, key: str) -> None:
        super().__init__(missing_key(key))


class DamagedError(OperatorError):
    """A sealed value was changed, or was written to another row."""

    def __init__(self, column: str) -> None:
        super().__init__(
            f"an encrypted value of {column} is damaged, or does not belong to its row: run `leadbridge db check`, and "
            "restore a backup"
        )


def missing_key(key: str) -> str:
    """Return the message for a key that is needed and not configured."""
    return (
        f"the store needs the encryption key {key}, which is not in store.encryption_keys: add it to the list, after "
        "the key that encrypts"
    )


def key_id(key: bytes) -> bytes:
    """Compute the id of a key. It does not reveal the key."""
    return hashlib.sha256(b"leadbridge store key\0" + key).digest()[:ID_BYTES]


class KeyRing:
    """The keys of a store. The first encrypts, and all decrypt. Without keys, values are written in plain."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """Create the ring from keys of `KEY_BYTES` bytes each."""
        self.ids: Final = tuple(key_id(key).hex() for key in keys)
        self._ciphers = _ciphers(keys)
        self._header = _SEALED + key_id(keys[0]) if keys else b""
        self._first = self._ciphers[key_id(keys[0])] if keys else None

    def __repr__(self) -> str:
        """Return the ids of the keys, never the keys: a repr can end up in logs."""
        return f"KeyRing({', '.join(self.ids)})"

    def __bool__(self) -> bool:
        """Return True if values are encrypted."""
        return self._first is not None

    @property
    def beginning(self) -> bytes:
        """First bytes of every value that the first key sealed; empty without keys."""
        return self._header

    def seal(self, value: bytes, column: str, *row: RowIdentity) -> bytes:
        """Encrypt a value of a column for a row."""
        if self._first is None:
            return _PLAIN + value if value.startswith(MARK) else value
        nonce = os.urandom(_NONCE)
        return self._header + nonce + self._first.encrypt(nonce, value, _bound(self._header, column, row))

    def open(self, sealed: bytes, column: str, *row: RowIdentity) -> bytes:
        """Decrypt a value that `seal` encrypted for this column and row. Raises KeyMissingError and DamagedError."""
        if not sealed.startswith(MARK):
            return sealed
        header = sealed[:HEADER_BYTES]
        if sealed.startswith(_PLAIN):
            return sealed[len(_PLAIN) :]
        if len(sealed) < OVERHEAD or not header.startswith(_SEALED):
            raise DamagedError(column)
        cipher = self._ciphers.get(header[len(_SEALED) :])
        if cipher is None:
            raise KeyMissingError(header[len(_SEALED) :].hex())
        from cryptography.exceptions import InvalidTag  # loaded with the keys only

        nonce, rest = sealed[HEADER_BYTES : HEADER_BYTES + _NONCE], sealed[HEADER_BYTES + _NONCE :]
        try:
            return cipher.decrypt(nonce, rest, _bound(header, column, row))
        except InvalidTag:
            raise DamagedError(column) from None

    @overload
    def seal_text(self, value: str, column: str, *row: RowIdentity) -> str: ...
    @overload
    def seal_text(self, value: str | None, column: str, *row: RowIdentity) -> str | None: ...
    def seal_text(self, value: str | None, column: str, *row: RowIdentity) -> str | None:
        """Encrypt a text; None stays None."""
        if value is None:
            return None
        if self._first is None:
            return _as_text(_PLAIN + value.encode()) if value.startswith(TEXT_MARK) else value
        return _as_text(self.seal(value.encode(errors="replace"), column, *row))

    @overload
    def open_text(self, sealed: str, column: str, *row: RowIdentity) -> str: ...
    @overload
    def open_text(self, sealed: str | None, column: str, *row: RowIdentity) -> str | None: ...
    def open_text(self, sealed: str | None, column: str, *row: RowIdentity) -> str | None:
        """Decrypt a text that `seal_text` encrypted; see `open`."""
        if sealed is None or not sealed.startswith(TEXT_MARK):
            return sealed
        try:
            value = base64.b64decode(sealed[len(TEXT_MARK) :], validate=True)
        except ValueError:
            raise DamagedError(column) from None
        if not value.startswith(MARK):
            raise DamagedError(column)
        return self.open(value, column, *row).decode()


def text_beginning(beginning: bytes) -> str:
    """Return the first characters of every text that a key sealed, computed from the first bytes of its values."""
    return _as_text(beginning)


def key_in(beginning: bytes | str) -> str | None:
    """Return the id of the key that sealed a value, from its first bytes or characters; None if it is plain."""
    if isinstance(beginning, str):
        if not beginning.startswith(TEXT_MARK):
            return None
        beginning = base64.b64decode(beginning[len(TEXT_MARK) :])
    header = bytes(beginning[:HEADER_BYTES])
    return header[len(_SEALED) :].hex() if header.startswith(_SEALED) else None


def attach_keys(engine: "Engine", ring: KeyRing) -> None:
    """Attach the keys to every connection that an engine opens, for `keys_of`."""
    from sqlalchemy import event  # the pure part needs no SQL

    @event.listens_for(engine, "connect")
    def connect(_: object, record: "ConnectionPoolEntry") -> None:
        record.info[_INFO] = ring


def keys_of(connection: "Connection") -> KeyRing:
    """Return the keys of the store that a connection belongs to."""
    ring: KeyRing = connection.info.get(_INFO, NO_KEYS)
    return ring


def plain_size(column: "ColumnElement[bytes]") -> Any:  # noqa: ANN401 - SQLAlchemy infers a row of it
    """Return the SQL for the length of a value before it was sealed."""
    from sqlalchemy import case, func  # the pure part needs no SQL

    length = func.length(column)
    return case((func.substr(column, 1, len(_SEALED)) == _SEALED, length - OVERHEAD), else_=length)


def _ciphers(keys: Sequence[bytes]) -> "dict[bytes, AESGCM]":
    if not keys:
        return {}
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # costs start time

    return {key_id(key): AESGCM(key) for key in keys}


def _bound(header: bytes, column: str, row: Sequence[RowIdentity]) -> bytes:
    """Compute the associated data. Each part follows its length, so no two rows have the same data."""
    parts = [column.encode(), *(each if isinstance(each, bytes) else str(each).encode() for each in row)]
    return header + b"".join(len(part).to_bytes(4) + part for part in parts)


def _as_text(value: bytes) -> str:
    return TEXT_MARK + base64.b64encode(value).decode()


NO_KEYS: Final = KeyRing()
