"""Tree of a configuration whose nodes know where they were written: path, file, line and column. Pure.

A node keeps its path and position when it is merged, taken from a preset, or filled in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

COMMENT: Final = "`#` begins a comment here, so the text ends before it: put the whole text in quotes"
_COMMENT: Final = re.compile(r"[ \t]+#")


_PLAIN_KEY: Final = re.compile(r"[\w-]+")

ConfigPath = tuple[str | int, ...]
"""Keys and list indexes on the way from the top of the configuration to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in a configuration file. Positions sort in reading order."""

    file: str
    """Path as the user wrote it: a relative path stays relative."""
    line: int
    """From 1."""
    column: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Origin(StrEnum):
    """Origin of a text, which decides if a message may show it and if a secret is stored safely."""

    WRITTEN = "written"
    """The whole text is in the file."""
    DEFAULT = "default"
    """Some of the text is the default of a variable, which is in the file too."""
    OUTSIDE = "outside"
    """Some of the text is from the environment or another file; it must not be shown."""


@dataclass(frozen=True, slots=True, repr=False)
class SourceSpan:
    """Part of a file that a scalar was parsed from."""

    source: str
    """Whole text of the file."""
    start: int
    end: int


@dataclass(frozen=True, slots=True, repr=False)
class Scalar:
    """A single value."""

    place: Position
    value: str | float | bool | None  # an int is a float to a type checker
    span: SourceSpan
    path: ConfigPath = ()
    """Path where it was written, which may be in a preset."""
    origin: Origin = Origin.WRITTEN
    variables: tuple[str, ...] = ()
    """Environment variables whose defaults are in the value."""


@dataclass(frozen=True, slots=True, repr=False)
class ListNode:
    """A list."""

    place: Position
    items: list["Node"]
    path: ConfigPath = ()
    """Path where it was written, which may be in a preset."""


@dataclass(frozen=True, slots=True, repr=False)
class MapNode:
    """A map. All keys are text, as in the file."""

    place: Position
    items: dict[str, "Node"]
    keys: dict[str, Position]
    """Position of each key."""
    path: ConfigPath = ()
    """Path where it was written, which may be in a preset."""
    use: Position | None = None
    """Position of its `use`, if some of its keys come from presets."""
    presets: frozenset[ConfigPath] = frozenset()
    """Paths of the presets that its keys come from, also through others."""


Node = Scalar | ListNode | MapNode


def plain(node: Node) -> Any:
    """Return the value without positions."""
    if isinstance(node, MapNode):
        return {key: plain(value) for key, value in node.items.items()}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.value


def from_outside(node: Node, path: ConfigPath = ()) -> Iterator[ConfigPath]:
    """Return the paths, from the node on, of texts with values from variables or secret files."""
    if isinstance(node, Scalar):
        if node.origin is Origin.OUTSIDE:
            yield path
        return
    items = node.items.items() if isinstance(node, MapNode) else enumerate(node.items)
    for key, each in items:
        yield from from_outside(each, (*path, key))


def find_node(node: Node, path: ConfigPath) -> tuple[ConfigPath, Node]:
    """Follow a path as far as possible; return the part that was followed and the node there.

    Unknown elements are skipped, because validators insert words of their own between the keys.
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


def written_path(root: Node | None, path: ConfigPath) -> ConfigPath:
    """Return the path where the value at a path was written; it differs for a value that a preset brought."""
    node = root
    for at, key in enumerate(path):
        child = _child(node, key) if node else None
        if node is None or child is None:
            return (*node.path, *path[at:]) if node else path
        node = child
    return node.path if node else path


def use_position(root: Node, path: ConfigPath) -> Position:
    """Return the position of the `use` that brought the value at a path."""
    node, found = root, root.place
    for length, key in enumerate(path):
        if isinstance(node, MapNode) and node.use and node.path == path[:length]:
            found = node.use
        child = _child(node, key)
        if child is None:
            break
        node = child
    return found


def moved(node: Node, path: ConfigPath) -> Node:
    """Return a copy of a node that is written at another path too, by an alias."""
    if isinstance(node, MapNode):
        return replace(node, path=path, items={key: moved(each, (*path, key)) for key, each in node.items.items()})
    if isinstance(node, ListNode):
        return replace(node, path=path, items=[moved(each, (*path, at)) for at, each in enumerate(node.items)])
    return replace(node, path=path)


def key_position(root: Node, path: ConfigPath) -> Position:
    """Return the position of the key at a path, or of the last key that exists on the path."""
    followed, node = find_node(root, path)
    parent = find_node(root, followed[:-1])[1]
    if followed and isinstance(parent, MapNode):
        return parent.keys[str(followed[-1])]
    return node.place


def position_inside(scalar: Scalar, line: int, column: int | None) -> Position:
    """Return the position in the file of a line and column inside a scalar's text.

    Returns the scalar's own position if the text contains values of variables or cannot be matched with the file.

    Args:
        scalar: The text.
        line: Line in the text, from 1.
        column: Column in that line, from 1; None means the first character that is not a space.
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


def comment_after(scalar: Scalar) -> Position | None:
    """Return the position of the `#` that ends a text without quotes; None if no comment follows on its line."""
    found = _COMMENT.match(scalar.span.source, scalar.span.end)
    quoted = scalar.span.source[scalar.span.start : scalar.span.start + 1] in {"'", '"', "|", ">"}
    return _place(scalar, found.end() - 1) if found and not quoted else None


def _place(scalar: Scalar, index: int) -> Position:
    source = scalar.span.source
    return Position(scalar.place.file, source.count("\n", 0, index) + 1, index - source.rfind("\n", 0, index))


def _index_in_file(span: SourceSpan, value: str, offset: int) -> int | None:
    """Return the index in the file for an offset in a text; None if text and file differ.

    Plain, quoted, literal and folded scalars differ from their source only in white space, quotes and escapes.
    """
    source = span.source
    index = span.start
    if source[index : index + 1] in {"|", ">"}:
        index = source.find("\n", index) + 1
    elif source[index : index + 1] in {"'", '"'}:
        index += 1
    for character in value[:offset]:
        end = _match(source, index, span.end, character)
        if end is None:
            return None
        index = end + 1
    if offset >= len(value):
        return index
    return _match(source, index, span.end, value[offset])


def _match(source: str, index: int, end: int, character: str) -> int | None:
    """Return the index of a character in the file, from an index on; None if text and file differ."""
    if character.isspace():
        if source[index] == "\\" and source[index + 1] in "nt ":
            return index + 1
        return index if source[index].isspace() else None
    while index < end and source[index] != character:
        if not source[index].isspace() and source[index] not in "\\'":
            return None
        index += 1
    return index if index < end else None


def dotted_path(path: ConfigPath) -> str:
    """Return a path as text, such as `chatbots.acme.routes[0].to`; the top is `(file)`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            name = key if _PLAIN_KEY.fullmatch(key) else f'"{key}"'
            text += f".{name}" if text else name
    return text or "(file)"
