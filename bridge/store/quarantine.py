"""The quarantine: requests with a bad signature, kept in bounded rooms in case a key was mistyped.

A mistyped key must lose no lead, and a stranger must not fill the disk. So there are three rooms (`bridge.event.Room`):
for requests that look like leads under another key, for requests with a good signature at a wrong time, and for junk.
Each room is bounded in number and in bytes, for each chatbot and for all chatbots together.

A stranger can forge requests that look like leads. A full room is therefore shared between hours: a new request
replaces the newest one of the busiest hour, unless its own hour is the busiest. So a flood replaces only requests of
its own hours, and the first requests of these hours stay.

Selections also cover unrecognised events, because both are recovered in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, false, func, select, update

from bridge.event import EventState, Room
from bridge.identity import Identity
from bridge.store import tombstones
from bridge.store.encryption import KeyRing, keys_of, plain_size
from bridge.store.filter import EVERYTHING, Scope, SelectionExtent, in_state
from bridge.store.interface import PAGE, QuarantinedRequest
from bridge.store.schema import events, proofs, quarantine
from bridge.store.transaction import insert_missing, read_once

AGE_LIMIT = 7 * 24 * 3600.0
STEP = 100
"""Most requests that one transaction deletes. It takes a few milliseconds."""
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a room."""

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
    """The number of a chatbot's requests in a room."""

    chatbot: str
    room: Room
    count: int
    latest_at: float
    """Receipt of the newest."""
    first_at: float = 0.0
    """Receipt of the oldest."""


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A refused request without its body."""

    id: int
    chatbot: str
    received_at: float
    size: int
    """Bytes of the body."""
    room: Room


@dataclass(slots=True)
class _Group:
    """A chatbot's requests of one hour in a room."""

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


