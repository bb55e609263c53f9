"""Removing for good all that holds an e-mail address: which rows those are, and what is left of them in the files.

Beside a running `serve`, in short transactions of the caller's. What one of them has erased stays erased after a crash,
and starting again goes on with the rest. Deliveries and attempts go with their event (`ON DELETE CASCADE`).

SQLite does not overwrite what it deletes unless it is told to (https://www.sqlite.org/pragma.html#pragma_secure_delete),
and older versions of a page stay in the write-ahead log until that is begun anew. What was deleted earlier, or moved
when a page was split, can still lie in unused parts of the file: only VACUUM makes a file without such parts.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, FromClause, and_, delete, func, or_, select, update

from bridge.errors import OperatorError
from bridge.store.base import DeliveryState
from bridge.store.driver import raw
from bridge.store.encryption import TEXT_MARK, KeyRing, keys_of
from bridge.store.mentions import Address, Mention
from bridge.store.questions import in_state, opened_request
from bridge.store.schema import attempts, deliveries, events, lanes, quarantine
from bridge.store.sqlite import SqliteDriver

READ_STEP = 500
"""Bodies that are read at once."""
STEP = 100
"""Events, or requests, that one transaction removes: a few milliseconds."""
VACUUM_BYTES = 256 * 1024 * 1024
"""How large a file may be that is rewritten beside a running `serve`, which cannot commit for a second or two then."""

_FREE_STEP: Final = 256
"""Free pages that one transaction gives back."""
_LOG_TRIES: Final = 5
"""How often the log is tried to be emptied; each time the engine waits for those who read it."""
_CHUNK: Final = 1024 * 1024

_WORDS: Final[Sequence[tuple[FromClause, Sequence[Column[Any]], Sequence[Column[Any]]]]] = (
    (deliveries.join(events), (events.c.id, deliveries.c.route), (deliveries.c.detail, deliveries.c.warning)),
    (
        attempts.join(deliveries).join(events),
        (events.c.id, attempts.c.number, attempts.c.started_at),
        (attempts.c.detail,),
    ),
    (lanes, (lanes.c.name,), (lanes.c.pause_detail,)),
)
"""Where words of destinations are kept, with what names their rows: another event's, too, may name the address."""


@dataclass(slots=True, repr=False)
class Holding:
    """The events, or the requests in quarantine, that hold the address."""

    sure: dict[int, str] = field(default_factory=dict)
    """By row: what a person knows them by."""
    unsure: list[str] = field(default_factory=list)
    """Those where it only stands as a part of something longer: they are left alone."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What goes with the events."""

    deliveries: int
    pending: dict[str, int]
    """By destination: the deliveries that have not been made yet, and never will be."""


class Remains(StrEnum):
    """What may be left of the address in the files of an embedded store."""

    NOTHING = "nothing"
    LOG = "log"
    """Somebody reads the store for long, so the write-ahead log could not be emptied."""
    PAGES = "pages"
    """Unused parts of a large file, which is not rewritten while it is served."""


def look_at_events(connection: Connection, address: Address, after: int, holding: Holding) -> int | None:
    """Look into the next events after a `seq`, and note those that hold the address; gives where to go on."""
    asked = select(events.c.seq, events.c.payload, events.c.id).where(events.c.seq > after).order_by(events.c.seq)
    keys = keys_of(connection)
    rows = [
        (row.seq, keys.open(bytes(row.payload), "events.payload", row.id), row.id.hex())
        for row in connection.execute(asked.limit(READ_STEP))
    ]
    return _look(rows, address, holding)


def look_at_requests(connection: Connection, address: Address, after: int, holding: Holding) -> int | None:
    """Look into the next refused requests after an id, as `look_at_events` does."""
    asked = select(quarantine).where(quarantine.c.id > after).order_by(quarantine.c.id)
    keys = keys_of(connection)
    found = connection.execute(asked.limit(READ_STEP))
    return _look([(row.id, opened_request(keys, row).body, str(row.id)) for row in found], address, holding)


def extent(connection: Connection, seqs: Sequence[int]) -> Extent:
    """Count what goes with events."""
    total, pending = 0, dict[str, int]()
    for part in _parts(seqs):
        mine = deliveries.c.event_seq.in_(part)
        total += connection.execute(select(func.count()).select_from(deliveries).where(mine)).scalar_one()
        waiting = and_(mine, in_state(deliveries.c.state, DeliveryState.PENDING.value))
        asked = select(deliveries.c.destination, func.count()).where(waiting).group_by(deliveries.c.destination)
        for destination, count in connection.execute(asked):
            pending[destination] = pending.get(destination, 0) + count
    return Extent(total, pending)


def words(connection: Connection, address: Address, seqs: Sequence[int]) -> int:
    """Count the words of destinations that name the address, but for those that go with the events."""
    gone = {
        each
        for part in _parts(seqs)
        for each in connection.execute(select(deliveries.c.id).where(deliveries.c.event_seq.in_(part))).scalars()
    }
    return sum(key[0] not in gone for _, key, _ in _naming(connection, address))


