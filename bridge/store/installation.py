"""The key that the ids of an installation are made with (`bridge.identity`): made once, kept in the store.

A key of the configuration's own (`store.identity_key`) is not kept: the store then holds a check of it, by which
another key is noticed. The spool keeps a key of its own for the time before it has seen its database, and a copy of
the database's.
"""

import secrets
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from bridge.errors import OperatorError
from bridge.identity import KEY_BYTES, Identity
from bridge.store.encryption import keys_of
from bridge.store.schema import installation
from bridge.store.transaction import insert_missing

_KEY: Final = "identity_key"
"""The row of this store's key, or of the check of a key that the configuration has: told apart by their length."""
_COLUMN: Final = "installation.value"
_COPY: Final = "database_identity_key"
"""In a spool: the row of its database's key."""


def adopt(connection: Connection, given: bytes | None) -> Identity:
    """Return the identity of the installation; the first caller of all makes its key, or the check of the given one.

    Processes that come at once agree: the row of the first one counts. Inside a transaction that may write.

    Args:
        connection: To the store.
        given: The configuration's own key.

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
    """Return the identity of the installation, or None where nobody has adopted one; raises what `adopt` does."""
    value = _value(connection, _KEY)
    if value is None:
        return None
    if len(value) != KEY_BYTES:
        if given is None:
            raise OperatorError("the store is used with a store.identity_key, and the configuration has none: give it")
        if Identity(given).check != value:
            raise OperatorError(f"store.identity_key: {_ANOTHER}; give the key that it was first used with")
    elif given not in {None, value}:
        raise OperatorError(f"store.identity_key: {_ANOTHER}, which it made itself; take store.identity_key out")
    return Identity(value if given is None else given)


def keep_copy(connection: Connection, identity: Identity) -> None:
    """Keep the database's key in its spool."""
    if copy(connection) != identity:
        connection.execute(delete(installation).where(installation.c.name == _COPY))
        connection.execute(insert(installation).values(_row(connection, _COPY, identity.key)))


def copy(connection: Connection) -> Identity | None:
    """Return the database's identity as its spool has seen it last."""
    value = _value(connection, _COPY)
    return None if value is None else Identity(value)


_ANOTHER: Final = "the store is used with another key"


def _value(connection: Connection, name: str) -> bytes | None:
    value = connection.execute(select(installation.c.value).where(installation.c.name == name)).scalar()
    return None if value is None else keys_of(connection).open(bytes(value), _COLUMN, name)


def _row(connection: Connection, name: str, value: bytes) -> dict[str, object]:
    return {"name": name, "value": keys_of(connection).seal(value, _COLUMN, name)}
