"""`leadbridge explain --stored`."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.building import lead
from tests.cli.conftest import CONFIGURATION, OTHER_CHATBOT, SECRET

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.cli.conftest import Place

OLD = "old.yaml"
UPPER = "email: {from: Email, transform: [upper]}, name"


@pytest.fixture
def before(filled: "Place") -> "Place":
    """Five leads in the store, and beside the configuration its form before an edit."""
    (filled.folder / OLD).write_text(filled.path.read_text())
    return filled


def compared(place: "Place", *arguments: object) -> "Result":
    return place("explain", "--stored", 50, "--against", OLD, *arguments)


def edit(place: "Place", old: str, new: str) -> None:
    assert old in place.path.read_text()
    place.path.write_text(place.path.read_text().replace(old, new))


def changes(place: "Place", *arguments: object, status: int = 0) -> list[dict[str, Any]]:
    result = compared(place, *arguments, "--json")
    assert result.exit_code == status, result.output
    found = json.loads(result.stdout)["changes"]
    assert isinstance(found, list)
    return found


def test_an_unchanged_configuration_changes_nothing(before: "Place") -> None:
    result = compared(before)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Compared with old.yaml:",
        "nothing changes for the last 5 events",
    ]


def test_alike_changes_are_shown_once(before: "Place") -> None:
    edit(before, "email: Email, name", UPPER)

    result = compared(before)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "for the last 5 events",
        "",
        "acme, route crm",
        '  5 leads: `email` "person5@example.com" → "PERSON5@EXAMPLE.COM"',
        '           `email` "person4@example.com" → "PERSON4@EXAMPLE.COM"',
        '           `email` "person3@example.com" → "PERSON3@EXAMPLE.COM"',
    ]


def test_json_names_the_events(before: "Place") -> None:
    edit(before, "email: Email, name", UPPER)

    (change,) = changes(before)

    assert (change["chatbot"], change["route"], change["kind"], change["part"]) == ("acme", "crm", "changed", "email")
    assert (change["count"], change["types"]) == (5, {"Lead": 5})
    newest = before.rows("events", "list")[0]["id"]
    assert change["examples"][0] == {
        "event": newest,
        "before": "person5@example.com",
        "after": "PERSON5@EXAMPLE.COM",
    }


def test_only_the_last_events_are_taken(before: "Place") -> None:
    edit(before, "email: Email, name", UPPER)

    result = before("explain", "--stored", 2, "config.yaml", "--against", OLD, "--json")

    assert json.loads(result.stdout)["changes"][0]["count"] == 2


def test_what_would_be_a_dead_letter_is_a_finding(before: "Place") -> None:
    edit(before, "phone: PhoneNumber", "phone: {from: PhoneNumber, required: true}")

    text = compared(before)
    (change,) = changes(before, status=1)

    assert text.exit_code == 1
    assert "  5 leads: a dead letter now (field `phone`: required" in text.stdout
    assert (change["kind"], "before" in change["examples"][0]) == ("dead", False)
    assert "required" in change["examples"][0]["why"]


def test_routes_that_start_and_stop(before: "Place") -> None:
    edit(before, 'when: Content == "mail me"', 'when: Content == "test"')
    edit(before, "events: [Lead]", "events: [Appointment]")

    text = compared(before).stdout
    stops, starts = changes(before)

    assert (stops["route"], stops["kind"], stops["examples"][0]["why"]) == ("crm", "stops", "it takes only Appointment")
    assert (starts["route"], starts["kind"], len(starts["examples"])) == ("mail", "starts", 3)
    assert "  5 leads: not sent any more (it takes only Appointment)" in text
    assert '  5 leads: sent now: {"email": "person5@example.com"' in text


def test_fields_that_come_and_go_and_requests(before: "Place") -> None:
    edit(before, 'name: "{{ FirstName }} {{ LastName }}"', "first: FirstName")
    text = before("explain", "--stored", 1, "--against", OLD).stdout
    assert '  1 lead: `name` is left out now, and was "David García"' in text
    assert '  1 lead: `first` is there now: "David"' in text

    before.path.write_text(CONFIGURATION.replace("9/leads", "9/people"))
    text = before("explain", "--stored", 1, "--against", OLD).stdout
    assert '  1 lead: the request\'s URL "http://127.0.0.1:9/leads" → "http://127.0.0.1:9/people"' in text


def test_another_secret_is_no_change_and_not_shown(before: "Place") -> None:
    edit(before, '"${TOKEN}"', "another-token-written-in-clear")

    result = compared(before)

    assert "nothing changes" in result.stdout
    assert SECRET not in result.output
    assert "another-token" not in result.output


def test_without_another_configuration_it_shows_what_would_be_sent(filled: "Place") -> None:
    result = filled("explain", "--stored", 50)

    assert result.exit_code == 0
    assert result.stdout.startswith("For the last 5 events:\n\nacme, route crm\n  5 leads: sent: {")
    assert json.loads(filled("explain", "--stored", 50, "--json").stdout)["compared_with"] is None
    edit(filled, "phone: PhoneNumber", "phone: {from: PhoneNumber, required: true}")
    dead = filled("explain", "--stored", 50)
    assert dead.exit_code == 1
    assert "  5 leads: a dead letter (field `phone`: required" in dead.stdout


def test_one_chatbot_alone(before: "Place") -> None:
    before.path.write_text(CONFIGURATION + OTHER_CHATBOT.replace("\nchatbots:", ""))
    (before.folder / OLD).write_text(before.path.read_text())
    before.receive(lead(SerialNumber="0123456789abcdef0123456789abcdef"))
    edit(before, "email: Email", "email: FirstName")

    assert {each["chatbot"]: each["count"] for each in changes(before)} == {"acme": 5, "other": 1}
    assert {each["chatbot"]: each["count"] for each in changes(before, "--chatbot", "other")} == {"other": 1}


def test_an_empty_store_says_so(leadbridge: "Place") -> None:
    nothing = leadbridge("explain", "--stored", 50)
    of_a_chatbot = leadbridge("explain", "--stored", 50, "--chatbot", "acme")

    assert nothing.stdout == "There are no accepted events in the store yet.\n"
    assert "of chatbot acme" in of_a_chatbot.stdout


def test_another_configuration_with_an_error_says_where(before: "Place") -> None:
    (before.folder / OLD).write_text("chatbots: [broken")

    result = compared(before)

    assert result.exit_code == 1
    assert result.stderr.startswith("old.yaml:1:")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--stored", "50", "config.yaml", "event.json"],
        ["--stored", "50", "event.json"],
        ["--stored", "50", "-"],
        ["--stored", "0"],
        ["--chatbot", "acme", "event.json"],
        ["--against", "other.yaml", "event.json"],
        [],
    ],
)
def test_wrong_usage(place: "Place", arguments: list[str]) -> None:
    assert place("explain", *arguments).exit_code == 2
