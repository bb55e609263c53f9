"""`leadbridge check`."""

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import CONFIGURATION, KEY, SECRET

if TYPE_CHECKING:
    from tests.cli.conftest import Place

LINE = re.compile(r"config\.yaml:\d+:\d+: [^:]+: .+")

BROKEN = CONFIGURATION.replace("sqlite:///leadbridge.db", "sqlite:///leadbridge.db\n  urk: 1").replace(
    "email: Email,", "email: Emial,"
)


def test_a_good_configuration_is_a_line_that_says_what_there_is(place: "Place") -> None:
    result = place("check")

    assert result.exit_code == 0
    assert result.stdout == "config.yaml: good. Chatbots: acme (2 routes). Destinations: crm (http), mail (http).\n"
    assert not result.stderr


def test_every_error_is_a_line_that_an_editor_can_jump_to(place: "Place") -> None:
    place.configure(BROKEN)

    result = place("check")

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert all(LINE.fullmatch(line) for line in lines)
    assert "did you mean" in lines[1]
    assert not result.stderr


def test_other_commands_write_these_lines_to_standard_error(place: "Place") -> None:
    place.configure(BROKEN)

    result = place("events", "list")

    assert result.exit_code == 1
    assert not result.stdout
    assert len(result.stderr.splitlines()) == 2
    assert all(LINE.fullmatch(line) for line in result.stderr.splitlines())


def test_a_warning_is_shown_and_is_no_finding(place: "Place") -> None:
    place.configure(CONFIGURATION.replace("${TOKEN}", "${TOKEN:-default-token}"))
    del place.environ["TOKEN"]

    result = place("check")

    assert result.exit_code == 0
    warning, good = result.stdout.splitlines()
    assert re.fullmatch(r"config\.yaml:\d+:\d+: destinations\.crm\.auth\.bearer: warning: .+", warning)
    assert "good" in good


def test_json_holds_errors_and_warnings(place: "Place") -> None:
    place.configure(BROKEN.replace("${TOKEN}", "${TOKEN:-default-token}"))
    del place.environ["TOKEN"]

    result = place("check", "--json")

    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [each["severity"] for each in found] == ["error", "error", "warning"]
    assert found[0].keys() == {"severity", "file", "line", "column", "path", "message"}


def test_json_of_a_good_configuration_is_empty(place: "Place") -> None:
    result = place("check", "--json")

    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_a_folder_is_checked_too(place: "Place") -> None:
    folder = place.folder / "conf"
    folder.mkdir()
    place.path.rename(folder / "all.yaml")

    result = place("check", "conf")

    assert result.exit_code == 0
    assert result.stdout.startswith("conf: good.")


def test_no_secret_is_shown(place: "Place") -> None:
    place.configure(BROKEN + "\nnonsense: ${TOKEN}\n")

    for result in (place("check"), place("check", "--json"), place("events", "list")):
        assert SECRET not in result.output
        assert KEY not in result.output


@pytest.mark.filterwarnings("ignore")  # of the modules that Apprise loads
def test_an_alert_target_that_apprise_does_not_know_is_an_error(place: "Place") -> None:
    targets = '["json://localhost", "slak://token", "${SECRET_TARGET}", ""]'
    place.configure(f"{CONFIGURATION}alerts:\n  to: {targets}\n")
    place.environ["SECRET_TARGET"] = f"slack://{SECRET}"

    result = place("check")

    assert result.exit_code == 1
    found = [line for line in result.stdout.splitlines() if "Apprise" in line]
    assert [line.split(": ")[1] for line in found] == ["alerts.to[1]", "alerts.to[2]"]
    assert SECRET not in result.output
