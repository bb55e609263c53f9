"""Problems and warnings of a configuration. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from bridge.config.yaml_tree import ConfigPath, MapNode, Position, dotted_path, use_position, written_path
from bridge.errors import LeadbridgeError


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


PresetUsers = dict[ConfigPath, ConfigPath]
"""Path of a value that was taken from a preset, by the path of the destination or chatbot that uses it."""


@dataclass(slots=True)
class Findings:
    """Problems and warnings, collected while a configuration is read and checked."""

    problems: list[ConfigProblem] = field(default_factory=list)
    warnings: list[ConfigProblem] = field(default_factory=list)
    root: MapNode | None = None
    """The tree with its presets, once they are applied; it knows where the value at a path was written."""
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
            for each in {path, written_path(self.root, path)}
            for length in range(1, len(each) + 1)
        )

    def warn(self, path: ConfigPath, place: Position, message: str) -> None:
        """Add a warning: the configuration works, but probably not as intended."""
        if not (path and self.is_muted(path)):
            self._add(path, place, message, is_error=False)

    def _add(self, path: ConfigPath, place: Position, message: str, *, is_error: bool) -> None:
        origin = written_path(self.root, path)
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

    def place_shared(self, users_of: Callable[[MapNode], Mapping[ConfigPath, Collection[ConfigPath]]]) -> None:
        """Add the findings in presets: once at the preset, or at its users if it is good for most of them."""
        if not self._shared or self.root is None:
            return
        all_users = users_of(self.root)
        for (is_error, problem), users in self._shared.items():
            first = next(iter(users.values()))
            preset = written_path(self.root, first)[:3]
            count = len(all_users.get(preset, users))
            found = self.problems if is_error else self.warnings
            if 2 * len(users) > count:
                found.append(replace(problem, message=f"{problem.message} ({_used_by(users, count)})"))
                continue
            message = f"{problem.message} (from {problem.path} at {problem.file}:{problem.line}:{problem.column})"
            for path in users.values():
                place = use_position(self.root, path)
                found.append(ConfigProblem(place.file, place.line, place.column, dotted_path(path), message))
        self._shared.clear()

    def drop_repeated_warnings(self) -> None:
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
