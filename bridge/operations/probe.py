"""Probes of all destinations: would they accept the records of this configuration?

Used by `leadbridge check --online` and `leadbridge doctor`: each connector is opened, asked once, and closed. A probe
that takes too long, raises an exception or returns a wrong value becomes a finding about its destination.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.config.diagnostics import ConfigProblem
from bridge.config.model import Config, Destination
from bridge.config.yaml_reader import SourceTree
from bridge.config.yaml_tree import ConfigPath, dotted_path, written_path
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_facts import field_facts
from bridge.mapping.field_form import FieldForm
from connectors.base import Finding, MappedRoute, Severity, Vault

PROBES_AT_ONCE = 10
"""Number of destinations that are asked at the same time."""
TOTAL_SECONDS = 60.0
"""Maximum number of seconds for all destinations together."""
CLOSING_SECONDS = 5.0
"""Maximum number of seconds for closing a connector."""

_ALL_WELL = Finding(Severity.NOTE, "reachable, credentials accepted")
_FAULT = "its connector's probe failed ({}): a fault of the connector, to be reported to its author"
_MASK = "***"
_NAMED = 5  # destinations in one message
_SHORTEST_MASKED = 8  # characters; shorter texts are no secrets, and are parts of words by chance


@dataclass(frozen=True, slots=True)
class ProbeFinding:
    """A finding about a destination, with its position."""

    destination: str
    """Name of the destination, or names of several."""
    severity: Severity
    problem: ConfigProblem
    """Position in the configuration, and message, also for a note."""


@dataclass(frozen=True, slots=True, repr=False)
class _Questions:
    """Questions to a destination."""

    destination: Destination
    routes: list[ConfigPath]
    """Paths of the routes to it."""
    mapped: list[MappedRoute]
    """Mapped fields of these routes, in the same order."""


@dataclass(frozen=True, slots=True, repr=False)
class _Placed:
    """A finding, and the path of its setting or field."""

    finding: ProbeFinding
    owner: ConfigPath
    """Path of the destination or route."""
    inside: ConfigPath
    """Path inside it."""


async def probe_all(
    config: Config,
    places: SourceTree,
    vault: Callable[[str], Vault],
    waiting_for: Callable[[Sequence[str]], None] = lambda _: None,
) -> list[ProbeFinding]:
    """Ask all destinations, and return the findings in the order of the files.

    Args:
        config: A configuration without errors, whose connectors have not been used.
        places: The positions of its parts.
        vault: Returns the vault of a destination by its name.
        waiting_for: Called with the names of the destinations that have not answered, whenever these change.
    """
    asked = _questions(config, places)
    open_names = list(config.destinations)
    gate = asyncio.Semaphore(PROBES_AT_ONCE)
    # One deadline for all: a waiting destination does not get a turn after the time is over.
    end = asyncio.get_running_loop().time() + TOTAL_SECONDS

    async def ask(questions: _Questions) -> list[Finding]:
        found = await _ask(questions, vault(questions.destination.name), gate, end)
        open_names.remove(questions.destination.name)
        waiting_for(open_names)
        return found

    waiting_for(open_names)
    answers = await asyncio.gather(*map(ask, asked))
    outside = sorted(places.from_outside(), key=len, reverse=True)
    hidden = [text for text in outside if len(text) >= _SHORTEST_MASKED]
    seen = [
        _placed(questions, each, places, hidden)
        for questions, findings in zip(asked, answers, strict=True)
        for each in findings
    ]
    return sorted(_merged(seen, asked, places), key=lambda each: (each.problem, each.severity))


def _questions(config: Config, places: SourceTree) -> list[_Questions]:
    """Return the questions to each destination."""
    questions = {name: _Questions(each, [], []) for name, each in config.destinations.items()}
    expressions = JinjaExpressions()
    for chatbot in config.chatbots.values():
        for at, route in enumerate(chatbot.routes):
            path = ("chatbots", chatbot.name, "routes", at)
            forms: Mapping[str, object] = places.value((*path, "fields")) or {}
            fields = (field_facts(name, FieldForm.model_validate(form), expressions) for name, form in forms.items())
            questions[route.destination].routes.append(path)
            questions[route.destination].mapped.append(MappedRoute(route.settings, tuple(fields)))
    return list(questions.values())


async def _ask(questions: _Questions, vault: Vault, gate: asyncio.Semaphore, end: float) -> list[Finding]:
    """Ask one destination; each failure becomes a finding. `end` is in the loop's time."""
    seconds = questions.destination.timeout
    total = asyncio.timeout_at(end)
    try:
        async with total:
            return await _answer(questions, vault, gate) or [_ALL_WELL]
    except TimeoutError:
        what = f"its probe did not end within {seconds:g} s; ask again, or raise timeout"
        if total.expired():
            what = f"not asked to the end: all destinations together have {TOTAL_SECONDS:g} s; ask again"
    except asyncio.CancelledError:
        if _is_being_cancelled():
            raise
        what = _FAULT.format("CancelledError")
    except Exception as error:  # noqa: BLE001 - a connector is foreign code, and its exception may hold a secret
        what = _FAULT.format(type(error).__name__)
    return [Finding(Severity.ERROR, what)]


