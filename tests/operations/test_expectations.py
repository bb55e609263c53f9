"""What tests in YAML expect, compared with what the routes make of an event."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.model import Ending, Route, RouteTest
from bridge.config.yaml_tree import Position
from bridge.event import EVENT_FIELDS
from bridge.mapping.mapping import EVENT_NAMES
from bridge.operations.expectations import NOTHING, Difference, Result, differences, event_of, run_test, run_tests
from tests.building import EXPRESSIONS, FakeConnector, chatbot, config, destination, route

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
RECORDS = st.dictionaries(st.text(), JSON.filter(lambda value: value is not None), max_size=4)


def expecting(
    expect: dict[str, Any], event: dict[str, Any] | None = None, *, exact: bool = False, name: str = ""
) -> RouteTest:
    return RouteTest(name, Position("acme.yaml", 12, 9), event or {"Email": "a@b.co"}, expect, exact)


def when(text: str) -> Any:
    return EXPRESSIONS.expression(text, EVENT_NAMES)


ROUTES = (
    route("crm", {"email": "Email", "n": "SessionID"}, events=frozenset({"Lead"})),
    route(
        "crm#2", {"email": "Email", "kind": {"value": "meeting"}}, destination="crm", events=frozenset({"Appointment"})
    ),
    route("mail", {"who": {"from": "FirstName", "required": True}}, when=when("Content"), when_source="Content"),
)


def ran(*tests: RouteTest, routes: tuple[Route, ...] = ROUTES, **changes: Any) -> list[Result]:
    bot = chatbot("acme", *routes, tests=tests, **changes)
    return run_tests(config([bot], [destination(name, FakeConnector()) for name in ("crm", "mail")]))


def told(test: RouteTest) -> list[str]:
    (result,) = ran(test)
    problems = [f"{each.destination}: {each.problem}" for each in result.mismatches if each.problem]
    return problems + [line(each.destination, found) for each in result.mismatches for found in each.differences]


def line(where: str, found: Difference) -> str:
    sides = ["-" if side is NOTHING else json.dumps(side) for side in (found.expected, found.got)]
    return f"{where}.{found.field} {found.what}: {sides[0]} / {sides[1]}{found.hint}"


@pytest.mark.parametrize(
    "test",
    [
        expecting({}),
        expecting({"crm": {"email": "a@b.co"}, "mail": Ending.NOT_SENT}),
        expecting({"crm": {"n": None}}),
        expecting({"crm": {"n": 7}}, {"Email": "x", "SessionID": 7}),
        expecting({"crm": {"email": "a@b.co"}}, exact=True),
        expecting({"crm": {"kind": "meeting"}, "crm#1": Ending.NOT_SENT, "crm#2": {}}, {"Type": "Appointment"}),
        expecting({"crm#1": {"email": "a@b.co"}, "crm#2": Ending.NOT_SENT}),
        expecting({"mail": Ending.DEAD}, {"Content": "hi"}),
        expecting({"mail": {"who": "Ada"}}, {"Content": "hi", "FirstName": "Ada"}),
        expecting({"crm": Ending.NOT_SENT, "mail": Ending.NOT_SENT}, {"Type": "Call"}),
    ],
)
def test_what_is_as_expected_passes(test: RouteTest) -> None:
    assert told(test) == []


@pytest.mark.parametrize(
    ("test", "lines"),
    [
        (expecting({"crm": {"email": "A@b.co"}}), ['crm.email different: "A@b.co" / "a@b.co"']),
        (
            expecting({"crm": {"emial": "a@b.co"}}),
            ['crm.emial missing: "a@b.co" / - (did you mean `email`?)'],
        ),
        (expecting({"crm": {"email": None}}), ['crm.email unexpected: - / "a@b.co"']),
        (
            expecting({"crm": {"n": "7"}}, {"Email": "x", "SessionID": 7}, exact=True),
            ['crm.n different: "7" / 7', 'crm.email unexpected: - / "x"'],
        ),
        (expecting({"crm": Ending.NOT_SENT}), ['crm: nothing was expected, but it gets {"email": "a@b.co"}']),
        (expecting({"crm": Ending.DEAD}), ['crm: a dead letter was expected, but it gets {"email": "a@b.co"}']),
        (
            expecting({"crm#2": {"email": "a@b.co"}}),
            ["crm#2: a record was expected, but it is not sent: it takes only Appointment"],
        ),
        (
            expecting({"mail": {"who": "Ada"}}),
            ["mail: a record was expected, but it is not sent: its `when` does not hold"],
        ),
    ],
)
def test_what_is_not_is_told(test: RouteTest, lines: list[str]) -> None:
    assert told(test) == lines


def test_a_dead_letter_says_why() -> None:
    (record,) = told(expecting({"mail": {"who": "Ada"}}, {"Content": "hi"}))
    (nothing,) = told(expecting({"mail": Ending.NOT_SENT}, {"Content": "hi"}))

    assert record.startswith("mail: a record was expected, but it is a dead letter: field `who`: required")
    assert nothing.startswith("mail: nothing was expected, but it is a dead letter: field `who`: required")


def test_an_event_without_deliveries_says_why() -> None:
    (unknown,) = told(expecting({"crm": {}}, {"Type": "Call"}))
    (result,) = ran(expecting({"crm": {}}), test_when=when("Email"))

    assert "the event gets no deliveries: its Type is none of Lead, Appointment" in unknown
    assert "it is a test" in result.mismatches[0].problem


def test_of_several_routes_the_nearest_record_is_shown() -> None:
    two = (route("crm", {"a": "Email", "b": "Email"}), route("crm#2", {"a": "Email", "c": "Email"}, destination="crm"))

    (result,) = ran(expecting({"crm": {"a": "a@b.co", "c": "x"}}), routes=two)

    assert [each.field for each in result.mismatches[0].differences] == ["c"]


def test_what_a_test_leaves_out_is_as_the_sender_would_send_it() -> None:
    bot = chatbot("acme")

    assert event_of(expecting({}, {"PhoneNumber": 4155550100, "SessionID": 7, "Content": True}), bot) == {
        **dict.fromkeys(EVENT_FIELDS, ""),
        "SerialNumber": bot.serial_numbers[0],
        "Type": "Lead",
        "PhoneNumber": "4155550100",
        "SessionID": 7,
        "Content": True,
    }


@given(RECORDS)
def test_a_record_is_as_itself(record: dict[str, Any]) -> None:
    assert differences(record, record, exact=True) == []


@given(RECORDS, RECORDS)
def test_each_difference_is_one(record: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {each.field: each for each in differences(record, expected, exact=True)}

    for name in {*record, *expected} - found.keys():
        assert record[name] == expected[name]
    for name, each in found.items():
        assert (each.got is NOTHING) == (name not in record)
        assert (each.expected is NOTHING) == (name not in expected)


@pytest.mark.parametrize(("one", "other"), [(True, 1), (0, False), ("1", 1), ([True], [1]), ({"a": 1}, {"a": True})])
def test_values_of_different_types_differ(one: Any, other: Any) -> None:
    assert len(differences({"x": one}, {"x": other}, exact=False)) == 1


def test_a_test_says_the_same_at_any_time() -> None:
    received = (route("crm", {"at": "event.received_at", "id": "event.id"}),)
    test = expecting({"crm": {"at": "2026-01-01T00:00:00.000Z"}})
    bot = chatbot("acme", *received)
    settings = config([bot], [destination("crm", FakeConnector())])

    one, other = (run_test(test, 1, bot, settings) for _ in range(2))

    assert one.mismatches == ()
    assert json.dumps(one.dry_run.routes[0].record) == json.dumps(other.dry_run.routes[0].record)
