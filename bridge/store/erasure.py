"""Erasure of a person: finding the rows that name the address or number, deleting them, and cleaning the files.

It works beside a running `serve`, in short transactions of the caller. After a crash, a new run continues with the rows
that are left. Deliveries and attempts are deleted with their event (`ON DELETE CASCADE`).

SQLite overwrites deleted content (every connection sets `PRAGMA secure_delete`), but older versions of a page stay in
the write-ahead log until the log restarts. Content that was moved when a page was split can remain in unused parts of
the file. Only VACUUM writes a file without such parts.

Texts of destinations are decrypted and compared here, row by row, because the database may hold them encrypted.
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
from bridge.store.exchanges import texts_in
from bridge.store.filter import in_state
from bridge.store.interface import DeliveryState
from bridge.store.person_match import Mention, Person, PersonWords
from bridge.store.quarantine import opened_request
from bridge.store.schema import attempts, deliveries, events, exchanges, lanes, quarantine
from bridge.store.sqlite import SqliteDriver

READ_STEP = 500
"""Bodies that one query reads."""
STEP = 100
"""Events or requests that one transaction deletes. It takes a few milliseconds."""
VACUUM_BYTES = 256 * 1024 * 1024
"""Largest file that is rewritten beside a running `serve`. Commits wait a second or two for the rewrite."""

_FREE_STEP: Final = 256
"""Free pages that one transaction returns to the file system."""
_LOG_TRIES: Final = 5
"""Number of attempts to empty the log. Each attempt waits for transactions that read from it."""
_CHUNK: Final = 1024 * 1024

ERASED: Final = "[erased]"
"""Replacement for a text that names the person."""

_WORDS: Final[Sequence[tuple[FromClause, Sequence[Column[Any]], Sequence[Column[Any]]]]] = (
    (deliveries.join(events), (events.c.id, deliveries.c.route), (deliveries.c.detail, deliveries.c.warning)),
    (
        attempts.join(deliveries).join(events),
        (events.c.id, attempts.c.number, attempts.c.started_at),
        (attempts.c.detail,),
    ),
    (
        exchanges.join(deliveries).join(events),
        (events.c.id, exchanges.c.number, exchanges.c.at),
        (exchanges.c.content,),
    ),
    (lanes, (lanes.c.name,), (lanes.c.pause_detail,)),
)
"""Columns that hold texts of destinations, with the identity of their rows. The text may belong to another event."""


@dataclass(slots=True, repr=False)
class PersonMatches:
    """The events, or the requests in quarantine, that name the person."""

    sure: dict[int, str] = field(default_factory=dict)
    """Id of each row, as an operator knows it."""
    unsure: list[str] = field(default_factory=list)
    """Ids of the rows that hold the address or number only as a part of something longer. They are kept."""
    marks: dict[int, set[bytes]] = field(default_factory=dict)
    """Tombstones that each row leaves."""
    spellings: set[bytes] = field(default_factory=set)
    """Forms in which the rows write the number."""


@dataclass(frozen=True, slots=True)
class ErasureExtent:
    """The deliveries that are deleted with the events."""

    deliveries: int
    pending: dict[str, int]
    """By destination: the deliveries that have not been made yet, and never will be."""


class Remains(StrEnum):
    """Content of the person that may be left in the files of an embedded store."""

    NOTHING = "nothing"
    LOG = "log"
    """The write-ahead log could not be emptied, because a long transaction reads the store."""
    PAGES = "pages"
    """Unused parts of a file that is too large to be rewritten while it is served."""


def match_events(
    connection: Connection, person: Person, after: int, holding: PersonMatches, words: PersonWords, identity: Identity
) -> int | None:
    """Search the next events after a `seq` for the person, and note the matches.

    Returns the `seq` to continue from, or None at the end.
    """
    query = select(events.c.seq, events.c.payload, events.c.id).where(events.c.seq > after).order_by(events.c.seq)
    keys = keys_of(connection)
    rows = [
        (row.seq, keys.open(bytes(row.payload), "events.payload", row.id), row.id.hex(), bytes(row.id))
        for row in connection.execute(query.limit(READ_STEP))
    ]
    return _look(rows, person, holding, words, identity)


def match_requests(
    connection: Connection, person: Person, after: int, holding: PersonMatches, words: PersonWords, identity: Identity
) -> int | None:
    """Look into the next refused requests after an id, as `match_events` does."""
    query = select(quarantine).where(quarantine.c.id > after).order_by(quarantine.c.id)
    keys = keys_of(connection)
    rows = [
        (row.id, body := opened_request(keys, row).body, str(row.id), identity.digest(body))
        for row in connection.execute(query.limit(READ_STEP))
    ]
    return _look(rows, person, holding, words, identity)


def erasure_extent(connection: Connection, seqs: Sequence[int]) -> ErasureExtent:
    """Count the deliveries that are deleted with the events."""
    total, pending = 0, dict[str, int]()
    for part in _parts(seqs):
        mine = deliveries.c.event_seq.in_(part)
        total += connection.execute(select(func.count()).select_from(deliveries).where(mine)).scalar_one()
        waiting = and_(mine, in_state(deliveries.c.state, DeliveryState.PENDING.value))
        query = select(deliveries.c.destination, func.count()).where(waiting).group_by(deliveries.c.destination)
        for destination, count in connection.execute(query):
            pending[destination] = pending.get(destination, 0) + count
    return ErasureExtent(total, pending)


@dataclass(frozen=True, slots=True)
class TextLocation:
    """A row in which a destination names the person, and the columns that do."""

    table: Table
    key: tuple[Any, ...]
    columns: tuple[str, ...]


def texts(
    reading: Callable[[], AbstractContextManager[Connection]], words: PersonWords, gone: Sequence[int]
) -> Iterator[list[TextLocation]]:
    """Yield the texts of destinations that name the person, one list for each step.

    Leaves out the texts that are deleted with the events `gone`. Each step opens a connection, because a long query
    would keep the write-ahead log from restarting.
    """
    deleted = set(gone)
    for source, name, columns in _WORDS:
        table = columns[0].table
        keys, after = list(table.primary_key.columns), None
        # The event of the row. A lane has none.
        of = () if table is lanes else (deliveries.c.event_seq,)
        query = select(*keys, *name, *columns, *of).select_from(source)
        query = query.where(or_(*(column.is_not(None) for column in columns))).order_by(*keys).limit(READ_STEP)
        while True:
            page = query if after is None else query.where(tuple_(*keys) > tuple_(*after))
            with reading() as connection:
                rows, ring = connection.execute(page).all(), keys_of(connection)
            found = []
            for row in rows:
                key, named = tuple(row[: len(keys)]), row[len(keys) : len(keys) + len(name)]
                opened = {
                    column.name: ring.open_text(text, f"{table.name}.{column.name}", *named)
                    for column, text in zip(columns, row[len(keys) + len(name) :], strict=False)
                }
                readable = texts_in if table is exchanges else _whole
                naming = tuple(
                    each for each, text in opened.items() if text and any(map(words.in_text, readable(text)))
                )
                if naming and (table is lanes or row[-1] not in deleted):
                    found.append(TextLocation(table, key, naming))
            yield found
            if len(rows) < READ_STEP:
                break
            after = tuple(rows[-1][: len(keys)])


def erase_texts(connection: Connection, found: Sequence[TextLocation]) -> None:
    """Replace whole texts by `[erased]`."""
    for each in found:
        own = [column == value for column, value in zip(each.table.primary_key.columns, each.key, strict=True)]
        connection.execute(update(each.table).where(*own).values(dict.fromkeys(each.columns, ERASED)))


def erase_events(connection: Connection, seqs: Sequence[int]) -> None:
    """Delete at most `STEP` events with their deliveries and attempts. Events that are gone are ignored."""
    connection.execute(delete(events).where(events.c.seq.in_(seqs)))


def erase_requests(connection: Connection, ids: Sequence[int]) -> None:
    """Delete at most `STEP` requests from the quarantine."""
    connection.execute(delete(quarantine).where(quarantine.c.id.in_(ids)))


def scrub_files(driver: SqliteDriver, spellings: Sequence[bytes] | None = None) -> Remains:
    """Remove old content from the files of an embedded store: free pages, the write-ahead log, unused parts of pages.

    The file is rewritten if it still holds one of the spellings. If the store is encrypted, that cannot be seen: then,
    and without spellings, the file is always rewritten.

    Raises the driver's errors. If it is interrupted, the store stays intact, and a second call continues.
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
    """Search rows for the person. A row is its number, its body, the id that an operator knows, and its tombstone."""
    for number, body, name, mark in rows:
        mention = person.in_body(body)
        if mention is Mention.SURE:
            holding.sure[number] = name
            holding.marks[number] = {mark, *_event_ids(body, identity)}
            holding.spellings |= person.spellings_in(body)
            words.add(body)
        elif mention is Mention.UNSURE:
            holding.unsure.append(name)
    return rows[-1][0] if len(rows) == READ_STEP else None


