"""`leadbridge connectors new`, and connectors of plugin folders in `list` and `show`."""

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Place


@pytest.mark.parametrize(
    "options",
    [pytest.param((), id="one by one", marks=pytest.mark.thorough), pytest.param(("--batch",), id="in batches")],
)
def test_a_new_connector_holds_its_contract(place: "Place", options: tuple[str, ...]) -> None:
    result = place("connectors", "new", *options, "my_crm")
    assert result.exit_code == 0, result.output
    assert {each.name for each in (place.folder / "my_crm").iterdir()} == {"my_crm.py", "test_my_crm.py"}

    # As an author runs it: in another process, with pytest's own defaults.
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "my_crm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=place.folder)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) >= 25


@pytest.mark.thorough
def test_new_connectors_pass_a_strict_type_checker(place: "Place") -> None:
    """The packages have `py.typed`, so an author's checker knows the types of the contract."""
    assert place("connectors", "new", "one_crm", "plugins").exit_code == 0
    assert place("connectors", "new", "--batch", "many_crm", "plugins").exit_code == 0
    options = ["--strict", "--config-file", os.devnull, "--cache-dir", os.devnull, "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, (place.folder / "plugins").glob("*.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=place.folder)
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_new_connector_is_a_plugin(place: "Place") -> None:
    assert place("connectors", "new", "my_crm", "plugins").exit_code == 0
    result = place("connectors", "show", "my_crm", "--plugins", "plugins", "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["does"] == "Writes contacts into MyCrm."
    own = {row["setting"]: row for row in shown["destination"]}
    assert own["api_token"]["default"] == "required"
    assert own["base_url"]["meaning"] == "Where the API is."
    listed = json.loads(place("connectors", "list", "--plugins", "plugins", "--json").stdout)
    states = {row["id"]: row["state"] for row in listed}
    assert (states["http"], states["my_crm"]) == ("installed", "plugin")


@pytest.mark.parametrize("name", ["my-crm", "MyCrm", "1crm", "", "class", "test_crm", "conftest", "a/b", "_x"])
def test_a_name_must_be_one_of_a_file(place: "Place", name: str) -> None:
    result = place("connectors", "new", name)
    assert result.exit_code == 2
    assert list(place.folder.glob("*/*.py")) == []


def test_a_name_that_is_taken_is_refused(place: "Place") -> None:
    result = place("connectors", "new", "http")
    assert (result.exit_code, result.stderr.strip()) == (
        1,
        "there is a connector `http` already; choose another name",
    )


@pytest.mark.parametrize("file", ["my_crm.py", "test_my_crm.py"])
def test_nothing_is_overwritten(place: "Place", file: str) -> None:
    folder = place.folder / "my_crm"
    folder.mkdir()
    (folder / file).write_text("mine")
    result = place("connectors", "new", "my_crm")
    assert result.exit_code == 1
    assert f"my_crm/{file}: there already, and nothing is overwritten" in result.stderr
    assert [each.name for each in folder.iterdir()] == [file]
    assert (folder / file).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_told(place: "Place") -> None:
    (place.folder / "taken").write_text("a file")
    result = place("connectors", "new", "my_crm", "taken")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_a_broken_plugin_is_told(place: "Place") -> None:
    folder = place.folder / "plugins"
    folder.mkdir()
    (folder / "broken.py").write_text("import no_such_module\n")
    result = place("connectors", "list", "--plugins", "plugins")
    assert result.exit_code == 1
    assert "plugins/broken.py:1: cannot be imported" in result.stderr
