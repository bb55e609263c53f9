"""The quarantine: requests whose signature did not hold, kept in bounded rooms in case a key was mistyped.

A mistyped key must lose nothing, and a stranger must not fill the disk. So there is a room for what looks like a lead
under another key, one for what is signed well but at a wrong time, and one for junk (`bridge.event.Room`). Each is
bounded for every chatbot and over all of them, in number and in bytes.

A stranger can forge what looks like a lead. A full room therefore is shared between hours: a new request takes the
place of the newest one of the busiest hour, unless its own hour is the busiest. So a flood takes the places of its own
hours only, and within those the first requests stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update

from bridge.event import Room
from bridge.identity import Identity
from bridge.store import tombstones
from bridge.store.encryption import keys_of, plain_size
from bridge.store.interface import QuarantinedRequest
from bridge.store.schema import proofs, quarantine
from bridge.store.transaction import insert_missing

AGE_LIMIT = 7 * 24 * 3600.0
STEP = 100
"""Requests that one transaction removes, at most: a few milliseconds."""
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a room takes."""

    requests: int
    bytes: int


BOUNDS: Mapping[Room, Bounds] = {
    Room.MISMATCH: Bounds(200, 8 * 1024 * 1024),
    Room.STALE: Bounds(200, 8 * 1024 * 1024),
    Room.JUNK: Bounds(50, 1024 * 1024),
}
"""For each chatbot."""
TOTALS: Mapping[Room, Bounds] = {
    Room.MISMATCH: Bounds(2_000, 64 * 1024 * 1024),
    Room.STALE: Bounds(2_000, 64 * 1024 * 1024),
    Room.JUNK: Bounds(500, 8 * 1024 * 1024),
}
"""For all chatbots together."""


@dataclass(frozen=True, slots=True)
class RoomCount:
    """What a room holds of a chatbot's."""

    chatbot: str
    room: Room
    count: int
    latest_at: float
    """When the newest of them was received."""


@dataclass(slots=True)
class _Group:
    """What a room holds of one chatbot's requests of one hour."""

    chatbot: str
    hour: int
    rows: list[tuple[int, int]] = field(default_factory=list)
    """The id and the size of each, oldest first."""

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.rows)


def keep(connection: Connection, request: QuarantinedRequest, identity: Identity) -> bool:
    """Keep the request; False if there is no room, or if it was erased.

    The same body takes one place however often it comes.
    """
    digest = identity.digest(request.body)
    if tombstones.stops(connection, digest):
        return False
    asked = select(quarantine.c.id, quarantine.c.room).where(
        quarantine.c.chatbot == request.chatbot, quarantine.c.digest == digest
    )
    known = connection.execute(asked).one_or_none()
    if known and (known.room == request.room or known.room != Room.JUNK):
        return True
    if not _make_room(connection, request):
        return False
    if known:
        # It came as junk first: this signature is the one that may hold.
        connection.execute(delete(quarantine).where(quarantine.c.id == known.id))
    keys = keys_of(connection)
    row = {
        "received_at": request.received_at,
        "chatbot": request.chatbot,
        "digest": digest,
        "signature": keys.seal_text(request.signature, "quarantine.signature", digest, request.chatbot),
        "body": keys.seal(request.body, "quarantine.body", digest, request.chatbot),
        "room": request.room.value,
    }
    insert_missing(connection, quarantine, [row])
    return True


def discard(connection: Connection, ids: Sequence[int]) -> int:
    """Delete refused requests for good; return how many there were."""
    return connection.execute(delete(quarantine).where(quarantine.c.id.in_(ids))).rowcount


def prune(connection: Connection, before: float) -> bool:
    """Delete the next requests that were received before a time; say whether there may be more of them."""
    old = select(quarantine.c.id).where(quarantine.c.received_at < before).order_by(quarantine.c.id).limit(STEP)
    ids = connection.execute(old).scalars().all()
    return discard(connection, ids) == STEP if ids else False


