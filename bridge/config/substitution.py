"""`${VAR}`, `${VAR:-default}` and `${file:PATH}` in the values of a configuration file.

They are filled in after the YAML was parsed, and in texts only, so that no secret can change the structure of the file.
`$${` stands for a plain `${`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Final

from bridge.config.diagnostics import Findings
from bridge.config.yaml_tree import ListNode, MapNode, Node, Origin, Scalar, position_inside

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-)(.*))?", re.DOTALL)
_BARE: Final = re.compile(r"\$([A-Z_][A-Z0-9_]*)|\$\(([A-Za-z_]\w*)\)", re.ASCII)
"""A whole text that is a variable in a shell, and not here."""
_FILE_LIMIT: Final = 65_536


@dataclass(frozen=True, slots=True)
class _TextPart:
    text: str
    origin: Origin
    variable: str = ""


class _ReferenceError(ValueError):
    """Error for a `${…}` that cannot be filled in."""


@dataclass(frozen=True, slots=True)
class Substitution:
    """Replacement of the references in one file."""

    environ: Mapping[str, str]
    folder: FilePath
    """Folder where relative paths of `${file:PATH}` start."""
    findings: Findings

    def fill(self, node: Node) -> Node:
        """Return the tree with its references filled in. A reference with a fault is reported and left empty."""
        if isinstance(node, MapNode):
            return replace(node, items={key: self.fill(value) for key, value in node.items.items()})
        if isinstance(node, ListNode):
            return replace(node, items=[self.fill(item) for item in node.items])
        return self._scalar(node)

    def _scalar(self, scalar: Scalar) -> Scalar:
        text = scalar.value
        if not isinstance(text, str) or "$" not in text:
            return scalar
        if bare := _BARE.fullmatch(text):
            name = bare[1] or bare[2]
            self.findings.invalidate(scalar.path, scalar.place, f"`{text}` is not filled in: write ${{{name}}}")
            return scalar
        if "${" not in text:
            return scalar
        parts: list[_TextPart] = []
        end = 0
        for match in _REFERENCE.finditer(text):
            parts.append(_TextPart(text[end : match.start()], Origin.WRITTEN))
            end = match.end()
            try:
                parts.append(self._reference(match))
            except _ReferenceError as error:
                line = text.count("\n", 0, match.start()) + 1
                column = match.start() - text.rfind("\n", 0, match.start())
                self.findings.invalidate(scalar.path, position_inside(scalar, line, column), str(error))
                return replace(scalar, value="", origin=Origin.OUTSIDE)
        parts.append(_TextPart(text[end:], Origin.WRITTEN))
        return _joined(scalar, parts)

    def _reference(self, match: re.Match[str]) -> _TextPart:
        inside, closed = match[1], match[2]
        if inside is None:
            return _TextPart("${", Origin.WRITTEN)
        if not closed:
            raise _ReferenceError("`${` is never closed; a plain `${` is written `$${`")
        if inside.startswith("file:"):
            return _TextPart(self._read(inside.removeprefix("file:").strip()), Origin.OUTSIDE)
        name = _NAME.fullmatch(inside)
        if not name:
            raise _ReferenceError("`${…}` holds NAME, NAME:-default or file:PATH; a plain `${` is written `$${`")
        value = self.environ.get(name[1])
        if value or (value is not None and not name[2]):
            return _TextPart(value, Origin.OUTSIDE)
        if not name[2]:
            raise _ReferenceError(
                f"the environment variable {name[1]} is not set: set it, or write a default: ${{{name[1]}:-…}}"
            )
        return _TextPart(name[3], Origin.DEFAULT, name[1])

    def _read(self, name: str) -> str:
        """Return a mounted secret, without the line break that editors add at the end."""
        path = self.folder / name
        self.findings.sources.add(path)
        try:
            if not path.is_file():  # a device or a pipe could be read for ever
                raise _ReferenceError(f"there is no file {name}")
            with path.open("rb") as file:
                content = file.read(_FILE_LIMIT + 1)
        except (OSError, ValueError) as error:
            if isinstance(error, _ReferenceError):
                raise
            reason = getattr(error, "strerror", None) or "not a path"
            raise _ReferenceError(f"the file {name} cannot be read: {reason}") from None
        if len(content) > _FILE_LIMIT:
            raise _ReferenceError(f"the file {name} is larger than {_FILE_LIMIT:,} bytes")
        try:
            return content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise _ReferenceError(f"the file {name} is not text in UTF-8") from None


def _joined(scalar: Scalar, parts: list[_TextPart]) -> Scalar:
    origins = {part.origin for part in parts if part.text or part.variable}
    origin = next((each for each in (Origin.OUTSIDE, Origin.DEFAULT) if each in origins), Origin.WRITTEN)
    variables = tuple(part.variable for part in parts if part.variable)
    return replace(scalar, value="".join(part.text for part in parts), origin=origin, variables=variables)
