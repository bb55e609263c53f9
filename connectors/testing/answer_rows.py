"""Rows in the answer to a batch: where they stand, and answers in which one of them is damaged. Pure."""

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

Path = tuple[str | int, ...]
"""Keys and indexes that lead to a part of a document."""

_STATUS = re.compile(r"4\d\d", re.ASCII)
_STATUS_NAMES = re.compile(r"status|code", re.IGNORECASE)
_MESSAGE_NAMES = frozenset({"description", "detail", "error", "error_description", "message", "msg", "reason", "title"})


def parts_of(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Return a document and everything in it, each with its path."""
    yield path, document
    entries: Sequence[tuple[str | int, Any]] = ()
    if isinstance(document, dict):
        entries = list(document.items())
    elif isinstance(document, list):
        entries = list(enumerate(document))
    for name, each in entries:
        yield from parts_of(each, (*path, name))


def part_at(document: Any, path: Path) -> Any:
    """Return the part at a path."""
    for step in path:
        document = document[step]
    return document


def lists_of(document: Any, length: int) -> list[Path]:
    """Return the paths of the lists of objects with as many elements as the batch has records."""
    return [
        path
        for path, part in parts_of(document)
        if isinstance(part, list) and len(part) == length and all(isinstance(each, dict) for each in part)
    ]


def owners_of(rows: Sequence[Any], ids: Sequence[str | None]) -> list[int] | None:
    """Return for each row the number of the record whose id stands in it; None unless all of them are clear."""
    found = []
    for row in rows:
        values = {str(part) for _, part in parts_of(row) if isinstance(part, str | int) and not isinstance(part, bool)}
        found.append([number for number, each in enumerate(ids) if each is not None and each in values])
    clear = all(len(each) == 1 for each in found) and len({each[0] for each in found}) == len(rows)
    return [each[0] for each in found] if clear else None


def id_paths(row: Any, remote_id: str) -> list[Path]:
    """Return the paths inside a row of the values that are the id of its record."""
    return [path for path, part in parts_of(row) if path and isinstance(part, str | int) and str(part) == remote_id]


def without(row: Any, paths: Sequence[Path]) -> Any:
    """Return a row without the parts at some paths."""
    left = deepcopy(row)
    for path in reversed(paths):
        del part_at(left, path[:-1])[path[-1]]
    return left


def with_status(document: Any, status: int) -> Any:
    """Return an answer with another status in place of each 4xx that a row states."""
    changed = deepcopy(document)
    for path, part in parts_of(document):
        in_a_row = any(isinstance(step, int) for step in path)
        named = bool(path) and isinstance(path[-1], str) and _STATUS_NAMES.search(path[-1])
        if in_a_row and named and isinstance(part, str | int) and _STATUS.fullmatch(str(part)):
            part_at(changed, path[:-1])[path[-1]] = type(part)(status)
    return changed


def with_words(document: Any, words: str) -> Any:
    """Return an answer in which every message for people has more words."""
    changed = deepcopy(document)
    for path, part in parts_of(document):
        if path and path[-1] in _MESSAGE_NAMES and isinstance(part, str):
            part_at(changed, path[:-1])[path[-1]] = f"{part} {words}"
    return changed