def _is_being_cancelled() -> bool:
    """Return True if this program ends, and not only a task inside a connector."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


async def _answer(questions: _Questions, vault: Vault, gate: asyncio.Semaphore) -> list[Finding]:
    connector = questions.destination.connector
    try:
        connector.open(vault)
        async with gate, asyncio.timeout(questions.destination.timeout):
            found = list(await connector.probe(questions.mapped))
    finally:
        async with asyncio.timeout(CLOSING_SECONDS):
            await connector.close()
    if not all(isinstance(each, Finding) for each in found):
        raise TypeError("a probe returned a value that is no Finding")
    return found


def _placed(questions: _Questions, found: Finding, places: SourceTree, hidden: Iterable[str]) -> _Placed:
    """Return a finding at its position, with values from outside the configuration masked."""
    message = " ".join(found.message.split())
    for text in hidden:
        message = message.replace(text, _MASK)
    name = questions.destination.name
    if found.route is None or not 0 <= found.route < len(questions.routes):
        owner: ConfigPath = ("destinations", name)
        inside: ConfigPath = found.setting
    else:
        owner = questions.routes[found.route]
        inside = found.setting if found.field is None else ("fields", found.field)
    at = places.at_value if inside == found.setting else places.at_key
    return _Placed(ProbeFinding(name, found.severity, at((*owner, *inside), message)), owner, inside)


def _merged(seen: Iterable[_Placed], asked: Iterable[_Questions], places: SourceTree) -> Iterator[ProbeFinding]:
    """Return the findings, those of several destinations about one value of a preset as one."""
    alike: dict[tuple[Severity, ConfigProblem], list[_Placed]] = {}
    for each in seen:
        origin = written_path(places.root, (*each.owner, *each.inside))
        problem = replace(each.finding.problem, path=dotted_path(origin))
        alike.setdefault((each.finding.severity, problem), []).append(each)
    owners = [
        (questions.destination.name, owner)
        for questions in asked
        for owner in (("destinations", questions.destination.name), *questions.routes)
    ]
    for (severity, problem), group in alike.items():
        path = written_path(places.root, (*group[0].owner, *group[0].inside))
        if len(group) == 1 or path == (*group[0].owner, *group[0].inside):
            yield from (each.finding for each in group)
            continue
        names = list(dict.fromkeys(each.finding.destination for each in group))
        users = {name for name, owner in owners if written_path(places.root, (*owner, *group[0].inside)) == path}
        message = f"{problem.message} ({_used_by(names, len(users))})"
        yield ProbeFinding(_listed(names), severity, replace(problem, message=message))


def _used_by(names: Sequence[str], count: int) -> str:
    """Return the destinations that share a finding; `count` destinations have the value that it is about."""
    if len(names) == 1:
        return f"used by destination `{names[0]}`"
    if len(names) == count:
        return f"used by {count} destinations"
    return f"in {len(names)} of the {count} destinations that use it: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
