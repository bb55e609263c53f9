"""A configuration file as a tree of values that know where they stand. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.config.diagnostics import ConfigPath, Position


class Origin(StrEnum):
    """Where a text came from: what a message may show of it, and whether a secret is where it should be."""

    WRITTEN = "written"
    """All of it stands in the file."""
    DEFAULT = "default"
    """The defaults of its variables, which stand in the file too."""
    OUTSIDE = "outside"
    """Some of it came from the environment or from another file: it is not to be shown."""


@dataclass(frozen=True, slots=True, repr=False)
class SourceSpan:
    """The part of a file that a scalar was read from."""

    source: str
    """The whole text of the file."""
    start: int
    end: int


@dataclass(frozen=True, slots=True, repr=False)
class Scalar:
    """A single value."""

    place: Position
    value: str | float | bool | None  # an int is a float to a type checker
    span: SourceSpan
    origin: Origin = Origin.WRITTEN
    variables: tuple[str, ...] = ()
    """The environment variables whose defaults it holds."""


@dataclass(frozen=True, slots=True, repr=False)
class ListNode:
    """A list."""

    place: Position
    items: list["Node"]


@dataclass(frozen=True, slots=True, repr=False)
class MapNode:
    """A map. All keys are text, as written."""

    place: Position
    items: dict[str, "Node"]
    keys: dict[str, Position]
    """Where each key stands."""


Node = Scalar | ListNode | MapNode


def plain(node: Node) -> Any:  # noqa: ANN401 - a JSON value
    """Give the value without its places."""
    if isinstance(node, MapNode):
        return {key: plain(value) for key, value in node.items.items()}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.value


def from_outside(node: Node, path: ConfigPath = ()) -> Iterator[ConfigPath]:
    """Find the texts that variables and secret files have been filled into, each by its path from the node."""
    if isinstance(node, Scalar):
        if node.origin is Origin.OUTSIDE:
            yield path
        return
    items = node.items.items() if isinstance(node, MapNode) else enumerate(node.items)
    for key, each in items:
        yield from from_outside(each, (*path, key))


def find_node(node: Node, path: ConfigPath) -> tuple[ConfigPath, Node]:
    """Follow a path as far as it leads, and give the part followed and what is there.

    Elements that lead nowhere are passed over: a validator may put its own words between the keys.
    """
    followed: ConfigPath = ()
    for key in path:
        child = _child(node, key)
        if child is not None:
            node = child
            followed += (key,)
    return followed, node


def _child(node: Node, key: str | int) -> Node | None:
    if isinstance(node, MapNode):
        return node.items.get(key) if isinstance(key, str) else None
    if isinstance(node, ListNode) and isinstance(key, int) and key < len(node.items):
        return node.items[key]
    return None


def key_position(root: Node, path: ConfigPath) -> Position:
    """Find where the key at a path stands; where it is missing, the last key on the way to it."""
    followed, node = find_node(root, path)
    parent = find_node(root, followed[:-1])[1]
    if followed and isinstance(parent, MapNode):
        return parent.keys[str(followed[-1])]
    return node.place


def position_inside(scalar: Scalar, line: int, column: int | None) -> Position:
    """Find where in the file a position inside a scalar's text is; the scalar's own place where that cannot be told.

    A text that had variables in it is not what stands in the file, so positions in it mean nothing there.

    Args:
        scalar: The text.
        line: Line in it, from 1.
        column: Column in that line, from 1; None means the line's first character that is not a space.
    """
    value = scalar.value
    if not isinstance(value, str) or scalar.origin is not Origin.WRITTEN:
        return scalar.place
    lines = value.split("\n")
    if not 1 <= line <= len(lines):
        return scalar.place
    text = lines[line - 1]
    within = column - 1 if column else len(text) - len(text.lstrip())
    index = _index_in_file(scalar.span, value, sum(len(each) + 1 for each in lines[: line - 1]) + within)
    return scalar.place if index is None else _place(scalar, index)


def _place(scalar: Scalar, index: int) -> Position:
    source = scalar.span.source
    return Position(scalar.place.file, source.count("\n", 0, index) + 1, index - source.rfind("\n", 0, index))


def _index_in_file(span: SourceSpan, value: str, offset: int) -> int | None:
    """Walk a text and what it was read from side by side, up to an offset of the text.

    Plain, quoted, literal and folded scalars differ from their text in white space, quotes and escapes only.
    """
    source = span.source
    index = span.start
    if source[index : index + 1] in {"|", ">"}:
        index = source.find("\n", index) + 1
    elif source[index : index + 1] in {"'", '"'}:
        index += 1
    for character in value[:offset]:
        found = _match(source, index, span.end, character)
        if found is None:
            return None
        index = found + 1
    if offset >= len(value):
        return index
    return _match(source, index, span.end, value[offset])


def _match(source: str, index: int, end: int, character: str) -> int | None:
    """Find the end of what stands for a character, from an index on; None where the two have parted."""
    if character.isspace():
        if source[index] == "\\" and source[index + 1] in "nt ":
            return index + 1
        return index if source[index].isspace() else None
    while index < end and source[index] != character:
        if not source[index].isspace() and source[index] not in "\\'":
            return None
        index += 1
    return index if index < end else None
