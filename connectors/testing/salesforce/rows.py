"""The records of an org: lookup by id and by key, and the undoing of failed calls. Has no rules."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.testing.salesforce.objects import SObject
from connectors.testing.salesforce.values import full_id

_BASE = 62
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(slots=True)
class Row:
    """A record in the org."""

    id: str
    object: str
    """Name of its object."""
    fields: dict[str, Any]
    """All fields, null if empty; times and computed fields in the form of answers."""
    writes: int = 1
    """Number of writes: 1, unless updates followed."""
    assignments: int = 0
    """Number of runs of the assignment rule; leads only."""
    deleted: bool = field(default=False)
    """True if it is in the recycle bin."""

    def attributes(self, version: str) -> dict[str, Any]:
        """Return the `attributes` of an answer, with its type and address."""
        return {"type": self.object, "url": f"/services/data/v{version}/sobjects/{self.object}/{self.id}"}


class Rows:
    """Records, with the possibility to undo the changes since a mark.

    Args:
        objects: Objects of the org, by name.
    """

    def __init__(self, objects: Mapping[str, SObject]) -> None:
        self._by_id: dict[str, Row] = {}
        self._keys = {
            name: [each.name for each in made.fields.values() if each.finds_records or each.unique]
            for name, made in objects.items()
        }
        self._index: dict[tuple[str, str, str], dict[str, None]] = {}
        self._undo: list[Callable[[], None]] = []

    def get(self, record_id: str) -> Row | None:
        """Return the record with this id of 15 or 18 characters, also a deleted one."""
        return self._by_id.get(full_id(record_id) or "")

    def of(self, object_name: str) -> Iterable[Row]:
        """Return an object's records that are not deleted, in the order of creation."""
        return (row for row in self._by_id.values() if row.object == object_name and not row.deleted)

    def with_key(self, object_name: str, name: str, value: object) -> list[Row]:
        """Return the records with this value in an identifying field, ignoring case."""
        ids = self._index.get((object_name, name, _folded(value)), {})
        return [self._by_id[each] for each in ids]

    def add(self, made: SObject, fields: dict[str, Any]) -> Row:
        """Create a record; its id is put into its fields."""
        record_id = full_id(f"{made.prefix}5g00000{_counted(len(self._by_id) + 1)}") or ""
        row = Row(record_id, made.name, {**fields, "Id": record_id})
        self._by_id[record_id] = row
        self._enter(row)
        self._undo.append(lambda: self._drop(row))
        return row

    def change(self, row: Row, fields: Mapping[str, Any], *, deleted: bool = False) -> None:
        """Set fields of a record, or delete it."""
        before = (dict(row.fields), row.writes, row.assignments, row.deleted)
        self._undo.append(lambda: self._restore(row, before))
        self._leave(row)
        row.fields.update(fields)
        row.writes += 1
        row.deleted = deleted
        self._enter(row)

    def assign(self, row: Row) -> None:
        """Count a run of the assignment rule on a record that has just been added or changed."""
        row.assignments += 1

    def mark(self) -> int:
        """Return a mark for `undo_to`, valid until `settle`."""
        return len(self._undo)

    def undo_to(self, mark: int) -> None:
        """Undo the writes since the mark."""
        while len(self._undo) > mark:
            self._undo.pop()()

    def settle(self) -> None:
        """Make all writes final."""
        self._undo.clear()

    def _drop(self, row: Row) -> None:
        self._leave(row)
        del self._by_id[row.id]

    def _restore(self, row: Row, before: tuple[dict[str, Any], int, int, bool]) -> None:
        self._leave(row)
        row.fields, row.writes, row.assignments, row.deleted = before
        self._enter(row)

    def _enter(self, row: Row) -> None:
        for place in self._places(row):
            self._index.setdefault(place, {})[row.id] = None

    def _leave(self, row: Row) -> None:
        for place in self._places(row):
            self._index.get(place, {}).pop(row.id, None)

    def _places(self, row: Row) -> list[tuple[str, str, str]]:
        if row.deleted:
            return []
        values = ((name, row.fields.get(name)) for name in self._keys[row.object])
        return [(row.object, name, _folded(value)) for name, value in values if value is not None]


def _folded(value: object) -> str:
    return str(value).casefold()


def _counted(number: int) -> str:
    """Return a number in five digits of base 62, the counter in ids."""
    digits = ""
    for _ in range(5):
        number, digit = divmod(number, _BASE)
        digits = _DIGITS[digit] + digits
    return digits
