"""Encryption of the store, and of the spool of this machine, with the first key."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from bridge.config import Config
from bridge.errors import OperatorError, StoreUnavailableError
from bridge.operations.audit import Action, Entry, Who
from bridge.operations.store_access import AuditCount, OpenStore, all_stores
from bridge.store import erasure, rotation
from bridge.store.driver import Driver
from bridge.store.encryption import keys_of
from bridge.store.erasure import Remains
from bridge.store.rotation import Rotation, Rows
from bridge.store.sqlite import SqliteDriver

REST_SECONDS: Final = 0.1
"""Longest rest after a step: a rest is as long as its step, so that half of the time is left to the traffic."""
PROGRESS_SECONDS: Final = 5.0
"""Seconds between two reports of the progress."""


@dataclass(frozen=True, slots=True)
class RekeyResult:
    """Result of an encryption of all stores."""

    key: str
    """Id of the first key."""
    encrypted: int
    """Number of rows that were encrypted."""
    damaged: int
    """Number of rows that cannot be decrypted."""
    remains: Sequence[str]
    """Sentences about old values that may be left in the files."""


def rekey(config: Config, who: Who, report: Callable[[str], None]) -> RekeyResult:
    """Encrypt all rows that the first of the configured keys has not encrypted; report the progress.

    Raises OperatorError if there is no key, or if a process that serves the store may not have it.
    """
    stores = list(all_stores(config))
    keys = stores[0][0].keys
    if not keys:
        raise OperatorError(
            "store.encryption_keys is empty: make a key with `openssl rand -base64 32`, put it there, restart "
            "`leadbridge serve`, and run this again"
        )
    for driver, store in stores:
        _enlist(driver, store)
    tally = AuditCount(stores[0][1], Entry(who, Action.REKEY, count=0), time.time(), queue=False)
    damaged, remains = 0, list[str]()
    for driver, store in stores:
        damaged += _encrypt(driver, store, tally, report)
        remains += _clean(driver)
    return RekeyResult(keys.ids[0], tally.total, damaged, remains)


def describe_keys(connection: Connection) -> str:
    """Return a line about how many rows need which key."""
    census, ids = rotation.count_by_key(connection), keys_of(connection).ids
    parts = []
    for key, count in sorted(census.items(), key=lambda item: ids.index(item[0]) if item[0] in ids else len(ids)):
        if key is None:
            parts.append(f"{count:,} are not encrypted")
        else:
            known = "" if key in ids else ", which is not in store.encryption_keys"
            parts.append(f"{count:,} need the key {key}{known}")
    return f"of its rows, {', '.join(parts)}" if parts else "no rows yet"


def _enlist(driver: Driver, store: OpenStore) -> None:
    """List the key in the store. Raises OperatorError if a process that serves the store may not have the key."""
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


def _encrypt(driver: Driver, store: OpenStore, tally: AuditCount, report: Callable[[str], None]) -> int:
    """Encrypt one store, and rest after each step. Return the number of rows that cannot be decrypted."""

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
            report(f"{driver.name}: {tally.total:,} rows so far")
        time.sleep(min(now - began, REST_SECONDS))
        began = time.monotonic()
    if not rotation_.damaged:
        with store.writing(queue=False) as connection:
            rotation.unlist_other_keys(connection)
    return len(rotation_.damaged)


def _clean(driver: Driver) -> list[str]:
    """Remove old values from the files. Return a sentence about each kind that may be left."""
    if not isinstance(driver, SqliteDriver):
        return []
    try:
        left = erasure.scrub_files(driver)
    except driver.errors as error:
        raise StoreUnavailableError(
            f"the rows are encrypted, but the file of {driver.name} cannot be rewritten: {driver.safe_error(error)}; "
            "see that its disk has room for a second copy of it, and run this again"
        ) from error
    return [f"{driver.name}: {_ADVICE[left]}"] if left in _ADVICE else []


_ADVICE: Final = {
    Remains.LOG: "another program reads the store all the time (a backup, a shell), so old values may still be in its "
    "write-ahead log. Run this again when that has ended",
    Remains.PAGES: "old values may still be in unused parts of the file, which is too large to be rewritten beside a "
    "running `leadbridge serve`. Stop that for a moment, and run this again",
}
