"""Preparation of a store for use: its driver, and the migration of its tables to the revision of this program."""

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store import rotation
from bridge.store.driver import Driver
from bridge.store.encryption import KeyRing
from bridge.store.schema import metadata
from bridge.store.sqlite import SqliteDriver
from bridge.store.transaction import transaction

if TYPE_CHECKING:
    from alembic.config import Config


HEAD = "0001"
"""The revision of this program. A test compares it with the scripts. As a constant, it spares a start on an up-to-date
store the import of Alembic."""


_ALEMBIC_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""The same table that Alembic creates."""


_ONE_AT_A_TIME = 0x6C65616462726467
"""Key of PostgreSQL's advisory lock. Processes that start together migrate one after the other."""


def revision(engine: Engine) -> str | None:
    """Read the store's revision; None for a store without tables. Raises StoreUnavailableError."""
    try:
        with engine.connect() as connection:
            return _revision(connection)
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"the store cannot be read: {getattr(error, 'orig', None) or error}") from error


def migrate(engine: Engine) -> bool:
    """Run the migrations that the store lacks; return whether there were any.

    All of them are one transaction, so a crash leaves the store at the revision that it had. An empty store gets its
    tables at once and is stamped with the revision, as in Alembic's cookbook ("Building an Up to Date Database from
    Scratch"); a test compares the result with that of the migrations. If several processes call this at once, one
    migrates, and the others find the work done. Raises OperatorError for a store that a newer version of the
    program has written, and StoreUnavailableError.
    """
    if _complete(engine):
        return False
    try:
        with engine.begin() as connection:
            return _migrate(connection)
    except SQLAlchemyError as error:
        raise StoreUnavailableError(
            f"the store cannot be migrated: {getattr(error, 'orig', None) or error}; it is as it was"
        ) from error


def _migrate(connection: Connection) -> bool:
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    found = _revision(connection)
    if found is None:
        _create(connection)
    elif found != HEAD:
        _upgrade(connection, found)
    if connection.dialect.name == "postgresql":
        from bridge.store.postgres_queue import functions_differ, make_functions  # that engine's alone

        if functions_differ(connection):
            make_functions(connection)
    return found != HEAD


def _complete(engine: Engine) -> bool:
    """Return True if there is nothing to do. Raises StoreUnavailableError."""
    if revision(engine) != HEAD:
        return False
    if engine.dialect.name != "postgresql":
        return True
    from bridge.store.postgres_queue import functions_differ  # that engine's alone

    try:
        with engine.connect() as connection:
            return not functions_differ(connection)
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"the store cannot be read: {getattr(error, 'orig', None) or error}") from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _create(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    _ALEMBIC_VERSION.create(connection)
    connection.execute(_ALEMBIC_VERSION.insert().values(version_num=HEAD))


def _upgrade(connection: Connection, found: str) -> None:
    from alembic import command  # costs start time, and is needed once per release only
    from alembic.script import ScriptDirectory

    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found not in known:
        raise OperatorError(
            f"the store is at revision {found}, which this version does not know: it was written by a newer "
            "leadbridge. Start that version, or restore a backup from before the upgrade"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("bridge.store") / "migrations"))
    return config


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
        from bridge.store.postgres import PostgresDriver
    except ImportError as error:
        raise OperatorError(
            f"store.url: PostgreSQL needs psycopg, and importing it says: {error}; "
            "reinstall Leadbridge, or install psycopg[binary]"
        ) from error
    return PostgresDriver(url, keys)
