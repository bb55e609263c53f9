"""Taking over a changed configuration file by file: what is good goes live, a file with errors stays as it was."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bridge.config.diagnostics import ConfigError, ConfigProblem, Findings
from bridge.config.load import Content, build, filled, names_in, read_files, readable_chatbots, sections_in
from bridge.config.model import Config, LeftOut
from bridge.config.yaml_tree import MapNode

Contents = Mapping[Path, bytes]

_NEEDED = frozenset({"server", "store"})
"""Sections without which a start would use another store, or listen elsewhere."""
_NEEDED_LINE = re.compile(rb"^[\"']?(server|store)[\"']?\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True, repr=False)
class Files:
    """A configuration as files: where they are, and what was in them when the configuration in use was made of them."""

    path: Path
    """A file, or a folder of files, as the user gave it."""
    environ: Mapping[str, str]
    contents: Contents
    trees: Mapping[Path, MapNode] = field(default_factory=dict)
    """The same files with their variables and secret files filled in: their last good form."""


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What came of reading the files again."""

    config: Config
    files: Files
    problems: tuple[ConfigProblem, ...]
    """Why files have been left as they were; empty if everything on disk is in use now."""
    kept: tuple[Path, ...]
    """The files that have been left as they were, or left out because they are new."""


def load_files(path: Path, environ: Mapping[str, str]) -> tuple[Config, Files]:
    """Read a configuration for the first time, as `bridge.config.load` does. Raises ConfigError."""
    findings = Findings()
    contents = read_files(path, findings)
    config, trees = _built(path, contents, environ, findings)
    return config, Files(path, environ, {file: each for file, each in contents.items() if each is not None}, trees)


def load_tolerant(path: Path, environ: Mapping[str, str]) -> tuple[Config, Files]:
    """Read a configuration for the first time, and leave out the files of a folder that have errors.

    A file that uses something of a file that is left out is left out too. A single file must be without errors.

    Raises:
        ConfigError: with everything that is wrong, if a broken file holds `server` or `store`, or may hold it, or if
            no chatbot is left.
    """
    if not path.is_dir():
        return load_files(path, environ)
    findings = Findings()
    on_disk = read_files(path, findings)
    problems = {Path(each.file): [each] for each in findings.problems}
    problems |= {file: [_empty(file)] for file, content in on_disk.items() if _is_blank(content)}
    wanted: dict[Path, Content] = {file: content for file, content in on_disk.items() if file not in problems}
    made = None
    while made is None:
        try:
            made = _built(path, wanted, environ, Findings())
        except ConfigError as error:
            found: dict[Path, list[ConfigProblem]] = {}
            for each in error.problems:
                found.setdefault(Path(each.file), []).append(_because_of(each, problems))
            if not found.keys() <= wanted.keys():
                raise
            problems |= found
            for file in found:
                del wanted[file]
    config, trees = made
    good = {file: content for file in wanted if (content := on_disk[file]) is not None}
    if problems and (not config.chatbots or _may_need(problems, on_disk, good)):
        raise ConfigError([each for found in problems.values() for each in found])
    left_out = _left_out(problems, on_disk, environ)
    return dataclasses.replace(config, left_out=left_out), Files(path, environ, good, trees)


def reload(current: Config, files: Files, held: Mapping[Path, ConfigProblem] = MappingProxyType({})) -> ReloadResult:
    """Read the files again, and make a configuration of those that are good.

    A file with a problem counts as it was before, with the secrets that it had then: its chatbots and destinations
    stay, a new file is left out. An empty file has a problem. Where a problem shows in a file that has not changed (a
    destination that it routes to has gone from another one), those that have gone are brought back, or else every
    change is taken back.

    Destinations that are configured as before are the very same objects, with their connections and tokens.

    Args:
        current: The configuration in use.
        files: What it was made of.
        held: Files that must stay as they were, each with the reason.
    """
    findings = Findings()
    on_disk = read_files(files.path, findings)
    problems = [*findings.problems, *held.values()]
    blank = {file for file, content in on_disk.items() if _is_blank(content) and content != files.contents.get(file)}
    problems += map(_empty, sorted(blank))
    kept = {file for file, content in on_disk.items() if content is None} | set(held) | blank
    wanted: dict[Path, Content] = dict(on_disk)
    _take_back(wanted, files, kept)
    if not wanted:
        # A folder without any file is one that is not mounted, or a path mistaken: no reason to drop everything.
        return ReloadResult(current, files, tuple(sorted(problems)), tuple(sorted(files.contents)))
    built = None
    while built is None:
        try:
            built = _built(files.path, wanted, files.environ, Findings())
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            offenders = _offenders(wanted, files, error.problems)
            if not offenders:
                # Even the old contents are not good any more (a plug-in's folder has gone): all stays as it is.
                return ReloadResult(current, files, tuple(sorted(problems)), tuple(sorted(kept)))
            kept |= offenders
            _take_back(wanted, files, offenders)
    config, trees = built
    contents = {
        file: content if isinstance(content, bytes) else files.contents[file]
        for file, content in wanted.items()
        if content is not None
    }
    new = {
        file: [each for each in problems if Path(each.file) == file] for file in kept & on_disk.keys() - contents.keys()
    }
    config = dataclasses.replace(_with_the_old(config, current), left_out=_left_out(new, on_disk, files.environ))
    made = Files(files.path, files.environ, contents, trees)
    return ReloadResult(config, made, tuple(sorted(problems)), tuple(sorted(kept)))


