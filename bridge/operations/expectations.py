"""Tests in the configuration: records from dry runs compared with expected records. Pure.

`bridge.operations.event_dry_run` does the dry runs; this module compares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.config import Chatbot, Config
from bridge.config.model import Ending, RouteTest
from bridge.errors import did_you_mean
from bridge.event import EVENT_FIELDS
from bridge.ingress import javascript_json
from bridge.operations.event_dry_run import FAILS, MATCHES, SKIPPED, EventDryRun, RouteDryRun, dry_run_event, value_text

RECEIVED_AT: Final = 1_767_225_600.0
"""Time of receipt of test events, 2026-01-01T00:00:00Z, so that a test has the same result every day."""
NOTHING: Final = object()
"""Marks a missing value."""
_NUMBERS: Final = frozenset({"SessionID"})
"""Fields that the sender sends as numbers; all others are texts, even if YAML reads a number."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that is not as expected."""

    field: str
    expected: Any
    """`NOTHING` if the record should not have the field."""
    got: Any
    """`NOTHING` if the record does not have it."""
    hint: str = ""

    @property
    def what(self) -> str:
        """The kind of difference: `missing`, `unexpected` or `different`."""
        if self.got is NOTHING:
            return "missing"
        return "unexpected" if self.expected is NOTHING else "different"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A destination without the expected record."""

    destination: str
    """Its name in the test."""
    problem: str = ""
    """The actual outcome; empty if a record can be compared field by field."""
    differences: Sequence[Difference] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a test."""

    chatbot: str
    number: int
    """From 1, in the order of the file."""
    test: RouteTest
    dry_run: EventDryRun
    mismatches: Sequence[Mismatch]

    @property
    def title(self) -> str:
        """Its name for a person."""
        return f"{self.chatbot}: {self.test.name or f'test {self.number}'}"


def run_tests(config: Config) -> list[Result]:
    """Run all tests of a configuration."""
    return [
        run_test(test, number, chatbot, config)
        for chatbot in config.chatbots.values()
        for number, test in enumerate(chatbot.tests, 1)
    ]


def run_test(test: RouteTest, number: int, chatbot: Chatbot, config: Config) -> Result:
    """Run one test."""
    document = event_of(test, chatbot)
    dry_run = dry_run_event(javascript_json.stringify(document), document, config, RECEIVED_AT)
    found = (_mismatch(name, expected, dry_run, exact=test.exact) for name, expected in test.expect.items())
    return Result(chatbot.name, number, test, dry_run, tuple(each for each in found if each))


def event_of(test: RouteTest, chatbot: Chatbot) -> dict[str, Any]:
    """Return the event as the sender would send it: fields that the test leaves out are empty."""
    document: dict[str, Any] = dict.fromkeys(EVENT_FIELDS, "")
    document |= {"SerialNumber": chatbot.serial_numbers[0], "Type": "Lead"}
    return document | {name: _as_sent(name, value) for name, value in test.event.items()}


def routes_meant(name: str, routes: Iterable[RouteDryRun]) -> list[RouteDryRun]:
    """Return the routes for a name in `expect`: all routes to a destination, or one as `NAME#1`, `NAME#2`."""
    first = name.removesuffix("#1")
    if first != name:
        return [each for each in routes if each.route == first]
    return [each for each in routes if name in {each.destination, each.route}]


def differences(record: Mapping[str, Any], expected: Mapping[str, Any], *, exact: bool) -> list[Difference]:
    """Compare a record with its expected fields; an expected None means that the field is missing.

    With `exact`, fields that are not expected are differences too.
    """
    found = []
    for name, value in expected.items():
        wanted, got = NOTHING if value is None else value, record.get(name, NOTHING)
        if not _same(wanted, NOTHING if got is None else got):
            found.append(Difference(name, wanted, got, did_you_mean(name, record) if got is NOTHING else ""))
    if exact:
        found += [Difference(name, NOTHING, got) for name, got in record.items() if name not in expected]
    return found


def _as_sent(name: str, value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number and name not in _NUMBERS else value


def _mismatch(name: str, expected: Mapping[str, Any] | Ending, dry_run: EventDryRun, *, exact: bool) -> Mismatch | None:
    routes = routes_meant(name, dry_run.routes)
    if expected is Ending.NOT_SENT:
        problem = next((_ending(each) for each in routes if each.state != SKIPPED), "")
        return Mismatch(name, f"nothing was expected, but {problem}") if problem else None
    if expected is Ending.DEAD:
        if any(each.state == FAILS for each in routes):
            return None
        return Mismatch(name, f"a dead letter was expected, but {_endings(routes, dry_run)}")
    return _record_mismatch(name, expected, routes, dry_run, exact=exact)


def _record_mismatch(
    name: str, expected: Mapping[str, Any], routes: Sequence[RouteDryRun], dry_run: EventDryRun, *, exact: bool
) -> Mismatch | None:
    """Compare with the nearest record among those of all routes that take the event."""
    found = [differences(each.record, expected, exact=exact) for each in routes if each.record is not None]
    if not found:
        return Mismatch(name, f"a record was expected, but {_endings(routes, dry_run)}")
    nearest = min(found, key=len)
    return Mismatch(name, differences=tuple(nearest)) if nearest else None


def _endings(routes: Sequence[RouteDryRun], dry_run: EventDryRun) -> str:
    """Return the actual outcome of routes without the expected one."""
    if not routes:
        return f"the event gets no deliveries: {dry_run.why}"
    order = {FAILS: 0, MATCHES: 1, SKIPPED: 2}
    return _ending(min(routes, key=lambda each: order[each.state]))


def _ending(route: RouteDryRun) -> str:
    if route.state == FAILS:
        return f"it is a dead letter: {route.why}"
    if route.record is not None:
        return f"it gets {value_text(dict(route.record), 200)}"
    return f"it is not sent: {route.why}"


def _same(one: object, other: object) -> bool:
    """Compare JSON values: `true` is not 1, and a number is not its text."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other
