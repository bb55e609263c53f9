"""The spool: an embedded store whose events and requests wait to be moved into the database, oldest first.

To delete a row, SQLite first writes it to its log, so on a full disk it can delete nothing.
"""

import asyncio
import contextlib
import shutil

from sqlalchemy import Connection, Table, delete, func, select

from bridge.errors import StoreUnavailableError
from bridge.event import Event, EventState, Form
from bridge.store.encryption import keys_of, plain_size
from bridge.store.interface import DeliveryState, NewDelivery, QuarantinedRequest, RoutedEvent
from bridge.store.quarantine import opened_request
from bridge.store.schema import deliveries, events, quarantine
from bridge.store.sql import SqlStore
from bridge.store.sqlite import SqliteDriver

LEAST_FREE_BYTES = 64 * 1024**2
"""Free space on its disk below which the spool takes nothing, so that it can always delete what was moved."""


class SpoolStore(SqlStore):
    """An embedded store that no lane works on."""

    def __init__(self, driver: SqliteDriver) -> None:
        """Open the store; see `SqlStore`."""
        super().__init__(driver)
        self._folder = driver.path.parent

    def has_room(self) -> bool:
        """Return True if its disk has room for more events, and for the deletion of moved ones."""
        try:
            return shutil.disk_usage(self._folder).free >= LEAST_FREE_BYTES
        except OSError:
            return False

    async def truncate_log(self) -> None:
        """Copy the write-ahead log into the file and free its space, as far as the disk has space for the copy."""
        await asyncio.to_thread(self._truncate)

    def _truncate(self) -> None:
        with contextlib.suppress(StoreUnavailableError, *self._driver.errors), self._driver.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def size(self) -> int:
        """Return the size of the waiting payloads, in bytes."""
        return await self.query(lambda c: int(c.execute(_SIZE).scalar_one()))

    async def oldest(self, limit: int) -> tuple[list[RoutedEvent], int]:
        """Read the oldest events, in order of receipt, and the number of the last one."""
        return await self.query(lambda c: _oldest(c, limit))

    async def remove(self, through: int) -> None:
        """Delete the events up to a number, which have been moved."""
        await self.change(lambda c: _remove(c, events, through))

    async def refused(self) -> tuple[int, QuarantinedRequest] | None:
        """Read the oldest refused request, with its id."""
        return await self.query(_refused)

    async def remove_refused(self, through: int) -> None:
        """Delete the requests up to an id, which have been moved."""
        await self.change(lambda c: _remove(c, quarantine, through))


_SIZE = select(func.coalesce(func.sum(plain_size(events.c.payload)), 0))


def _remove(connection: Connection, table: Table, through: int) -> None:
    (number,) = table.primary_key
    # Numbers are never used again, so all up to this one have been moved.
    connection.execute(delete(table).where(number <= through))


def _oldest(connection: Connection, limit: int) -> tuple[list[RoutedEvent], int]:
    asked = select(events).order_by(events.c.seq).limit(limit)
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
    return read, rows[-1].seq if rows else 0


def _refused(connection: Connection) -> tuple[int, QuarantinedRequest] | None:
    row = connection.execute(select(quarantine).order_by(quarantine.c.id).limit(1)).one_or_none()
    if row is None:
        return None
    return row.id, opened_request(keys_of(connection), row)
