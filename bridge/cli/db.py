"""`leadbridge db`: the store as such."""

from collections.abc import Iterator

import typer
from sqlalchemy import Connection, text

from bridge.cli import configuration, output
from bridge.cli.options import ConfigOption
from bridge.cli.store import cause, driver_of, open_store
from bridge.errors import StoreUnavailableError
from bridge.store import migrate as migration
from bridge.store.opening import driver_for

FAULTS_LIMIT = 10
"""The most damaged places that are named."""

app = output.application(no_args_is_help=True)


@app.callback()
def db() -> None:
    """Make, migrate and check the store."""


@app.command()
def migrate(*, config: ConfigOption = None) -> None:
    """Bring the store's tables to the state that this version works on; make them if there are none.

    `leadbridge serve` does the same when it starts. Before an upgrade make a backup: there is no way back.
    """
    driver = driver_for(configuration.read(config).store.url)
    try:
        migrated = migration.migrate(driver.engine())
    except driver.errors as error:
        raise StoreUnavailableError(f"the store cannot be migrated: {cause(error)}; it is as it was") from error
    if migrated:
        output.say(f"the store has been brought to revision {migration.HEAD}")
    else:
        output.say(f"the store is at revision {migration.HEAD} already; nothing to do")


@app.command()
def check(*, config: ConfigOption = None) -> None:
    """Check that the store is there, up to date, undamaged, and can be written.

    It reads all of it, which takes a while; a running `serve` is not held up.
    """
    settings = configuration.read(config)
    driver = driver_of(settings)
    store = open_store(settings)
    with store.reading() as connection:
        faults = list(_damages(connection))
    for fault in faults:
        output.complain(fault)
    if faults:
        output.complain("the store is damaged: stop `leadbridge serve`, keep a copy, and restore a backup")
        raise typer.Exit(1)
    with store.writing():
        pass
    output.say(f"good: revision {migration.HEAD}, {driver.dialect.name}, undamaged, can be written")


def _damages(connection: Connection) -> Iterator[str]:
    """Name what the engine finds damaged. A server checks its own pages; only the embedded engine is asked to."""
    if connection.dialect.name != "sqlite":
        return
    for (line,) in connection.execute(text(f"PRAGMA integrity_check({FAULTS_LIMIT})")):
        if line != "ok":
            yield f"damaged: {line}"
    for row in connection.execute(text("PRAGMA foreign_key_check")).fetchmany(FAULTS_LIMIT):
        yield f"damaged: row {row.rowid} of {row.table} belongs to a row of {row.parent} that is not there"
