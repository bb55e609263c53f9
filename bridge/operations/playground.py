"""Trying a route before it is in the configuration: what would become of an event under an edited one.

The edited route takes the place of the one in use, in a copy of its file without other chatbots, beside the files that
hold more than chatbots. That is checked and compiled as always; nothing is put in use and nothing is sent. Variables in
the edited text are not filled in: who may edit a mapping here need not know the secrets. Reads plugins and secret
files, so call it in a thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from bridge.config.diagnostics import ConfigError, Findings, dotted_path
from bridge.config.load import build, holds_only
from bridge.config.model import Config
from bridge.config.reload import defining_file
from bridge.config.yaml_reader import read_yaml
from bridge.config.yaml_tree import MapNode, Node, Scalar, find_node, plain
from bridge.errors import OperatorError
from bridge.event import EventState, Form, Verified, decode
from bridge.identity import STAND_IN
from bridge.ingress.routing import route
from bridge.operations.dry_run import Allowance, DryRun, dry_run
from bridge.store.interface import Delivery

TEXT_LIMIT: Final = 64 * 1024
EXPANDED_LIMIT: Final = 4 * TEXT_LIMIT
"""Characters of an edited route once its aliases and merge keys are written out."""
PROBLEMS_LIMIT: Final = 50
"""Problems that are shown, each in so many characters at most:"""
_PROBLEM_TEXT: Final = 500
_EDITED: Final = "route"


@dataclass(frozen=True, slots=True)
class Place:
    """Which route of the files."""

    chatbot: str
    at: int
    """Its index among the chatbot's routes."""


@dataclass(frozen=True, slots=True, repr=False)
class Tried:
    """What came of it."""

    problems: tuple[str, ...] = ()
    """What is wrong with the route; then there is nothing else."""
    verdict: str = ""
    """Why there is no record although nothing is wrong: the route does not take the event."""
    result: DryRun | None = None


def places(config: Config) -> list[tuple[Place, str]]:
    """Give the routes that can be tried, each with what a person calls it."""
    return [
        (Place(chatbot.name, at), f"{chatbot.name} → {each.name}")
        for chatbot in config.chatbots.values()
        for at, each in enumerate(chatbot.routes)
    ]


def route_text(contents: Mapping[Path, bytes], place: Place) -> str:
    """Give the YAML of a route as it is in use, variables not filled in. Raises OperatorError if it is not there."""
    _, tree = _file(contents, place)
    node = find_node(tree, ("chatbots", place.chatbot, "routes", place.at))[1]
    return str(yaml.safe_dump(plain(node), sort_keys=False, allow_unicode=True, width=100))


def attempt(
    contents: Mapping[Path, bytes], environ: Mapping[str, str], place: Place, text: str, payload: bytes, now: float
) -> Tried:
    """Try an edited route on an event. Raises OperatorError where the files or the event are not of use."""
    if len(text) > TEXT_LIMIT or len(payload) > TEXT_LIMIT:
        raise OperatorError(f"longer than {TEXT_LIMIT:,} characters")
    findings = Findings()
    edited = read_yaml(_EDITED, text, findings)
    if edited is None or findings.problems:
        return _refused([f"line {each.line}: {each.message}" for each in findings.problems] or ["it is empty"])
    if next((True for size in accumulate(_sizes(edited)) if size > EXPANDED_LIMIT), False):
        return _refused([f"longer than {EXPANDED_LIMIT:,} characters once its aliases are written out: use fewer"])
    file, tree = _file(contents, place)
    document = plain(tree)
    mine = document["chatbots"][place.chatbot]
    mine["routes"][place.at] = _literal(plain(edited))
    # The other chatbots have no part in it, and a thousand of them take a second.
    document["chatbots"] = {place.chatbot: mine}
    changed: dict[Path, bytes | None] = {
        each: content for each, content in contents.items() if not holds_only(each, content, "chatbots")
    }
    changed[file] = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    try:
        config = build(file.parent, changed, environ, Findings())
    except ConfigError as error:
        return _refused(_own_problems(error, place))
    return _tried(config, place, payload, now)


def _tried(config: Config, place: Place, payload: bytes, now: float) -> Tried:
    chatbot = config.chatbots[place.chatbot]
    try:
        document = decode(payload)
    except ValueError as error:
        raise OperatorError("the event is no JSON: paste one object, as the sender sends it") from error
    if not isinstance(document, dict):
        raise OperatorError("the event must be one JSON object")
    document = {"Type": "Lead", "SessionID": 1, "CreateTime": "", **document, "SerialNumber": chatbot.serial_number}
    routed = route(Verified(orjson.dumps(document), document, Form.RAW, chatbot.name), chatbot, now, STAND_IN)
    if routed.event.state is EventState.UNRECOGNISED:
        return Tried(verdict="the event is not recognised: its Type is unknown, or one of its fields is no plain value")
    if routed.event.state is EventState.TEST:
        return Tried(verdict="the event is a test: it is stored and not delivered")
    mine = chatbot.routes[place.at]
    made = next((each for each in routed.deliveries if each.route == mine.name), None)
    if made is None:
        return Tried(verdict="the route does not take this event: its `events` or its `when` leave it out")
    if made.problem:
        return Tried(result=DryRun(problem=made.problem))
    event = routed.event
    delivery = Delivery(0, event.id, chatbot.name, event.payload, now, mine.name, 0, 0, None, {})
    return Tried(result=dry_run(delivery, mine.destination, config, Allowance(), reveal=True))


def _refused(problems: Sequence[str]) -> Tried:
    """Show the first problems: thousands of them, or one that quotes a huge value, help nobody."""
    shown = [each if len(each) <= _PROBLEM_TEXT else f"{each[:_PROBLEM_TEXT]}…" for each in problems[:PROBLEMS_LIMIT]]
    more = len(problems) - len(shown)
    return Tried((*shown, f"{more} more") if more else tuple(shown))


def _sizes(node: Node) -> Iterator[int]:
    """Find the size of each text and key as often as it stands in the expanded tree."""
    if isinstance(node, Scalar):
        yield len(str(node.value))
        return
    if isinstance(node, MapNode):
        yield from map(len, node.items)
    for each in node.items.values() if isinstance(node, MapNode) else node.items:
        yield from _sizes(each)


def _file(contents: Mapping[Path, bytes], place: Place) -> tuple[Path, MapNode]:
    file = defining_file(contents, "chatbots", place.chatbot)
    tree = read_yaml(str(file), contents[file].decode("utf-8-sig"), Findings()) if file else None
    if file is None or tree is None or len(find_node(tree, ("chatbots", place.chatbot, "routes", place.at))[0]) < 4:  # noqa: PLR2004 - the path's own length
        raise OperatorError(f"chatbot {place.chatbot} has no such route in the files in use")
    return file, tree


def _literal(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Keep `${` from being filled in; after the text has been read, for YAML can write the same in disguise."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, list):
        return [_literal(each) for each in value]
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    return value


def _own_problems(error: ConfigError, place: Place) -> tuple[str, ...]:
    """Give what is wrong, named from the route on: places in the copy mean nothing to who edits."""
    mine = dotted_path(("chatbots", place.chatbot, "routes", place.at))
    return tuple(
        f"{each.path.removeprefix(mine).lstrip('.') or 'the route'}: {each.message}" for each in error.problems
    )
