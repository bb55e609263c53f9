"""Brings the tables to the state that this version of the program works on."""

from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bridge.errors import OperatorError, StoreUnavailableError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"
"""The revision this program works on; a test compares it with the scripts. Knowing it here spares a start on an
up-to-date store the import of Alembic."""


def revision(engine: Engine) -> str | None:
    """Read the store's revision; None for a store without tables. Raises StoreUnavailableError."""
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"the store cannot be read: {error}") from error


def migrate(engine: Engine) -> bool:
    """Run the migrations that the store lacks; say whether there were any.

    Each is one transaction: a crash leaves the store at one revision or the next, never between. Raises OperatorError
    for a store that a newer version of the program has written.
    """
    found = revision(engine)
    if found == HEAD:
        return False
    from alembic import command  # noqa: PLC0415 - costs start time, and is needed once per release only
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise OperatorError(
            f"the store is at revision {found}, which this version does not know: it was written by a newer "
            "leadbridge. Start that version, or restore a backup from before the upgrade"
        )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return True


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(resources.files("bridge.store") / "migrations"))
    return config
