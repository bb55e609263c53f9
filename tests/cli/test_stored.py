"""`leadbridge explain --stored`."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config.live import LiveConfiguration
from bridge.config.reload import load_files
from tests.building import Clock, lead
from tests.cli.conftest import CONFIGURATION, OTHER_CHATBOT, SECRET

if TYPE_CHECKING:
    from bridge.store.sql import SqlStore
    from tests.cli.conftest import Place

UPPER = "email: {from: Email, transform: [upper]}, name"


def used(place: "Place") -> None:
    """Leave the configuration in the store, as `serve` does."""
    config, files = load_files(place.path, place.environ)

    async def work(store: "SqlStore") -> None:
        await LiveConfiguration(config, files, clock=Clock()).keep(store)

    place.with_store(work)


@pytest.fixture
def running(filled: "Place") -> "Place":
    """Five leads in the store, and the configuration on disk in use."""
    used(filled)
    return filled


def edit(place: "Place", old: str, new: str) -> None:
    assert old in place.path.read_text()
    place.path.write_text(place.path.read_text().replace(old, new))


def changes(place: "Place", *arguments: object, status: int = 0) -> list[dict[str, Any]]:
    result = place("explain", "--stored", 50, *arguments, "--json")
    assert result.exit_code == status, result.output
    found = json.loads(result.stdout)["changes"]
    assert isinstance(found, list)
    return found


def test_an_unchanged_configuration_changes_nothing(running: "Place") -> None:
    result = running("explain", "--stored", 50)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Compared with the configuration in use since 2026-11-25T09:46:40.000Z:",
        "nothing changes for the last 5 events",
    ]


def test_alike_changes_are_shown_once(running: "Place") -> None:
    edit(running, "email: Email, name", UPPER)

    result = running("explain", "--stored", 50)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "for the last 5 events",
        "",
        "acme, route crm",
        '  5 leads: `email` "person5@example.com" → "PERSON5@EXAMPLE.COM"',
        '           `email` "person4@example.com" → "PERSON4@EXAMPLE.COM"',
        '           `email` "person3@example.com" → "PERSON3@EXAMPLE.COM"',
    ]


def test_json_names_the_events(running: "Place") -> None:
    edit(running, "email: Email, name", UPPER)

    (change,) = changes(running)

    assert (change["chatbot"], change["route"], change["kind"], change["part"]) == ("acme", "crm", "changed", "email")
    assert (change["count"], change["types"]) == (5, {"Lead": 5})
    newest = running.rows("events", "list")[0]["id"]
    assert change["examples"][0] == {
        "event": newest,
        "before": "person5@example.com",
        "after": "PERSON5@EXAMPLE.COM",
    }


def test_only_the_last_events_are_taken(running: "Place") -> None:
    edit(running, "email: Email, name", UPPER)

    result = running("explain", "--stored", 2, "config.yaml", "--json")

    assert json.loads(result.stdout)["changes"][0]["count"] == 2


def test_what_would_be_a_dead_letter_is_a_finding(running: "Place") -> None:
    edit(running, "phone: PhoneNumber", "phone: {from: PhoneNumber, required: true}")

    text = running("explain", "--stored", 50)
    (change,) = changes(running, status=1)

    assert text.exit_code == 1
    assert "  5 leads: a dead letter now (field `phone`: required" in text.stdout
    assert (change["kind"], "before" in change["examples"][0]) == ("dead", False)
    assert "required" in change["examples"][0]["why"]


def test_routes_that_start_and_stop(running: "Place") -> None:
    edit(running, 'when: Content == "mail me"', 'when: Content == "test"')
    edit(running, "events: [Lead]", "events: [Appointment]")

    text = running("explain", "--stored", 50).stdout
    stops, starts = changes(running)

    assert (stops["route"], stops["kind"], stops["examples"][0]["why"]) == ("crm", "stops", "it takes only Appointment")
    assert (starts["route"], starts["kind"], len(starts["examples"])) == ("mail", "starts", 3)
    assert "  5 leads: not sent any more (it takes only Appointment)" in text
    assert '  5 leads: sent now: {"email": "person5@example.com"' in text


def test_fields_that_come_and_go_and_requests(running: "Place") -> None:
    edit(running, 'name: "{{ FirstName }} {{ LastName }}"', "first: FirstName")
    text = running("explain", "--stored", 1).stdout
    assert '  1 lead: `name` is left out now, and was "David García"' in text
    assert '  1 lead: `first` is there now: "David"' in text

    running.path.write_text(CONFIGURATION.replace("9/leads", "9/people"))
    text = running("explain", "--stored", 1).stdout
    assert '  1 lead: the request\'s URL "http://127.0.0.1:9/leads" → "http://127.0.0.1:9/people"' in text


def test_another_secret_is_no_change_and_not_shown(running: "Place") -> None:
    edit(running, '"${TOKEN}"', "another-token-written-in-clear")

    result = running("explain", "--stored", 50)

    assert "nothing changes" in result.stdout
    assert SECRET not in result.output
    assert "another-token" not in result.output


def test_without_a_serve_all_is_new(filled: "Place") -> None:
    result = filled("explain", "--stored", 50)

    assert result.exit_code == 0
    assert result.stdout.startswith("Compared with nothing, since `leadbridge serve` has not run on this store yet:\n")
    assert "  5 leads: sent now" in result.stdout


def test_another_configuration_can_be_named(running: "Place") -> None:
    other = running.folder / "other.yaml"
    other.write_text(CONFIGURATION.replace("email: Email, name", UPPER))

    (change,) = changes(running, "--against", other)

    assert change["examples"][0]["before"] == "PERSON5@EXAMPLE.COM"


def test_one_chatbot_alone(running: "Place") -> None:
    running.path.write_text(CONFIGURATION + OTHER_CHATBOT.replace("\nchatbots:", ""))
    used(running)
    running.receive(lead(SerialNumber="0123456789abcdef0123456789abcdef"))
    edit(running, "email: Email", "email: FirstName")

    assert {each["chatbot"]: each["count"] for each in changes(running)} == {"acme": 5, "other": 1}
    assert {each["chatbot"]: each["count"] for each in changes(running, "--chatbot", "other")} == {"other": 1}


def test_an_empty_store_says_so(leadbridge: "Place") -> None:
    nothing = leadbridge("explain", "--stored", 50)
    of_a_chatbot = leadbridge("explain", "--stored", 50, "--chatbot", "acme")

    assert nothing.stdout == "There are no accepted events in the store yet: nothing to compare.\n"
    assert "of chatbot acme" in of_a_chatbot.stdout


def test_a_configuration_in_use_that_cannot_be_read_here_says_what_to_do(running: "Place") -> None:
    edit(running, '"${TOKEN}"', "a-token-written-in-clear")
    del running.environ["TOKEN"]

    result = running("explain", "--stored", 50)

    assert result.exit_code == 1
    assert "the configuration in use cannot be read from here" in result.stderr
    assert "TOKEN" in result.stderr
    assert "or name another configuration with --against" in result.stderr


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
