"""Presets: named pieces of configuration that many destinations, chatbots and routes share. Pure.

`use: NAME` takes the keys of a preset of the same kind into a map. Keys that stand beside it replace them; `fields` are
replaced one by one, and `null` removes one. The nodes of a preset are shared and not copied, so each keeps its path and
position in the file, and a preset counts once in the limits of a file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from bridge.config.diagnostics import Findings
from bridge.config.merge import NAME_PATTERN, NAME_RULE
from bridge.config.yaml_tree import ConfigPath, ListNode, MapNode, Node, Position, Scalar
from bridge.errors import did_you_mean

SECTION: Final = "presets"
USE: Final = "use"
KINDS: Final = ("destinations", "routes", "chatbots")
_ROUTES: Final = "routes"
_FIELDS: Final = "fields"
_NAMES_LIMIT: Final = 20
"""Maximum number of presets in one `use`."""
_TAKEN_LIMIT: Final = 200_000
"""Maximum number of keys that all maps together take from presets: 1,000 chatbots with 200 each."""


def apply_presets(root: MapNode, findings: Findings, *, whole: bool) -> MapNode:
    """Return the configuration with each `use` replaced by the keys of its presets.

    Args:
        root: The merged files.
        findings: Receives the problems.
        whole: True if every file could be read. Otherwise a missing preset may be in an unreadable file.
    """
    expansion = _Expansion(root, findings, whole=whole)
    expansion.expand_presets()
    items = dict(root.items)
    for section in ("destinations", "chatbots"):
        entries = items.get(section)
        if isinstance(entries, MapNode):
            expanded = {name: expansion.entry(section, node) for name, node in entries.items.items()}
            items[section] = replace(entries, items=expanded)
    items.pop(SECTION, None)
    expansion.warn_of_unused()
    return replace(root, items=items)


@dataclass(slots=True)
class _Expansion:
    root: MapNode
    findings: Findings
    whole: bool
    _presets: dict[tuple[str, str], Node] = field(default_factory=dict)
    """The presets as written, by kind and name."""
    _expanded: dict[tuple[str, str], MapNode | None] = field(default_factory=dict)
    """None for a preset that cannot be used, which was reported."""
    _open: list[tuple[str, str]] = field(default_factory=list)
    """Presets that are being expanded, to find those that use each other."""
    _used: set[tuple[str, str]] = field(default_factory=set)
    _taken: int = 0

    def expand_presets(self) -> None:
        """Check the section `presets`, and expand the presets that use others."""
        section = self.root.items.get(SECTION)
        if not isinstance(section, MapNode):
            return
        for kind, entries in section.items.items():
            if kind not in KINDS:
                hint = did_you_mean(kind, KINDS) or f"; known here: {', '.join(KINDS)}"
                self.findings.error((SECTION, kind), section.keys[kind], f"unknown key{hint}")
            elif isinstance(entries, MapNode):
                self._presets |= {(kind, name): node for name, node in entries.items.items()}
        for kind, name in self._presets:
            if not NAME_PATTERN.fullmatch(name):
                self.findings.error((SECTION, kind, name), self._place(kind, name), NAME_RULE)
            self._preset(kind, name)

    def entry(self, kind: str, node: Node) -> Node:
        """Return a destination, chatbot or route with the keys of its presets."""
        if not isinstance(node, MapNode):
            return node
        if kind == "chatbots" and isinstance(routes := node.items.get(_ROUTES), ListNode):
            expanded = [self.entry(_ROUTES, each) for each in routes.items]
            node = replace(node, items={**node.items, _ROUTES: replace(routes, items=expanded)})
        if USE not in node.items:
            return node
        made = replace(node, items={}, keys={}, use=node.keys[USE])
        for preset in self._presets_of(kind, node):
            self._add(made, preset, _FIELDS if kind == _ROUTES else None)
            made = replace(made, presets=made.presets | preset.presets | {preset.path})
        own = made.items.get(_FIELDS) if kind == _ROUTES else None
        self._add(made, node, _FIELDS if isinstance(own, MapNode) else None)
        return made

    def warn_of_unused(self) -> None:
        """Warn of presets that nothing uses."""
        for kind, name in self._presets:
            if (kind, name) not in self._used and self.whole:
                what = "nothing uses this preset, so its settings are not checked: write `use: ` with its name"
                self.findings.warn((SECTION, kind, name), self._place(kind, name), f"{what}, or remove it")

    def _add(self, made: MapNode, source: MapNode, merged: str | None) -> None:
        """Add the keys of a preset, or those beside `use`, to those of the presets before it; `merged` key by key."""
        for name, value in source.items.items():
            if name == USE:
                continue
            made.items[name] = (
                self._fields(made.items.get(name), value) if name == merged and isinstance(value, MapNode) else value
            )
            made.keys[name] = source.keys[name]
        if source.path[:1] == (SECTION,):
            self._taken += len(source.items)

    def _fields(self, before: Node | None, source: MapNode) -> MapNode:
        """Return the fields of the presets before with those of a map; a field whose value is null is removed."""
        known = before if isinstance(before, MapNode) else MapNode(source.place, {}, {})
        made = replace(source, items=dict(known.items), keys=dict(known.keys))
        if source.path[:1] == (SECTION,):
            self._taken += len(source.items)
        for name, value in source.items.items():
            if not (isinstance(value, Scalar) and value.value is None):
                made.items[name] = value
                made.keys[name] = source.keys[name]
            elif name in made.items:
                del made.items[name], made.keys[name]
            else:
                hint = did_you_mean(name, made.items)
                message = f"has no value, and there is no field `{name}` of a preset to remove{hint}"
                self.findings.error((*source.path, name), source.keys[name], message)
        return made

    def _presets_of(self, kind: str, node: MapNode) -> Iterator[MapNode]:
        """Yield the presets that a map uses, in their order; report those that cannot be used."""
        names = self._names(node.items[USE])
        missing = not names
        for name in names:
            key = (kind, str(name.value))
            if key not in self._presets:
                missing = True
                self._report_unknown(kind, name)
                continue
            self._used.add(key)
            preset = self._preset(*key)
            if preset is None:
                missing = True
            elif self._taken > _TAKEN_LIMIT:
                missing = True
                message = f"more than {_TAKEN_LIMIT:,} keys are taken from presets: use smaller ones"
                self.findings.error((SECTION,), name.place, message)
            else:
                yield preset
        if missing:
            # Everything else that is wrong with this map follows from the missing keys.
            self.findings.mute(node.path)

    def _report_unknown(self, kind: str, name: Scalar) -> None:
        if self.whole:
            names = [each for owner, each in self._presets if owner == kind]
            listed = f"; known here: {', '.join(sorted(names))}" if names else f"; `{SECTION}.{kind}` has none"
            hint = did_you_mean(str(name.value), names) or listed
            self.findings.error(name.path, name.place, f"there is no preset `{name.value}`{hint}")

    def _names(self, node: Node) -> list[Scalar]:
        """Return the names in a `use`; empty if they cannot be read."""
        items = node.items if isinstance(node, ListNode) else [node]
        names = [
            each
            for each in items
            if isinstance(each, Scalar) and isinstance(each.value, str | int) and not isinstance(each.value, bool)
        ]
        if len(names) == len(items) and 0 < len(items) <= _NAMES_LIMIT:
            return names
        wrong = f"names more than {_NAMES_LIMIT} presets" if names and len(names) == len(items) else ""
        self.findings.error(node.path, node.place, wrong or "must be the name of a preset, or a list of names")
        return []

    def _preset(self, kind: str, name: str) -> MapNode | None:
        """Return a preset with the keys of the presets that it uses itself; None if it cannot be used."""
        key = (kind, name)
        if key in self._expanded:
            return self._expanded[key]
        path: ConfigPath = (SECTION, kind, name)
        node = self._presets[key]
        if key in self._open:
            circle = " > ".join(each for _, each in [*self._open[self._open.index(key) :], key])
            self.findings.error((*path, USE), self._place(kind, name), f"these presets use each other: {circle}")
            self._expanded[key] = None
            return None
        if not isinstance(node, MapNode):
            self.findings.error(path, self._place(kind, name), "must be a map of settings")
            self._expanded[key] = None
            return None
        self._open.append(key)
        expanded = self.entry(kind, node)
        self._open.pop()
        broken = key in self._expanded or self.findings.is_muted(path)
        self._expanded[key] = expanded if isinstance(expanded, MapNode) and not broken else None
        return self._expanded[key]

    def _place(self, kind: str, name: str) -> Position:
        entries = self.root.items[SECTION]
        named = entries.items[kind] if isinstance(entries, MapNode) else entries
        return named.keys[name] if isinstance(named, MapNode) else named.place


def preset_users(root: MapNode) -> dict[ConfigPath, set[ConfigPath]]:
    """Return the paths of the destinations and chatbots that use each preset, by the preset's path."""
    users: dict[ConfigPath, set[ConfigPath]] = {}
    for section in ("destinations", "chatbots"):
        entries = root.items.get(section)
        for name, entry in entries.items.items() if isinstance(entries, MapNode) else ():
            for preset in _taken_presets([entry]):
                users.setdefault(preset, set()).add((section, name))
    return users


def _taken_presets(nodes: Iterable[Node]) -> Iterator[ConfigPath]:
    """Return the presets of entries and of their routes."""
    for node in nodes:
        if isinstance(node, MapNode):
            yield from node.presets
            routes = node.items.get(_ROUTES)
            yield from _taken_presets(routes.items if isinstance(routes, ListNode) else ())
