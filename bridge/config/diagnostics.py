"""Positions, problems and warnings of a configuration. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

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
class Origins:
    """The values that come from presets, and the destinations and chatbots that use each preset."""

    taken: dict[ConfigPath, ConfigPath] = field(default_factory=dict)
    """Path in a preset, by the path of the value that was taken from it."""
    uses: dict[ConfigPath, Position] = field(default_factory=dict)
    """Position of `use`, by the path of its map."""
    users: dict[ConfigPath, set[ConfigPath]] = field(default_factory=dict)
    """Paths of the destinations and chatbots that use a preset, also through another one, by the preset's path."""
    files: dict[ConfigPath, set[str]] = field(default_factory=dict)
    """Files of the presets that a destination or chatbot uses, by its path."""

    def path(self, path: ConfigPath) -> ConfigPath:
        """Return the path in the preset from which a value was taken, or the path itself."""
        while length := self._taken_length(path):
            path = self.taken[path[:length]] + path[length:]
        return path

    def use_of(self, path: ConfigPath) -> Position:
        """Return the position of the `use` that brought a taken value."""
        length = next(length for length in range(self._taken_length(path), 0, -1) if path[:length] in self.uses)
        return self.uses[path[:length]]

    def _taken_length(self, path: ConfigPath) -> int:
        """Return the length of the longest part of a path that was taken from a preset; 0 if there is none."""
        return next((length for length in range(len(path), 0, -1) if path[:length] in self.taken), 0)


PresetUsers = dict[ConfigPath, ConfigPath]
"""Path of a value that was taken from a preset, by the path of the destination or chatbot that uses it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems and warnings, collected while a configuration is read and checked."""

    problems: list[ConfigProblem] = field(default_factory=list)
    warnings: list[ConfigProblem] = field(default_factory=list)
    origins: Origins = field(default_factory=Origins)
    sources: set[Path] = field(default_factory=set)
    """Secret files and folders of plug-ins on which the result depends too, also missing ones."""
    _invalid: set[ConfigPath] = field(default_factory=set)
    _reported: set[ConfigPath] = field(default_factory=set)
    _shared: dict[tuple[bool, ConfigProblem], PresetUsers] = field(default_factory=dict)
    """Problems (True) and warnings in presets: by each user that has it, the path of its value."""

    def error(self, path: ConfigPath, place: Position, message: str) -> None:
        """Add a problem. Only the first one of each path is kept, since later ones usually follow from it."""
        if path and (self.is_muted(path) or path in self._reported):
            return
        self._reported.add(path)
        self._add(path, place, message, is_error=True)

    def invalidate(self, path: ConfigPath, place: Position, message: str) -> None:
        """Add a problem that makes the whole value at the path unusable: nothing below it is reported."""
        self.error(path, place, message)
        self.mute(path)

    def mute(self, path: ConfigPath) -> None:
        """Report nothing more at the path or below it, because all of it follows from a known problem."""
        self._invalid.add(path)

    def is_muted(self, path: ConfigPath) -> bool:
        """Return True if nothing is reported at the path."""
        return any(
            each[:length] in self._invalid
            for each in {path, self.origins.path(path)}
            for length in range(1, len(each) + 1)
        )

    def warn(self, path: ConfigPath, place: Position, message: str) -> None:
        """Add a warning: the configuration works, but probably not as intended."""
        if not (path and self.is_muted(path)):
            self._add(path, place, message, is_error=False)

    def _add(self, path: ConfigPath, place: Position, message: str, *, is_error: bool) -> None:
        origin = self.origins.path(path)
        problem = ConfigProblem(place.file, place.line, place.column, dotted_path(origin), message)
        if origin == path:
            (self.problems if is_error else self.warnings).append(problem)
        else:
            self._shared.setdefault((is_error, problem), {}).setdefault(path[:2], path)

    @property
    def shared_count(self) -> int:
        """Number of findings in presets so far."""
        return len(self._shared)

    def shared_since(self, count: int) -> Sequence[PresetUsers]:
        """Return the users of each finding in a preset that was added after the first `count`."""
        return list(islice(self._shared.values(), count, None)) if count < len(self._shared) else ()

    def repeat(self, path: ConfigPath, findings: Iterable[PresetUsers]) -> None:
        """Add findings in a preset for another of its users."""
        for users in findings:
            if not self.is_muted(path):
                users.setdefault(path[:2], path)

    def place_shared(self) -> None:
        """Add the findings in presets: once at the preset, or at its users if it is good for most of them."""
        for (is_error, problem), users in self._shared.items():
            first = next(iter(users.values()))
            preset = self.origins.path(first)[:3]
            count = len(self.origins.users.get(preset, users))
            found = self.problems if is_error else self.warnings
            if 2 * len(users) > count:
                found.append(replace(problem, message=f"{problem.message} ({_used_by(users, count)})"))
                continue
            message = f"{problem.message} (from {problem.path} at {problem.file}:{problem.line}:{problem.column})"
            for path in users.values():
                place = self.origins.use_of(path)
                found.append(ConfigProblem(place.file, place.line, place.column, dotted_path(path), message))
        self._shared.clear()
        self._drop_repeated_warnings()

    def _drop_repeated_warnings(self) -> None:
        """Remove each warning at the position of a problem that says the same."""
        said = {(each.file, each.line, each.column): each.message for each in self.problems}
        kept = [
            each
            for each in self.warnings
            if each.message.partition(",")[0] not in said.get((each.file, each.line, each.column), "")
        ]
        self.warnings[:] = kept


def _used_by(users: Collection[ConfigPath], count: int) -> str:
    """Return who uses the preset that has a problem."""
    kind, name = next(iter(users))[:2]
    if count == 1:
        return f"used by {str(kind).removesuffix('s')} `{name}`"
    found = len(users)
    return f"used by {count} {kind}" if found == count else f"in {found} of the {count} {kind} that use it"


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
