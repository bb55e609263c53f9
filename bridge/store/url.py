"""The driver for `store.url`, and the preparation of a store for use."""

from collections.abc import Sequence

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bridge.errors import OperatorError
from bridge.store import rotation
from bridge.store.driver import Driver
from bridge.store.encryption import KeyRing
from bridge.store.migrate import migrate
from bridge.store.sqlite import SqliteDriver
from bridge.store.transaction import transaction


def driver_for(url: str, keys: Sequence[bytes] = ()) -> Driver:
    """Return the driver for a URL. `keys` are `store.encryption_keys`.

    Raises OperatorError, whose message does not hold the password of the URL.
    """
    if url.startswith("postgresql://"):
        # libpq parses the URL, because it knows more than SQLAlchemy, such as several hosts.
        return _postgres(url, KeyRing(keys))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise OperatorError("store.url: not a database URL; write sqlite:///leadbridge.db") from error
    if parsed.get_backend_name() != "sqlite":
        raise OperatorError(
            f"store.url: {parsed.get_backend_name()} is not an engine of this version; write sqlite:///leadbridge.db "
            "or postgresql://user:password@host/database"
        )
    return SqliteDriver(parsed, KeyRing(keys))


def spool_driver(path: str, keys: Sequence[bytes]) -> SqliteDriver:
    """Return the driver of the spool, with the keys of the store."""
    return SqliteDriver(URL.create("sqlite", database=path), KeyRing(keys))


def prepare(driver: Driver) -> None:
    """Migrate a store, and list the key that encrypts, before anything is written with it.

    Raises StoreUnavailableError, and OperatorError if the store cannot be used: a newer version has written it, or it
    needs a key that the configuration does not have.
    """
    migrate(driver.engine())
    with driver.connect() as connection:
        is_listed = rotation.first_key_listed(connection)
    if not is_listed:
        with transaction(driver, queue=False) as connection:
            rotation.list_first_key(connection)


def _postgres(url: str, keys: KeyRing) -> Driver:
    try:
        from bridge.store.postgres import PostgresDriver  # noqa: PLC0415 - psycopg costs start time, and may be absent
    except ImportError as error:
        raise OperatorError(
            f"store.url: PostgreSQL needs psycopg, and importing it says: {error}; "
            "reinstall Leadbridge, or install psycopg[binary]"
        ) from error
    return PostgresDriver(url, keys)
