"""The section `plugins`: folders of Python files that bring transforms and connectors; and those that are installed.

A file brings one connector at the most, and its name is the connector's. It is handed on as an entry point, as the
installed ones are, so that nobody else needs to know where a connector comes from. Files of tests are left alone.

A folder is imported as a package of its own, whose name is made of what is in it: a folder that has changed is
imported anew when the configuration is read again, one that has not is the package that it was. What a package that
went out of use holds is kept as long as the process, because functions of it may still be at work.
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

from bridge.config.diagnostics import ConfigError, ConfigPath, Findings, Position
from bridge.config.yaml_tree import ListNode, MapNode, Node, Scalar, SourceSpan
from bridge.mapping.expressions.sandbox import Sandbox
from bridge.mapping.plugin_api import connector_in, transforms_in
from bridge.mapping.transform_api import Transform
from bridge.mapping.transforms import BUILTIN
from connectors.base import Connector, DestinationSettings, RouteSettings

GROUP = "leadbridge.connectors"
TRANSFORMS = "leadbridge.transforms"


def connector_entries() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Give the entry points of all installed connectors by name; none of them is loaded."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def connector_class(entry: importlib.metadata.EntryPoint) -> type[Connector]:
    """Load a connector.

    Raises:
        ImportError: it cannot be loaded, or what is there is no connector; the message is meant for a person.
    """
    try:
        found = entry.load()
    except Exception as error:  # whatever a foreign module does while it is imported
        raise ImportError(f"the connector `{entry.name}` ({entry.value}) cannot be loaded: {error!r}") from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise ImportError(f"`{entry.value}` is not a subclass of connectors.base.Connector")  # noqa: TRY004 - see Raises
    for name, wanted in (("destination_settings", DestinationSettings), ("route_settings", RouteSettings)):
        settings = getattr(found, name, None)
        if not (isinstance(settings, type) and issubclass(settings, wanted)):
            wrong = f"`{entry.value}` needs a {name}: a subclass of connectors.base.{wanted.__name__}"
            raise ImportError(wrong)  # noqa: TRY004 - see Raises
    return found


def transform_entries() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Give the entry points of all installed modules with transforms by name; none of them is loaded."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=TRANSFORMS)}


SECTION: Final = "plugins"
_SHOWN: Final = 200
_NOT_READ: Final = ("_", "test_", "conftest.")
"""How the names of files begin that are no plugins: what plugins share, and their tests."""


@dataclass(frozen=True, slots=True)
class Plugins:
    """What plugins bring, and what comes with the bridge."""

    transforms: dict[str, Transform] = field(default_factory=lambda: dict(BUILTIN))
    connectors: dict[str, EntryPoint] = field(default_factory=lambda: dict(connector_entries()))
    """Those of files have been imported; those that are installed have not."""
    folders: list[Path] = field(default_factory=list)


def merge_folders(root: MapNode, tree: MapNode) -> None:
    """Add a file's list of folders to that of the files before it; what is no list is left for `load_plugins`."""
    node = tree.items[SECTION]
    root.keys.setdefault(SECTION, tree.keys[SECTION])
    there = root.items.get(SECTION)
    items = node.items if isinstance(node, ListNode) else [node]
    root.items[SECTION] = ListNode(node.place, [*(there.items if isinstance(there, ListNode) else ()), *items])


def load_plugins(root: MapNode, findings: Findings) -> Plugins:
    """Import what the configuration names and what is installed; notes what is wrong."""
    loading = _Loading(findings, Plugins())
    for name, entry in sorted(transform_entries().items()):
        path, place = (SECTION, name), root.place
        with loading.faults(path, place, None, f"the installed transforms `{name}` ({entry.value})"):
            loading.take(path, place, entry.load(), entry.value)
    listed = root.items.get(SECTION)
    for at, node in enumerate(listed.items if isinstance(listed, ListNode) else []):
        if not (isinstance(node, Scalar) and node.value is None):
            loading.folder((SECTION, at), node)
    return loading.plugins


