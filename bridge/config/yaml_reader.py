"""Parsing of YAML into a tree with positions. Pure.

It is built on PyYAML's events instead of its loader for three reasons. A loader drops positions. A budget refuses
hostile files while they are parsed, before they use much memory. And of YAML 1.1's special words only `true`, `false`,
`null` and numbers in JSON's notation are kept: `NO` (Norway), `12:30` (a time), `0049123` (a phone number) and long
runs of digits (ids) stay text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import yaml

from bridge.config.diagnostics import ConfigProblem, Findings
from bridge.config.yaml_tree import (
    COMMENT,
    ConfigPath,
    ListNode,
    MapNode,
    Node,
    Origin,
    Position,
    Scalar,
    SourceSpan,
    comment_after,
    dotted_path,
    find_node,
    key_position,
    moved,
    plain,
    written_path,
)

FILE_LIMIT: Final = 1024 * 1024
"""Maximum size of one file in bytes."""
_SCALAR_LIMIT: Final = 65_536
_NODE_LIMIT: Final = 60_000  # 1,000 chatbots in one file take about 35,000
_DEPTH_LIMIT: Final = 32

# The C loader is ten times as fast. All wheels of PyYAML contain it; a build without libyaml uses the other one, which
# keeps the same limits and takes about two seconds for the worst file.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE: Final = re.compile(
    "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,14})", re.ASCII)
_DECIMAL: Final = re.compile(r"-?(0|[1-9]\d{0,14})\.\d{1,15}", re.ASCII)
_UNREADABLE: Final = "cannot be read as YAML: check quotes, brackets and indentation"
_QUOTE_TEMPLATE: Final = 'a template must be in quotes: "{{ … }}"'
_KEY_EXPECTED: Final = (
    "a key is expected: check the indentation, and if a text begins with a quote, put the whole text in other quotes"
)
_CUT_TEXT: Final = re.compile(r"[ \t]+#[^\s#!-]")
"""A `#` that may be meant as a part of the text before it; most comments have a space after it."""
_COMMENTS: Final = re.compile(r"[ \t](#[^\n]*)")
_COMMENTS_LIMIT: Final = 1_000
"""Maximum number of comments that are searched for the end of a list or map."""
_WORDINGS: Final = (
    ("mapping values are not allowed", "unexpected `: `: put the text in quotes, or check the indentation"),
    ("that cannot start any token", "a text cannot begin with this character: put it in quotes"),
    ("unknown escape character", "`\\` before this character has no meaning in double quotes: use single quotes"),
    ("could not find expected ':'", "a `:` is missing after a key, or a line needs more indentation"),
    ("did not find expected key", _KEY_EXPECTED),
    ("expected <block end>", _KEY_EXPECTED),
    ("did not find expected '-' indicator", "expected `- `: check the indentation of the list"),
    ("',' or ']'", "expected `,` or `]`: close the list, or put the text in quotes"),
    ("',' or '}'", "expected `,` or `}`: close the map, or put the text in quotes"),
    ("alphabetic or numeric character", "a text cannot begin with `*` or `&`: put it in quotes"),
    ("<document start>", "unexpected text after a value: put the whole text in quotes"),
    ("nesting depth", f"more than {_DEPTH_LIMIT} levels deep: no setting is that deep"),
)


class _UnreadableError(Exception):
    """Error after which the rest of a file cannot be parsed."""

    def __init__(self, place: Position, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def read_yaml(file: str, text: str, findings: Findings) -> MapNode | None:
    """Parse one file; add problems to `findings` and return None if the file cannot be used at all.

    Args:
        file: Name of the file as the user gave it.
        text: Content of the file.
        findings: Receives the problems.
    """
    composer = _Composer(file, text, findings)
    try:
        node = composer.document()
    except _UnreadableError as error:
        findings.error(composer.path, error.place, error.message)
        return None
    except yaml.YAMLError as error:
        place, message = _explain(file, text, error)
        findings.error(composer.path, place, message)
        return None
    if isinstance(node, MapNode):
        return node
    if isinstance(node, Scalar) and node.value is None:
        return MapNode(node.place, {}, {})
    findings.error((), node.place, "must be a map with keys such as `destinations:` and `chatbots:`")
    return None


@dataclass(slots=True)
class _Composer:
    """Composer of nodes from events, within a budget."""

    file: str
    text: str
    findings: Findings
    path: ConfigPath = ()
    """Path of the value that is being parsed."""
    _left: int = _NODE_LIMIT
    _anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    _events: Iterator[Any] = field(default_factory=lambda: iter(()))

    def document(self) -> Node:
        """Return the single document of the file."""
        bad = _UNPRINTABLE.search(self.text)
        if bad:
            place = _place_at(self.file, self.text, bad.start())
            raise _UnreadableError(place, f"contains the control character U+{ord(bad[0]):04X}: remove it")
        self._events = yaml.parse(self.text, Loader=_LOADER)
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Scalar(Position(self.file, 1, 1), None, SourceSpan(self.text, 0, 0))
        node = self._node(next(self._events), ())
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self.path = ()
            raise _UnreadableError(
                self._place(event),
                "a second document begins here: put each document into a file of its own, in one folder",
            )
        return node

    def _node(self, event: Any, path: ConfigPath) -> Node:
        self.path = path
        place = self._place(event)
        self._spend(1, place)
        if isinstance(event, yaml.AliasEvent):
            return moved(self._alias(event, place), path)
        if event.tag is not None:
            raise _UnreadableError(place, f"tags such as `{event.tag[:40]}` are not allowed: remove it")
        if len(path) > _DEPTH_LIMIT:
            raise _UnreadableError(place, f"more than {_DEPTH_LIMIT} levels deep: no setting is that deep")
        before = self._left
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self._scalar(event, place, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(place, path)
        else:
            node = self._map(place, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, before - self._left + 1)
        return node

    def _spend(self, nodes: int, place: Position) -> None:
        self._left -= nodes
        if self._left < 0:
            raise _UnreadableError(place, f"has more than {_NODE_LIMIT:,} values: split the file")

    def _alias(self, event: Any, place: Position) -> Node:
        if event.anchor not in self._anchors:
            raise _UnreadableError(place, f"there is no complete `&{event.anchor[:40]}` above this alias")
        node, size = self._anchors[event.anchor]
        self._spend(size, place)
        return node

    def _scalar(self, event: Any, place: Position, path: ConfigPath) -> Scalar:
        if len(event.value) > _SCALAR_LIMIT:
            raise _UnreadableError(place, f"a text with more than {_SCALAR_LIMIT:,} characters: shorten it")
        value = event.value if event.style else _resolve(event.value)
        scalar = Scalar(place, value, SourceSpan(self.text, event.start_mark.index, event.end_mark.index), path)
        if not event.style and _CUT_TEXT.match(self.text, event.end_mark.index):
            self.findings.warn(path, comment_after(scalar) or place, f"{COMMENT}, or put a space after `#`")
        return scalar

    def _list(self, place: Position, path: ConfigPath) -> ListNode:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return ListNode(place, items, path)

    def _map(self, place: Position, path: ConfigPath) -> MapNode:
        node = MapNode(place, {}, {}, path)
        merged: list[MapNode] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            at = self._place(event)
            value = self._node(next(self._events), (*path, key))
            if key == "<<" and not event.style:
                merged += self._merged(value)
            elif key in node.items:
                self.findings.invalidate((*path, key), at, f"given twice: the first is at {node.keys[key]}")
            else:
                node.items[key] = value
                node.keys[key] = at
        for source in merged:
            for key, value in source.items.items():
                node.items.setdefault(key, moved(value, (*path, key)))
                node.keys.setdefault(key, source.keys[key])
        return node

    def _key(self, event: Any, path: ConfigPath) -> str:
        self.path = path
        place = self._place(event)
        self._spend(1, place)
        if isinstance(event, yaml.MappingStartEvent) and event.flow_style:
            raise _UnreadableError(place, _QUOTE_TEMPLATE)
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
            raise _UnreadableError(place, "a key must be plain text: put it in quotes")
        if not event.value or len(event.value) > _SCALAR_LIMIT:
            raise _UnreadableError(place, "a key is missing before this `:`, or is too long")
        return str(event.value)

    def _merged(self, node: Node) -> list[MapNode]:
        sources = node.items if isinstance(node, ListNode) else [node]
        maps = [each for each in sources if isinstance(each, MapNode)]
        if len(maps) != len(sources):
            raise _UnreadableError(node.place, "`<<` needs a map, such as `<<: *name`")
        return maps

    def _place(self, event: Any) -> Position:
        return Position(self.file, event.start_mark.line + 1, event.start_mark.column + 1)


def _resolve(text: str) -> str | float | bool | None:
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _place_at(file: str, text: str, index: int) -> Position:
    return Position(file, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _explain(file: str, text: str, error: yaml.YAMLError) -> tuple[Position, str]:
    """Return the position and a readable description of an error from PyYAML."""
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None))
    opened = getattr(error, "context_mark", None)
    if opened and (mark is None or mark.index >= len(text.rstrip())):
        comments = islice(_COMMENTS.finditer(text, opened.index), _COMMENTS_LIMIT)
        closing = next((each for each in comments if "]" in each[1] or "}" in each[1]), None)
        if closing:
            return _place_at(file, text, closing.start(1)), COMMENT
        return Position(file, opened.line + 1, opened.column + 1), "this is never closed"
    if mark is None:
        return Position(file, 1, 1), _UNREADABLE
    place = Position(file, mark.line + 1, mark.column + 1)
    return place, _wording(text.split("\n")[mark.line : mark.line + 1], mark.column, problem)


def _wording(lines: list[str], column: int, problem: str) -> str:
    """Return a readable description of a problem in a line; `lines` is empty at the end of the text."""
    line = lines[0] if lines else ""
    if "{{" in line:
        return _QUOTE_TEMPLATE
    if "${" in line:
        return 'inside [ ] and { } a variable must be in quotes: "${NAME}"'
    if line[column : column + 1] == "\t":
        return "a tab: indent with spaces instead"
    return next((ours for theirs, ours in _WORDINGS if theirs in problem), _UNREADABLE)


@dataclass(frozen=True, slots=True, repr=False)
class SourceTree:
    """The merged files of a configuration, with their variables filled in."""

    root: MapNode

    def at_key(self, path: ConfigPath, message: str) -> ConfigProblem:
        """Return a problem at the position of a key, or of the last key that exists on the path."""
        place = key_position(self.root, path)
        return ConfigProblem(place.file, place.line, place.column, dotted_path(path), message)

    def at_value(self, path: ConfigPath, message: str) -> ConfigProblem:
        """Return a problem at the position of a value. For values of several lines it is the key's position."""
        followed, node = find_node(self.root, path)
        if followed != path or not isinstance(node, Scalar):
            return self.at_key(path, message)
        return ConfigProblem(node.place.file, node.place.line, node.place.column, dotted_path(path), message)

    def value(self, path: ConfigPath) -> Any:
        """Return the value at a path without positions; None if there is none."""
        followed, node = find_node(self.root, path)
        return plain(node) if followed == path else None

    def origin(self, path: ConfigPath) -> tuple[str, Position]:
        """Return the path of a value as it is written, which may be in a preset, and its position."""
        return dotted_path(written_path(self.root, path)), key_position(self.root, path)

    def from_outside(self) -> set[str]:
        """Return the texts with values from variables or secret files, which must not be shown."""
        return {str(each.value) for each in _scalars(self.root) if each.origin is Origin.OUTSIDE}


def _scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield node
        return
    for each in node.items if isinstance(node, ListNode) else node.items.values():
        yield from _scalars(each)
