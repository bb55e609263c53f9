"""Positions, problems and warnings of a configuration. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.errors import LeadbridgeError

_PLAIN_KEY = re.compile(r"[\w-]+")

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


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """A mistake in a configuration. `str()` returns the line that is shown to its author."""

    file: str
    line: int
    column: int
    path: str
    """Path within the configuration, as `dotted_path` writes it."""
    message: str
    """Description of the mistake and its correction. Never contains a value from a variable or a secret file."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}"


class ConfigError(LeadbridgeError):
    """Error for an unusable configuration, with every problem and not just the first."""

    def __init__(self, problems: Iterable[ConfigProblem], warnings: Iterable[ConfigProblem] = ()) -> None:
        self.problems: tuple[ConfigProblem, ...] = tuple(sorted(problems))
        """Problems in the order of files and lines."""
        self.warnings: tuple[ConfigProblem, ...] = tuple(sorted(warnings))
        """Warnings that were found before the problems stopped the check."""
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems and warnings, collected while a configuration is read and checked."""

    problems: list[ConfigProblem] = field(default_factory=list)
    warnings: list[ConfigProblem] = field(default_factory=list)
    _invalid: set[ConfigPath] = field(default_factory=set)
    _reported: set[ConfigPath] = field(default_factory=set)

    def error(self, path: ConfigPath, place: Position, message: str) -> None:
        """Add a problem. Only the first one of each path is kept, since later ones usually follow from it."""
        inside_invalid = any(path[:length] in self._invalid for length in range(1, len(path) + 1))
        if path and (inside_invalid or path in self._reported):
            return
        self._reported.add(path)
        self.problems.append(ConfigProblem(place.file, place.line, place.column, dotted_path(path), message))

    def invalidate(self, path: ConfigPath, place: Position, message: str) -> None:
        """Add a problem that makes the whole value at the path unusable: nothing below it is reported."""
        self.error(path, place, message)
        self._invalid.add(path)

    def warn(self, path: ConfigPath, place: Position, message: str) -> None:
        """Add a warning: the configuration works, but probably not as intended."""
        self.warnings.append(ConfigProblem(place.file, place.line, place.column, dotted_path(path), message))


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
