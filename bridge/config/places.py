"""Where everything in a configuration stands, for what is found out about it after it has been checked. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.config.problems import Path, Problem, written
from bridge.config.tree import ListNode, MapNode, Node, Origin, Scalar, find, key_place, plain


@dataclass(frozen=True, slots=True, repr=False)
class Places:
    """The files of a configuration as they were read: merged, with their variables filled in."""

    root: MapNode

    def at_key(self, path: Path, message: str) -> Problem:
        """Place what there is to say of a key; where it is missing, at the last one on the way to it."""
        place = key_place(self.root, path)
        return Problem(place.file, place.line, place.column, written(path), message)

    def at_value(self, path: Path, message: str) -> Problem:
        """Place what there is to say of a value; one that spans lines is placed at its key, as a missing one is."""
        followed, node = find(self.root, path)
        if followed != path or not isinstance(node, Scalar):
            return self.at_key(path, message)
        return Problem(node.place.file, node.place.line, node.place.column, written(path), message)

    def value(self, path: Path) -> Any:  # noqa: ANN401 - a JSON value
        """Give what stands at a path, without places; None where there is nothing."""
        followed, node = find(self.root, path)
        return plain(node) if followed == path else None

    def from_outside(self) -> set[str]:
        """Give the texts that variables and secret files have been filled into: they are not to be shown."""
        return {str(each.value) for each in _scalars(self.root) if each.origin is Origin.OUTSIDE}


def _scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield node
        return
    for each in node.items if isinstance(node, ListNode) else node.items.values():
        yield from _scalars(each)