@dataclass(frozen=True, slots=True)
class _Loading:
    findings: Findings
    plugins: Plugins
    _taken: set[int] = field(default_factory=set)

    def folder(self, path: ConfigPath, node: Node) -> None:
        """Import each file of a folder, so that a mistake in one does not hide another."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            self.findings.error(path, node.place, "must be a list of folders: [./plugins]")
            return
        folder = Path(node.place.file).parent / node.value
        if not folder.is_dir():
            self.findings.error(path, node.place, f"there is no folder {folder}; a relative one starts at this file")
            return
        files = sorted(file for file in folder.glob("*.py") if not file.name.startswith(_NOT_READ))
        if not files:
            self.findings.warn(path, node.place, f"there is no *.py file in {folder}")
        self.plugins.folders.append(folder)
        with self.faults(path, node.place, folder, str(folder)):
            package = _package(folder)
            for file in files:
                self._file((*path, file.name), node.place, file, package)

    def _file(self, path: ConfigPath, place: Position, file: Path, package: str) -> None:
        if not file.stem.isidentifier():
            self.findings.error(path, place, f"{file}: rename it: letters, digits and `_` only")
            return
        with self.faults(path, place, file.parent, str(file)), _no_bytecode():
            module = importlib.import_module(f"{package}.{file.stem}")
            self.take(path, place, module, str(file))
            self._take_connector(path, place, module, file)

    def _take_connector(self, path: ConfigPath, place: Position, module: ModuleType, file: Path) -> None:
        found = connector_in(module)
        if found is None:
            return
        name = file.stem
        if name in self.plugins.connectors:
            message = f"{file}: there is a connector `{name}` already: rename the file, its name is the connector's"
            self.findings.error(path, place, message)
            return
        entry = EntryPoint(name, f"{module.__name__}:{found.__qualname__}", GROUP)
        try:
            connector_class(entry)
        except ImportError as error:
            self.findings.error(path, place, f"{file}: {error}")
        else:
            self.plugins.connectors[name] = entry

    def take(self, path: ConfigPath, place: Position, found: object, source: str) -> None:
        """Take over the transforms of a module. One that came before, by an import from elsewhere, is passed over."""
        known = {**Sandbox({}).filters, **self.plugins.transforms}
        for each in transforms_in(found):
            if id(each) in self._taken:
                continue
            self._taken.add(id(each))
            if each.name in known:
                message = f"{source}: the name `{each.name}` is taken: give it another, `@transform(name=…)`"
                self.findings.error((*path, each.name), place, message)
            else:
                self.plugins.transforms[each.name] = each

    @contextmanager
    def faults(self, path: ConfigPath, place: Position, folder: Path | None, what: str) -> Iterator[None]:
        """Note what a foreign module does while it is imported."""
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anything can come out of foreign code
            where = _where(error, folder) if folder else ""
            text = str(error).partition("\n")[0][:_SHOWN]
            self.findings.error(path, place, f"{where or what}: cannot be imported: {type(error).__name__}: {text}")


def _package(folder: Path) -> str:
    """Make the package of a folder, unless there is one of just these contents, and give its name."""
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
    """Have Python write no `__pycache__` into somebody's configuration; it would also hide an edit within a second."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _where(error: BaseException, folder: Path) -> str:
    """Give file and line of a fault, of the files in the folder the last that was at work."""
    top = Path(os.path.abspath(folder))  # noqa: PTH100 - as `_package` does
    places = [(frame.filename, frame.lineno or 1) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno or 1))
    inside = [(Path(name), line) for name, line in places if Path(name).is_relative_to(top)]
    return f"{folder / inside[-1][0].relative_to(top)}:{inside[-1][1]}" if inside else ""


def plugins_in(folders: Iterable[Path]) -> Plugins:
    """Import folders that a command is given, and what is installed. Raises ConfigError with what is wrong."""
    place = Position("--plugins", 1, 1)
    span = SourceSpan("", 0, 0)
    items: list[Node] = [Scalar(place, str(folder), span) for folder in folders]
    findings = Findings()
    found = load_plugins(MapNode(place, {SECTION: ListNode(place, items)}, {SECTION: place}), findings)
    if findings.problems:
        raise ConfigError(findings.problems, findings.warnings)
    return found