def erase_events(connection: Connection, seqs: Sequence[int]) -> None:
    """Delete at most `STEP` events, with all that came of them. Those that are gone already do no harm."""
    _overwrite_deleted(connection)
    connection.execute(delete(events).where(events.c.seq.in_(seqs)))


def erase_requests(connection: Connection, ids: Sequence[int]) -> None:
    """Delete at most `STEP` requests that are in quarantine."""
    _overwrite_deleted(connection)
    connection.execute(delete(quarantine).where(quarantine.c.id.in_(ids)))


def erase_words(connection: Connection, address: Address) -> None:
    """Put `[erased]` in the place of the address wherever a destination has named it."""
    _overwrite_deleted(connection)
    for table, key, values in list(_naming(connection, address)):
        own = [column == value for column, value in zip(table.primary_key.columns, key, strict=True)]
        connection.execute(update(table).where(*own).values(values))


def clean(driver: SqliteDriver, address: Address) -> Remains:
    """Remove what is left in the files of an embedded store: free pages, the write-ahead log, unused parts of pages.

    Raises the driver's errors. Stopped half-way, the store is as good as before, and a second time goes on.
    """
    connection = driver.connect()
    try:
        _give_back_free_pages(connection)
        emptied = _empty_log(connection)
        if _in_files(driver.path, address):
            with contextlib.ExitStack() as stack:
                served = not _take_lock(driver, stack)
                if served and driver.path.stat().st_size > VACUUM_BYTES:
                    return Remains.PAGES
                raw(connection).execute("VACUUM")
                emptied = _empty_log(connection)
    finally:
        connection.close()
    return Remains.NOTHING if emptied else Remains.LOG


def _look(rows: Sequence[tuple[int, bytes, str]], address: Address, holding: Holding) -> int | None:
    """Look into rows: a number, a body, and what a person knows the row by."""
    for number, body, name in rows:
        mention = address.in_body(body)
        if mention is Mention.SURE:
            holding.sure[number] = name
        elif mention is Mention.UNSURE:
            holding.unsure.append(name)
    return rows[-1][0] if len(rows) == READ_STEP else None


def _naming(connection: Connection, address: Address) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, str]]]:
    """Give each row whose words surely name the address: its table, its key, and the words without it."""
    ring = keys_of(connection)
    for source, identity, columns in _WORDS:
        table = columns[0].table
        keys = list(table.primary_key.columns)
        naming = or_(*(_may_have(column, address, ring) for column in columns))
        asked = select(*keys, *columns, *identity).select_from(source).where(naming)
        for row in connection.execute(asked).all():
            mine, said, name = (
                row[: len(keys)],
                row[len(keys) : len(keys) + len(columns)],
                row[len(keys) + len(columns) :],
            )
            values = {}
            for column, kept in zip(columns, said, strict=True):
                place = f"{table.name}.{column.name}"
                text = ring.open_text(kept, place, *name)
                if text is not None and (left := address.erased(text)) != text:
                    values[column.name] = ring.seal_text(left, place, *name)
            if values:
                yield table, tuple(mine), values


def _may_have(column: Column[str | None], address: Address, ring: KeyRing) -> ColumnElement[bool]:
    """Whether a text names the address, or has to be decrypted to see whether it does."""
    plain = func.lower(column).contains(address.plain, autoescape=True)
    return or_(plain, column.startswith(TEXT_MARK, autoescape=True)) if ring else plain


def _parts(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), STEP):
        yield rows[start : start + STEP]


def _overwrite_deleted(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def _give_back_free_pages(connection: Connection) -> None:
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    for _ in range(0, free, _FREE_STEP):
        # SQLite does a page for each step of this statement; `execute` takes one step of what has no columns.
        raw(connection).executescript(f"PRAGMA incremental_vacuum({_FREE_STEP})")


def _empty_log(connection: Connection) -> bool:
    """Copy the log into the database and cut it to nothing; False if somebody reads from it all the while."""
    tries = (connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] for _ in range(_LOG_TRIES))
    return any(busy == 0 for busy in tries)


def _take_lock(driver: SqliteDriver, stack: contextlib.ExitStack) -> bool:
    """Keep `serve` from starting until the stack ends; False if it runs."""
    try:
        driver.lock()
    except OperatorError:
        return False
    stack.callback(driver.unlock)
    return True


def _in_files(path: Path, address: Address) -> bool:
    return any(_in_file(path.with_name(path.name + ending), address.spellings) for ending in ("", "-wal"))


def _in_file(path: Path, spellings: Sequence[bytes]) -> bool:
    """Tell whether the address stands in a file, in use or not."""
    if not path.exists():
        return False
    longest = max(map(len, spellings))
    with path.open("rb") as file:
        tail = b""
        while chunk := file.read(_CHUNK):
            seen = (tail + chunk).lower()
            if any(each in seen for each in spellings):
                return True
            tail = chunk[-longest:]
    return False
