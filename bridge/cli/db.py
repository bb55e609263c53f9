"""`leadbridge db`: create, migrate, check, back up and encrypt the store."""

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.operations import rekey as operations
from bridge.operations.audit import BY_COMMAND, Action, Entry
from bridge.operations.store_access import driver_of, open_store
from bridge.store import audit_log
from bridge.store import backup as copies
from bridge.store import preparation as migration
from bridge.store.driver import raw
from bridge.store.installation import adopt
from bridge.store.preparation import driver_for
from bridge.store.sqlite import SqliteDriver

app = output.application("leadbridge db check", "leadbridge db backup /backups/leadbridge.db", no_args_is_help=True)


@app.callback()
def db() -> None:
    """Create, migrate, check, back up and encrypt the store."""


@app.command(epilog=output.examples("leadbridge db migrate"))
def migrate(path: PathArgument = None, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Bring the store's tables to the revision of this version; create them if there are none.

    `leadbridge serve` does the same when it starts. Make a backup before an upgrade: a migration cannot be undone.
    """
    kept = inputs.read_config(inputs.chosen_path(path, config)).store
    driver = driver_for(kept.url, kept.encryption_keys)
    try:
        with output.waiting(f"bringing the store to revision {migration.HEAD}"):
            migrated = migration.migrate(driver.engine())
        with driver.engine().begin() as connection:
            adopt(connection, kept.identity_key)
    except driver.errors as error:
        raise StoreUnavailableError(
            f"the store cannot be migrated: {driver.safe_error(error)}; it is as it was"
        ) from error
    if json:
        output.write_json({"revision": migration.HEAD, "migrated": migrated})
    elif migrated:
        output.say(f"the store has been brought to revision {migration.HEAD}")
    else:
        output.say(f"the store is at revision {migration.HEAD} already; nothing to do")


@app.command(epilog=output.examples("leadbridge db check"))
def check(path: PathArgument = None, *, config: ConfigOption = None) -> None:
    """Check that the store is there, up to date, undamaged, and can be written.

    It reads the whole store, which takes a while. A running `serve` is not held up.
    """
    settings = inputs.read_config(inputs.chosen_path(path, config))
    driver = driver_of(settings)
    if not isinstance(driver, SqliteDriver):
        # First, because the spool is there even if the database is away.
        with output.waiting("reading the spool"):
            _check_spool(Path(settings.store.spool))
    store = open_store(settings)
    faults: list[str] = []
    # A server checks its own pages; only the embedded engine is asked to.
    if isinstance(driver, SqliteDriver):
        with output.waiting("reading the whole store"), store.reading() as connection:
            faults = list(copies.damages(raw(connection)))
    for fault in faults:
        output.complain(fault)
    if faults:
        output.complain("the store is damaged: stop `leadbridge serve`, keep a copy, and restore a backup")
        raise typer.Exit(1)
    with store.writing():
        pass
    output.say(f"good: revision {migration.HEAD}, {driver.engine().dialect.name}, undamaged, can be written")
    if driver.keys:
        with store.reading() as connection:
            output.say(operations.describe_keys(connection))


@app.command(epilog=output.examples("leadbridge db backup /backups/leadbridge-2026-11-25.db"))
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; an existing file is not replaced.")],
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Copy the store to FILE while it is served, and check the copy.

    The copy holds all leads, and the tokens that destinations have renewed: FILE is readable for its owner only, and
    belongs on another disk. To restore it stop `leadbridge serve`, put it in the place of the store's file, delete the
    files beside that whose names end in -wal and -shm, run `leadbridge db check`, and start again.

    For PostgreSQL use pg_dump.
    """
    settings = inputs.read_config(config)
    driver = driver_of(settings)
    if not isinstance(driver, SqliteDriver):
        raise OperatorError(
            "the store is in PostgreSQL, which has a tool for this: pg_dump --format=custom --file=FILE DATABASE, and "
            "pg_restore; or the server's own continuous archiving"
        )
    store = open_store(settings)
    copies.check_new(file)
    try:
        with store.writing() as connection:
            audit_log.add_entry(connection, Entry(BY_COMMAND, Action.BACKUP), time.time())
    except StoreUnavailableError as error:
        # A store that can no longer be written needs a backup most.
        output.complain(f"the audit log has no entry for this backup: {error}")
    with output.waiting("copying the store, and checking the copy"):
        made = copies.back_up(driver.path, file)
    if json:
        output.write_json({"file": str(file), "events": made.events, "pending": made.pending, "bytes": made.size})
        return
    waiting = f", {made.pending} of their deliveries pending" if made.pending else ""
    output.say(f"{file}: {made.events} events{waiting}, {made.size:,} bytes, checked and on disk")


@app.command(epilog=output.examples("leadbridge db rekey"))
def rekey(path: PathArgument = None, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Encrypt everything that the first of store.encryption_keys has not encrypted, in the store and in the spool.

    To change the key, or to encrypt a store that is not: put the new key first in store.encryption_keys, restart every
    `leadbridge serve`, and run this. When it has ended, take the old key out of the list, and restart again. Keep the
    old key for as long as you keep backups that were made with it.

    It works beside a running `leadbridge serve`, in short steps. If it is stopped, run it again: it goes on with the
    rest. Where several processes share PostgreSQL, run it beside each of them, since each has a spool of its own.

    The exit status is 1 if something is left: rows that cannot be decrypted, or old parts of the file.
    """
    result = operations.rekey(inputs.read_config(inputs.chosen_path(path, config)), BY_COMMAND, output.complain)
    if json:
        output.write_json(
            {
                "key": result.key,
                "encrypted": result.encrypted,
                "damaged": result.damaged,
                "remains": list(result.remains),
            }
        )
    else:
        output.say(f"{result.encrypted:,} rows have been encrypted with the key {result.key}")
    for each in result.remains:
        output.complain(each)
    if result.damaged:
        output.complain(f"{result.damaged} rows cannot be decrypted, and stay as they are: restore them from a backup")
    if result.damaged or result.remains:
        raise typer.Exit(1)


def _check_spool(spool: Path) -> None:
    """Check the spool of this machine, if there is one. Raises OperatorError for a damaged one."""
    if not spool.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{spool.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            faults = list(copies.damages(connection))
    except sqlite3.Error as error:
        faults = [f"damaged: {error}"]
    if faults:
        raise OperatorError(
            f"{spool}: the spool is {'; '.join(faults)}. Stop `leadbridge serve`, move {spool}, {spool}-wal and "
            f"{spool}-shm aside, and start again: a new spool is made. Keep the old files, since leads in them may "
            "not be in the database; `leadbridge backfill` fetches those from the vendor"
        )
