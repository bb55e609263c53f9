"""Removing a person for good: which rows name the address or number, and what is left of them in the files.

Beside a running `serve`, in short transactions of the caller's. What one of them has erased stays erased after a crash,
and starting again goes on with the rest. Deliveries and attempts go with their event (`ON DELETE CASCADE`).

SQLite overwrites what it deletes (`PRAGMA secure_delete`, which every connection sets), but older versions of a page
stay in the write-ahead log until that is begun anew. What was moved when a page was split can still lie in unused parts
of the file: only VACUUM makes a file without such parts.

What destinations have said is read row by row, and judged here and not by the database, which may hold it encrypted.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    FromClause,
    Table,
    and_,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from bridge.errors import OperatorError
from bridge.event import EVENT_TYPES, decode, fields_of
from bridge.identity import Identity
from bridge.store.driver import raw
from bridge.store.encryption import keys_of
from bridge.store.interface import DeliveryState
from bridge.store.person_match import Mention, Person, PersonWords
from bridge.store.queries import in_state, opened_request
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

ERASED: Final = "[erased]"
"""Takes the place of a text that names the person."""

_WORDS: Final[Sequence[tuple[FromClause, Sequence[Column[Any]], Sequence[Column[Any]]]]] = (
    (deliveries.join(events), (events.c.id, deliveries.c.route), (deliveries.c.detail, deliveries.c.warning)),
    (
        attempts.join(deliveries).join(events),
        (events.c.id, attempts.c.number, attempts.c.started_at),
        (attempts.c.detail,),
    ),
    (lanes, (lanes.c.name,), (lanes.c.pause_detail,)),
)
"""Where words of destinations are kept, with what names their rows: another event's, too, may name the person."""


@dataclass(slots=True, repr=False)
class PersonMatches:
    """The events, or the requests in quarantine, that name the person."""

    sure: dict[int, str] = field(default_factory=dict)
    """By row: what a person knows them by."""
    unsure: list[str] = field(default_factory=list)
    """Those where it only stands as a part of something longer: they are left alone."""
    marks: dict[int, set[bytes]] = field(default_factory=dict)
    """By row: what its tombstones are to hold."""
    spellings: set[bytes] = field(default_factory=set)
    """How they write it."""


@dataclass(frozen=True, slots=True)
class ErasureExtent:
    """What goes with the events."""

    deliveries: int
    pending: dict[str, int]
    """By destination: the deliveries that have not been made yet, and never will be."""


class Remains(StrEnum):
    """What may be left of the person in the files of an embedded store."""

    NOTHING = "nothing"
    LOG = "log"
    """Somebody reads the store for long, so the write-ahead log could not be emptied."""
    PAGES = "pages"
    """Unused parts of a large file, which is not rewritten while it is served."""


def match_events(
    connection: Connection, person: Person, after: int, holding: PersonMatches, words: PersonWords, identity: Identity
) -> int | None:
    """Look into the next events after a `seq`, and note those that name the person; return where to go on."""
    asked = select(events.c.seq, events.c.payload, events.c.id).where(events.c.seq > after).order_by(events.c.seq)
    keys = keys_of(connection)
    rows = [
        (row.seq, keys.open(bytes(row.payload), "events.payload", row.id), row.id.hex(), bytes(row.id))
        for row in connection.execute(asked.limit(READ_STEP))
    ]
    return _look(rows, person, holding, words, identity)


def match_requests(
    connection: Connection, person: Person, after: int, holding: PersonMatches, words: PersonWords, identity: Identity
) -> int | None:
    """Look into the next refused requests after an id, as `match_events` does."""
    asked = select(quarantine).where(quarantine.c.id > after).order_by(quarantine.c.id)
    keys = keys_of(connection)
    rows = [
        (row.id, opened_request(keys, row).body, str(row.id), bytes(row.digest))
        for row in connection.execute(asked.limit(READ_STEP))
    ]
    return _look(rows, person, holding, words, identity)


def extent(connection: Connection, seqs: Sequence[int]) -> ErasureExtent:
    """Count what goes with events."""
    total, pending = 0, dict[str, int]()
    for part in _parts(seqs):
        mine = deliveries.c.event_seq.in_(part)
        total += connection.execute(select(func.count()).select_from(deliveries).where(mine)).scalar_one()
        waiting = and_(mine, in_state(deliveries.c.state, DeliveryState.PENDING.value))
        asked = select(deliveries.c.destination, func.count()).where(waiting).group_by(deliveries.c.destination)
        for destination, count in connection.execute(asked):
            pending[destination] = pending.get(destination, 0) + count
    return ErasureExtent(total, pending)


@dataclass(frozen=True, slots=True)
class TextLocation:
    """Where a destination names the person: a row, and the columns of it."""

    table: Table
    key: tuple[Any, ...]
    columns: tuple[str, ...]


