"""Reads the files of a configuration, merges them, checks every part and reports all problems at once."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from bridge.config import plugins, presets
from bridge.config.chatbots import build_chatbots, used_destinations
from bridge.config.destinations import build_destinations, destinations_of
from bridge.config.diagnostics import ConfigError, ConfigProblem, Findings
from bridge.config.lint import check_accounts
from bridge.config.merge import ConfigDraft, Model
from bridge.config.model import Config, ListenAddress, StoreSettings
from bridge.config.schema import ConfigPart, ServerPart, StorePart
from bridge.config.secrets import store_key, warn_if_readable
from bridge.config.sections import alert_settings, build_reports, server_settings
from bridge.config.setting_types import parse_address
from bridge.config.substitution import Substitution
from bridge.config.validation_messages import known_keys
from bridge.config.yaml_reader import FILE_LIMIT, SourceTree, read_yaml
from bridge.config.yaml_tree import ConfigPath, MapNode, Position, Scalar, plain
from bridge.errors import did_you_mean
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.mapping import EVENT_NAME_MEMBERS

_LOCALHOST: Final = "localhost"

_NOWHERE: Final = Position("", 1, 1)

Content = bytes | MapNode | None
"""Content of a file, or its tree with the variables filled in; None if the file cannot be read."""


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read, check and compile the configuration at `path`.

    Reads files and imports plug-ins, opens no connection, and creates the connectors without I/O. The same files and
    environment always return the same configuration.

    Args:
        path: A YAML file, or a folder whose `*.yaml` files are merged in the order of their names.
        environ: The variables for `${NAME}`.

    Raises:
        ConfigError: The configuration has problems; all are included, in the order of files and lines.
    """
    return load_placed(path, environ)[0]


def load_placed(path: Path, environ: Mapping[str, str]) -> tuple[Config, SourceTree]:
    """Return the result of `load`, together with the merged tree and its positions."""
    findings = Findings()
    return build_placed(path, read_files(path, findings), environ, findings)


def admin_address(path: Path, environ: Mapping[str, str]) -> ListenAddress:
    """Return the address of the admin listener, reading no more of the configuration than that.

    Takes a fraction of the time of `load`, and other mistakes do not matter. Raises ConfigError if the address itself
    cannot be read.
    """
    findings = Findings()
    for file, content in read_files(path, findings).items():
        tree = _parse_cached(str(file), content)[0] if content and b"server" in content else None
        server = tree.items.get("server") if tree else None
        node = server.items.get("admin") if isinstance(server, MapNode) else None
        if node is not None:
            filled = plain(Substitution(environ, file.parent, findings).fill(node))
            try:
                return parse_address(filled)
            except ValueError as error:
                findings.error(("server", "admin"), node.place, str(error))
                break
    if findings.problems:
        raise ConfigError(findings.problems)
    return ServerPart().admin


def read_files(path: Path, findings: Findings) -> dict[Path, bytes | None]:
    """Return the content of each file in the order of merging; None for an unreadable file."""
    return {file: _content(file, findings) for file in _files(path, findings)}


def build(path: Path, contents: Mapping[Path, Content], environ: Mapping[str, str], findings: Findings) -> Config:
    """Check and compile the configuration with the given file contents; see `load`.

    Args:
        path: The path that the user gave; the position of problems that belong to no file.
        contents: Content of each file; None for a file that could not be read, which is then among the findings. A tree
            has its variables filled in.
        environ: The variables for `${NAME}`.
        findings: The problems found so far.

    Raises:
        ConfigError: The configuration has problems; all are included, in the order of files and lines.
    """
    return build_placed(path, contents, environ, findings)[0]


