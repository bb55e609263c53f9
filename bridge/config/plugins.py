"""Loads transforms and connectors from the folders of the section `plugins` and from installed packages.

A file provides at most one connector, named after the file. It becomes an entry point like those of installed packages,
so that the rest of the program treats both alike. Files of tests are skipped.

A folder is imported as a package whose name is derived from its content: a changed folder is imported again at a
reload, an unchanged one is reused. Packages that are no longer in use stay loaded, because their functions may still be
running.
"""

import hashlib
import importlib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Final

from bridge.config.diagnostics import ConfigError, Findings
from bridge.config.yaml_tree import ConfigPath, ListNode, MapNode, Node, Position, Scalar, SourceSpan, moved
from bridge.mapping.expressions.sandbox import ExpressionSandbox
from bridge.mapping.plugin_api import connector_in, transforms_in
from bridge.mapping.transform_api import Transform
from bridge.mapping.transforms import BUILTIN
from connectors.base import Connector, DestinationSettings, RouteSettings

GROUP = "leadbridge.connectors"
TRANSFORMS = "leadbridge.transforms"


def connector_entries() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Return the entry points of all installed connectors by name, without loading them."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def connector_class(entry: importlib.metadata.EntryPoint) -> type[Connector]:
    """Load a connector.

    Raises:
        ImportError: The connector cannot be loaded or is not a valid class; the message is shown to users.
    """
    try:
        found = entry.load()
    except Exception as error:  # importing foreign code can raise anything
        raise ImportError(f"the connector `{entry.name}` ({entry.value}) cannot be loaded: {error!r}") from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise ImportError(f"`{entry.value}` is not a subclass of connectors.base.Connector")  # noqa: TRY004 - see Raises
    for name, base in (("destination_settings", DestinationSettings), ("route_settings", RouteSettings)):
        settings = getattr(found, name, None)
        if not (isinstance(settings, type) and issubclass(settings, base)):
            wrong = f"`{entry.value}` needs a {name}: a subclass of connectors.base.{base.__name__}"
            raise ImportError(wrong)  # noqa: TRY004 - see Raises
    return found


def transform_entries() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Return the entry points of all installed modules with transforms by name, without loading them."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=TRANSFORMS)}


SECTION: Final = "plugins"
_MESSAGE_LIMIT: Final = 200
_SKIPPED_PREFIXES: Final = ("_", "test_", "conftest.")
"""Prefixes of files that are no plug-ins: shared code and tests."""


@dataclass(frozen=True, slots=True)
class Plugins:
    """Built-in transforms and connectors, and those of plug-ins."""

    transforms: dict[str, Transform] = field(default_factory=lambda: dict(BUILTIN))
    connectors: dict[str, EntryPoint] = field(default_factory=lambda: dict(connector_entries()))
    """Entry points by name. Those of files are already imported, installed ones are not."""
    folders: list[Path] = field(default_factory=list)


def merge_folders(root: MapNode, tree: MapNode) -> None:
    """Append a file's list of plug-in folders; `load_plugins` reports a value that is not a list."""
    node = tree.items[SECTION]
    root.keys.setdefault(SECTION, tree.keys[SECTION])
    there = root.items.get(SECTION)
    before = there.items if isinstance(there, ListNode) else []
    added = node.items if isinstance(node, ListNode) else [node]
    items = [*before, *(moved(each, (SECTION, at)) for at, each in enumerate(added, len(before)))]
    root.items[SECTION] = ListNode(node.place, items, (SECTION,))


def load_plugins(root: MapNode, findings: Findings) -> Plugins:
    """Import the folders of the configuration and the installed transforms; report problems."""
    loading = _Loading(findings, Plugins())
    for name, entry in sorted(transform_entries().items()):
        path, place = (SECTION, name), root.place
        with loading.faults(path, place, None, f"the installed transforms `{name}` ({entry.value})"):
            loading.add_transforms(path, place, entry.load(), entry.value)
    listed = root.items.get(SECTION)
    for at, node in enumerate(listed.items if isinstance(listed, ListNode) else []):
        if not (isinstance(node, Scalar) and node.value is None):
            loading.folder((SECTION, at), node)
    return loading.plugins