def defining_file(contents: Contents, section: str, name: str) -> Path | None:
    """Find the file in which an entry of a section stands."""
    return next((file for file, content in contents.items() if name in names_in(file, content, section)), None)


def _offenders(wanted: Mapping[Path, Content], files: Files, problems: tuple[ConfigProblem, ...]) -> set[Path]:
    """Choose which changes to take back because of problems; empty if there are no changes left."""
    before = files.contents
    changed = {
        file
        for file in {*wanted, *before}
        if not isinstance(wanted.get(file), MapNode) and wanted.get(file) != before.get(file)
    }
    named = {Path(problem.file) for problem in problems}
    # The file is the same, but one of its secrets is gone or has changed.
    changed |= {
        file
        for file in named & before.keys()
        if not isinstance(content := wanted.get(file), MapNode)
        and filled(file, content, files.environ, Findings()) != files.trees.get(file)
    }
    gone = {file for file in changed if file not in wanted}
    if named <= changed:
        return named
    # A file that has not changed has a problem now, so the cause is in another one.
    return gone or named & changed or changed


def _take_back(wanted: dict[Path, Content], files: Files, taken: Collection[Path]) -> None:
    for file in taken:
        if file in files.contents:
            wanted[file] = files.trees.get(file, files.contents[file])
        else:
            wanted.pop(file, None)


def _built(
    path: Path, contents: Mapping[Path, Content], environ: Mapping[str, str], findings: Findings
) -> tuple[Config, Mapping[Path, MapNode]]:
    """Build a configuration; return it with the trees that it was built of. Raises ConfigError."""
    trees = {file: filled(file, content, environ, findings) for file, content in contents.items()}
    config = build(path, trees, environ, findings)
    return config, {file: tree for file, tree in trees.items() if tree is not None}


def _is_blank(content: bytes | None) -> bool:
    return content is not None and not content.strip()


def _empty(file: Path) -> ConfigProblem:
    return ConfigProblem(
        str(file), 1, 1, "(file)", "is empty, as while it is being saved; delete the file if you mean it"
    )


def _because_of(problem: ConfigProblem, left_out: Mapping[Path, object]) -> ConfigProblem:
    """Say where the cause of a problem may be, if it only shows without the files that are left out."""
    if not left_out:
        return problem
    names = ", ".join(file.name for file in sorted(left_out))
    return dataclasses.replace(problem, message=f"{problem.message}; the cause may be in {names}, which has errors")


def _may_need(broken: Collection[Path], on_disk: Mapping[Path, bytes | None], good: Contents) -> bool:
    """Tell whether a broken file holds, or may hold, what every chatbot needs."""
    named = any("store" in (sections_in(file, content) or ()) for file, content in good.items())
    for file in broken:
        content = on_disk.get(file)
        if not content or _is_blank(content):
            # Anything may have been in it.
            if not named:
                return True
        elif (sections := sections_in(file, content)) is not None:
            if sections & _NEEDED:
                return True
        elif _NEEDED_LINE.search(content):
            return True
    return False


def _left_out(
    broken: Mapping[Path, list[ConfigProblem]], on_disk: Mapping[Path, bytes | None], environ: Mapping[str, str]
) -> tuple[LeftOut, ...]:
    made = []
    for file, problems in sorted(broken.items()):
        content = on_disk.get(file) or b""
        chatbots = readable_chatbots(file, content, environ)
        names = names_in(file, content, "chatbots")
        readable = sections_in(file, content) is not None and not _is_blank(content) and len(chatbots) == len(names)
        made.append(LeftOut(str(file), tuple(sorted(problems)), chatbots, readable))
    return tuple(made)


def _with_the_old(config: Config, current: Config) -> Config:
    destinations = {
        name: current.destinations[name] if current.destinations.get(name) == made else made
        for name, made in config.destinations.items()
    }
    return dataclasses.replace(config, destinations=MappingProxyType(destinations))
