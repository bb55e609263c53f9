"""`leadbridge test`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import CONFIGURATION, SECRET

if TYPE_CHECKING:
    from tests.cli.conftest import Place

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
PASSING = """
    tests:
      - name: a name is put together
        event: {FirstName: Ada, LastName: Lovelace, Email: a@b.co}
        expect: {crm: {name: Ada Lovelace}, mail: not_sent}
"""
FAILING = """
      - event: {Email: Ada@B.co, Content: mail me, URI: example.com}
        expect:
          crm: {email: ada@b.co, phone: "+1"}
          mail: dead
        exact: true
"""


def test_the_example_passes(place: "Place") -> None:
    result = place("test", EXAMPLE)

    assert result.exit_code == 0
    first, *_, last = result.stdout.splitlines()
    assert first.startswith("✓ acme-website: test 1 (")
    assert last == "1 test, none failed"


def test_no_tests_are_no_failure(place: "Place") -> None:
    text = place("test")
    as_json = place("test", "--json")

    assert text.exit_code == as_json.exit_code == 0
    assert text.stdout.startswith("There are no tests yet: write what you expect under chatbots.NAME.tests")
    assert json.loads(as_json.stdout) == {"tests": []}


def test_a_failure_is_shown_field_by_field_with_its_line(place: "Place") -> None:
    place.path.write_text(CONFIGURATION + PASSING + FAILING)
    line = (CONFIGURATION + PASSING).count("\n") + 2

    result = place("test")

    assert result.exit_code == 1
    lines = [" ".join(each.split()) for each in result.stdout.splitlines()]
    assert lines == [
        f"✓ acme: a name is put together (config.yaml:{line - 4})",
        f"✗ acme: test 2 (config.yaml:{line})",
        "crm",
        'different email expected "ada@b.co" got "Ada@B.co"',
        'missing phone expected "+1"',
        'mail: a dead letter was expected, but it gets {"email": "ada@b.co", "company": "example.com"}',
        "",
        "2 tests, 1 failed",
    ]
    assert SECRET not in result.output


def test_json_has_it_all(place: "Place") -> None:
    place.path.write_text(CONFIGURATION + PASSING + FAILING)

    result = place("test", "--json")

    assert result.exit_code == 1
    passed, failed = json.loads(result.stdout)["tests"]
    assert (passed["state"], passed["name"], passed["mismatches"]) == ("passed", "a name is put together", [])
    assert (failed["state"], failed["number"], failed["file"]) == ("failed", 2, "config.yaml")
    crm, mail = failed["mismatches"]
    assert crm["differences"] == [
        {"field": "email", "what": "different", "expected": "ada@b.co", "got": "Ada@B.co"},
        {"field": "phone", "what": "missing", "expected": "+1"},
    ]
    assert (mail["destination"], mail["differences"]) == ("mail", [])


def test_a_broken_configuration_is_told_and_not_tested(place: "Place") -> None:
    place.path.write_text(CONFIGURATION + PASSING.replace("FirstName: Ada", "FristName: Ada"))

    result = place("test")

    assert result.exit_code == 1
    assert "unknown field `FristName` of the event (did you mean `FirstName`?)" in result.stderr


def test_wrong_usage_has_a_status_of_its_own(place: "Place") -> None:
    assert place("test", "--frobnicate").exit_code == 2


def test_a_terminal_without_the_signs_gets_words(place: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    place.path.write_text(CONFIGURATION + PASSING)
    monkeypatch.setattr("bridge.cli.test._mark", lambda _, word: word)

    assert place("test").stdout.startswith("ok acme: a name is put together")
