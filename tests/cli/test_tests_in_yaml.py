"""`leadbridge test`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

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
    assert last == "2 of 2 routes (100%) reached, 8 of 14 fields (57%) expected"


def test_no_tests_are_no_failure(place: "Place") -> None:
    text = place("test")
    report = place.folder / "report.xml"
    as_json = place("test", "--json", "--junit", report)

    assert text.exit_code == as_json.exit_code == 0
    assert text.stdout.startswith("There are no tests yet: write what you expect under chatbots.NAME.tests")
    assert json.loads(as_json.stdout)["tests"] == []
    assert ET.fromstring(report.read_text()).get("tests") == "0"


def test_a_failure_is_shown_field_by_field_with_its_line(place: "Place") -> None:
    place.path.write_text(CONFIGURATION + PASSING + FAILING)
    line = (CONFIGURATION + PASSING).count("\n") + 2

    result = place("test")

    assert result.exit_code == 1
    lines = [" ".join(each.split()) for each in result.stdout.splitlines()]
    assert lines[:7] == [
        f"✓ acme: a name is put together (config.yaml:{line - 4})",
        f"✗ acme: test 2 (config.yaml:{line})",
        "crm",
        'different email expected "ada@b.co" got "Ada@B.co"',
        'missing phone expected "+1"',
        'mail: a dead letter was expected, but it gets {"email": "ada@b.co", "company": "example.com"}',
        "",
    ]
    assert lines[7] == "2 tests, 1 failed"
    assert "acme mail 1 0 of 2 (0%) email, company" in lines
    assert lines[-1] == "2 of 2 routes (100%) reached, 3 of 5 fields (60%) expected"
    assert SECRET not in result.output


def test_json_has_it_all(place: "Place") -> None:
    place.path.write_text(CONFIGURATION + PASSING + FAILING)

    result = place("test", "--json")

    assert result.exit_code == 1
    found = json.loads(result.stdout)
    passed, failed = found["tests"]
    assert (passed["state"], passed["name"], passed["mismatches"]) == ("passed", "a name is put together", [])
    assert (failed["state"], failed["number"], failed["file"]) == ("failed", 2, "config.yaml")
    crm, mail = failed["mismatches"]
    assert crm["differences"] == [
        {"field": "email", "what": "different", "expected": "ada@b.co", "got": "Ada@B.co"},
        {"field": "phone", "what": "missing", "expected": "+1"},
    ]
    assert (mail["destination"], mail["differences"]) == ("mail", [])
    assert found["coverage"][1] == {
        "chatbot": "acme",
        "route": "mail",
        "tests": 1,
        "fields": 2,
        "fields_expected": 0,
        "expected_by_no_test": ["email", "company"],
    }


def test_the_report_for_build_servers_is_written(place: "Place") -> None:
    place.path.write_text(CONFIGURATION + PASSING + FAILING)
    report = place.folder / "report.xml"

    assert place("test", "--junit", report).exit_code == 1

    top = ET.fromstring(report.read_bytes())
    assert (top.get("tests"), top.get("failures")) == ("2", "1")
    assert len(top.findall("testsuite/testcase/failure")) == 1


def test_a_report_that_cannot_be_written_is_an_error(place: "Place") -> None:
    result = place("test", "--junit", "nowhere/report.xml")

    assert result.exit_code == 1
    assert result.stderr.startswith("nowhere/report.xml: No such file or directory; name a file that can be written")


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
