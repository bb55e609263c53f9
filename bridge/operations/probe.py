"""Probes of all destinations: would they accept the records of this configuration?

Used by `leadbridge check --online` and `leadbridge doctor`: each connector is opened, asked once, and closed. A probe
that takes too long, raises an exception or returns a wrong value becomes a finding about its destination.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.config.diagnostics import ConfigPath, ConfigProblem
from bridge.config.model import Config, Destination
from bridge.config.yaml_reader import SourceTree
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
_SHORTEST_MASKED = 8  # characters; shorter texts are no secrets, and are parts of words by chance


@dataclass(frozen=True, slots=True)
class ProbeFinding:
    """A finding about a destination, with its position."""

    destination: str
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
        ProbeFinding(questions.destination.name, each.severity, _placed(questions, each, places, hidden))
        for questions, findings in zip(asked, answers, strict=True)
        for each in findings
    ]
    return sorted(seen, key=lambda each: (each.problem, each.severity))


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


def _placed(questions: _Questions, found: Finding, places: SourceTree, hidden: Iterable[str]) -> ConfigProblem:
    """Return the position of a finding, with values from outside the configuration masked."""
    message = " ".join(found.message.split())
    for text in hidden:
        message = message.replace(text, _MASK)
    if found.route is None or not 0 <= found.route < len(questions.routes):
        return places.at_value(("destinations", questions.destination.name, *found.setting), message)
    route = questions.routes[found.route]
    if found.field is not None:
        return places.at_key((*route, "fields", found.field), message)
    return places.at_value((*route, *found.setting), message)
