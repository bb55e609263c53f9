"""Rotation of the encryption keys: the list of keys in use, and the re-encryption of all rows (`leadbridge db rekey`).

The store lists the keys that its rows may be encrypted with, so a start without one of them is refused at once. A
process lists its first key before it writes with it. A key leaves the list when no row needs it.

Re-encryption goes through the tables in steps. A step first finds rows, which locks nothing, and then changes a few of
them in a short transaction. Rows that another transaction is changing are left for the next round. After a crash, a new
run continues with the rows that are left.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    LargeBinary,
    Table,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)

from bridge.errors import OperatorError
from bridge.store.encryption import (
    HEADER_BYTES,
    MARK,
    TEXT_MARK,
    DamagedError,
    KeyRing,
    key_in,
    keys_of,
    missing_key,
    text_beginning,
)
from bridge.store.erasure import ERASED
from bridge.store.schema import (
    attempts,
    config_texts,
    deliveries,
    events,
    exchanges,
    installation,
    lanes,
    members,
    quarantine,
    secrets,
)
from bridge.store.transaction import insert_missing

ROWS: Final = 200
"""Most rows that one step changes."""
BYTES: Final = 2 * 1024 * 1024
"""Bytes of values after which a step takes no further row. Bounds how long other transactions wait for a step."""

Rows = list[tuple[Any, ...]]
"""Primary keys of rows."""
_LISTED: Final = "encryption_key_"
"""Prefix of the name that a key has in `installation`; the key's id follows."""
_TEXT_HEADER: Final = len(text_beginning(bytes(HEADER_BYTES)))


@dataclass(frozen=True, slots=True)
class EncryptedTable:
    """The encrypted columns of one table."""

    table: Table
    columns: Sequence[Column[Any]]
    identity: Sequence[Column[Any]]
    """Columns that the values are bound to."""
    source: FromClause
    """The table, joined with the tables that hold the identity."""

    @property
    def key(self) -> list[Column[Any]]:
        """The primary key. Steps go through the table in its order."""
        return list(self.table.primary_key.columns)


_OF_EVENT: Final = deliveries.join(events)
ENCRYPTED_TABLES: Final = (
    EncryptedTable(events, (events.c.payload,), (events.c.id,), events),
    EncryptedTable(
        deliveries,
        (
            deliveries.c.detail,
            deliveries.c.warning,
            deliveries.c.remote_id,
            deliveries.c.remote_url,
            deliveries.c.memo,
        ),
        (events.c.id, deliveries.c.route),
        _OF_EVENT,
    ),
    EncryptedTable(
        attempts,
        (attempts.c.detail,),
        (events.c.id, attempts.c.number, attempts.c.started_at),
        attempts.join(deliveries).join(events),
    ),
    EncryptedTable(
        exchanges,
        (exchanges.c.content,),
        (events.c.id, exchanges.c.number, exchanges.c.at),
        exchanges.join(deliveries).join(events),
    ),
    EncryptedTable(lanes, (lanes.c.pause_reason, lanes.c.pause_detail), (lanes.c.name,), lanes),
    EncryptedTable(
        quarantine,
        (quarantine.c.signature, quarantine.c.body),
        (quarantine.c.digest, quarantine.c.chatbot),
        quarantine,
    ),
    EncryptedTable(secrets, (secrets.c.value,), (secrets.c.destination, secrets.c.name), secrets),
    EncryptedTable(config_texts, (config_texts.c.text,), (config_texts.c.file,), config_texts),
    EncryptedTable(installation, (installation.c.value,), (installation.c.name,), installation),
)


def listed_keys(connection: Connection) -> list[str]:
    """Return the ids of the keys that rows may be encrypted with."""
    name = installation.c.name
    query = select(name).where(name.startswith(_LISTED, autoescape=True)).order_by(name)
    return [each.removeprefix(_LISTED) for each in connection.execute(query).scalars()]


def first_key_listed(connection: Connection) -> bool:
    """Return True if the key that encrypts is listed, or there is none. Raises OperatorError if a key is missing."""
    ids, needed = keys_of(connection).ids, listed_keys(connection)
    for each in needed:
        if each not in ids:
            raise OperatorError(missing_key(each))
    return not ids or ids[0] in needed


def list_first_key(connection: Connection) -> None:
    """Add the key that encrypts to the list. Call it in a transaction, before anything is written with that key."""
    for key in keys_of(connection).ids[:1]:
        insert_missing(connection, installation, [{"name": _LISTED + key, "value": b""}])


def unlist_other_keys(connection: Connection) -> None:
    """Remove all keys but the first from the list. Call it when no row needs them."""
    ids = keys_of(connection).ids
    for each in listed_keys(connection):
        if each not in ids[:1]:
            connection.execute(delete(installation).where(installation.c.name == _LISTED + each))


def is_served(connection: Connection, now: float) -> bool:
    """Return True if a process serves a store that several processes may serve."""
    return connection.execute(select(members.c.name).where(members.c.until > now).limit(1)).first() is not None


def count_by_key(connection: Connection) -> Counter[str | None]:
    """Count the rows by the id of the key that they need. None stands for rows that are not encrypted."""
    counts = Counter[str | None]()
    for kind in ENCRYPTED_TABLES:
        # All values of a row have the same key, because they are written together.
        headers = [_header_of(column) for column in kind.columns if _is_bytes(column) is _is_bytes(kind.columns[0])]
        header = (func.coalesce(*headers) if len(headers) > 1 else headers[0]).label("header")
        query = select(header, func.count()).where(header.is_not(None), _not_listed(kind)).group_by(header)
        for beginning, count in connection.execute(query):
            counts[key_in(beginning)] += count
    return counts


