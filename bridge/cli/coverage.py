"""Which routes and fields the tests of a configuration look at, and which not. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.cli.expectations import Result, routes_meant
from bridge.cli.explanation import MATCHES, SKIPPED, RouteFate
from bridge.config import Config, Route


@dataclass(frozen=True, slots=True)
class RouteCoverage:
    """What tests look at of one route."""

    chatbot: str
    route: str
    tests: int
    """How many tests have an event that takes it."""
    fields: int
    unexpected: Sequence[str]
    """The mapped fields of which no test expects anything."""

    @property
    def expected(self) -> int:
        """How many of its fields a test expects something of."""
        return self.fields - len(self.unexpected)


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over all routes."""

    routes: int
    reached: int
    fields: int
    expected: int


def cover(config: Config, results: Iterable[Result]) -> list[RouteCoverage]:
    """Say of each route what the tests look at."""
    by_chatbot: dict[str, list[Result]] = {}
    for result in results:
        by_chatbot.setdefault(result.chatbot, []).append(result)
    return [
        _route(chatbot.name, route, by_chatbot.get(chatbot.name, ()))
        for chatbot in config.chatbots.values()
        for route in chatbot.routes
    ]


def totals(covered: Sequence[RouteCoverage]) -> Totals:
    """Add up."""
    return Totals(
        routes=len(covered),
        reached=sum(1 for each in covered if each.tests),
        fields=sum(each.fields for each in covered),
        expected=sum(each.expected for each in covered),
    )


def percent(part: int, whole: int) -> int:
    """Give a share in per cent, rounded down, so that 100 means all; nothing of nothing is all."""
    return 100 * part // whole if whole else 100


def _route(chatbot: str, route: Route, results: Sequence[Result]) -> RouteCoverage:
    names = route.mapping.names
    looked_at: set[str] = set()
    for result in results:
        looked_at |= _looked_at(route, result)
    unexpected = tuple(name for name in names if name not in looked_at)
    return RouteCoverage(chatbot, route.name, sum(1 for each in results if _takes(route, each)), len(names), unexpected)


def _takes(route: Route, result: Result) -> bool:
    return any(each.route == route.name and each.state != SKIPPED for each in result.fate.routes)


def _looked_at(route: Route, result: Result) -> set[str]:
    """Give the fields of a route's record that a test looks at: with `exact`, all of them."""
    found: set[str] = set()
    for name, expected in result.test.expect.items():
        meant = any(each.route == route.name for each in routes_meant(name, _matching(result)))
        if meant and isinstance(expected, Mapping):
            found |= set(route.mapping.names if result.test.exact else expected)
    return found


def _matching(result: Result) -> list[RouteFate]:
    return [each for each in result.fate.routes if each.state == MATCHES]
