"""Which rows are encrypted with which key, and how all of them get the first one: `leadbridge db rekey`.

The store lists the keys that its rows may be encrypted with, so that a start without one of them is refused at once.
A process lists its first key before it writes with it; a key leaves the list when no row has it any more.

Encrypting anew goes through the tables in steps. A step first looks for rows, which locks nothing, and then changes a
few of them in a short transaction. Rows that somebody else is changing are left for the next round. What a step has
done stays done after a crash, and starting again goes on with the rest.
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
from bridge.store.encryption import MARK, TEXT_MARK, DamagedError, KeyRing, key_in, keys_of, missing_key, text_beginning
from bridge.store.erasure import ERASED
from bridge.store.schema import (
    attempts,
    configuration,
    deliveries,
    events,
    installation,
    lanes,
    members,
    quarantine,
    secrets,
)
from bridge.store.transaction import insert_missing

ROWS: Final = 200
"""Rows that one step changes, at most."""
BYTES: Final = 2 * 1024 * 1024
"""Bytes of values that one step changes, at most, and one row more: bounds how long others wait for it."""

Rows = list[tuple[Any, ...]]
"""Rows, by their primary keys."""
_LISTED: Final = "encryption_key_"
"""With a key's id, the name of a row of `installation`."""
_HEADER: Final = len(KeyRing((bytes(32),)).beginning)
_TEXT_HEADER: Final = len(text_beginning(bytes(_HEADER)))


@dataclass(frozen=True, slots=True)
class EncryptedTable:
    """The encrypted columns of one table."""

    table: Table
    columns: Sequence[Column[Any]]
    identity: Sequence[Column[Any]]
    """What the values are bound to."""
    source: FromClause
    """The table, joined with those that have the identity."""

    @property
    def key(self) -> list[Column[Any]]:
        """The primary key, in whose order the table is gone through."""
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
    EncryptedTable(lanes, (lanes.c.pause_reason, lanes.c.pause_detail), (lanes.c.name,), lanes),
    EncryptedTable(
        quarantine,
        (quarantine.c.signature, quarantine.c.body),
        (quarantine.c.digest, quarantine.c.chatbot),
        quarantine,
    ),
    EncryptedTable(secrets, (secrets.c.value,), (secrets.c.destination, secrets.c.name), secrets),
    EncryptedTable(configuration, (configuration.c.content,), (configuration.c.name,), configuration),
    EncryptedTable(installation, (installation.c.value,), (installation.c.name,), installation),
)


def listed_keys(connection: Connection) -> list[str]:
    """Return the ids of the keys that rows may be encrypted with."""
    name = installation.c.name
    asked = select(name).where(name.startswith(_LISTED, autoescape=True)).order_by(name)
    return [each.removeprefix(_LISTED) for each in connection.execute(asked).scalars()]


def first_key_listed(connection: Connection) -> bool:
    """Say whether the key that encrypts is on the list, or there is none; raise OperatorError if a key is missing."""
    ids, needed = keys_of(connection).ids, listed_keys(connection)
    for each in needed:
        if each not in ids:
            raise OperatorError(missing_key(each))
    return not ids or ids[0] in needed


def list_first_key(connection: Connection) -> None:
    """List the key that encrypts, inside a transaction, before anything is written with it."""
    for key in keys_of(connection).ids[:1]:
        insert_missing(connection, installation, [{"name": _LISTED + key, "value": b""}])


def unlist_other_keys(connection: Connection) -> None:
    """Take all keys but the first off the list: no row has them any more."""
    ids = keys_of(connection).ids
    for each in listed_keys(connection):
        if each not in ids[:1]:
            connection.execute(delete(installation).where(installation.c.name == _LISTED + each))


def is_served(connection: Connection, now: float) -> bool:
    """Whether a process serves a store that several may serve."""
    return connection.execute(select(members.c.name).where(members.c.until > now).limit(1)).first() is not None