def texts(
    reading: Callable[[], AbstractContextManager[Connection]], words: PersonWords, gone: Sequence[int]
) -> Iterator[list[TextLocation]]:
    """Find the texts of destinations that name the person, a step at a time.

    Without those that go with the events `gone`. Each step has a connection of its own: a long question would keep the
    write-ahead log from being begun anew.
    """
    theirs = set(gone)
    for source, name, columns in _WORDS:
        table = columns[0].table
        keys, after = list(table.primary_key.columns), None
        # Of a row that goes with an event, which one; lanes go with none.
        of = () if table is lanes else (deliveries.c.event_seq,)
        asked = select(*keys, *name, *columns, *of).select_from(source)
        asked = asked.where(or_(*(column.is_not(None) for column in columns))).order_by(*keys).limit(READ_STEP)
        while True:
            page = asked if after is None else asked.where(tuple_(*keys) > tuple_(*after))
            with reading() as connection:
                rows, ring = connection.execute(page).all(), keys_of(connection)
            found = []
            for row in rows:
                key, named = tuple(row[: len(keys)]), row[len(keys) : len(keys) + len(name)]
                opened = {
                    column.name: ring.open_text(text, f"{table.name}.{column.name}", *named)
                    for column, text in zip(columns, row[len(keys) + len(name) :], strict=False)
                }
                naming = tuple(each for each, text in opened.items() if text and words.name(text))
                if naming and (table is lanes or row[-1] not in theirs):
                    found.append(TextLocation(table, key, naming))
            yield found
            if len(rows) < READ_STEP:
                break
            after = tuple(rows[-1][: len(keys)])


def erase_texts(connection: Connection, found: Sequence[TextLocation]) -> None:
    """Put `[erased]` in the place of texts as a whole."""
    for each in found:
        own = [column == value for column, value in zip(each.table.primary_key.columns, each.key, strict=True)]
        connection.execute(update(each.table).where(*own).values(dict.fromkeys(each.columns, ERASED)))


def erase_events(connection: Connection, seqs: Sequence[int]) -> None:
    """Delete at most `STEP` events, with all that came of them. Those that are gone already do no harm."""
    connection.execute(delete(events).where(events.c.seq.in_(seqs)))


def erase_requests(connection: Connection, ids: Sequence[int]) -> None:
    """Delete at most `STEP` requests that are in quarantine."""
    connection.execute(delete(quarantine).where(quarantine.c.id.in_(ids)))


def clean(driver: SqliteDriver, spellings: Sequence[bytes] | None = None) -> Remains:
    """Remove what is left in the files of an embedded store: free pages, the write-ahead log, unused parts of pages.

    Whether the person is in them cannot be seen where the store is encrypted. Then, and without spellings, the file is
    rewritten in any case.

    Raises the driver's errors. Stopped half-way, the store is as good as before, and a second time goes on.
    """
    connection = driver.connect()
    try:
        _give_back_free_pages(connection)
        emptied = _empty_log(connection)
        if spellings is None or driver.keys or _in_files(driver.path, spellings):
            with contextlib.ExitStack() as stack:
                served = not _take_lock(driver, stack)
                if served and driver.path.stat().st_size > VACUUM_BYTES:
                    return Remains.PAGES
                raw(connection).execute("VACUUM")
                emptied = _empty_log(connection)
    finally:
        connection.close()
    return Remains.NOTHING if emptied else Remains.LOG


def _look(
    rows: Sequence[tuple[int, bytes, str, bytes]],
    person: Person,
    holding: PersonMatches,
    words: PersonWords,
    identity: Identity,
) -> int | None:
    """Look into rows: a number, a body, what a person knows the row by, and its mark."""
    for number, body, name, mark in rows:
        mention = person.in_body(body)
        if mention is Mention.SURE:
            holding.sure[number] = name
            holding.marks[number] = {mark, *_event_ids(body, identity)}
            holding.spellings |= person.written(body)
            words.add(body)
        elif mention is Mention.UNSURE:
            holding.unsure.append(name)
    return rows[-1][0] if len(rows) == READ_STEP else None


def _event_ids(body: bytes, identity: Identity) -> Iterator[bytes]:
    """Compute the ids that the events in a body would get: a refused request has none yet, and a spool other ones."""
    try:
        document = decode(body)
    except ValueError:
        return
    for each in document if isinstance(document, list) else [document]:
        fields = fields_of(each)
        if fields is not None and fields["Type"] in EVENT_TYPES:
            yield bytes.fromhex(identity.event_id(fields))


def _parts(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), STEP):
        yield rows[start : start + STEP]


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


def _in_files(path: Path, spellings: Sequence[bytes]) -> bool:
    return any(_in_file(path.with_name(path.name + ending), spellings) for ending in ("", "-wal"))


def _in_file(path: Path, spellings: Sequence[bytes]) -> bool:
    """Tell whether the person's address or number stands in a file, in use or not."""
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