def _event_ids(body: bytes, identity: Identity) -> Iterator[bytes]:
    """Compute the ids of the events in a body. A refused request has none yet, and a spool may have others."""
    try:
        document = decode(body)
    except ValueError:
        return
    for each in document if isinstance(document, list) else [document]:
        fields = fields_of(each)
        if fields is not None and fields["Type"] in EVENT_TYPES:
            yield bytes.fromhex(identity.event_id(fields))


def _whole(text: str) -> Sequence[str]:
    return (text,)


def _parts(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), STEP):
        yield rows[start : start + STEP]


def _give_back_free_pages(connection: Connection) -> None:
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    for _ in range(0, free, _FREE_STEP):
        # SQLite frees one page for each step of this statement, and `execute` runs only one step of a statement
        # without columns.
        raw(connection).executescript(f"PRAGMA incremental_vacuum({_FREE_STEP})")


def _empty_log(connection: Connection) -> bool:
    """Copy the log into the database and truncate it. Returns False if other transactions keep reading from it."""
    tries = (connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] for _ in range(_LOG_TRIES))
    return any(busy == 0 for busy in tries)


def _take_lock(driver: SqliteDriver, stack: contextlib.ExitStack) -> bool:
    """Keep `serve` from starting until the stack ends. Returns False if it runs already."""
    try:
        driver.lock()
    except OperatorError:
        return False
    stack.callback(driver.unlock)
    return True


def _in_files(path: Path, spellings: Sequence[bytes]) -> bool:
    return any(_in_file(path.with_name(path.name + ending), spellings) for ending in ("", "-wal"))


def _in_file(path: Path, spellings: Sequence[bytes]) -> bool:
    """Return True if a file holds the person's address or number, in used or unused parts."""
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
