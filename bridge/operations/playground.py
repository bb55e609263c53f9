"""Dry runs of a route that is not in the configuration yet.

The edited route takes the place of the one in use, in a copy of the files without the other chatbots. The copy is
checked and compiled as usual; nothing is put in use and nothing is sent. Values of routes that come from a variable or
a secret file are not filled in, neither in the edited text nor in a preset, because a person who edits a mapping need
not know the secrets. A user of some chatbots gets no other presets than these chatbots use.

The text may be hostile, and the thread that works on it cannot be ended. So its size is bounded before it is compiled,
and compiling takes its cost from a budget, as mapping does. Call it in a thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import orjson
import yaml

from bridge.config import presets
from bridge.config.diagnostics import ConfigError, Findings
from bridge.config.load import build, merge, tree_of
from bridge.config.model import Config
from bridge.config.reload import Files
from bridge.config.yaml_reader import read_yaml
from bridge.config.yaml_tree import (
    ConfigPath,
    ListNode,
    MapNode,
    Node,
    Origin,
    Scalar,
    dotted_path,
    find_node,
    moved,
    plain,
    written_path,
)
from bridge.errors import OperatorError
from bridge.event import EventState, decode
from bridge.mapping.budget import CompileBudget, LimitError, spending
from bridge.mapping.pattern import compile_pattern
from bridge.operations.dry_run import DryRun, PageBudget, dry_run
from bridge.operations.event_dry_run import route_trial, trial_delivery, why_skipped
from bridge.operations.lanes import destinations_of
from bridge.store.filter import EVERYTHING, Scope

TEXT_LIMIT: Final = 64 * 1024
EXPANDED_LIMIT: Final = 4 * TEXT_LIMIT
"""Characters of an edited route once its aliases and merge keys are written out."""
VALUE_LIMIT: Final = 8 * 1024
"""Characters of one value of an edited route: Python compiles a template in one go, and nothing else runs meanwhile."""
VALUES_LIMIT: Final = 4_000
"""Keys and values of an edited route, its aliases written out: at most half as many fields are compiled."""
COMPILE_STEPS: Final = 500_000_000
"""Steps of the budget that compiling the copy may take: constants in templates and patterns."""
PROBLEMS_LIMIT: Final = 50
"""Maximum number of problems that are shown."""
_PROBLEM_TEXT: Final = 500
_FAILS: Final = "A condition of this route fails on this event."
_EDITED: Final = "route"
_FILLED: Final = frozenset({"to", "events", "when"})
"""Keys of a route whose variables are filled in: they decide where it goes, and no record shows them."""


@dataclass(frozen=True, slots=True)
class RoutePosition:
    """Position of a route in the files."""

    chatbot: str
    at: int
    """Its index among the chatbot's routes."""


@dataclass(frozen=True, slots=True, repr=False)
class TrialResult:
    """Result of a trial."""

    problems: tuple[str, ...] = ()
    """Errors of the route; then there is nothing else."""
    verdict: str = ""
    """Reason why there is no record although the route has no errors."""
    result: DryRun | None = None
    in_use: "TrialResult | None" = None
    """Result of the route in use for the same event, to compare with; None if the edited one was refused."""