@dataclass(frozen=True, slots=True)
class _Loading:
    findings: Findings
    plugins: Plugins
    _added: set[int] = field(default_factory=set)

    def folder(self, path: ConfigPath, node: Node) -> None:
        """Import each file of a folder, so that a mistake in one does not hide another."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            self.findings.error(path, node.place, "must be a list of folders: [./plugins]")
            return
        folder = Path(node.place.file).parent / node.value
        self.findings.sources.add(folder)
        if not folder.is_dir():
            self.findings.error(
                path, node.place, f"there is no folder {folder}; a relative path starts at the folder of this file"
            )
            return
        files = sorted(file for file in folder.glob("*.py") if not file.name.startswith(_SKIPPED_PREFIXES))
        if not files:
            self.findings.warn(path, node.place, f"there is no *.py file in {folder}")
        self.plugins.folders.append(folder)
        with self.faults(path, node.place, folder, str(folder)):
            package = _package(folder)
            for file in files:
                self._file((*path, file.name), node.place, file, package)

    def _file(self, path: ConfigPath, place: Position, file: Path, package: str) -> None:
        if not file.stem.isidentifier():
            self.findings.error(path, place, f"{file}: rename it: use letters, digits and `_` only")
            return
        with self.faults(path, place, file.parent, str(file)), _no_bytecode():
            module = importlib.import_module(f"{package}.{file.stem}")
            self.add_transforms(path, place, module, str(file))
            self._take_connector(path, place, module, file)

    def _take_connector(self, path: ConfigPath, place: Position, module: ModuleType, file: Path) -> None:
        found = connector_in(module)
        if found is None:
            return
        name = file.stem
        if name in self.plugins.connectors:
            message = f"{file}: a connector `{name}` exists already: rename the file, whose name is the connector's"
            self.findings.error(path, place, message)
            return
        entry = EntryPoint(name, f"{module.__name__}:{found.__qualname__}", GROUP)
        try:
            connector_class(entry)
        except ImportError as error:
            self.findings.error(path, place, f"{file}: {error}")
        else:
            self.plugins.connectors[name] = entry

    def add_transforms(self, path: ConfigPath, place: Position, found: object, source: str) -> None:
        """Add the transforms of a module. Names that another module has already provided are skipped."""
        known = {**ExpressionSandbox({}).filters, **self.plugins.transforms}
        for each in transforms_in(found):
            if id(each) in self._added:
                continue
            self._added.add(id(each))
            if each.name in known:
                message = f"{source}: the name `{each.name}` is taken: choose another with `@transform(name=…)`"
                self.findings.error((*path, each.name), place, message)
            else:
                self.plugins.transforms[each.name] = each

    @contextmanager
    def faults(self, path: ConfigPath, place: Position, folder: Path | None, what: str) -> Iterator[None]:
        """Report exceptions that foreign code raises while it is imported."""
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anything can come out of foreign code
            where = _fault_location(error, folder) if folder else ""
            text = str(error).partition("\n")[0][:_MESSAGE_LIMIT]
            self.findings.error(path, place, f"{where or what}: cannot be imported: {type(error).__name__}: {text}")


def _package(folder: Path) -> str:
    """Return the name of the package for a folder; create the package unless one with this content exists."""
    digest = hashlib.sha256(os.path.abspath(folder).encode(errors="replace"))  # noqa: PTH100 - links stay as they are
    for file in sorted([*folder.glob("*.py"), *folder.glob("*/*.py")]):
        digest.update(f"\0{file.relative_to(folder)}\0".encode(errors="replace") + file.read_bytes())
    name = f"leadbridge_plugins_{digest.hexdigest()[:16]}"
    if name not in sys.modules:
        package = ModuleType(name, f"The plugins in {folder}.")
        package.__path__ = [os.path.abspath(folder)]  # noqa: PTH100 - see above
        sys.modules[name] = package
        importlib.invalidate_caches()  # a file may be newer than Python's list of the folder
    return name


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Keep Python from writing `__pycache__` into a user's folder, which could also hide an edit of the same second."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _fault_location(error: BaseException, folder: Path) -> str:
    """Return file and line of the innermost frame inside the folder."""
    top = Path(os.path.abspath(folder))  # noqa: PTH100 - as `_package` does
    places = [(frame.filename, frame.lineno or 1) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno or 1))
    inside = [(Path(name), line) for name, line in places if Path(name).is_relative_to(top)]
    return f"{folder / inside[-1][0].relative_to(top)}:{inside[-1][1]}" if inside else ""


def plugins_in(folders: Iterable[Path]) -> Plugins:
    """Import the given folders and the installed transforms. Raises ConfigError with all problems."""
    place = Position("--plugins", 1, 1)
    span = SourceSpan("", 0, 0)
    items: list[Node] = [Scalar(place, str(folder), span) for folder in folders]
    findings = Findings()
    found = load_plugins(MapNode(place, {SECTION: ListNode(place, items)}, {SECTION: place}), findings)
    if findings.problems:
        raise ConfigError(findings.problems, findings.warnings)
    return found
