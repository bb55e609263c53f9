"""What the checks of all parts share: the tree, the findings, and how a part becomes its model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.config.model import Condition
from bridge.config.problems import Findings, Path, Place
from bridge.config.tree import MapNode, Node, Origin, Scalar, find, place_inside, plain
from bridge.config.wording import Wording, known_keys
from bridge.expressions import JinjaExpressions
from bridge.mapping import NAMES
from connectors.base import ExpressionError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration on its way: read and merged, not yet checked."""

    root: MapNode
    findings: Findings
    expressions: JinjaExpressions
    whole: bool
    """Whether every file could be read: if not, what is missing may stand in one that could not."""

    def section(self, name: str) -> dict[str, Node]:
        """Give the entries of a top-level section; nothing where it is missing, empty, or no map."""
        node = self.root.items.get(name)
        if isinstance(node, MapNode):
            return node.items
        if node is not None and not (isinstance(node, Scalar) and node.value is None):
            self.findings.error((name,), node.place, "must be a map of keys and values")
        return {}

    def entry(self, section: str, name: str) -> dict[str, Node] | None:
        """Give the settings of a named entry, after a look at its name; None where they are no map."""
        path = (section, name)
        node = find(self.root, path)[1]
        if not _NAME.fullmatch(name):
            self.error(path, "a name has letters, digits, `-`, `_` and `.` only, 64 at most")
        if isinstance(node, MapNode):
            return node.items
        self.findings.error(path, self.key_place(path), "must be a map of settings")
        return None

    def model(
        self, model: type[Model], path: Path, values: Mapping[str, Node], *, also: tuple[str, ...] = ()
    ) -> Model | None:
        """Make a model of some of a part's values; notes what is wrong and gives None then."""
        try:
            return model.model_validate({key: plain(node) for key, node in values.items()})
        except ValidationError as error:
            Wording(self.findings, self.root, path, model, also).report(error)
            return None

    def split(self, common: type[BaseModel], values: Mapping[str, Node]) -> tuple[dict[str, Node], dict[str, Node]]:
        """Part the keys that all connectors have in common from the connector's own."""
        known = known_keys(common)
        ours = {key: node for key, node in values.items() if key in known}
        return ours, {key: node for key, node in values.items() if key not in known}

    def condition(self, path: Path, source: str | None) -> Condition | None:
        """Compile an expression over an event."""
        if source is None:
            return None
        try:
            return self.expressions.expression(source, NAMES)
        except ExpressionError as error:
            self.expression_error(path, error)
            return None

    def error(self, path: Path, message: str) -> None:
        """Note a problem at a key."""
        self.findings.error(path, self.key_place(path), message)

    def value_error(self, path: Path, message: str) -> None:
        """Note a problem at a value."""
        followed, node = find(self.root, path)
        self.findings.error(followed, node.place, message)

    def warn(self, path: Path, message: str) -> None:
        """Note at a key what is likely not meant."""
        self.findings.warn(path, self.key_place(path), message)

    def expression_error(self, path: Path, error: ExpressionError) -> None:
        """Note a problem inside a text. What variables put into the text is not shown."""
        followed, node = find(self.root, path)
        if not isinstance(node, Scalar):
            self.findings.error(followed, node.place, error.message)
            return
        hidden = node.origin is Origin.OUTSIDE
        message = "is not a valid expression once its variables are filled in" if hidden else error.message
        self.findings.error(followed, place_inside(node, error.line, error.column), message)

    def key_place(self, path: Path) -> Place:
        """Find where a key stands; where it is missing, the key that it is missing under."""
        followed = find(self.root, path)[0]
        _, parent = find(self.root, followed[:-1])
        if followed and isinstance(parent, MapNode):
            return parent.keys[str(followed[-1])]
        return find(self.root, followed)[1].place
