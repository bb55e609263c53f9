"""Presets: named pieces of configuration that many destinations, chatbots and routes share. Pure.

`use: NAME` takes the keys of a preset of the same kind into a map. Keys that stand beside it replace them; `fields` are
replaced one by one, and `null` removes one. The nodes of a preset are shared and not copied, so each keeps its position
in the file, and a preset counts once in the limits of a file. `Origins` notes which value came from which preset.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from bridge.config.diagnostics import ConfigPath, Findings, Position
from bridge.config.merge import NAME_PATTERN, NAME_RULE
from bridge.config.yaml_tree import ListNode, MapNode, Node, Scalar
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
        findings: Receives the problems, and the origins of what was taken.
        whole: True if every file could be read. Otherwise a missing preset may be in an unreadable file.
    """
    expansion = _Expansion(root, findings, whole=whole)
    expansion.expand_presets()
    items = dict(root.items)
    for section in ("destinations", "chatbots"):
        entries = items.get(section)
        if isinstance(entries, MapNode):
            items[section] = replace(
                entries,
                items={name: expansion.entry(section, (section, name), node) for name, node in entries.items.items()},
            )
    items.pop(SECTION, None)
    expansion.note_users()
    return replace(root, items=items)


@dataclass(slots=True)
class _Keys:
    """Keys of a map that is being put together, each with its origin."""

    node: MapNode
    origins: dict[str, ConfigPath] = field(default_factory=dict)
    """Path in a preset, for each key that was taken from one."""

    def put(self, name: str, value: Node, source: MapNode, origin: ConfigPath | None) -> None:
        self.node.items[name] = value
        self.node.keys[name] = source.keys[name]
        self.origins.pop(name, None)
        if origin:
            self.origins[name] = origin

    def remove(self, name: str) -> None:
        del self.node.items[name], self.node.keys[name]
        self.origins.pop(name, None)


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
    _used: dict[ConfigPath, set[ConfigPath]] = field(default_factory=dict)
    """By destination, chatbot or preset: the presets that it uses itself."""
    _taken: int = 0

    def expand_presets(self) -> None:
        """Check the section `presets`, and expand the presets that use others."""
        section = self.root.items.get(SECTION)
        if not isinstance(section, MapNode):
            return
        for kind, entries in section.items.items():
            path: ConfigPath = (SECTION, kind)
            if kind not in KINDS:
                hint = did_you_mean(kind, KINDS) or f"; known here: {', '.join(KINDS)}"
                self.findings.error(path, section.keys[kind], f"unknown key{hint}")
            elif isinstance(entries, MapNode):
                self._presets |= {(kind, name): node for name, node in entries.items.items()}
        for kind, name in self._presets:
            if not NAME_PATTERN.fullmatch(name):
                self.findings.error((SECTION, kind, name), self._place(kind, name), NAME_RULE)
            self._preset(kind, name)

    def entry(self, kind: str, path: ConfigPath, node: Node) -> Node:
        """Return a destination, chatbot or route with the keys of its presets."""
        if not isinstance(node, MapNode):
            return node
        if kind == "chatbots" and isinstance(routes := node.items.get(_ROUTES), ListNode):
            expanded = [self.entry(_ROUTES, (*path, _ROUTES, at), each) for at, each in enumerate(routes.items)]
            node = replace(node, items={**node.items, _ROUTES: replace(routes, items=expanded)})
        if USE not in node.items:
            return node
        keys = _Keys(MapNode(node.place, {}, {}))
        fields = _Keys(MapNode(node.place, {}, {}))
        for name, preset in self._presets_of(kind, path, node):
            self._take(keys, fields, preset, (SECTION, kind, name))
        self._override(keys, fields, node, path)
        for each, at in ((keys, path), (fields, (*path, _FIELDS))):
            self.findings.origins.taken.update({(*at, name): origin for name, origin in each.origins.items()})
        return keys.node

    def note_users(self) -> None:
        """Note who uses each preset, also through another one, and warn of presets that nothing uses."""
        users, files = self.findings.origins.users, self.findings.origins.files
        for user in self._used:
            waiting = [] if user[0] == SECTION else [*self._used[user]]
            while waiting:
                preset = waiting.pop()
                if user not in users.setdefault(preset, set()):
                    users[preset].add(user)
                    files.setdefault(user, set()).add(self._place(str(preset[1]), str(preset[2])).file)
                    waiting += self._used.get(preset, ())
        reached = {preset for presets in self._used.values() for preset in presets}
        for kind, name in self._presets:
            if (SECTION, kind, name) not in reached and self.whole:
                what = "nothing uses this preset, so its settings are not checked: write `use: ` with its name"
                self.findings.warn((SECTION, kind, name), self._place(kind, name), f"{what}, or remove it")

    def _take(self, keys: _Keys, fields: _Keys, preset: MapNode, origin: ConfigPath) -> None:
        """Add the keys of a preset to those of the presets before it."""
        inner = preset.items.get(_FIELDS) if origin[1] == _ROUTES else None
        for name, value in preset.items.items():
            if name != _FIELDS or not isinstance(inner, MapNode):
                keys.put(name, value, preset, (*origin, name))
        self._taken += len(preset.items)
        if isinstance(inner, MapNode):
            self._taken += len(inner.items)
            keys.put(_FIELDS, fields.node, preset, (*origin, _FIELDS))
            for name, value in inner.items.items():
                self._put_field(fields, name, value, inner, (*origin, _FIELDS))

    def _override(self, keys: _Keys, fields: _Keys, node: MapNode, path: ConfigPath) -> None:
        """Add the keys that stand beside `use`."""
        for name, value in node.items.items():
            if name == _FIELDS and isinstance(value, MapNode) and keys.node.items.get(name) is fields.node:
                keys.put(name, fields.node, node, None)
                for inner, each in value.items.items():
                    self._put_field(fields, inner, each, value, (*path, _FIELDS), own=True)
            elif name != USE:
                keys.put(name, value, node, None)

    def _put_field(
        self, fields: _Keys, name: str, value: Node, source: MapNode, path: ConfigPath, *, own: bool = False
    ) -> None:
        """Add a field, or remove one if its value is null. `path` is that of the map in which it stands."""
        if not (isinstance(value, Scalar) and value.value is None):
            fields.put(name, value, source, None if own else (*path, name))
        elif name in fields.node.items:
            fields.remove(name)
        else:
            hint = did_you_mean(name, fields.node.items)
            message = f"has no value, and there is no field `{name}` of a preset to remove{hint}"
            self.findings.error((*path, name), source.keys[name], message)

    def _presets_of(self, kind: str, path: ConfigPath, node: MapNode) -> Iterator[tuple[str, MapNode]]:
        """Yield the presets that a map uses, in their order; report those that cannot be used."""
        user = path[:3] if path[0] == SECTION else path[:2]
        self.findings.origins.uses[path] = node.keys[USE]
        names = self._names((*path, USE), node.items[USE])
        missing = not names
        for where, name, place in names:
            if (kind, name) not in self._presets:
                missing = True
                self._report_unknown(kind, name, where, place)
                continue
            self._used.setdefault(user, set()).add((SECTION, kind, name))
            preset = self._preset(kind, name)
            if preset is None:
                missing = True
            elif self._taken > _TAKEN_LIMIT:
                missing = True
                message = f"more than {_TAKEN_LIMIT:,} keys are taken from presets: use smaller ones"
                self.findings.error((SECTION,), place, message)
            else:
                yield name, preset
        if missing:
            # Everything else that is wrong with this map follows from the missing keys.
            self.findings.mute(path)

    def _report_unknown(self, kind: str, name: str, where: ConfigPath, place: Position) -> None:
        if self.whole:
            names = [each for owner, each in self._presets if owner == kind]
            listed = f"; known here: {', '.join(sorted(names))}" if names else f"; `{SECTION}.{kind}` has none"
            self.findings.error(where, place, f"there is no preset `{name}`{did_you_mean(name, names) or listed}")

    def _names(self, where: ConfigPath, node: Node) -> list[tuple[ConfigPath, str, Position]]:
        """Return the names in a `use`, each with its path and position; empty if they cannot be read."""
        paths = [(*where, at) for at in range(len(node.items))] if isinstance(node, ListNode) else [where]
        items = node.items if isinstance(node, ListNode) else [node]
        names = [
            (path, str(each.value), each.place)
            for path, each in zip(paths, items, strict=True)
            if isinstance(each, Scalar) and isinstance(each.value, str | int) and not isinstance(each.value, bool)
        ]
        if len(names) == len(items) and 0 < len(items) <= _NAMES_LIMIT:
            return names
        wrong = f"names more than {_NAMES_LIMIT} presets" if names and len(names) == len(items) else ""
        self.findings.error(where, node.place, wrong or "must be the name of a preset, or a list of names")
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
        expanded = self.entry(kind, path, node)
        self._open.pop()
        broken = key in self._expanded or self.findings.is_muted(path)
        self._expanded[key] = expanded if isinstance(expanded, MapNode) and not broken else None
        return self._expanded[key]

    def _place(self, kind: str, name: str) -> Position:
        entries = self.root.items[SECTION]
        named = entries.items[kind] if isinstance(entries, MapNode) else entries
        return named.keys[name] if isinstance(named, MapNode) else named.place
