r"""Regular expressions that can run without end on an unlucky text. Pure.

Python's engine goes back and tries another way when a pattern does not fit in the end. Where a repetition without an
upper bound repeats another, with nothing in between that must be there (`(a+)+`, `(\w+\s?)*`, `(x|y+)*`), the ways to
part a text among the two double with each character. That one shape is looked for and no other: it is by far the most
frequent, and hardly ever meant.
"""

import importlib
import re
import warnings
from typing import Any, Final

_parser: Final[Any] = importlib.import_module("re._parser")  # Python's own reading of patterns has no public name
_REPEATS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT"})  # the possessive one never goes back
_WIDTHLESS: Final = frozenset({"AT", "ASSERT", "ASSERT_NOT"})


def nested_repetition(pattern: str) -> bool:
    """Say whether a repetition in a pattern repeats another one with nothing between; False if it is no pattern."""
    try:
        with warnings.catch_warnings(action="ignore"):  # what Python has to say of it, it says when it is compiled
            return _has_nested(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError):
        return False


def _has_nested(sequence: Any) -> bool:  # noqa: ANN401 - Python's parser has no types
    for item in sequence:
        if _is_endless(item) and _is_loose(item[1][2]):
            return True
        if any(_has_nested(inner) for inner in _inside(item)):
            return True
    return False


def _is_endless(item: Any) -> bool:  # noqa: ANN401 - Python's parser has no types
    return str(item[0]) in _REPEATS and item[1][1] == _parser.MAXREPEAT


def _is_loose(sequence: Any) -> bool:  # noqa: ANN401 - Python's parser has no types
    """Say whether a sequence can be a repetition and nothing else."""
    items = [item for item in sequence if str(item[0]) not in _WIDTHLESS]
    for at, item in enumerate(items):
        others = items[:at] + items[at + 1 :]
        can_be_empty = all(_can_be_empty(other) for other in others)
        repeats = _is_endless(item) or any(_is_loose(inner) for inner in _groups(item))
        if can_be_empty and repeats:
            return True
    return False


def _can_be_empty(item: Any) -> bool:  # noqa: ANN401 - Python's parser has no types
    if str(item[0]) in _REPEATS:
        return bool(item[1][0] == 0)
    groups = _groups(item)
    return any(all(_can_be_empty(each) for each in group) for group in groups)


def _groups(item: Any) -> list[Any]:  # noqa: ANN401 - Python's parser has no types
    """Give the sequences that a group stands for: one, or one for each of its alternatives."""
    kind, value = str(item[0]), item[1]
    if kind == "SUBPATTERN":
        return [value[-1]]
    return list(value[1]) if kind == "BRANCH" else []


def _inside(item: Any) -> list[Any]:  # noqa: ANN401 - Python's parser has no types
    """Give all sequences in an item, whatever it is."""
    if str(item[0]) in {*_REPEATS, "POSSESSIVE_REPEAT"}:
        return [item[1][2]]
    if str(item[0]) in {"ASSERT", "ASSERT_NOT"}:
        return [item[1][1]]
    if str(item[0]) == "ATOMIC_GROUP":
        return [item[1]]
    return _groups(item)
