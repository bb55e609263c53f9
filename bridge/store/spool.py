"""The spool: an embedded store whose events and requests wait to be moved into the database, oldest first.

To delete a row, SQLite first writes it to its log, so on a full disk it can delete nothing. A file beside the store
keeps some space. When the disk is full, that file is deleted, and the store continues with its space.
"""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import structlog
from sqlalchemy import Connection, Table, delete, func, select

from bridge.errors import StoreUnavailableError
from bridge.event import Event, EventState, Form
from bridge.identity import Identity
from bridge.store import installation
from bridge.store.encryption import keys_of, plain_size
from bridge.store.interface import DeliveryState, NewDelivery, QuarantinedRequest, RoutedEvent
from bridge.store.queries import opened_request
from bridge.store.schema import deliveries, events, quarantine
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver

RESERVE_BYTES = 8 * 1024**2
"""Size of the reserve: several times as much as the deletion of the largest event needs."""
LEAST_BYTES = 64 * 1024
"""Smallest useful reserve."""
SHARE = 8
"""The reserve takes at most this fraction of the free space: one part in `SHARE`."""

log = structlog.get_logger()


class Reserve:
    """The reserve beside one file."""

    def __init__(self, beside: Path) -> None:
        self._path = beside.with_name(f"{beside.name}-reserve")

    def keep(self) -> None:
        """Create the reserve, unless it exists or the disk has too little space."""
        with contextlib.suppress(OSError):
            if self._path.exists():
                return
            size = min(RESERVE_BYTES, shutil.disk_usage(self._path.parent).free // SHARE)
            if size < LEAST_BYTES:
                return
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Not `truncate`, which creates a file without disk space.
                os.posix_fallocate(file, 0, size)
            except OSError:
                self._path.unlink()
            finally:
                os.close(file)

    def free(self) -> bool:
        """Delete the reserve. Returns True if there was one."""
        try:
            size = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return False
        log.warning("reserve_used", file=str(self._path), bytes=size, detail="the disk is full; make room on it")
        return True


class SpoolStore(SqlStore):
    """An embedded store that no lane works on."""

    def __init__(self, driver: SqliteDriver) -> None:
        """Open the store; see `SqlStore`."""
        super().__init__(driver)
        self._reserve = Reserve(driver.path)

    async def keep_reserve(self) -> None:
        """Create the reserve of disk space; see `bridge.store.spool`."""
        await asyncio.to_thread(self._reserve.keep)

    async def make_room(self) -> None:
        """Free the reserve and the space of the log on a disk that may be full."""
        await asyncio.to_thread(self._reserve.free)
        await self.truncate_log()

    async def truncate_log(self) -> None:
        """Copy the write-ahead log into the file and free its space, as far as the disk has space for the copy."""
        await asyncio.to_thread(self._truncate)

    def _truncate(self) -> None:
        with contextlib.suppress(StoreUnavailableError, *self._driver.errors), self._driver.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def size(self) -> int:
        """Return the size of the waiting payloads, in bytes."""
        return await self.query(lambda c: int(c.execute(_SIZE).scalar_one()))

    async def first_identity(self, given: bytes | None) -> Identity:
        """Return the identity for ids while the database is away: the configured key, the database's, or its own."""
        if given is not None:
            return Identity(given)
        return await self.change(lambda c: installation.copy(c) or installation.adopt(c, None))

    async def keep_identity(self, identity: Identity) -> None:
        """Keep the database's key for a start without the database."""
        await self.change(lambda c: installation.keep_copy(c, identity))

    async def oldest(self, limit: int, after: int = 0) -> tuple[list[RoutedEvent], int]:
        """Read the oldest events after a number, in order of receipt, and the number of the last one."""
        return await self.query(lambda c: _oldest(c, limit, after))

    async def remove(self, through: int, limit: int) -> bool:
        """Delete the oldest moved events, up to a number. Returns True if there may be more."""
        return await self.change(lambda c: _remove(c, events, through, limit))

    async def refused(self, after: int = 0) -> tuple[int, QuarantinedRequest] | None:
        """Read the oldest refused request after an id, with its id."""
        return await self.query(lambda c: _refused(c, after))

    async def remove_refused(self, through: int, limit: int) -> bool:
        """Delete the oldest moved requests, up to an id, as `remove` does."""
        return await self.change(lambda c: _remove(c, quarantine, through, limit))


_SIZE = select(func.coalesce(func.sum(plain_size(events.c.payload)), 0))


def _remove(connection: Connection, table: Table, through: int, limit: int) -> bool:
    (number,) = table.primary_key
    # Numbers are never used again, so all up to this one have been moved.
    oldest = select(number).where(number <= through).order_by(number).limit(limit)
    return connection.execute(delete(table).where(number.in_(oldest))).rowcount == limit


def _oldest(connection: Connection, limit: int, after: int) -> tuple[list[RoutedEvent], int]:
    asked = select(events).where(events.c.seq > after).order_by(events.c.seq).limit(limit)
    rows = connection.execute(asked).all()
    made: dict[int, list[NewDelivery]] = {row.seq: [] for row in rows}
    contacts: dict[int, int] = {}
    keys, ids = keys_of(connection), {row.seq: row.id for row in rows}
    theirs = select(deliveries).where(deliveries.c.event_seq.in_(made)).order_by(deliveries.c.id)
    for each in connection.execute(theirs):
        dead = each.state == DeliveryState.DEAD.value
        words = each.detail if dead else None
        problem = keys.open_text(words, "deliveries.detail", ids[each.event_seq], each.route)
        made[each.event_seq].append(NewDelivery(each.route, each.destination, problem))
        contacts[each.event_seq] = each.contact
    read = [
        RoutedEvent(
            Event(
                id=row.id.hex(),
                payload=keys.open(bytes(row.payload), "events.payload", row.id),
                form=Form(row.form),
                received_at=row.received_at,
                chatbot=row.chatbot,
                state=EventState(row.state),
                type=row.type,
                contact=contacts.get(row.seq, 0),
                fields={},
                verified_by=tuple(row.verified_by.split()),
            ),
            tuple(made[row.seq]),
        )
        for row in rows
    ]
    return read, rows[-1].seq if rows else after


def _refused(connection: Connection, after: int) -> tuple[int, QuarantinedRequest] | None:
    asked = select(quarantine).where(quarantine.c.id > after).order_by(quarantine.c.id).limit(1)
    row = connection.execute(asked).one_or_none()
    if row is None:
        return None
    return row.id, opened_request(keys_of(connection), row)
