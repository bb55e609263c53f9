"""`leadbridge report`: printed, as JSON, and sent."""

import json
import sqlite3

import pytest

from tests.building import NOW
from tests.cli.conftest import CONFIGURATION, OTHER_CHATBOT, Place
from tests.cli.test_alerts import taken

__all__ = ["taken"]

pytestmark = pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning")

DAY = 86_400.0


@pytest.fixture
def place(filled: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The store with five leads, three days later."""
    monkeypatch.setattr("bridge.cli.report.time.time", lambda: NOW + 3 * DAY)
    return filled


def configure(place: Place, reports: str = "") -> None:
    place.configure(f"{CONFIGURATION}{OTHER_CHATBOT.removeprefix(chr(10) + 'chatbots:')}{reports}\n")


def test_all_chatbots_and_the_problems_are_printed(place: Place) -> None:
    configure(place)
    result = place("report")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["all", "5", "0", "2", "40", "%"] in [line[:6] for line in lines]
    assert ["acme", "5", "0", "2", "40", "%"] in [line[:6] for line in lines]
    assert ["other", "0", "0", "0"] in [line[:4] for line in lines]
    assert "crm: refused: The destination refused the record." in result.stdout
    assert "last name" not in result.stdout


def test_one_chatbot_and_more_weeks_as_json(place: Place) -> None:
    configure(place)
    rows = json.loads(place("report", "--chatbot", "other", "--weeks", 4, "--json").stdout)
    assert [(each["id"], each["leads"], each["in_crm"]) for each in rows] == [("all", 0, None), ("other", 0, None)]
    rows = json.loads(place("report", "--json").stdout)
    assert [(each["id"], each["leads"], each["waiting"], each["dead"]) for each in rows] == [
        ("all", 5, 2, 1),
        ("acme", 5, 2, 1),
        ("other", 0, 0, 0),
    ]


def test_a_report_is_sent_to_its_own_receivers(place: Place, taken: list[str]) -> None:
    reports = 'reports:\n  acme: {to: ["${ONE}"], chatbots: [acme]}\n  other: {to: ["${TWO}"], chatbots: [other]}'
    configure(place, reports)
    place.environ |= {name: f"json://127.0.0.1:{taken[0]}/{name}" for name in ("ONE", "TWO")}
    assert place("report", "acme").stdout.startswith("acme: ")
    result = place("report", "acme", "--send")
    assert (result.exit_code, result.output) == (0, "reports.acme.to[0] (json): sent\n")
    assert "5 leads." in taken[1].splitlines()
    result = place("report", "--send", "--json")
    assert [(each["id"], each["state"]) for each in json.loads(result.stdout)] == [
        ("reports.acme.to[0] (json)", "sent"),
        ("reports.other.to[0] (json)", "sent"),
    ]
    assert "0 leads." in taken[3].splitlines()


def test_a_receiver_that_fails_is_a_finding(place: Place, taken: list[str]) -> None:
    configure(place, 'reports: {acme: {to: ["${ONE}"]}}')
    place.environ["ONE"] = f"json://127.0.0.1:{taken[0]}/bad"
    result = place("report", "acme", "--send")
    assert result.exit_code == 1
    assert "reports.acme.to[0] (json): it was not taken" in result.stderr
    assert "/bad" not in result.output


def test_a_report_that_was_noted_and_not_sent_is_listed_and_sent_by_a_person(place: Place, taken: list[str]) -> None:
    configure(place, 'reports: {acme: {to: ["${ONE}", "${TWO}"]}}')
    place.environ |= {name: f"json://127.0.0.1:{taken[0]}/{name}" for name in ("ONE", "TWO")}
    due_at = NOW + 2 * DAY
    with sqlite3.connect(place.driver.path) as connection:
        row = ("acme", due_at, '["reports.acme.to[1] (json)"]', due_at)
        connection.execute('insert into reports (name, due_at, "left", tried_at) values (?, ?, ?, ?)', row)
    (found,) = (each for each in json.loads(place("problems", "--json").stdout) if each["kind"] == "report")
    assert (found["id"], found["count"]) == ("report-acme", 1)
    assert "`leadbridge report acme --left`" in found["fix"]
    result = place("report", "acme", "--left")
    assert (result.exit_code, result.output) == (0, "reports.acme.to[1] (json): sent\n")
    assert len(taken) == 2
    assert "report-acme" not in place("problems", "--json").stdout
    result = place("report", "acme", "--left")
    assert result.exit_code == 1
    assert "acme: no receiver misses this report" in result.stderr
    assert place("report", "--left").stdout == "no receiver misses a report\n"
    entries = json.loads(place("audit", "list", "--json").stdout)
    assert [(each["action"], each["subject_id"], each["count"]) for each in entries] == [("send_report", "acme", 1)]


def test_mistakes_are_named(place: Place) -> None:
    configure(place, 'reports: {acme: {to: ["${ONE}"]}}')
    place.environ["ONE"] = "json://127.0.0.1:9/one"
    for arguments, status, said in (
        (("acmee",), 1, "acmee: the configuration has no such report"),
        (("--chatbot", "nobody"), 1, "nobody: no chatbot has this name"),
        (("acme", "--chatbot", "acme"), 2, "has chatbots of its own"),
        (("--weeks", 99), 2, "less than or equal to 13"),
    ):
        result = place("report", *arguments)
        assert result.exit_code == status
        assert said in result.output
    configure(place)
    result = place("report", "--send")
    assert result.exit_code == 1
    assert "reports: {NAME: {to: [...]}}" in result.output


def test_check_asks_apprise_for_each_address(place: Place) -> None:
    configure(place, 'reports: {acme: {to: ["${ONE}"]}}')
    place.environ["ONE"] = "nonsense://a-secret"
    result = place("check")
    assert "reports.acme.to[0]: " in result.output
    assert "it is not an address that Apprise knows" in result.output
    assert "a-secret" not in result.output