def count_by_key(connection: Connection) -> Counter[str | None]:
    """Count the rows by the id of the key that they need; None stands for rows that are not encrypted."""
    counts = Counter[str | None]()
    for kind in ENCRYPTED_TABLES:
        # The values of a row have one key: they are written together.
        headers = [_header_of(column) for column in kind.columns if _is_bytes(column) is _is_bytes(kind.columns[0])]
        header = (func.coalesce(*headers) if len(headers) > 1 else headers[0]).label("header")
        asked = select(header, func.count()).where(header.is_not(None), _not_listed(kind)).group_by(header)
        for found, count in connection.execute(asked):
            counts[key_in(found)] += count
    return counts


def outdated_rows(connection: Connection, kind: EncryptedTable, after: Sequence[Any] | None = None) -> Rows:
    """Find the next rows of a table, by their primary keys, that the first key has not encrypted."""
    sizes = [func.coalesce(func.length(column), 0) for column in kind.columns]
    asked = select(*kind.key, *sizes).where(_outdated(kind, keys_of(connection)), _not_listed(kind))
    if after is not None:
        cursor = [literal(value, column.type) for value, column in zip(after, kind.key, strict=True)]
        asked = asked.where(tuple_(*kind.key) > tuple_(*cursor))
    found: Rows = []
    left = BYTES
    for row in connection.execute(asked.order_by(*kind.key).limit(ROWS)):
        found.append(tuple(row[: len(kind.key)]))
        left -= sum(row[len(kind.key) :])
        if left < 0:
            break
    return found


class Rotation:
    """Encrypts everything with the first key, step by step.

    `reading` and `writing` run a function with a connection, the second one in a short transaction of its own.
    """

    def __init__(
        self,
        reading: Callable[[Callable[[Connection], Rows]], Rows],
        writing: Callable[[Callable[[Connection], int]], int],
    ) -> None:
        self._reading = reading
        self._writing = writing
        self.damaged: set[tuple[str, tuple[Any, ...]]] = set()
        """Rows that cannot be decrypted, by table and primary key: they stay as they are."""

    def steps(self) -> Iterator[int]:
        """Yield how many rows each step has encrypted; the end means that no row is left but the damaged ones."""
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
        asked = (
            select(*kind.key, *kind.columns, *(column.label(f"of_{at}") for at, column in enumerate(kind.identity)))
            .select_from(kind.source)
            .where(_among(kind, rows), _outdated(kind, keys))
            .order_by(*kind.key)
            # Not waited for: whoever holds a row may wait for another one that this step has.
            .with_for_update(of=kind.table, skip_locked=True)
        )
        changed: list[dict[str, Any]] = []
        for row in connection.execute(asked).all():
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
    """Whether a row has a value that the first key has not encrypted."""
    text = text_beginning(keys.beginning)
    return or_(
        *(
            func.substr(column, 1, _HEADER) != literal(keys.beginning, LargeBinary)
            if _is_bytes(column)
            else func.substr(func.nullif(column, ERASED), 1, len(text)) != text
            for column in kind.columns
        )
    )


def _not_listed(kind: EncryptedTable) -> ColumnElement[bool]:
    """Leave out the list of keys itself."""
    if kind.table is not installation:
        return true()
    return ~installation.c.name.startswith(_LISTED, autoescape=True)


def _header_of(column: Column[Any]) -> ColumnElement[Any]:
    """Return the SQL of a value's beginning where it is encrypted, an empty one where it is not, null for no value.

    What stands in place of an erased text is nobody's, and may be in clear.
    """
    if _is_bytes(column):
        begins = func.substr(column, 1, len(MARK)) == literal(MARK, LargeBinary)
        return case((begins, func.substr(column, 1, _HEADER)), else_=literal(b"", LargeBinary))
    begins = func.substr(column, 1, len(TEXT_MARK)) == TEXT_MARK
    return case((func.nullif(column, ERASED).is_(None), None), (begins, func.substr(column, 1, _TEXT_HEADER)), else_="")


def _is_bytes(column: Column[Any]) -> bool:
    return isinstance(column.type, LargeBinary)
