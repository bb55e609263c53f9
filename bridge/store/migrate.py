"""Brings the tables to the state that this version of the program works on."""

from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import Column, Engine, MetaData, PrimaryKeyConstraint, String, Table, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bridge.errors import OperatorError, StoreUnavailableError
from bridge.store.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"
"""The revision this program works on; a test compares it with the scripts. Knowing it here spares a start on an
up-to-date store the import of Alembic."""


_ALEMBIC_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""The table that Alembic itself would make."""


def revision(engine: Engine) -> str | None:
    """Read the store's revision; None for a store without tables. Raises StoreUnavailableError."""
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"the store cannot be read: {getattr(error, 'orig', None) or error}") from error


def migrate(engine: Engine) -> bool:
    """Run the migrations that the store lacks; say whether there were any.

    Each is one transaction: a crash leaves the store at one revision or the next, never between. An empty store gets
    its tables at once and is stamped with the revision, as Alembic's cookbook has it ("Building an Up to Date Database
    from Scratch"); a test compares the outcome with that of the migrations. Raises OperatorError for a store that a
    newer version of the program has written.
    """
    found = revision(engine)
    if found == HEAD:
        return False
    if found is None:
        _create(engine)
    else:
        _upgrade(engine, found)
    return True


def _create(engine: Engine) -> None:
    with engine.begin() as connection:
        metadata.create_all(connection, checkfirst=False)
        _ALEMBIC_VERSION.create(connection)
        connection.execute(_ALEMBIC_VERSION.insert().values(version_num=HEAD))


def _upgrade(engine: Engine, found: str) -> None:
    from alembic import command  # noqa: PLC0415 - costs start time, and is needed once per release only
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found not in known:
        raise OperatorError(
            f"the store is at revision {found}, which this version does not know: it was written by a newer "
            "leadbridge. Start that version, or restore a backup from before the upgrade"
        )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(resources.files("bridge.store") / "migrations"))
    return config
