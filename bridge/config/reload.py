"""Applies a changed configuration file by file: files without errors take effect, the others stay as they were."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bridge.config.diagnostics import ConfigError, ConfigProblem, Findings, Origins
from bridge.config.load import (
    Content,
    build_placed,
    fill_variables,
    names_in,
    read_files,
    readable_chatbots,
    sections_in,
)
from bridge.config.model import Config, LeftOut
from bridge.config.yaml_tree import MapNode

Contents = Mapping[Path, bytes]

_NEEDED = frozenset({"server", "store"})
"""Sections without which the bridge would start with another store or address."""
_NEEDED_LINE = re.compile(rb"^[\"']?(server|store)[\"']?\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True, repr=False)
class Files:
    """Paths and contents of the files that the configuration in use was built from."""

    path: Path
    """A file or a folder, as the user gave it."""
    environ: Mapping[str, str]
    contents: Contents
    trees: Mapping[Path, MapNode] = field(default_factory=dict)
    """Trees of the same files with variables and secret files filled in, from their last valid version."""
    origins: Origins = field(default_factory=Origins)
    """The presets that destinations and chatbots use."""
    sources: frozenset[Path] = frozenset()
    """Secret files and folders of plug-ins of the last attempt to read the files."""


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """Result of reading the files again."""

    config: Config
    files: Files
    problems: tuple[ConfigProblem, ...]
    """Reasons why files stayed as they were; empty if all files on disk are in use."""
    kept: tuple[Path, ...]
    """Files that stayed as they were, and new files that were left out."""


def load_files(path: Path, environ: Mapping[str, str]) -> tuple[Config, Files]:
    """Read a configuration for the first time, as `bridge.config.load` does. Raises ConfigError."""
    findings = Findings()
    contents = read_files(path, findings)
    config, trees, origins = _build_with_trees(path, contents, environ, findings)
    good = {file: each for file, each in contents.items() if each is not None}
    return config, Files(path, environ, good, trees, origins, frozenset(findings.sources))


def load_tolerant(path: Path, environ: Mapping[str, str]) -> tuple[Config, Files]:
    """Read a configuration for the first time, without those files of a folder that have errors.

    A file that refers to an entry of such a file is left out too. A single file must have no errors.

    Raises:
        ConfigError: A file with errors contains, or may contain, `server` or `store`, or no chatbot is left. All
            problems
            are included.
    """
    if not path.is_dir():
        return load_files(path, environ)
    findings = Findings()
    sources = findings.sources
    on_disk = read_files(path, findings)
    problems = {Path(each.file): [each] for each in findings.problems}
    problems |= {file: [_empty(file)] for file, content in on_disk.items() if _is_blank(content)}
    candidates: dict[Path, Content] = {file: content for file, content in on_disk.items() if file not in problems}
    result = None
    while result is None:
        try:
            result = _build_with_trees(path, candidates, environ, Findings(sources=sources))
        except ConfigError as error:
            problems_by_file: dict[Path, list[ConfigProblem]] = {}
            for each in error.problems:
                problems_by_file.setdefault(Path(each.file), []).append(_with_possible_cause(each, problems))
            if not problems_by_file.keys() <= candidates.keys():
                raise
            problems |= problems_by_file
            for file in problems_by_file:
                del candidates[file]
    config, trees, origins = result
    good = {file: content for file in candidates if (content := on_disk[file]) is not None}
    if problems and (not config.chatbots or _may_need(problems, on_disk, good)):
        raise ConfigError([each for problems_of_file in problems.values() for each in problems_of_file])
    left_out = _left_out(problems, on_disk, environ)
    return dataclasses.replace(config, left_out=left_out), Files(
        path, environ, good, trees, origins, frozenset(sources)
    )


def reload(current: Config, files: Files, held: Mapping[Path, ConfigProblem] = MappingProxyType({})) -> ReloadResult:
    """Read the files again and build a configuration from those without errors.

    A file with a problem keeps its previous version, with the secrets of that time; a new file is left out. An empty
    file counts as a problem. If a problem shows in an unchanged file, for example because its destination was removed
    from another file, the removed files are restored. If none was removed, all changes are reverted.

    Destinations with unchanged settings stay the same objects, with their connections and tokens.

    Args:
        current: The configuration in use.
        files: The files that it was built from.
        held: Files that must stay as they were, each with the reason.
    """
    findings = Findings()
    # A file that stays as it was is not read again, but its secrets and plug-ins are still of interest.
    sources = findings.sources
    on_disk = read_files(files.path, findings)
    problems = [*findings.problems, *held.values()]
    blank = {file for file, content in on_disk.items() if _is_blank(content) and content != files.contents.get(file)}
    problems += map(_empty, sorted(blank))
    kept = {file for file, content in on_disk.items() if content is None} | set(held) | blank
    candidates: dict[Path, Content] = dict(on_disk)
    _revert(candidates, files, kept)
    if not candidates:
        # An empty folder is probably not mounted, or the path is wrong: keep everything.
        return ReloadResult(current, files, tuple(sorted(problems)), tuple(sorted(files.contents)))
    built = None
    while built is None:
        try:
            built = _build_with_trees(files.path, candidates, files.environ, Findings(sources=sources))
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            offenders = _files_to_revert(candidates, files, error.problems)
            if not offenders:
                # Even the previous contents have errors now (a plug-in folder is missing): nothing changes.
                before = dataclasses.replace(files, sources=files.sources | sources)
                return ReloadResult(current, before, tuple(sorted(problems)), tuple(sorted(kept)))
            kept |= offenders
            _revert(candidates, files, offenders)
    config, trees, origins = built
    contents = {
        file: content if isinstance(content, bytes) else files.contents[file]
        for file, content in candidates.items()
        if content is not None
    }
    new = {
        file: [each for each in problems if Path(each.file) == file] for file in kept & on_disk.keys() - contents.keys()
    }
    config = dataclasses.replace(_reuse_destinations(config, current), left_out=_left_out(new, on_disk, files.environ))
    watched = sources | files.sources if kept else sources
    result = Files(files.path, files.environ, contents, trees, origins, frozenset(watched))
    return ReloadResult(config, result, tuple(sorted(problems)), tuple(sorted(kept)))


def defining_files(files: Files, section: str, name: str) -> list[Path]:
    """Return the file that defines an entry of a section, and those of the presets that it uses."""
    own = [file for file, content in files.contents.items() if name in names_in(file, content, section)]
    shared = [Path(file) for file in sorted(files.origins.files.get((section, name), ()))]
    return [*own[:1], *(file for file in shared if file not in own)]


def _files_to_revert(
    candidates: Mapping[Path, Content], files: Files, problems: tuple[ConfigProblem, ...]
) -> set[Path]:
    """Return the changed files to revert because of problems; empty if no changes are left."""
    before = files.contents
    changed = {
        file
        for file in {*candidates, *before}
        if not isinstance(candidates.get(file), MapNode) and candidates.get(file) != before.get(file)
    }
    named = {Path(problem.file) for problem in problems}
    # The file is the same, but one of its secrets is missing or has changed.
    changed |= {
        file
        for file in named & before.keys()
        if not isinstance(content := candidates.get(file), MapNode)
        and fill_variables(file, content, files.environ, Findings()) != files.trees.get(file)
    }
    gone = {file for file in changed if file not in candidates}
    if named <= changed:
        return named
    # An unchanged file has a problem now, so the cause is in another file.
    return gone or named & changed or changed


def _revert(candidates: dict[Path, Content], files: Files, taken: Collection[Path]) -> None:
    for file in taken:
        if file in files.contents:
            candidates[file] = files.trees.get(file, files.contents[file])
        else:
            candidates.pop(file, None)


def _build_with_trees(
    path: Path, contents: Mapping[Path, Content], environ: Mapping[str, str], findings: Findings
) -> tuple[Config, Mapping[Path, MapNode], Origins]:
    """Return a configuration with the trees that it was built from, and its presets. Raises ConfigError."""
    trees = {file: fill_variables(file, content, environ, findings) for file, content in contents.items()}
    config, merged = build_placed(path, trees, environ, findings)
    return config, {file: tree for file, tree in trees.items() if tree is not None}, merged.origins


def _is_blank(content: bytes | None) -> bool:
    return content is not None and not content.strip()


def _empty(file: Path) -> ConfigProblem:
    return ConfigProblem(
        str(file), 1, 1, "(file)", "is empty, perhaps because it is being saved; if you mean it, delete the file"
    )


def _with_possible_cause(problem: ConfigProblem, left_out: Mapping[Path, object]) -> ConfigProblem:
    """Add the names of the files with errors to a problem that they may have caused."""
    if not left_out:
        return problem
    names = ", ".join(file.name for file in sorted(left_out))
    return dataclasses.replace(problem, message=f"{problem.message}; the cause may be in {names}, which has errors")


def _may_need(broken: Collection[Path], on_disk: Mapping[Path, bytes | None], good: Contents) -> bool:
    """Return True if a file with errors contains, or may contain, sections that every chatbot needs."""
    named = any("store" in (sections_in(file, content) or ()) for file, content in good.items())
    for file in broken:
        content = on_disk.get(file)
        if not content or _is_blank(content):
            # The content is unknown.
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
    result = []
    for file, problems in sorted(broken.items()):
        content = on_disk.get(file) or b""
        chatbots = readable_chatbots(file, {**on_disk, file: content}, environ)
        names = names_in(file, content, "chatbots")
        readable = sections_in(file, content) is not None and not _is_blank(content) and len(chatbots) == len(names)
        result.append(LeftOut(str(file), tuple(sorted(problems)), chatbots, readable))
    return tuple(result)


def _reuse_destinations(config: Config, current: Config) -> Config:
    destinations = {
        name: current.destinations[name] if current.destinations.get(name) == result else result
        for name, result in config.destinations.items()
    }
    return dataclasses.replace(config, destinations=MappingProxyType(destinations))