class FieldChange(StrEnum):
    """Kinds of differences between a field of two records."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True, slots=True, repr=False)
class FieldDifference:
    """A field of the record that the route in use makes, beside that of the edited one."""

    name: str
    before: str | None
    """Value under the route in use; None if the record has no such field."""
    after: str | None

    @property
    def change(self) -> FieldChange:
        """The difference."""
        if self.before is None:
            return FieldChange.ADDED
        if self.after is None:
            return FieldChange.REMOVED
        return FieldChange.SAME if self.before == self.after else FieldChange.CHANGED


def differences(before: TrialResult, after: TrialResult) -> list[FieldDifference]:
    """Return the fields of the second record in their order, then those of the first record alone."""
    was, now = (each.result.fields or {} if each.result else {} for each in (before, after))
    return [FieldDifference(name, was.get(name), now.get(name)) for name in dict.fromkeys([*now, *was])]


def places(config: Config, scope: Scope = EVERYTHING) -> list[tuple[RoutePosition, str]]:
    """Return the routes that can be tried, each with its name for a person."""
    return [
        (RoutePosition(chatbot.name, at), f"{chatbot.name} → {each.name}")
        for chatbot in config.chatbots.values()
        for at, each in enumerate(chatbot.routes)
        if scope.sees(chatbot.name)
    ]


def route_text(files: Files, place: RoutePosition) -> str:
    """Return the YAML of a route in use, variables not filled in. Raises OperatorError if there is no such route."""
    trees = {file: tree for file, content in files.contents.items() if (tree := tree_of(file, content))}
    node = _chatbot_and_routes(trees, place)[1].items[place.at]
    return str(yaml.safe_dump(plain(node), sort_keys=False, allow_unicode=True, width=100))


def seen_by(config: Config, scope: Scope) -> frozenset[ConfigPath] | None:
    """Return the paths of the chatbots of a user and of their destinations; None for a user of all."""
    if scope.chatbots is None:
        return None
    destinations = (("destinations", name) for name in destinations_of(config, scope))
    return frozenset([*(("chatbots", name) for name in scope.chatbots), *destinations])


def run_trial(
    files: Files,
    place: RoutePosition,
    text: str,
    payload: bytes,
    now: float,
    seen: frozenset[ConfigPath] | None = None,
) -> TrialResult:
    """Try an edited route and the one in use on an event. Raises OperatorError if the files or the event are unusable.

    With `seen`, the route may go to these destinations only and use the presets of these only, as if there were no
    others.
    """
    if len(text) > TEXT_LIMIT or len(payload) > TEXT_LIMIT:
        raise OperatorError(f"the route or the event is longer than {TEXT_LIMIT:,} characters: shorten it")
    allowance = PageBudget()
    findings = Findings()
    edited = read_yaml(_EDITED, text, findings)
    if edited is None or findings.problems:
        return _refused([f"line {each.line}: {each.message}" for each in findings.problems] or ["it is empty"])
    if problem := _too_large(edited):
        return _refused([problem])
    try:
        with spending(CompileBudget(COMPILE_STEPS)):
            config = build(files.path, _copy(files, place, edited, seen), files.environ, Findings())
        tried = _tried(config, place, payload, now, allowance, reveal=True)
    except ConfigError as error:
        return _refused(_own_problems(error, place, whole=seen is None))
    except LimitError as error:
        return _refused([f"the route {error}"])
    finally:
        # Its patterns would stay there: up to 4 MiB each.
        compile_pattern.cache_clear()
    return replace(tried, in_use=_in_use(files, place, payload, now, allowance, reveal=True))


def run_in_use(files: Files, place: RoutePosition, payload: bytes, now: float, *, reveal: bool) -> TrialResult:
    """Try the route in use on an event. Raises OperatorError if the files or the event cannot be used."""
    return _in_use(files, place, payload, now, PageBudget(), reveal=reveal)


def with_names(files: Files, config: Config, chatbot: str) -> Config:
    """Return the configuration in use with the names of variables in the place of their values in a chatbot's routes.

    If the routes cannot be compiled without the values, the chatbot is left out, so that no record of it is made.
    """
    others = {name: each for name, each in config.chatbots.items() if name != chatbot}
    if chatbot not in config.chatbots or not any(map(_has_outside, files.trees.values())):
        return config
    try:
        copy = _copy(files, RoutePosition(chatbot, 0), None, None)
        named = build(files.path, copy, files.environ, Findings()).chatbots[chatbot]
        return replace(config, chatbots={**others, chatbot: named})
    except (ConfigError, OperatorError):
        return replace(config, chatbots=others)


def _has_outside(node: Node, *, of_route: bool = False) -> bool:
    """Return True if a route below the node has a value from outside its file."""
    if isinstance(node, MapNode):
        return any(
            _has_outside(each, of_route=of_route or name == "routes")
            for name, each in node.items.items()
            if not (of_route and name in _FILLED)
        )
    if isinstance(node, ListNode):
        return any(_has_outside(each, of_route=of_route) for each in node.items)
    return of_route and node.origin is Origin.OUTSIDE


def _in_use(
    files: Files, place: RoutePosition, payload: bytes, now: float, allowance: PageBudget, *, reveal: bool
) -> TrialResult:
    """Try the route in use, in a copy as well: the configuration in use has the values of the variables."""
    try:
        config = build(files.path, _copy(files, place, None, None), files.environ, Findings())
    except ConfigError:
        return TrialResult(verdict="it needs the value of a variable, which is not filled in here")
    return _tried(config, place, payload, now, allowance, reveal=reveal)


def _tried(
    config: Config, place: RoutePosition, payload: bytes, now: float, allowance: PageBudget, *, reveal: bool
) -> TrialResult:
    chatbot = config.chatbots[place.chatbot]
    try:
        document = decode(payload)
    except ValueError as error:
        raise OperatorError("the event is not JSON: paste one object, as the sender sends it") from error
    if not isinstance(document, dict):
        raise OperatorError("the event must be one JSON object")
    document = {"Type": "Lead", "SessionID": 1, "CreateTime": "", **document, "SerialNumber": chatbot.serial_numbers[0]}
    mine = chatbot.routes[place.at]
    routed, why = route_trial(orjson.dumps(document), document, chatbot, now)
    event = routed.event
    delivery = next((each for each in routed.deliveries if each.route == mine.name), None)
    if event.state is not EventState.ACCEPTED:
        return TrialResult(verdict=f"the event: {why}")
    if delivery is None:
        return TrialResult(verdict=f"the route does not take this event: {why_skipped(mine, event)}")
    if delivery.problem:
        return TrialResult(result=DryRun(problem=delivery.problem if reveal else _FAILS))
    made = dry_run(trial_delivery(event, mine), mine.destination, config, allowance, reveal=reveal)
    return TrialResult(result=made)


def _refused(problems: Sequence[str]) -> TrialResult:
    """Return the first problems, cut to a readable length."""
    shown = [each if len(each) <= _PROBLEM_TEXT else f"{each[:_PROBLEM_TEXT]}…" for each in problems[:PROBLEMS_LIMIT]]
    more = len(problems) - len(shown)
    return TrialResult((*shown, f"{more} more") if more else tuple(shown))


def _too_large(edited: Node) -> str | None:
    """Return why a route is too large to be tried; None if it is not."""
    longest = total = 0
    for number, size in enumerate(_sizes(edited), 1):
        longest, total = max(longest, size), total + size
        if total > EXPANDED_LIMIT:
            return f"longer than {EXPANDED_LIMIT:,} characters once its aliases are written out: use fewer"
        if number > VALUES_LIMIT:
            return f"more than {VALUES_LIMIT:,} keys and values once its aliases are written out: use fewer"
    if longest > VALUE_LIMIT:
        return f"a text of it is longer than {VALUE_LIMIT:,} characters: shorten it, or use `leadbridge test`"
    return None


def _sizes(node: Node) -> Iterator[int]:
    """Return the size of each text, key, list (0) and map (0) as often as it stands in the expanded tree."""
    if isinstance(node, Scalar):
        yield len(str(node.value))
        return
    if isinstance(node, MapNode):
        yield from map(len, node.items)
    yield 0
    for each in node.items.values() if isinstance(node, MapNode) else node.items:
        yield from _sizes(each)


def _chatbot_and_routes(trees: Mapping[Path, MapNode], place: RoutePosition) -> tuple[MapNode, ListNode]:
    """Return a chatbot as it is written, and the list of its routes, which may be in a preset.

    Raises:
        OperatorError: The files in use have no such route.
    """
    findings = Findings()
    root = merge(trees.values(), findings)
    chatbot = find_node(root, ("chatbots", place.chatbot))[1]
    path: ConfigPath = ("chatbots", place.chatbot, "routes")
    if isinstance(chatbot, MapNode) and "routes" not in chatbot.items:
        path = written_path(presets.apply_presets(root, findings, whole=True), path)
    followed, routes = find_node(root, path)
    known = followed == path and isinstance(routes, ListNode) and place.at < len(routes.items)
    if known and isinstance(chatbot, MapNode) and isinstance(routes, ListNode):
        return chatbot, routes
    raise OperatorError(f"chatbot {place.chatbot} has no such route in the files in use")


def _copy(
    files: Files, place: RoutePosition, edited: Node | None, seen: frozenset[ConfigPath] | None
) -> dict[Path, MapNode]:
    """Return the files with the edited route, without the other chatbots: a thousand of them take a second.

    Without `edited`, the route stays as it is. Users are left out too, because they name other chatbots.
    """
    trees = {file: _with_names(files, file, tree) for file, tree in files.trees.items()}
    chatbot, routes = _chatbot_and_routes(trees, place)
    route = moved(edited, ("chatbots", place.chatbot, "routes", place.at)) if edited else None
    items = [route if route and at == place.at else each for at, each in enumerate(routes.items)]
    chatbot = replace(
        chatbot,
        items={**chatbot.items, "routes": replace(routes, items=items)},
        keys={"routes": chatbot.place, **chatbot.keys},
    )
    changed = {}
    for file, tree in trees.items():
        sections = dict(tree.items)
        for name, section in tree.items.items():
            if name == "chatbots" and isinstance(section, MapNode):
                mine: dict[str, Node] = {place.chatbot: chatbot} if place.chatbot in section.items else {}
                sections[name] = replace(section, items=mine)
            elif name == "server" and isinstance(section, MapNode):
                sections[name] = _without(section, "users")
            elif name == "destinations" and isinstance(section, MapNode) and seen is not None:
                sections[name] = _without(section, *(each for each in section.items if (name, each) not in seen))
            elif name == presets.SECTION and isinstance(section, MapNode) and seen is not None:
                sections[name] = _presets_of(section, files, seen)
        changed[file] = replace(tree, items=sections)
    return changed


def _presets_of(section: MapNode, files: Files, seen: frozenset[ConfigPath]) -> MapNode:
    """Return the presets that these chatbots and destinations use, also through other presets."""
    findings = Findings()
    users = presets.preset_users(presets.apply_presets(merge(files.trees.values(), findings), findings, whole=True))
    kinds: dict[str, Node] = {}
    for kind, entries in section.items.items():
        if isinstance(entries, MapNode):
            others = [each for each in entries.items if not seen & users.get((presets.SECTION, kind, each), set())]
            kinds[kind] = _without(entries, *others)
    return replace(section, items=kinds)


def _with_names(files: Files, file: Path, tree: MapNode) -> MapNode:
    """Return the tree of a file with the names of variables and secret files in the place of values in its routes."""
    written = tree_of(file, files.contents[file])
    return tree if written is None else _routes_with_names(tree, written)


def _routes_with_names(node: MapNode, written: MapNode) -> MapNode:
    """Go down to the routes: those of chatbots, and the presets of both kinds."""
    items = dict(node.items)
    for name, each in node.items.items():
        source = written.items[name]
        if name == "routes":
            items[name] = _named_routes(each, source)
        elif isinstance(each, MapNode) and isinstance(source, MapNode):
            items[name] = _routes_with_names(each, source)
    return replace(node, items=items)


def _named_routes(node: Node, written: Node) -> Node:
    """Return routes, in a list or by name, as they are written but for the keys of `_FILLED`."""
    if isinstance(node, ListNode) and isinstance(written, ListNode):
        return replace(node, items=[_named_route(*each) for each in zip(node.items, written.items, strict=True)])
    if isinstance(node, MapNode) and isinstance(written, MapNode):
        return replace(node, items={name: _named_route(each, written.items[name]) for name, each in node.items.items()})
    return node


def _named_route(route: Node, written: Node) -> Node:
    if not (isinstance(route, MapNode) and isinstance(written, MapNode)):
        return route
    items = {key: each if key in _FILLED else _named(each, written.items[key]) for key, each in route.items.items()}
    return replace(route, items=items)


def _named(node: Node, written: Node) -> Node:
    """Return a value with the text as written wherever it comes from outside the file."""
    if isinstance(node, MapNode) and isinstance(written, MapNode):
        return replace(node, items={key: _named(each, written.items[key]) for key, each in node.items.items()})
    if isinstance(node, ListNode) and isinstance(written, ListNode):
        return replace(node, items=[_named(*each) for each in zip(node.items, written.items, strict=True)])
    return written if isinstance(node, Scalar) and node.origin is Origin.OUTSIDE else node


def _without(node: MapNode, *names: str) -> MapNode:
    return replace(node, items={name: each for name, each in node.items.items() if name not in names})


def _own_problems(error: ConfigError, place: RoutePosition, *, whole: bool) -> tuple[str, ...]:
    """Return the errors with paths that begin at the route, because positions in the copy mean nothing to a person.

    Without `whole`, errors elsewhere are left out: they may name what is another client's.
    """
    mine = dotted_path(("chatbots", place.chatbot, "routes", place.at))
    own = tuple(
        f"{each.path.removeprefix(mine).lstrip('.') or 'the route'}: {each.message}"
        for each in error.problems
        if whole or each.path.startswith(mine)
    )
    return own or ("The files in use have errors elsewhere: ask a user of all chatbots.",)