def add_request(connection: Connection, request: QuarantinedRequest, identity: Identity) -> bool:
    """Store a request. Returns False if there is no room for it, or if it was erased.

    The same body takes one place, however often it is sent.
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
        # The stored copy is junk. The new signature may be valid under another key.
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
    """Delete requests, and return their number."""
    return connection.execute(delete(quarantine).where(quarantine.c.id.in_(ids))).rowcount


def prune_requests(connection: Connection, before: float) -> bool:
    """Delete the next requests that were received before a time. Returns True if there may be more."""
    old = select(quarantine.c.id).where(quarantine.c.received_at < before).order_by(quarantine.c.id).limit(STEP)
    ids = connection.execute(old).scalars().all()
    return discard(connection, ids) == STEP if ids else False


@read_once
def room_counts(connection: Connection, since: float = 0.0) -> list[RoomCount]:
    """Count the requests in each room by chatbot, optionally only those received since a time."""
    at = quarantine.c.received_at
    asked = (
        select(quarantine.c.chatbot, quarantine.c.room, func.count(), func.max(at), func.min(at))
        .where(quarantine.c.received_at >= since)
        .group_by(quarantine.c.chatbot, quarantine.c.room)
        .order_by(quarantine.c.chatbot, quarantine.c.room)
    )
    return [RoomCount(chatbot, Room(room), *rest) for chatbot, room, *rest in connection.execute(asked)]


def quarantine_page(
    connection: Connection, scope: Scope = EVERYTHING, before: int | None = None, limit: int = PAGE
) -> list[QuarantineRow]:
    """Read a page of refused requests, newest first: those before an id."""
    query = select(*_LISTED).where(scope.of(quarantine.c.chatbot))
    if before is not None:
        query = query.where(quarantine.c.id < before)
    return _listed(connection, query.order_by(quarantine.c.id.desc()).limit(limit))


def requests_after(connection: Connection, last: int, limit: int) -> list[QuarantineRow]:
    """Read the next refused requests after an id, in order of receipt."""
    return _listed(connection, select(*_LISTED).where(quarantine.c.id > last).order_by(quarantine.c.id).limit(limit))


_LISTED: Final = (
    quarantine.c.id,
    quarantine.c.chatbot,
    quarantine.c.received_at,
    plain_size(quarantine.c.body).label("size"),
    quarantine.c.room,
)


def _listed(connection: Connection, query: Select[Any]) -> list[QuarantineRow]:
    return [
        QuarantineRow(row.id, row.chatbot, row.received_at, row.size, Room(row.room))
        for row in connection.execute(query)
    ]


def quarantined(connection: Connection, request: int) -> QuarantinedRequest | None:
    """Read a refused request as it was received; None if there is none with this id."""
    row = connection.execute(select(quarantine).where(quarantine.c.id == request)).one_or_none()
    return opened_request(keys_of(connection), row) if row else None


def opened_request(keys: KeyRing, row: Row[*tuple[Any, ...]]) -> QuarantinedRequest:
    """Decrypt a row of `quarantine`."""
    name = (row.digest, row.chatbot)
    return QuarantinedRequest(
        row.received_at,
        row.chatbot,
        keys.open_text(row.signature, "quarantine.signature", *name),
        keys.open(bytes(row.body), "quarantine.body", *name),
        Room(row.room),
    )


def keep_proofs(connection: Connection, keys: Mapping[str, bytes], now: float) -> None:
    """Store the fingerprint of the keys that verified a signature, by chatbot."""
    for chatbot, mark in sorted(keys.items()):
        insert_missing(connection, proofs, [{"chatbot": chatbot, "fingerprint": mark, "proved_at": now}])
        mine = update(proofs).where(proofs.c.chatbot == chatbot, proofs.c.fingerprint != mark)
        connection.execute(mine.values(fingerprint=mark, proved_at=now))


def proven_keys(connection: Connection) -> dict[str, bytes]:
    """Read the fingerprint of the keys that verified a signature last, by chatbot."""
    return {
        row.chatbot: bytes(row.fingerprint)
        for row in connection.execute(select(proofs.c.chatbot, proofs.c.fingerprint))
    }


def _make_room(connection: Connection, request: QuarantinedRequest) -> bool:
    """Make room for a request, if necessary by deleting others. Returns False if it may not replace any."""
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
    """Choose the requests to delete for a new one; None if its own hour has the largest share already."""
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
    """Read the requests of a room by chatbot and hour, without their bodies."""
    sizes = select(quarantine.c.id, quarantine.c.chatbot, quarantine.c.received_at, plain_size(quarantine.c.body))
    groups: dict[tuple[str, int], _Group] = {}
    for number, chatbot, received_at, size in connection.execute(sizes.where(among).order_by(quarantine.c.id)):
        key = _hour_of(chatbot, received_at)
        groups.setdefault(key, _Group(*key)).rows.append((number, size))
    return list(groups.values())


def _hour_of(chatbot: str, received_at: float) -> tuple[str, int]:
    return chatbot, int(received_at) // _HOUR


class Kept(StrEnum):
    """Things that are kept without a delivery."""

    REQUESTS = "requests"
    """Requests in quarantine."""
    EVENTS = "events"
    """Unrecognised events."""


@dataclass(frozen=True, slots=True)
class KeptSelection:
    """Filter of requests in quarantine, or of unrecognised events. A field that is None matches all."""

    kept: Kept
    chatbot: str | None = None
    room: Room | None = None
    """For requests only."""
    ids: tuple[int, ...] | None = None
    """For requests only: the selected ids."""
    scope: Scope = EVERYTHING
    """The chatbots whose things the acting person may change."""

    def conditions(self) -> dict[str, str]:
        """Return the conditions that are set, by name."""
        found = {
            "kept": self.kept.value,
            "chatbot": self.chatbot,
            "room": None if self.room is None else self.room.value,
            "selected": None if self.ids is None else str(len(self.ids)),
        }
        return {name: value for name, value in found.items() if value is not None}


def kept_extent(connection: Connection, chosen: KeptSelection, through: int | None = None) -> SelectionExtent:
    """Count the selected things; with `through`, up to this id."""
    rows = _select(chosen).subquery("selected")
    query = select(func.count(), func.max(rows.c.id))
    if through is not None:
        query = query.where(rows.c.id <= through)
    count, last = connection.execute(query).one()
    return SelectionExtent(count, last or 0)


def next_kept(connection: Connection, chosen: KeptSelection, after: int, through: int, limit: int) -> Sequence[int]:
    """Return the next selected ids above `after`, in order of receipt. An empty result means that none are left."""
    rows = _select(chosen).subquery("selected")
    query = select(rows.c.id).where(rows.c.id > after, rows.c.id <= through).order_by(rows.c.id).limit(limit)
    return connection.execute(query).scalars().all()


def _select(chosen: KeptSelection) -> Select[tuple[int]]:
    if chosen.kept is Kept.REQUESTS:
        query, chatbot = select(quarantine.c.id), quarantine.c.chatbot
        if chosen.room is not None:
            query = query.where(quarantine.c.room == chosen.room.value)
        if chosen.ids is not None:
            query = query.where(quarantine.c.id.in_(chosen.ids))
    else:
        query = select(events.c.seq.label("id")).where(in_state(events.c.state, EventState.UNRECOGNISED.value))
        if chosen.room is not None or chosen.ids is not None:
            # An event has neither a room nor such an id, so none is meant.
            query = query.where(false())
        chatbot = events.c.chatbot
    return query.where(chosen.scope.narrowed(chosen.chatbot).of(chatbot))
