"""Asking all destinations at once whether they would take what the configuration is going to send them.

For `leadbridge check --online`: the connectors are made for it, asked once, and closed. Whatever one of them does, too
long, an exception, an answer that is none, is a finding about its destination.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.config.diagnostics import ConfigPath, ConfigProblem
from bridge.config.model import Config, Destination
from bridge.config.yaml_reader import SourceTree
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_facts import wanted_field
from bridge.mapping.mapping import FieldForm
from connectors.base import Finding, MappedRoute, Severity, Vault

AT_ONCE = 10
"""Destinations that are asked at the same time."""
TOTAL_SECONDS = 60.0
"""How long all of it may take, however many destinations there are."""
CLOSING_SECONDS = 5.0
"""How long a connector may take to close."""

_ALL_WELL = Finding(Severity.NOTE, "reachable, credentials accepted")
_FAULT = "its connector's probe failed ({}): a fault of the connector, to be reported to its author"
_MASK = "***"
_SHORTEST_MASKED = 8  # characters; what is shorter is no secret, and stands in words by chance


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was found out about a destination."""

    destination: str
    severity: Severity
    problem: ConfigProblem
    """Where in the configuration it is, and what to say; of a note too."""


@dataclass(frozen=True, slots=True, repr=False)
class _Questions:
    """What a destination is asked."""

    destination: Destination
    routes: list[ConfigPath]
    """The routes to it, by their paths."""
    wanted: list[MappedRoute]
    """What they send, in the same order."""


async def probe_all(
    config: Config,
    places: SourceTree,
    vault: Callable[[str], Vault],
    waiting_for: Callable[[Sequence[str]], None] = lambda _: None,
) -> list[Seen]:
    """Ask all destinations, and give what was found in the order of the files.

    Args:
        config: A configuration without errors, whose connectors have not been used.
        places: Where it stands.
        vault: Gives the place where the destination of a name keeps secrets that change in use.
        waiting_for: Is told, whenever that changes, which destinations have not answered yet.
    """
    asked = _questions(config, places)
    open_names = list(config.destinations)
    gate = asyncio.Semaphore(AT_ONCE)
    # One moment for all: a destination that waits is not asked in the place of one that has just been given up.
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
        Seen(questions.destination.name, each.severity, _placed(questions, each, places, hidden))
        for questions, findings in zip(asked, answers, strict=True)
        for each in findings
    ]
    return sorted(seen, key=lambda each: (each.problem, each.severity))


def _questions(config: Config, places: SourceTree) -> list[_Questions]:
    """Say what each destination is to be asked."""
    made = {name: _Questions(each, [], []) for name, each in config.destinations.items()}
    expressions = JinjaExpressions()
    for chatbot in config.chatbots.values():
        for at, route in enumerate(chatbot.routes):
            path = ("chatbots", chatbot.name, "routes", at)
            forms: Mapping[str, object] = places.value((*path, "fields")) or {}
            fields = (wanted_field(name, FieldForm.model_validate(form), expressions) for name, form in forms.items())
            made[route.destination].routes.append(path)
            made[route.destination].wanted.append(MappedRoute(route.settings, tuple(fields)))
    return list(made.values())


async def _ask(questions: _Questions, vault: Vault, gate: asyncio.Semaphore, end: float) -> list[Finding]:
    """Ask one destination; whatever goes wrong becomes a finding. `end` is in the loop's time."""
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
    """Tell whether it is this program that ends, and not only something inside of a connector."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


async def _answer(questions: _Questions, vault: Vault, gate: asyncio.Semaphore) -> list[Finding]:
    connector = questions.destination.connector
    try:
        connector.open(vault)
        async with gate, asyncio.timeout(questions.destination.timeout):
            found = list(await connector.probe(questions.wanted))
    finally:
        async with asyncio.timeout(CLOSING_SECONDS):
            await connector.close()
    if not all(isinstance(each, Finding) for each in found):
        raise TypeError("an answer that is no finding")
    return found


def _placed(questions: _Questions, found: Finding, places: SourceTree, hidden: Iterable[str]) -> ConfigProblem:
    """Say where in the configuration a finding is, without what came from outside of it."""
    message = " ".join(found.message.split())
    for text in hidden:
        message = message.replace(text, _MASK)
    if found.route is None or not 0 <= found.route < len(questions.routes):
        return places.at_value(("destinations", questions.destination.name, *found.setting), message)
    route = questions.routes[found.route]
    if found.field is not None:
        return places.at_key((*route, "fields", found.field), message)
    return places.at_value((*route, *found.setting), message)
