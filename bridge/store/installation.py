"""The identity key of an installation, from which its ids are computed (`bridge.identity`).

The first process makes the key, and the store keeps it. If the configuration has a key (`store.identity_key`), the
store keeps only a check value, by which another key is noticed. A spool keeps a key of its own for the time before it
reaches its database.
"""

import secrets
from typing import Final

from sqlalchemy import Connection, select

from bridge.errors import OperatorError
from bridge.identity import KEY_BYTES, Identity
from bridge.store.encryption import keys_of
from bridge.store.schema import installation
from bridge.store.transaction import insert_missing

_KEY: Final = "identity_key"
"""Row of the store's key, or of the check value of a configured key. Their lengths differ."""
_COLUMN: Final = "installation.value"


def adopt(connection: Connection, given: bytes | None) -> Identity:
    """Return the identity of the installation. The first call makes its key, or the check value of the given one.

    If several processes call it at once, the row of the first one counts.

    Args:
        connection: In a transaction that may write.
        given: `store.identity_key`.

    Raises:
        OperatorError: The store is used with another key.
    """
    if _value(connection, _KEY) is None:
        value = secrets.token_bytes(KEY_BYTES) if given is None else Identity(given).check
        insert_missing(connection, installation, [_row(connection, _KEY, value)])
    found = known(connection, given)
    if found is None:
        raise OperatorError("the store does not show the identity key that was just written; run `leadbridge db check`")
    return found


def known(connection: Connection, given: bytes | None) -> Identity | None:
    """Return the identity of the installation; None if none has been made. Raises OperatorError as `adopt` does."""
    value = _value(connection, _KEY)
    if value is None:
        return None
    if len(value) != KEY_BYTES:
        if given is None:
            raise OperatorError(
                "the store is used with a store.identity_key, and the configuration has none: add the key"
            )
        if Identity(given).check != value:
            raise OperatorError(f"store.identity_key: {_ANOTHER}; give the key that it was first used with")
    elif given not in {None, value}:
        raise OperatorError(f"store.identity_key: {_ANOTHER}, which it made itself; remove store.identity_key")
    return Identity(value if given is None else given)


_ANOTHER: Final = "the store is used with another key"


def _value(connection: Connection, name: str) -> bytes | None:
    value = connection.execute(select(installation.c.value).where(installation.c.name == name)).scalar()
    return None if value is None else keys_of(connection).open(bytes(value), _COLUMN, name)


def _row(connection: Connection, name: str, value: bytes) -> dict[str, object]:
    return {"name": name, "value": keys_of(connection).seal(value, _COLUMN, name)}
