"""The merged configuration before its checks, and the operations that the checks of all sections share."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.config.diagnostics import Findings, PresetUsers
from bridge.config.model import Condition
from bridge.config.validation_messages import ErrorReporter, known_keys
from bridge.config.yaml_tree import (
    COMMENT,
    ConfigPath,
    ListNode,
    MapNode,
    Node,
    Origin,
    Scalar,
    comment_after,
    find_node,
    from_outside,
    key_position,
    plain,
    position_inside,
)
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.mapping import EVENT_NAMES, FieldMapping
from bridge.mapping.transform_api import Transform
from connectors.base import ExpressionError

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""Pattern of the names of destinations, chatbots and presets."""
NAME_RULE: Final = "a name has at most 64 letters, digits, `-`, `_` and `.`, and begins with a letter or a digit"

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class CompiledField:
    """A field, and its findings in a preset."""

    mapping: FieldMapping
    findings: Sequence[PresetUsers]


@dataclass(frozen=True, slots=True)
class ConfigDraft:
    """The merged tree of all files, with the collected findings."""

    root: MapNode
    findings: Findings
    expressions: JinjaExpressions
    transforms: Mapping[str, Transform]
    """Built-in transforms and those of plug-ins, by name."""
    whole: bool
    """True if every file could be read. Otherwise a missing entry may be in an unreadable file."""
    compiled: dict[tuple[str, int], CompiledField] = field(default_factory=dict)
    """Fields by name and node, because the users of a preset share the nodes."""

    def section(self, name: str) -> dict[str, Node]:
        """Return the entries of a top-level section; empty if the section is missing or has no value."""
        return self.entries((name,), "a map of keys and values") or {}

    def entry(self, section: str, name: str) -> dict[str, Node] | None:
        """Return the settings of a named entry after a check of its name; None if they are not a map."""
        path = (section, name)
        if not NAME_PATTERN.fullmatch(name):
            self.error(path, NAME_RULE)
        return self.entries(path, "a map of settings")

    def entries(self, path: ConfigPath, shape: str) -> dict[str, Node] | None:
        """Return the entries of the map at a path; None if nothing is there. Report any other value."""
        followed, node = find_node(self.root, path)
        if followed != path:
            return None
        if isinstance(node, MapNode):
            return node.items
        self.error(path, f"must be {shape}")
        return None

    def items(self, path: ConfigPath, shape: str) -> int:
        """Return the length of the list at a path; 0 if nothing is there. Report any other value."""
        followed, node = find_node(self.root, path)
        if followed != path:
            return 0
        if isinstance(node, ListNode):
            return len(node.items)
        self.value_error(path, f"must be {shape}")
        return 0

    def model(
        self, model: type[Model], path: ConfigPath, values: object, also_known: Iterable[str] = ()
    ) -> Model | None:
        """Return a model of the values at `path`; report invalid values and return None.

        Args:
            model: Class of the model.
            path: Path of the values.
            values: The values, without positions.
            also_known: Further keys that are allowed there, for suggestions.
        """
        try:
            return model.model_validate(values)
        except ValidationError as error:
            ErrorReporter(self.findings, self.root, path, model, also_known).report(error)
            return None

    def rest(self, model: type[Model], values: Mapping[str, Any]) -> Model | None:
        """Return the model without its invalid values, so that dependent checks can still run.

        Returns None if a required value is invalid. Reports nothing, since `model` has reported these values.
        """
        try:
            return model.model_validate(values)
        except ValidationError as error:
            wrong = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
        try:
            return model.model_validate({key: value for key, value in values.items() if key not in wrong})
        except ValidationError:
            return None

    def condition(self, path: ConfigPath) -> Condition | None:
        """Return the compiled expression at a path; None if there is none or it has an error."""
        followed, node = find_node(self.root, path)
        if followed != path or not isinstance(node, Scalar) or not isinstance(node.value, str):
            return None
        try:
            return self.expressions.expression(node.value, EVENT_NAMES)
        except ExpressionError as error:
            self.expression_error(path, error)
            return None

    def text(self, path: ConfigPath) -> str | None:
        """Return the text, or the number as text, at a path; None if there is neither."""
        followed, node = find_node(self.root, path)
        known = followed == path and isinstance(node, Scalar) and isinstance(node.value, str | int)
        return str(plain(node)) if known else None

    def hidden(self, path: ConfigPath) -> frozenset[ConfigPath]:
        """Return the paths below a path of texts from variables or secret files, which must not be shown."""
        followed, node = find_node(self.root, path)
        return frozenset(from_outside(node)) if followed == path else frozenset()

    def texts(self, path: ConfigPath) -> list[tuple[ConfigPath, str]]:
        """Return the texts of the list at a path, or the single text there, each with its path."""
        node = find_node(self.root, path)[1]
        paths = [(*path, at) for at in range(len(node.items))] if isinstance(node, ListNode) else [path]
        return [(each, text) for each in paths if (text := self.text(each)) is not None]

    def error(self, path: ConfigPath, message: str) -> None:
        """Add a problem at the position of a key."""
        self.findings.error(path, key_position(self.root, path), message)

    def value_error(self, path: ConfigPath, message: str) -> None:
        """Add a problem at the position of a value, or of the last key that exists on the path."""
        followed, node = find_node(self.root, path)
        self.findings.error(path, node.place if followed == path else key_position(self.root, path), message)

    def warn(self, path: ConfigPath, message: str) -> None:
        """Add a warning at the position of a key."""
        self.findings.warn(path, key_position(self.root, path), message)

    def text_error(self, path: ConfigPath, message: str, line: int = 1, column: int | None = None) -> None:
        """Add a problem with the content of a text, at its position in the file.

        If the text contains values of variables, a general message replaces the given one, which may repeat them.
        """
        followed, node = find_node(self.root, path)
        if not isinstance(node, Scalar):
            self.findings.error(followed, node.place, message)
            return
        if node.origin is Origin.OUTSIDE:
            message = "cannot be used once its variables are filled in"
        elif comment := comment_after(node):
            self.findings.error(followed, comment, f"{message}; {COMMENT}")
            return
        self.findings.error(followed, position_inside(node, line, column), message)

    def expression_error(self, path: ConfigPath, error: ExpressionError) -> None:
        """Add a problem with an expression, at its position in the file."""
        self.text_error(path, error.message, error.line, error.column)


def split_settings(common: type[BaseModel], values: Mapping[str, Node]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the values into common settings of all connectors and the connector's own settings."""
    known = known_keys(common)
    ours = {key: plain(node) for key, node in values.items() if key in known}
    return ours, {key: plain(node) for key, node in values.items() if key not in known}
