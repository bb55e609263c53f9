"""A configuration on its way: read and merged, not yet checked; and what the checks of its parts have in common."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.config.diagnostics import ConfigPath, Findings
from bridge.config.model import Condition
from bridge.config.validation_messages import ErrorReporter, known_keys
from bridge.config.yaml_tree import (
    ListNode,
    MapNode,
    Node,
    Origin,
    Scalar,
    find_node,
    from_outside,
    key_position,
    plain,
    position_inside,
)
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.mapping import NAMES
from bridge.mapping.transform_api import Transform
from connectors.base import ExpressionError

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""What the author may call a destination or a chatbot."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ConfigDraft:
    """The merged tree of all files, and where what is found goes."""

    root: MapNode
    findings: Findings
    expressions: JinjaExpressions
    transforms: Mapping[str, Transform]
    """Those that come with the bridge, and those of plugins."""
    whole: bool
    """Whether every file could be read: if not, what is missing may stand in one that could not."""

    def section(self, name: str) -> dict[str, Node]:
        """Give the entries of a top-level section; none where it is missing or has no value."""
        return self.entries((name,), "a map of keys and values") or {}

    def entry(self, section: str, name: str) -> dict[str, Node] | None:
        """Give the settings of a named entry, after a look at its name; None where they are no map."""
        path = (section, name)
        if not NAME_PATTERN.fullmatch(name):
            self.error(path, "a name has letters, digits, `-`, `_` and `.` only, 64 at most")
        return self.entries(path, "a map of settings")

    def entries(self, path: ConfigPath, shape: str) -> dict[str, Node] | None:
        """Give what is in the map at a path; None where there is none. What is there and is no map is a problem."""
        followed, node = find_node(self.root, path)
        if followed != path:
            return None
        if isinstance(node, MapNode):
            return node.items
        self.error(path, f"must be {shape}")
        return None

    def items(self, path: ConfigPath, shape: str) -> int:
        """Count what is in the list at a path; 0 where there is none. What is there and is no list is a problem."""
        followed, node = find_node(self.root, path)
        if followed != path:
            return 0
        if isinstance(node, ListNode):
            return len(node.items)
        self.value_error(path, f"must be {shape}")
        return 0

    def model(
        self, model: type[Model], path: ConfigPath, given: object, also_known: Iterable[str] = ()
    ) -> Model | None:
        """Make a model of the values of the part at `path`; notes what is wrong and gives None then.

        Args:
            model: The model.
            path: Where the values stand.
            given: The values, without their places.
            also_known: Keys that may stand there besides the model's own, for suggestions.
        """
        try:
            return model.model_validate(given)
        except ValidationError as error:
            ErrorReporter(self.findings, self.root, path, model, also_known).report(error)
            return None

    def rest(self, model: type[Model], given: Mapping[str, Any]) -> Model | None:
        """Make the model without the values that are wrong, so that what depends on the others can still be checked.

        None where it cannot be made without them. Notes nothing: `model` has done so.
        """
        try:
            return model.model_validate(given)
        except ValidationError as error:
            wrong = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
        try:
            return model.model_validate({key: value for key, value in given.items() if key not in wrong})
        except ValidationError:
            return None

    def condition(self, path: ConfigPath) -> Condition | None:
        """Compile the expression at a path; None where there is none, or none that can be compiled."""
        followed, node = find_node(self.root, path)
        if followed != path or not isinstance(node, Scalar) or not isinstance(node.value, str):
            return None
        try:
            return self.expressions.expression(node.value, NAMES)
        except ExpressionError as error:
            self.expression_error(path, error)
            return None

    def text(self, path: ConfigPath) -> str | None:
        """Give the text, or the number as text, at a path; None where there is none."""
        followed, node = find_node(self.root, path)
        known = followed == path and isinstance(node, Scalar) and isinstance(node.value, str | int)
        return str(plain(node)) if known else None

    def hidden(self, path: ConfigPath) -> frozenset[ConfigPath]:
        """Return the paths, from a path on, of texts that came from outside the files: they are not to be shown."""
        followed, node = find_node(self.root, path)
        return frozenset(from_outside(node)) if followed == path else frozenset()

    def texts(self, path: ConfigPath) -> list[tuple[ConfigPath, str]]:
        """Give the texts of the list at a path, or the one text that stands there, each with its path."""
        node = find_node(self.root, path)[1]
        paths = [(*path, at) for at in range(len(node.items))] if isinstance(node, ListNode) else [path]
        return [(each, text) for each in paths if (text := self.text(each)) is not None]

    def error(self, path: ConfigPath, message: str) -> None:
        """Note a problem at a key."""
        self.findings.error(path, key_position(self.root, path), message)

    def value_error(self, path: ConfigPath, message: str) -> None:
        """Note a problem at a value, or under the last key on the way to it."""
        followed, node = find_node(self.root, path)
        self.findings.error(path, node.place if followed == path else key_position(self.root, path), message)

    def warn(self, path: ConfigPath, message: str) -> None:
        """Note at a key what is likely not meant."""
        self.findings.warn(path, key_position(self.root, path), message)

    def text_error(self, path: ConfigPath, message: str, line: int = 1, column: int | None = None) -> None:
        """Note a problem with what a text says, at the place in the file.

        Where variables have put something into the text, the message is left out: it may repeat what they hold.
        """
        followed, node = find_node(self.root, path)
        if not isinstance(node, Scalar):
            self.findings.error(followed, node.place, message)
            return
        if node.origin is Origin.OUTSIDE:
            message = "cannot be used once its variables are filled in"
        self.findings.error(followed, position_inside(node, line, column), message)

    def expression_error(self, path: ConfigPath, error: ExpressionError) -> None:
        """Note a problem with an expression, at the place in the file."""
        self.text_error(path, error.message, error.line, error.column)


def split_settings(common: type[BaseModel], values: Mapping[str, Node]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the values of the keys that all connectors have in common from those of the connector's own."""
    known = known_keys(common)
    ours = {key: plain(node) for key, node in values.items() if key in known}
    return ours, {key: plain(node) for key, node in values.items() if key not in known}
