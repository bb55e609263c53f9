"""What is wrong with a configuration, and where. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.errors import LeadbridgeError

_PLAIN_KEY = re.compile(r"[\w-]+")

ConfigPath = tuple[str | int, ...]
"""Keys and list indexes that lead from the top of the configuration to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in a configuration file; ordered as a reader meets them."""

    file: str
    """As the user gave it: a relative path stays relative."""
    line: int
    """From 1."""
    column: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """One thing that the author of a configuration should change. `str()` is the line that is shown."""

    file: str
    line: int
    column: int
    path: str
    """Where it is in the configuration, as `written` gives it."""
    message: str
    """What is wrong and what would be right; never a value that came from a variable or a secret file."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}"


class ConfigError(LeadbridgeError):
    """The configuration cannot be used: its author must change it. Carries every problem found, not the first."""

    def __init__(self, problems: Iterable[ConfigProblem], warnings: Iterable[ConfigProblem] = ()) -> None:
        self.problems: tuple[ConfigProblem, ...] = tuple(sorted(problems))
        """In the order of the files and lines."""
        self.warnings: tuple[ConfigProblem, ...] = tuple(sorted(warnings))
        """What else was noticed, so far as the problems let it be seen."""
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Findings:
    """Collects problems and warnings while a configuration is read and checked."""

    problems: list[ConfigProblem] = field(default_factory=list)
    warnings: list[ConfigProblem] = field(default_factory=list)
    _spoilt: set[ConfigPath] = field(default_factory=set)
    _told: set[ConfigPath] = field(default_factory=set)

    def error(self, path: ConfigPath, place: Position, message: str) -> None:
        """Note a problem. Only the first one of a path counts: the others tend to follow from it."""
        inside_spoilt = any(path[:length] in self._spoilt for length in range(1, len(path) + 1))
        if path and (inside_spoilt or path in self._told):
            return
        self._told.add(path)
        self.problems.append(ConfigProblem(place.file, place.line, place.column, dotted_path(path), message))

    def spoil(self, path: ConfigPath, place: Position, message: str) -> None:
        """Note a problem that leaves nothing to check at the path or below it."""
        self.error(path, place, message)
        self._spoilt.add(path)

    def warn(self, path: ConfigPath, place: Position, message: str) -> None:
        """Note what works but is likely not meant."""
        self.warnings.append(ConfigProblem(place.file, place.line, place.column, dotted_path(path), message))


def dotted_path(path: ConfigPath) -> str:
    """Write a path as its author would say it: `chatbots.acme.routes[0].to`; `(file)` for the top."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            name = key if _PLAIN_KEY.fullmatch(key) else f'"{key}"'
            text += f".{name}" if text else name
    return text or "(file)"
