"""Leads as lines of a CSV file (RFC 4180), page by page. Reads only.

A cell is a text that a stranger wrote, and a spreadsheet computes a cell that begins like a formula. Such a cell gets
an apostrophe in front, which spreadsheets show as the mark of a text. Spreadsheets skip blanks before a formula, read
full-width signs as signs, and may split a cell at semicolons, tabs or lines; each of these beginnings gets one too.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from bridge.event import timestamp
from bridge.operations.leads import Criteria, found_events, person_of
from bridge.operations.masking import Audience
from bridge.store import queries
from bridge.store.interface import DeliveryState
from bridge.store.queries import DeliveryRow, EventRow

EXPORT_LIMIT: Final = 50_000
"""Most leads of one file, the newest."""
CELL_LIMIT: Final = 1_000
"""Most characters of a cell."""
COLUMNS: Final = (
    "id",
    "received_at",
    "chatbot",
    "type",
    "state",
    "first_name",
    "last_name",
    "email",
    "phone",
    "delivered",
    "waiting",
    "not_delivered",
    "discarded",
)
"""Names of the columns. The last four hold the destinations where the lead is in that state."""
CUT: Final = f"The file ends here, after {EXPORT_LIMIT} leads. Choose fewer days to get the older ones."
"""First cell of the last line if there are more leads."""
_STATES: Final = (DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.DEAD, DeliveryState.DISCARDED)
_SIGNS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_BEGINNING: Final = re.compile(rf'[\t\r\n]|[\s\0\u200b\ufeff"]*[{_SIGNS}]')
"""The beginning of a cell that may be a formula."""
_PART: Final = re.compile(rf'(?<=[;\t\r\n])(?=(?:[^\S\t\r\n]|[\0\u200b\ufeff"])*[{_SIGNS}])')
"""A place in a cell where a formula begins if the spreadsheet splits the cell there."""


@dataclass(frozen=True, slots=True, repr=False)
class ExportPage:
    """Lines of some leads."""

    lines: bytes
    seqs: Sequence[int]
    """Numbers of their events."""
    next: int | None
    """Cursor of the next page; None on the last."""


def export_page(
    connection: Connection,
    criteria: Criteria,
    audience: Audience,
    identity_key: bytes | None,
    known: AbstractSet[int] = frozenset(),
) -> ExportPage:
    """Read a page of leads as `list_leads` does, without those that are `known` from pages before."""
    found, following = found_events(connection, criteria, identity_key)
    rows = [row for row in found if row.seq not in known]
    seqs = [row.seq for row in rows]
    payloads, deliveries = queries.payloads(connection, seqs), queries.deliveries_of_events(connection, seqs)
    lines = (_cells(row, payloads[row.seq], deliveries.get(row.seq, ()), audience) for row in rows)
    return ExportPage(csv_lines(lines), seqs, following)


def csv_lines(lines: Iterable[Sequence[str]]) -> bytes:
    """Write lines of cells."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_safe(cell) for cell in line] for line in lines)
    return text.getvalue().encode("utf-8", "replace")


def _cells(event: EventRow, payload: bytes, deliveries: Sequence[DeliveryRow], audience: Audience) -> Sequence[str]:
    places = ["; ".join(each.destination for each in deliveries if each.state is state) for state in _STATES]
    received = timestamp(event.received_at)
    facts = (event.id, received, event.chatbot or "", event.type or "", event.state.value)
    return (*facts, *person_of(payload, audience), *places)


def _safe(cell: str) -> str:
    text = cell[:CELL_LIMIT]
    blank = len(text) - len(text.lstrip())
    safe = text[:blank] + _PART.sub("'", text[blank:])
    return f"'{safe}" if _BEGINNING.match(text) else safe
