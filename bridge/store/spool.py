"""The spool: an embedded store whose events and requests wait to be moved into the database, oldest first."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from bridge.event import Event, EventState, Form
from bridge.identity import Identity
from bridge.store import installation
from bridge.store.encryption import keys_of, plain_size
from bridge.store.interface import DeliveryState, NewDelivery, QuarantinedRequest, RoutedEvent
from bridge.store.queries import opened_request
from bridge.store.schema import deliveries, events, quarantine
from bridge.store.sql import SqlStore


class SpoolStore(SqlStore):
    """An embedded store that no lane works on."""

    async def size(self) -> int:
        """Return the size of the waiting payloads, in bytes."""
        return await self._read(lambda c: int(c.execute(_SIZE).scalar_one()))

    async def first_identity(self, given: bytes | None) -> Identity:
        """Return the identity for ids while the database is away: the configured key, the database's, or its own."""
        if given is not None:
            return Identity(given)
        return await self._call(lambda c: installation.copy(c) or installation.adopt(c, None))

    async def keep_identity(self, identity: Identity) -> None:
        """Keep the database's key for a start without the database."""
        await self._call(lambda c: installation.keep_copy(c, identity))

    async def oldest(self, limit: int) -> list[RoutedEvent]:
        """Read the oldest events with their deliveries, in order of receipt."""
        return await self._read(lambda c: _oldest(c, limit))

    async def remove(self, event_ids: Sequence[str]) -> None:
        """Delete events that have been moved."""
        ids = [bytes.fromhex(each) for each in event_ids]
        await self._call(lambda c: c.execute(delete(events).where(events.c.id.in_(ids))))

    async def refused(self) -> tuple[int, QuarantinedRequest] | None:
        """Read the oldest refused request, with its id."""
        return await self._read(_refused)

    async def remove_refused(self, request: int) -> None:
        """Delete a refused request that has been moved."""
        await self._call(lambda c: c.execute(delete(quarantine).where(quarantine.c.id == request)))


_SIZE = select(func.coalesce(func.sum(plain_size(events.c.payload)), 0))


def _oldest(connection: Connection, limit: int) -> list[RoutedEvent]:
    rows = connection.execute(select(events).order_by(events.c.seq).limit(limit)).all()
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
    return [
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


def _refused(connection: Connection) -> tuple[int, QuarantinedRequest] | None:
    row = connection.execute(select(quarantine).order_by(quarantine.c.id).limit(1)).one_or_none()
    if row is None:
        return None
    return row.id, opened_request(keys_of(connection), row)
