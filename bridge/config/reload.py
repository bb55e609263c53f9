"""Taking over a changed configuration file by file: what is good goes live, a file with errors stays as it was."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bridge.config.load import build, names_in, read_files
from bridge.config.model import Config
from bridge.config.problems import ConfigError, Findings, Problem

Contents = Mapping[Path, bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Files:
    """A configuration as files: where they are, and what was in them when the configuration in use was made of them."""

    path: Path
    """A file, or a folder of files, as the user gave it."""
    environ: Mapping[str, str]
    contents: Contents


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of reading the files again."""

    config: Config
    files: Files
    problems: tuple[Problem, ...]
    """Why files have been left as they were; empty if everything on disk is in use now."""
    kept: tuple[Path, ...]
    """The files that have been left as they were, or left out because they are new."""


def first(path: Path, environ: Mapping[str, str]) -> tuple[Config, Files]:
    """Read a configuration for the first time, as `bridge.config.load` does. Raises ConfigError."""
    findings = Findings()
    contents = read_files(path, findings)
    config = build(path, contents, environ, findings)
    return config, Files(path, environ, {file: content for file, content in contents.items() if content is not None})


def reload(current: Config, files: Files, held: Mapping[Path, Problem] = MappingProxyType({})) -> Reloaded:
    """Read the files again, and make a configuration of those that are good.

    A file with a problem counts as it was before: its chatbots and destinations stay, a new file is left out. Where a
    problem shows in a file that has not changed (a destination that it routes to has gone from another one), those
    that have gone are brought back, or else every change is taken back.

    Destinations that are configured as before are the very same objects, with their connections and tokens.

    Args:
        current: The configuration in use.
        files: What it was made of.
        held: Files that must stay as they were, each with the reason.
    """
    findings = Findings()
    wanted = dict(read_files(files.path, findings))
    problems = [*findings.problems, *held.values()]
    kept = {file for file, content in wanted.items() if content is None} | set(held)
    _take_back(wanted, files.contents, kept)
    if not wanted:
        # A folder without any file is one that is not mounted, or a path mistaken: no reason to drop everything.
        return Reloaded(current, files, tuple(sorted(problems)), tuple(sorted(files.contents)))
    while True:
        try:
            config = build(files.path, wanted, files.environ, Findings())
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            offenders = _offenders(wanted, files.contents, error.problems)
            if not offenders:
                # Even the old contents are not good any more (a variable's file has gone): all stays as it is.
                return Reloaded(current, files, tuple(sorted(problems)), tuple(sorted(kept)))
            kept |= offenders
            _take_back(wanted, files.contents, offenders)
        else:
            contents = {file: content for file, content in wanted.items() if content is not None}
            made = Files(files.path, files.environ, contents)
            return Reloaded(_with_the_old(config, current), made, tuple(sorted(problems)), tuple(sorted(kept)))


def defining_file(contents: Contents, section: str, name: str) -> Path | None:
    """Find the file in which an entry of a section stands."""
    return next((file for file, content in contents.items() if name in names_in(file, content, section)), None)


def _offenders(wanted: Mapping[Path, bytes | None], before: Contents, problems: tuple[Problem, ...]) -> set[Path]:
    """Choose which changes to take back because of problems; empty if there are no changes left."""
    changed = {file for file in {*wanted, *before} if wanted.get(file) != before.get(file)}
    named = {Path(problem.file) for problem in problems}
    gone = {file for file in changed if file not in wanted}
    if named <= changed:
        return named
    # A file that has not changed has a problem now, so the cause is in another one.
    return gone or named & changed or changed


def _take_back(wanted: dict[Path, bytes | None], before: Contents, files: set[Path]) -> None:
    for file in files:
        if file in before:
            wanted[file] = before[file]
        else:
            wanted.pop(file, None)


def _with_the_old(config: Config, current: Config) -> Config:
    destinations = {
        name: current.destinations[name] if current.destinations.get(name) == made else made
        for name, made in config.destinations.items()
    }
    return dataclasses.replace(config, destinations=MappingProxyType(destinations))