def build_placed(
    path: Path, contents: Mapping[Path, Content], environ: Mapping[str, str], findings: Findings
) -> tuple[Config, SourceTree]:
    """Return the result of `build`, together with the merged tree and its positions."""
    trees = [fill_variables(file, content, environ, findings) for file, content in contents.items()]
    merged = merge([tree for tree in trees if tree], findings, Position(str(path), 1, 1))
    whole = None not in trees
    root = presets.apply_presets(merged, findings, whole=whole)
    findings.root = root
    loaded = plugins.load_plugins(root, findings)
    expressions = JinjaExpressions(loaded.transforms, EVENT_NAME_MEMBERS)
    draft = ConfigDraft(root, findings, expressions, loaded.transforms, whole=whole)
    server = server_settings(draft)
    store = _store(draft)
    alerts = alert_settings(draft)
    reports = build_reports(draft)
    destinations = build_destinations(draft, loaded.connectors)
    check_accounts(draft, destinations_of(destinations))
    chatbots = build_chatbots(draft, destinations)
    _warn_of_gaps(draft)
    findings.place_shared(presets.preset_users)
    findings.drop_repeated_warnings()
    if findings.problems or server is None or store is None or alerts is None:
        raise ConfigError(findings.problems, findings.warnings)
    config = Config(
        server=server,
        store=store,
        destinations=MappingProxyType(destinations_of(destinations)),
        chatbots=MappingProxyType(chatbots),
        warnings=tuple(sorted(findings.warnings)),
        alerts=alerts,
        reports=MappingProxyType(reports),
        plugins=tuple(loaded.folders),
    )
    return config, SourceTree(root)