def outdated_rows(connection: Connection, kind: EncryptedTable, after: Sequence[Any] | None = None) -> Rows:
    """Read the primary keys of the next rows of a table that the first key has not encrypted."""
    sizes = [func.coalesce(func.length(column), 0) for column in kind.columns]
    query = select(*kind.key, *sizes).where(_outdated(kind, keys_of(connection)), _not_listed(kind))
    if after is not None:
        cursor = [literal(value, column.type) for value, column in zip(after, kind.key, strict=True)]
        query = query.where(tuple_(*kind.key) > tuple_(*cursor))
    rows: Rows = []
    left = BYTES
    for row in connection.execute(query.order_by(*kind.key).limit(ROWS)):
        rows.append(tuple(row[: len(kind.key)]))
        left -= sum(row[len(kind.key) :])
        if left < 0:
            break
    return rows


class Rotation:
    """Re-encryption of the store with the first key, step by step.

    `reading` runs a function with a connection. `writing` does so in a short transaction.
    """

    def __init__(
        self,
        reading: Callable[[Callable[[Connection], Rows]], Rows],
        writing: Callable[[Callable[[Connection], int]], int],
    ) -> None:
        self._reading = reading
        self._writing = writing
        self.damaged: set[tuple[str, tuple[Any, ...]]] = set()
        """Table and primary key of each row that cannot be decrypted. These rows stay as they are."""

    def steps(self) -> Iterator[int]:
        """Yield the number of rows that each step encrypted. At the end only damaged rows are left."""
        left = True
        while left:
            left = False
            for kind in ENCRYPTED_TABLES:
                after: Sequence[Any] | None = None
                while rows := self._reading(partial(outdated_rows, kind=kind, after=after)):
                    after = rows[-1]
                    good = [row for row in rows if (kind.table.name, row) not in self.damaged]
                    if good:
                        left = True
                        yield self._writing(partial(self._encrypt, kind=kind, rows=good))

    def _encrypt(self, connection: Connection, kind: EncryptedTable, rows: Rows) -> int:
        keys, width = keys_of(connection), len(kind.key)
        query = (
            select(*kind.key, *kind.columns, *(column.label(f"of_{at}") for at, column in enumerate(kind.identity)))
            .select_from(kind.source)
            .where(_among(kind, rows), _outdated(kind, keys))
            .order_by(*kind.key)
            # A locked row is skipped: its transaction may be waiting for a row that this step has locked.
            .with_for_update(of=kind.table, skip_locked=True)
        )
        changed: list[dict[str, Any]] = []
        for row in connection.execute(query).all():
            key, values, name = row[:width], row[width : -len(kind.identity)], row[-len(kind.identity) :]
            try:
                new = _sealed(keys, kind, values, name)
            except DamagedError:
                self.damaged.add((kind.table.name, tuple(key)))
                continue
            changed.append({f"key_{at}": part for at, part in enumerate(key)} | new)
        if changed:
            mine = [column == bindparam(f"key_{at}") for at, column in enumerate(kind.key)]
            new_values: dict[str, Any] = {column.name: bindparam(f"new_{column.name}") for column in kind.columns}
            connection.execute(update(kind.table).where(*mine).values(new_values), changed)
        return len(changed)


def _among(kind: EncryptedTable, rows: Rows) -> ColumnElement[bool]:
    if len(kind.key) == 1:
        return kind.key[0].in_([row[0] for row in rows])
    return tuple_(*kind.key).in_(rows)


def _sealed(keys: KeyRing, kind: EncryptedTable, values: Sequence[Any], identity: Sequence[Any]) -> dict[str, Any]:
    sealed: dict[str, Any] = {}
    for column, value in zip(kind.columns, values, strict=True):
        name = f"{kind.table.name}.{column.name}"
        if value is None:
            new = None
        elif _is_bytes(column):
            new = keys.seal(keys.open(bytes(value), name, *identity), name, *identity)
        else:
            new = keys.seal_text(keys.open_text(value, name, *identity), name, *identity)
        sealed[f"new_{column.name}"] = new
    return sealed


def _outdated(kind: EncryptedTable, keys: KeyRing) -> ColumnElement[bool]:
    """Return the condition that a row has a value which the first key has not encrypted."""
    text = text_beginning(keys.beginning)
    return or_(
        *(
            func.substr(column, 1, HEADER_BYTES) != literal(keys.beginning, LargeBinary)
            if _is_bytes(column)
            else func.substr(func.nullif(column, ERASED), 1, len(text)) != text
            for column in kind.columns
        )
    )


def _not_listed(kind: EncryptedTable) -> ColumnElement[bool]:
    """Return the condition that a row is not an entry of the list of keys."""
    if kind.table is not installation:
        return true()
    return ~installation.c.name.startswith(_LISTED, autoescape=True)


def _header_of(column: Column[Any]) -> ColumnElement[Any]:
    """Return the SQL for a value's header: empty if the value is plain, null if there is no value.

    The mark of an erased text counts as no value, since it holds no personal data and may be plain.
    """
    if _is_bytes(column):
        begins = func.substr(column, 1, len(MARK)) == literal(MARK, LargeBinary)
        return case((begins, func.substr(column, 1, HEADER_BYTES)), else_=literal(b"", LargeBinary))
    begins = func.substr(column, 1, len(TEXT_MARK)) == TEXT_MARK
    return case((func.nullif(column, ERASED).is_(None), None), (begins, func.substr(column, 1, _TEXT_HEADER)), else_="")


def _is_bytes(column: Column[Any]) -> bool:
    return isinstance(column.type, LargeBinary)
