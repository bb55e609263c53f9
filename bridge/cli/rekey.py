"""`leadbridge db rekey`: the store, and the spool of this machine, encrypted with the first key."""

import contextlib
import time
from collections.abc import Callable
from typing import Final

import typer
from sqlalchemy import Connection

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption
from bridge.cli.store import OpenStore, all_stores, cause
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.operations.audit import BY_COMMAND, Action, Entry
from bridge.store import audit_log, erasure, rotation
from bridge.store.driver import Driver
from bridge.store.encryption import keys_of
from bridge.store.erasure import Remains
from bridge.store.rotation import Rotation, Rows
from bridge.store.sqlite import SqliteDriver

REST_SECONDS: Final = 0.1
"""The longest rest after a step: as long as the step took, so that half of the time is left to the traffic."""
PROGRESS_SECONDS: Final = 5.0


def rekey(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Encrypt everything that the first of store.encryption_keys has not encrypted, in the store and in the spool.

    To change the key, or to encrypt a store that is not: put the new key first in store.encryption_keys, restart every
    `leadbridge serve`, and run this. When it has ended, take the old key out of the list, and restart again. Keep the
    old key for as long as you keep backups that were made with it.

    It works beside a running `leadbridge serve`, in short steps. If it is stopped, run it again: it goes on with the
    rest. Where several processes share PostgreSQL, run it beside each of them, since each has a spool of its own.

    The exit status is 1 if something is left: rows that cannot be decrypted, or old parts of the file.
    """
    stores = list(all_stores(inputs.read(config)))
    keys = stores[0][0].keys
    if not keys:
        raise OperatorError(
            "store.encryption_keys is empty: make a key with `openssl rand -base64 32`, put it there, restart "
            "`leadbridge serve`, and run this again"
        )
    for driver, store in stores:
        _enlist(driver, store)
    tally = _Tally(stores[0][1])
    damaged, remains = 0, list[str]()
    for driver, store in stores:
        damaged += _encrypt(driver, store, tally)
        remains += _clean(driver)
    if json:
        output.write_json({"key": keys.ids[0], "encrypted": tally.count, "damaged": damaged, "remains": remains})
    else:
        output.say(f"{tally.count:,} rows have been encrypted with the key {keys.ids[0]}")
    for told in remains:
        output.complain(told)
    if damaged:
        output.complain(f"{damaged} rows cannot be decrypted, and stay as they are: restore them from a backup")
    if damaged or remains:
        raise typer.Exit(1)


class _Tally:
    """The entry in the audit log, which counts the rows that are encrypted."""

    def __init__(self, store: OpenStore) -> None:
        """Keep it in the store, before anything is encrypted."""
        self.count = 0
        self._store = store
        with store.writing(queue=False) as connection:
            self._entry = audit_log.keep(connection, Entry(BY_COMMAND, Action.REKEY, count=0), time.time())

    def add(self, store: OpenStore, connection: Connection, count: int) -> None:
        """Count a step, in its own transaction; one of the spool, which is another store, before it."""
        self.count += count
        if store is self._store:
            audit_log.add(connection, self._entry, count)
            return
        with self._store.writing(queue=False) as own:
            audit_log.add(own, self._entry, count)


def encrypted(connection: Connection) -> str:
    """Say in a line how many rows need which key."""
    census, ids = rotation.count_by_key(connection), keys_of(connection).ids
    told = []
    for key, count in sorted(census.items(), key=lambda item: ids.index(item[0]) if item[0] in ids else len(ids)):
        if key is None:
            told.append(f"{count:,} are not encrypted")
        else:
            known = "" if key in ids else ", which is not in store.encryption_keys"
            told.append(f"{count:,} need the key {key}{known}")
    return f"of its rows, {', '.join(told)}" if told else "no rows yet"


def _enlist(driver: Driver, store: OpenStore) -> None:
    """List the key in the store. Raises OperatorError where a process that serves it may not have the key."""
    with store.reading() as connection:
        if rotation.first_key_listed(connection):
            return
        others = rotation.is_served(connection, driver.clock(connection, time.time()))
    with contextlib.ExitStack() as stack:
        if isinstance(driver, SqliteDriver):
            try:
                driver.lock()
            except OperatorError:
                others = True
            else:
                stack.callback(driver.unlock)
        if others:
            raise OperatorError(
                f"{driver.name}: `leadbridge serve` runs, and may not have the key {driver.keys.ids[0]} yet: restart "
                "it with the key, then run this again"
            )
        with store.writing(queue=False) as connection:
            rotation.list_first_key(connection)


def _encrypt(driver: Driver, store: OpenStore, tally: _Tally) -> int:
    """Encrypt one store, and rest after each step. Returns how many rows cannot be decrypted."""

    def read(function: Callable[[Connection], Rows]) -> Rows:
        with store.reading() as connection:
            return function(connection)

    def write(function: Callable[[Connection], int]) -> int:
        with store.writing(queue=False) as connection:
            count = function(connection)
            tally.add(store, connection, count)
            return count

    rotation_ = Rotation(read, write)
    began = said_at = time.monotonic()
    for _ in rotation_.steps():
        now = time.monotonic()
        if now - said_at > PROGRESS_SECONDS:
            said_at = now
            output.complain(f"{driver.name}: {tally.count:,} rows so far")
        time.sleep(min(now - began, REST_SECONDS))
        began = time.monotonic()
    if not rotation_.damaged:
        with store.writing(queue=False) as connection:
            rotation.unlist_other_keys(connection)
    return len(rotation_.damaged)


def _clean(driver: Driver) -> list[str]:
    """Remove the values as they were from the files. Returns what may be left of them."""
    if not isinstance(driver, SqliteDriver):
        return []
    try:
        left = erasure.clean(driver)
    except driver.errors as error:
        raise StoreUnavailableError(
            f"the rows are encrypted, but the file of {driver.name} cannot be rewritten: {cause(error)}; see that its "
            "disk has room for a second copy of it, and run this again"
        ) from error
    return [f"{driver.name}: {_ADVICE[left]}"] if left in _ADVICE else []


_ADVICE: Final = {
    Remains.LOG: "somebody reads the store all the while (a backup, a shell), so old values may still be in its "
    "write-ahead log. Run this again when that has ended",
    Remains.PAGES: "old values may still be in unused parts of the file, which is too large to be rewritten beside a "
    "running `leadbridge serve`. Stop that for a moment, and run this again",
}