def _files(path: Path, findings: Findings) -> list[Path]:
    """Return the files of a configuration in the order of merging."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.yaml") if not file.name.startswith("."))
    if not files:
        findings.error((), Position(str(path), 1, 1), "there is no *.yaml file in this folder")
    for other in sorted(path.glob("*.yml")):
        findings.warn((), Position(str(other), 1, 1), "not read: rename it to *.yaml")
    for folder, count in _folders_with_yaml(path):
        what = f"its {count} YAML files are" if count > 1 else "its YAML file is"
        findings.warn((), Position(str(folder), 1, 1), f"{what} not read: only the files of {path} itself are")
    return files


def _folders_with_yaml(path: Path) -> list[tuple[Path, int]]:
    """Return the folders up to two levels below, each with the number of its YAML files."""
    found = [*path.glob("*/*.y*ml"), *path.glob("*/*/*.y*ml")]
    counts = Counter(
        file.parent for file in found if file.suffix in {".yaml", ".yml"} and "/." not in f"/{file.relative_to(path)}"
    )
    return sorted(counts.items())


def tree_of(file: Path, content: bytes) -> MapNode | None:
    """Return the tree of a file as written; None if the file cannot be parsed."""
    return _parse_cached(str(file), content)[0]


def sections_in(file: Path, content: bytes) -> frozenset[str] | None:
    """Return the names of the sections in a file; None if the file cannot be parsed."""
    tree, problems, _ = _parse_cached(str(file), content)
    return None if tree is None or problems else frozenset(tree.items)


def read_store_section(
    path: Path, contents: Mapping[Path, bytes | None], environ: Mapping[str, str]
) -> StoreSettings | None:
    """Return the settings of the store from files that may have errors elsewhere; None if `store` has an error."""
    findings = Findings()
    trees = [tree for file, content in contents.items() if (tree := fill_variables(file, content, environ, Findings()))]
    sections = [replace(tree, items={"store": tree.items["store"]}) for tree in trees if "store" in tree.items]
    root = merge(sections, findings, Position(str(path), 1, 1))
    draft = ConfigDraft(root, findings, JinjaExpressions({}, EVENT_NAME_MEMBERS), {}, whole=False)
    found = _store(draft)
    return None if findings.problems else found


def _content(file: Path, findings: Findings) -> bytes | None:
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_LIMIT + 1)
    except OSError as error:
        findings.error((), Position(str(file), 1, 1), f"cannot be read: {error.strerror}")
        return None


def fill_variables(file: Path, content: Content, environ: Mapping[str, str], findings: Findings) -> MapNode | None:
    """Return the tree of a file with its variables filled in; None if it has none or cannot be read."""
    if not isinstance(content, bytes):
        return content
    name = str(file)
    parsed, problems, warnings = _parse_cached(name, content)
    findings.problems.extend(problems)
    findings.warnings.extend(warnings)
    if parsed is None:
        return None
    tree = Substitution(environ, file.parent, findings).fill(parsed)
    return tree if isinstance(tree, MapNode) else None


@lru_cache(maxsize=4_096)
def _parse_cached(
    name: str, content: bytes
) -> tuple[MapNode | None, tuple[ConfigProblem, ...], tuple[ConfigProblem, ...]]:
    """Parse a file. Cached, since a reload reads a thousand files of which usually one has changed."""
    findings = Findings()
    tree = _parse(name, content, findings)
    return tree, tuple(findings.problems), tuple(findings.warnings)


def _parse(name: str, content: bytes, findings: Findings) -> MapNode | None:
    if len(content) > FILE_LIMIT:
        findings.error((), Position(name, 1, 1), f"larger than {FILE_LIMIT:,} bytes: split it into a folder of files")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        findings.error((), Position(name, line, column), "not text in UTF-8: save the file in that encoding")
        return None
    return read_yaml(name, text, findings)


def merge(trees: Iterable[MapNode], findings: Findings, top: Position = _NOWHERE) -> MapNode:
    """Merge the top-level sections of all files by name. `top` is the position of problems that belong to no file."""
    root = MapNode(top, {}, {})
    known = known_keys(ConfigPart)
    for tree in trees:
        for section in tree.items:
            if section == plugins.SECTION:
                plugins.merge_folders(root, tree)
            elif section not in known:
                hint = did_you_mean(section, known) or f"; known here: {', '.join(known)}"
                findings.error((section,), tree.keys[section], f"unknown key{hint}")
            else:
                _merge_section(root, (section,), tree, findings)
    return root


def _merge_section(root: MapNode, path: ConfigPath, tree: MapNode, findings: Findings) -> None:
    section = str(path[-1])
    place, node = tree.keys[section], tree.items[section]
    if not isinstance(node, MapNode):
        if not (isinstance(node, Scalar) and node.value is None):
            findings.error(path, place, "must be a map of keys and values")
        return
    merged = root.items.setdefault(section, MapNode(node.place, {}, {}, path))
    root.keys.setdefault(section, place)
    if not isinstance(merged, MapNode):
        return
    for name, value in node.items.items():
        if path == (presets.SECTION,):
            _merge_section(merged, (*path, name), node, findings)
        elif name in merged.items:
            findings.error((*path, name), node.keys[name], f"given twice: the first is at {merged.keys[name]}")
        else:
            merged.items[name] = value
            merged.keys[name] = node.keys[name]


def _section(draft: ConfigDraft, model: type[Model], name: str) -> Model | None:
    return draft.model(model, (name,), {key: plain(node) for key, node in draft.section(name).items()})


def _secret(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _store(draft: ConfigDraft) -> StoreSettings | None:
    part = _section(draft, StorePart, "store")
    if part is None:
        return None
    url = part.url.get_secret_value()
    if _has_password(url):
        warn_if_readable(draft.findings, draft.root, ("store", "url"))
    return StoreSettings(
        url,
        part.retention.delivered,
        part.retention.dead,
        part.spool,
        part.spool_limit,
        tuple(_store_keys(draft, ("store", "encryption_keys"))),
        next(iter(_store_keys(draft, ("store", "identity_key"))), None),
    )


def _store_keys(draft: ConfigDraft, where: tuple[str, ...]) -> list[bytes]:
    keys: list[bytes] = []
    for path, text in draft.texts(where):
        try:
            key = store_key(text)
        except ValueError as error:
            draft.value_error(path, str(error))
            continue
        if key in keys:
            draft.value_error(path, "repeats an earlier key: remove it")
        keys.append(key)
        warn_if_readable(draft.findings, draft.root, path)
    return keys


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return False


def _warn_of_gaps(draft: ConfigDraft) -> None:
    """Warn of missing chatbots and of destinations without routes."""
    if not draft.section("chatbots"):
        if draft.whole:
            draft.warn(("chatbots",), "no chatbots: every event will be stored as unrecognised")
        return
    for name in draft.section("destinations").keys() - used_destinations(draft):
        draft.warn(("destinations", name), "no route leads to this destination")
