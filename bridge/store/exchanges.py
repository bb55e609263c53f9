"""Requests and answers of attempts, which are kept for a short time: writing is part of a settle (`queue`).

They are the fullest copy of a person's data at rest: encrypted with the store, deleted with the event, and searched by
an erasure, because an answer may name somebody else.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Connection, delete, select, tuple_

from bridge.store.encryption import keys_of
from bridge.store.schema import deliveries, events, exchanges
from connectors.base import Exchange

KEPT_SECONDS: Final = 7 * 86_400.0
"""Time that the exchange of an attempt is kept, if its event is kept as long."""
KEPT_DAYS: Final = round(KEPT_SECONDS / 86_400)
STEP = 500
"""Rows that one transaction deletes. It takes a few milliseconds."""
ATTEMPTS_LIMIT: Final = 20
"""Most attempts of one delivery whose exchanges are read: the latest."""

_NAMES: Final = frozenset(Exchange.__dataclass_fields__)


def exchanges_of(connection: Connection, delivery: int) -> dict[int, Sequence[Exchange]]:
    """Read the exchanges of a delivery that are still kept, by the number of the attempt."""
    query = (
        select(exchanges.c.number, exchanges.c.at, exchanges.c.content, events.c.id)
        .select_from(exchanges.join(deliveries).join(events))
        .where(exchanges.c.delivery_id == delivery)
        .order_by(exchanges.c.number.desc())
        .limit(ATTEMPTS_LIMIT)
    )
    keys = keys_of(connection)
    return {
        row.number: read_content(keys.open_text(row.content, "exchanges.content", row.id, row.number, row.at))
        for row in connection.execute(query)
    }


def read_content(content: str) -> Sequence[Exchange]:
    """Return the exchanges in a row; none if an erasure has replaced them."""
    rows = _document(content)
    return [Exchange(**{name: row[name] for name in row.keys() & _NAMES}) for row in rows or ()]


def texts_in(content: str) -> Iterator[str]:
    """Yield each text of a row, as the destination or the connector wrote it."""
    rows = _document(content)
    if rows is None:
        yield content
        return
    for row in rows:
        yield from (value for value in row.values() if isinstance(value, str))


def prune_exchanges(connection: Connection, before: float) -> bool:
    """Delete the next rows of attempts that began before a time; return True if there may be more."""
    expired = select(exchanges.c.delivery_id, exchanges.c.number).where(exchanges.c.at < before)
    rows = connection.execute(expired.order_by(exchanges.c.at).limit(STEP)).all()
    if rows:
        chosen = tuple_(exchanges.c.delivery_id, exchanges.c.number).in_([tuple(row) for row in rows])
        connection.execute(delete(exchanges).where(chosen))
    return len(rows) == STEP


def _document(content: str) -> list[dict[str, Any]] | None:
    try:
        rows: list[dict[str, Any]] = orjson.loads(content)
    except ValueError:
        return None
    return rows
