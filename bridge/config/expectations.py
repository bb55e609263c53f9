"""Checks the section `tests` of a chatbot without running the tests."""

from collections.abc import Mapping, Sequence

from bridge.config.diagnostics import ConfigPath
from bridge.config.merge import ConfigDraft
from bridge.config.model import RouteTest
from bridge.config.schema import ChatbotPart
from bridge.config.yaml_tree import ListNode, MapNode, Node, Scalar, find_node
from bridge.errors import did_you_mean
from bridge.event import EVENT_FIELDS


def build_tests(
    draft: ConfigDraft, path: ConfigPath, part: ChatbotPart | None, routes: Sequence[tuple[str, str]]
) -> tuple[RouteTest, ...]:
    """Check the tests at a path; add each problem to the findings.

    Args:
        draft: The whole configuration.
        path: Path of the list of tests.
        part: The chatbot's values; None if some are invalid.
        routes: Destination and name of each route of the chatbot.
    """
    known = _places(routes)
    written = find_node(draft.root, path)[1]
    for at in range(len(written.items) if isinstance(written, ListNode) else 0):
        for name, value in _entries(draft, (*path, at, "event")).items():
            _check_event_field(draft, (*path, at, "event", name), value)
        for name in _entries(draft, (*path, at, "expect")):
            _check_expected(draft, (*path, at, "expect", name), known)
    return tuple(
        RouteTest(test.name, find_node(draft.root, (*path, at))[1].place, test.event, test.expect, test.exact)
        for at, test in enumerate(part.tests if part else ())
    )


def _entries(draft: ConfigDraft, path: ConfigPath) -> Mapping[str, Node]:
    """Return the entries of the map at a path; empty if there is no map, which was reported before."""
    followed, node = find_node(draft.root, path)
    return node.items if followed == path and isinstance(node, MapNode) else {}


def _places(routes: Sequence[tuple[str, str]]) -> list[str]:
    """Return the names that `expect` may use: each destination, and each of several routes to it."""
    destinations = list(dict.fromkeys(destination for destination, _ in routes if destination))
    return [*destinations, *(f"{each}#1" for each in destinations), *(name for _, name in routes if "#" in name)]


def _check_event_field(draft: ConfigDraft, path: ConfigPath, value: Node) -> None:
    name = str(path[-1])
    if name not in EVENT_FIELDS:
        hint = did_you_mean(name, EVENT_FIELDS) or f"; it has {', '.join(EVENT_FIELDS)}"
        draft.error(path, f"unknown field `{name}` of the event{hint}")
    elif not isinstance(value, Scalar):
        draft.value_error(path, "must be a single value, not a list or a map")


def _check_expected(draft: ConfigDraft, path: ConfigPath, known: Sequence[str]) -> None:
    name = str(path[-1])
    if name not in known:
        names = (
            f"its routes lead to {', '.join(each for each in known if '#' not in each)}"
            if known
            else "this chatbot has no routes"
        )
        draft.error(path, f"no route of this chatbot leads there{did_you_mean(name, known) or f'; {names}'}")