def room_counts(connection: Connection, since: float = 0.0) -> list[RoomCount]:
    """Count what the rooms hold, by chatbot: of all, or of what was received from a time on. Bounded as they are."""
    asked = (
        select(quarantine.c.chatbot, quarantine.c.room, func.count(), func.max(quarantine.c.received_at))
        .where(quarantine.c.received_at >= since)
        .group_by(quarantine.c.chatbot, quarantine.c.room)
        .order_by(quarantine.c.chatbot, quarantine.c.room)
    )
    return [RoomCount(chatbot, Room(room), count, latest) for chatbot, room, count, latest in connection.execute(asked)]


def keep_proofs(connection: Connection, keys: Mapping[str, bytes], now: float) -> None:
    """Note under which keys a signature has held, by chatbot."""
    for chatbot, mark in sorted(keys.items()):
        insert_missing(connection, proofs, [{"chatbot": chatbot, "fingerprint": mark, "proved_at": now}])
        mine = update(proofs).where(proofs.c.chatbot == chatbot, proofs.c.fingerprint != mark)
        connection.execute(mine.values(fingerprint=mark, proved_at=now))


def proven_keys(connection: Connection) -> dict[str, bytes]:
    """Read under which keys a signature has held last, by chatbot."""
    return {
        row.chatbot: bytes(row.fingerprint)
        for row in connection.execute(select(proofs.c.chatbot, proofs.c.fingerprint))
    }


def _make_room(connection: Connection, request: QuarantinedRequest) -> bool:
    """See that the request has a place, if need be that of others; False, and nothing is done, if it may not."""
    room, size, going = quarantine.c.room == request.room.value, len(request.body), list[int]()
    own = and_(room, quarantine.c.chatbot == request.chatbot)
    for among, bounds in ((own, BOUNDS[request.room]), (room, TOTALS[request.room])):
        left = among if not going else and_(among, quarantine.c.id.not_in(going))
        taken = func.coalesce(func.sum(plain_size(quarantine.c.body)), 0)
        count, held_bytes = connection.execute(select(func.count(), taken).where(left)).one()
        if count >= bounds.requests or held_bytes + size > bounds.bytes:
            gone = _evicted(_groups(connection, left), bounds, request)
            if gone is None:
                return False
            going += gone
    if going:
        discard(connection, going)
    return True


def _evicted(groups: Sequence[_Group], bounds: Bounds, request: QuarantinedRequest) -> list[int] | None:
    """Choose the requests that give way to a new one; None if its own hour has the largest share already."""
    key, size, going = _hour_of(request.chatbot, request.received_at), len(request.body), list[int]()
    mine = next((each for each in groups if (each.chatbot, each.hour) == key), _Group(*key))
    while groups and sum(each.count for each in groups) >= bounds.requests:
        busiest = max(groups, key=lambda each: each.count)
        if busiest.count <= mine.count:
            return None
        going.append(busiest.rows.pop()[0])
    while groups and sum(each.bytes for each in groups) + size > bounds.bytes:
        largest = max(groups, key=lambda each: each.bytes)
        if largest.bytes <= mine.bytes + size:
            return None
        going.append(largest.rows.pop()[0])
    return going


def _groups(connection: Connection, among: ColumnElement[bool]) -> list[_Group]:
    """Read how a full room is shared: one look at each of its requests, but not at their bodies."""
    sizes = select(quarantine.c.id, quarantine.c.chatbot, quarantine.c.received_at, plain_size(quarantine.c.body))
    groups: dict[tuple[str, int], _Group] = {}
    for number, chatbot, received_at, size in connection.execute(sizes.where(among).order_by(quarantine.c.id)):
        key = _hour_of(chatbot, received_at)
        groups.setdefault(key, _Group(*key)).rows.append((number, size))
    return list(groups.values())


def _hour_of(chatbot: str, received_at: float) -> tuple[str, int]:
    return chatbot, int(received_at) // _HOUR
