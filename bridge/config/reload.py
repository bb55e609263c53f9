"""Reads the files of a configuration for use: a file with an error never stops the others.

The last good text of a file with an error is used in its place. A running bridge has these texts in memory, and the
store keeps them for the next start. A file without a last good text is left out.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bridge.config.diagnostics import ConfigError, ConfigProblem, Findings
from bridge.config.load import Content, build, fill_variables, read_files, read_store_section, sections_in
from bridge.config.model import Config, FileFault, StoreSettings
from bridge.config.yaml_tree import MapNode
from bridge.errors import OperatorError

_NEEDED: Final = frozenset({"server", "store"})
"""Sections without which the bridge would start with another store or address."""
_NEEDED_LINE: Final = re.compile(rb"^[\"']?(server|store)[\"']?\s*:", re.MULTILINE)

GoodTexts = Callable[[StoreSettings], Mapping[str, bytes]]
"""Reads the last good texts from the store, by the absolute path of their file. Raises OperatorError."""


@dataclass(frozen=True, slots=True, repr=False)
class Files:
    """The files that the configuration in use was built from."""

    path: Path
    """A file or a folder, as the user gave it."""
    environ: Mapping[str, str]
    contents: Mapping[Path, bytes]
    """Text in use of each file; of a file with an error the last good one."""
    trees: Mapping[Path, MapNode] = field(default_factory=dict)
    """Trees of these texts with variables and secret files filled in."""
    sources: frozenset[Path] = frozenset()
    """Secret files and folders of plug-ins of the last attempt to read the files."""


def load_files(path: Path, environ: Mapping[str, str]) -> tuple[Config, Files]:
    """Read a configuration without errors, as `bridge.config.load` does. Raises ConfigError."""
    findings = Findings()
    contents = read_files(path, findings)
    return _build(path, contents, environ, findings)


def load_for_use(path: Path, environ: Mapping[str, str], good_texts: GoodTexts) -> tuple[Config, Files]:
    """Read a configuration for the first time, as a start does; see the module for files with errors.

    Raises:
        ConfigError: `server` or `store` is broken or may be missing, or no file can be used. All problems are included.
    """
    try:
        return load_files(path, environ)
    except ConfigError as error:
        problems = error.problems
    findings = Findings()
    on_disk = read_files(path, findings)
    unusable = ConfigError([*problems, *(_empty(file) for file, content in on_disk.items() if _is_blank(content))])
    unread = {file for file, content in on_disk.items() if not content or sections_in(file, content) is None}
    store = None if _are_needed(unread, on_disk) else read_store_section(path, on_disk, environ)
    if store is None:
        raise unusable
    choice = _Choice(path, environ, on_disk)
    try:
        for name, text in good_texts(store).items():
            file = path / Path(name).name if path.is_dir() else path
            if str(file.absolute()) == name:
                choice.good[file] = text
    except OperatorError as error:
        choice.report([ConfigProblem(str(path), 1, 1, "(file)", f"the last good texts cannot be read: {error}")])
    choice.report(findings.problems)
    built = choice.build(is_start=True)
    if built is None or built[0].store != store or _are_needed(on_disk.keys() - built[1].contents.keys(), on_disk):
        raise unusable
    return built


def reload(current: Config, files: Files) -> tuple[Config, Files]:
    """Read the files again and build a configuration; see the module for files with errors.

    A file with an error keeps the secrets of its last good text too. An empty file counts as an error. If an unchanged
    file has an error, for example because its destination was removed from another file, the removed files are
    restored. If none was removed, all changes are reverted.

    Destinations with unchanged settings stay the same objects, with their connections and tokens.
    """
    findings = Findings()
    on_disk = read_files(files.path, findings)
    choice = _Choice(files.path, files.environ, on_disk, {**files.contents}, files.trees)
    choice.report(findings.problems)
    # An empty folder is probably not mounted. Without a result even the last good texts have errors, for example
    # because a folder of plug-ins is missing. Both change nothing.
    built = choice.build() if on_disk else None
    config, changed = built or (replace(current, faults=choice.faults(files.contents)), files)
    watched = changed.sources | choice.sources | (files.sources if config.faults else frozenset())
    return _reuse_destinations(config, current), replace(changed, sources=watched)


@dataclass(slots=True)
class _Choice:
    """The choice between a file on disk and its last good text."""

    path: Path
    environ: Mapping[str, str]
    on_disk: Mapping[Path, bytes | None]
    good: dict[Path, bytes] = field(default_factory=dict)
    """Last good text of each file, also of removed ones."""
    trees: Mapping[Path, MapNode] = field(default_factory=dict)
    """Trees of these texts with the secrets of their time, as far as they are known."""
    sources: set[Path] = field(default_factory=set)
    _reported: dict[Path, list[ConfigProblem]] = field(default_factory=dict)
    _restored: set[Path] = field(default_factory=set)
    """Files whose last good text was taken, and left-out files."""

    def report(self, problems: Iterable[ConfigProblem]) -> None:
        """Note problems, each once."""
        for each in problems:
            known = self._reported.setdefault(Path(each.file), [])
            if each not in known:
                known.append(each)

    def faults(self, in_use: Mapping[Path, bytes]) -> tuple[FileFault, ...]:
        """Return the files with errors."""
        return tuple(
            FileFault(str(file), tuple(sorted(problems)), in_use=file in in_use)
            for file, problems in sorted(self._reported.items())
        )

    def build(self, *, is_start: bool = False) -> tuple[Config, Files] | None:
        """Build a configuration of the files without errors; None if that is not possible.

        A running bridge leaves out no file that it has used, but a start does if even the last good text has an error.
        """
        candidates: dict[Path, Content] = dict(self.on_disk)
        self.report(
            _empty(file)
            for file, content in self.on_disk.items()
            if _is_blank(content) and content != self.good.get(file)
        )
        self._restore(candidates, self._reported.keys() & self.on_disk.keys())
        while candidates:
            try:
                config, files = _build(self.path, candidates, self.environ, Findings(sources=self.sources))
            except ConfigError as error:
                self.report(error.problems)
                named = {Path(each.file) for each in error.problems}
                chosen = self._to_restore(candidates, named, is_start=is_start)
                if chosen:
                    self.report(_consequence(file, error.problems[0]) for file in chosen - self._reported.keys())
                    self._restore(candidates, chosen)
                elif is_start and named <= candidates.keys():
                    for file in named:
                        del candidates[file]
                else:
                    return None
            else:
                texts = {
                    file: content if isinstance(content := candidates[file], bytes) else self.good[file]
                    for file in files.trees
                }
                return replace(config, faults=self.faults(texts)), replace(files, contents=texts)
        return None

    def _to_restore(
        self, candidates: Mapping[Path, Content], named: AbstractSet[Path], *, is_start: bool
    ) -> AbstractSet[Path]:
        """Return the changed files to restore because of problems in `named`; empty if no changes are left."""
        changed = {
            file for file in {*candidates, *self.good} - self._restored if candidates.get(file) != self.good.get(file)
        }
        # The file is the same, but one of its secrets is missing or has changed.
        changed |= {
            file
            for file in named & self.trees.keys() - self._restored
            if fill_variables(file, candidates.get(file), self.environ, Findings()) != self.trees[file]
        }
        if named <= changed:
            return named
        # An unchanged file has a problem now, so the cause is in another file; at a start it may be a missing secret.
        return changed - candidates.keys() or named & changed or (frozenset() if is_start else changed)

    def _restore(self, candidates: dict[Path, Content], chosen: AbstractSet[Path]) -> None:
        self._restored |= chosen
        for file in chosen:
            if file in self.good:
                candidates[file] = self.trees.get(file, self.good[file])
            else:
                candidates.pop(file, None)


def _build(
    path: Path, contents: Mapping[Path, Content], environ: Mapping[str, str], findings: Findings
) -> tuple[Config, Files]:
    """Return a configuration and its files. Raises ConfigError."""
    trees = {file: fill_variables(file, content, environ, findings) for file, content in contents.items()}
    config = build(path, trees, environ, findings)
    texts = {file: content for file, content in contents.items() if isinstance(content, bytes)}
    kept = {file: tree for file, tree in trees.items() if tree is not None}
    return config, Files(path, environ, texts, kept, frozenset(findings.sources))


def _is_blank(content: bytes | None) -> bool:
    return content is not None and not content.strip()


def _empty(file: Path) -> ConfigProblem:
    return ConfigProblem(
        str(file), 1, 1, "(file)", "is empty, perhaps because it is being saved; if you mean it, delete the file"
    )


def _consequence(file: Path, cause: ConfigProblem) -> ConfigProblem:
    message = f"is not used as it is on disk, because of the error at {cause.file}:{cause.line}:{cause.column}"
    return ConfigProblem(str(file), 1, 1, "(file)", message)


def _are_needed(unused: AbstractSet[Path], on_disk: Mapping[Path, bytes | None]) -> bool:
    """Return True if a file that is not used contains, or may contain, sections that every chatbot needs."""
    for file in unused:
        content = on_disk[file]
        if not content or _is_blank(content):
            # The content is unknown: `store` must be in another file.
            others = (sections_in(each, text) for each, text in on_disk.items() if text and each not in unused)
            if not any("store" in (sections or ()) for sections in others):
                return True
        elif (sections := sections_in(file, content)) is not None:
            if sections & _NEEDED:
                return True
        elif _NEEDED_LINE.search(content):
            return True
    return False


def _reuse_destinations(config: Config, current: Config) -> Config:
    destinations = {
        name: current.destinations[name] if current.destinations.get(name) == result else result
        for name, result in config.destinations.items()
    }
    return replace(config, destinations=MappingProxyType(destinations))
