"""Checks the section `chatbots`, compiles its routes, and checks its tests without running them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from bridge.config.destinations import BuiltDestination, note_refusal
from bridge.config.lint import check_content, check_lookups, check_test_when, check_when, check_write_modes
from bridge.config.merge import CompiledField, ConfigDraft, split_settings
from bridge.config.model import Chatbot, Pull, Route, RouteTest
from bridge.config.schema import ChatbotPart, RoutePart
from bridge.config.secrets import key_fault, warn_if_readable
from bridge.config.validation_messages import known_keys
from bridge.config.yaml_tree import ConfigPath, ListNode, MapNode, Node, Scalar, find_node, plain
from bridge.errors import did_you_mean
from bridge.event import EVENT_FIELDS
from bridge.mapping.field_form import FieldForm
from bridge.mapping.mapping import FieldMapping, FieldsError, compile_mapping


def build_chatbots(draft: ConfigDraft, destinations: Mapping[str, BuiltDestination]) -> dict[str, Chatbot]:
    """Check and compile all chatbots; add each problem to the findings."""
    chatbots = {}
    for name in draft.section("chatbots"):
        chatbot = _build(draft, name, destinations)
        if chatbot:
            chatbots[name] = chatbot
    _check_serial_numbers(draft)
    return chatbots


def used_destinations(draft: ConfigDraft) -> set[str]:
    """Return the names of the destinations that routes use."""
    names = set()
    for name in draft.section("chatbots"):
        path = ("chatbots", name, "routes")
        names |= {draft.text((*path, at, "to")) for at in range(draft.items(path, "a list"))}
    return {name for name in names if name}


def _build(draft: ConfigDraft, name: str, destinations: Mapping[str, BuiltDestination]) -> Chatbot | None:
    path = ("chatbots", name)
    values = draft.entry(*path)
    if values is None:
        return None
    part = draft.model(ChatbotPart, path, {key: plain(node) for key, node in values.items() if key != "routes"})
    test_when = draft.condition((*path, "test_when"))
    check_test_when(draft, (*path, "test_when"))
    routes = _routes(draft, (*path, "routes"), destinations)
    tests = build_tests(draft, (*path, "tests"), part, _route_names(draft, (*path, "routes")))
    _check_keys(draft, path, part)
    if part is None:
        return None
    return Chatbot(
        name=name,
        serial_numbers=tuple(part.serial_number),
        signing_keys=tuple(key.get_secret_value().encode() for key in part.signing_keys),
        signature_tolerance=part.signature_tolerance,
        ack=part.ack,
        ack_within=part.ack_within,
        test_when=test_when,
        insecure_skip_verify=part.insecure_skip_verify,
        routes=routes,
        tests=tests,
        pull=Pull(part.pull.url, part.pull.key.get_secret_value()) if part.pull else None,
    )


def _check_keys(draft: ConfigDraft, path: ConfigPath, part: ChatbotPart | None) -> None:
    for where, key in draft.texts((*path, "signing_keys")):
        fault = key_fault(key)
        if fault:
            draft.value_error(where, fault)
        warn_if_readable(draft.findings, draft.root, where)
    if part and part.pull:
        warn_if_readable(draft.findings, draft.root, (*path, "pull", "key"))
    if part and part.insecure_skip_verify:
        draft.warn((*path, "insecure_skip_verify"), "signatures are not checked: anybody can send leads")
    elif part and not part.signing_keys:
        draft.error(
            (*path, "signing_keys"), "is missing: add the Sign Key that the vendor shows next to the webhook URL"
        )


def _check_serial_numbers(draft: ConfigDraft) -> None:
    first: dict[str, tuple[str, ConfigPath]] = {}
    for name in draft.section("chatbots"):
        for path, text in draft.texts(("chatbots", name, "serial_number")):
            serial = text.strip()
            if serial in first:
                other, there = first[serial]
                place = find_node(draft.root, there)[1].place
                draft.value_error(path, f"is already used by chatbot `{other}` at {place}")
            elif serial:
                first[serial] = name, path


def _routes(draft: ConfigDraft, path: ConfigPath, destinations: Mapping[str, BuiltDestination]) -> tuple[Route, ...]:
    count = draft.items(path, "a list of routes: `- to: …`")
    followed, node = find_node(draft.root, path)
    if followed != path or (isinstance(node, ListNode) and not count):
        draft.warn(path, "no routes: events are stored but not delivered")
    routes = [_route(draft, (*path, at), name, destinations) for at, (_, name) in enumerate(_route_names(draft, path))]
    return tuple(route for route in routes if route)


def _route_names(draft: ConfigDraft, path: ConfigPath) -> list[tuple[str, str]]:
    """Return the destination and the name of each route; further routes to the same destination are numbered."""
    counts: Counter[str] = Counter()
    names = []
    for at in range(draft.items(path, "a list of routes: `- to: …`")):
        target = draft.text((*path, at, "to")) or ""
        counts[target] += 1
        names.append((target, target if counts[target] == 1 else f"{target}#{counts[target]}"))
    return names


def _route(
    draft: ConfigDraft, path: ConfigPath, name: str, destinations: Mapping[str, BuiltDestination]
) -> Route | None:
    values = draft.entries(path, "a map such as `{to: …, fields: …}`")
    if values is None:
        return None
    ours, own = split_settings(RoutePart, values)
    part = draft.model(RoutePart, path, {key: value for key, value in ours.items() if key != "fields"})
    when = draft.condition((*path, "when"))
    if when and part:
        check_when(draft, (*path, "when"), part.events)
    mapping = _mapping(draft, (*path, "fields"))
    built = _target(draft, (*path, "to"), destinations)
    if built is None or built.connector is None:
        return None
    check_write_modes(draft, (*path, "fields"), mapping, can_tell=built.connector.conditional_writes)
    settings = draft.model(built.connector.route_settings, path, own, known_keys(RoutePart))
    checked = settings or draft.rest(built.connector.route_settings, own)
    if built.destination and checked:
        try:
            built.destination.connector.check_route(checked, mapping.names)
        except Exception as error:  # noqa: BLE001 - a connector is foreign code
            note_refusal(draft, path, error)
            return None
    if part is None or settings is None:
        return None
    if built.destination and not ours.get("fields"):
        check_content(draft, path, settings, built.destination)
    return Route(
        name=name,
        destination=part.to,
        events=frozenset(part.events),
        when=when,
        mapping=mapping,
        settings=settings,
        when_source=draft.text((*path, "when")),
        hidden=draft.hidden(path),
    )


def _target(
    draft: ConfigDraft, path: ConfigPath, destinations: Mapping[str, BuiltDestination]
) -> BuiltDestination | None:
    name = draft.text(path)
    if name is not None and name not in destinations and draft.whole:
        hint = did_you_mean(name, destinations)
        names = f"known here: {', '.join(sorted(destinations))}" if destinations else "no destination is configured"
        draft.value_error(path, f"there is no such destination{hint or f'; {names}'}")
    return destinations.get(name or "")


def _mapping(draft: ConfigDraft, path: ConfigPath) -> FieldMapping:
    """Compile the fields of a route one by one, so that a mistake in one field does not hide another."""
    values = draft.entries(path, "a map from the destination's fields to the event's") or {}
    return FieldMapping.joined(_field(draft, (*path, name), node) for name, node in values.items())


def _field(draft: ConfigDraft, path: ConfigPath, node: Node) -> FieldMapping:
    """Return a field as a mapping of its own; an empty mapping if it has a mistake.

    A field of a preset is compiled once, and its findings are counted for each user.
    """
    key = (str(path[-1]), id(node))
    if known := draft.compiled.get(key):
        draft.findings.repeat(path, known.findings)
        return known.mapping
    before = draft.findings.shared_count
    mapping, doubtful = _compiled_field(draft, path, node)
    findings = draft.findings.shared_since(before)
    if (mapping.names and not doubtful) or findings:
        draft.compiled[key] = CompiledField(mapping, findings)
    return mapping


def _compiled_field(draft: ConfigDraft, path: ConfigPath, node: Node) -> tuple[FieldMapping, bool]:
    """Return a field as a mapping, and whether it works but is probably a mistake."""
    form = draft.model(FieldForm, path, plain(node))
    if form is None:
        return FieldMapping(), False
    try:
        made = compile_mapping({str(path[-1]): form}, draft.expressions, draft.transforms)
    except FieldsError as error:
        for problem in error.problems:
            where = find_node(draft.root, (*path[:-1], *problem.path))[0]
            if problem.cause:
                draft.expression_error(where, problem.cause)
            else:
                draft.text_error(where, problem.message)
        return FieldMapping(), False
    return made, check_lookups(draft, path, form)


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
