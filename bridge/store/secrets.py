"""Secrets of destinations that change in use, such as refresh tokens."""

from sqlalchemy import Connection, select, update

from bridge.store.encryption import keys_of
from bridge.store.schema import secrets
from bridge.store.transaction import insert_missing


def write_secret(connection: Connection, destination: str, name: str, value: str, now: float) -> None:
    """Write a value, and replace the one with this name."""
    sealed = keys_of(connection).seal_text(value, "secrets.value", destination, name)
    row = {"destination": destination, "name": name, "value": sealed, "kept_at": now}
    insert_missing(connection, secrets, [row])
    where = (secrets.c.destination == destination) & (secrets.c.name == name)
    connection.execute(update(secrets).where(where).values(value=sealed, kept_at=now))


def read_secret(connection: Connection, destination: str, name: str) -> str | None:
    """Read a value; None if there is none."""
    where = (secrets.c.destination == destination) & (secrets.c.name == name)
    found: str | None = connection.execute(select(secrets.c.value).where(where)).scalar_one_or_none()
    return keys_of(connection).open_text(found, "secrets.value", destination, name)
