"""The command line as a whole: help, versions, exit statuses, and what it costs to start."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer._click.core import Command
from typer.core import TyperArgument
from typer.main import get_command
from typer.testing import CliRunner

from bridge.cli import COMMANDS, app

if TYPE_CHECKING:
    from tests.cli.conftest import Place

HEAVY = ("aiohttp", "alembic", "asyncio", "jinja2", "pydantic", "rich", "sqlalchemy", "structlog", "yaml")


def run_python(*arguments: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder)


def test_the_version_comes_without_the_heavy_imports() -> None:
    code = (
        "import json, sys\n"
        "sys.argv = ['leadbridge', '--version']\n"
        "from bridge.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(json.dumps(sorted(sys.modules)))\n"
    )

    done = run_python("-c", code)

    version, modules = done.stdout.splitlines()
    assert version.startswith("leadbridge")
    assert not set(HEAVY) & set(json.loads(modules))


def test_it_runs_as_a_module() -> None:
    done = run_python("-m", "bridge.cli", "-V")

    assert done.returncode == 0
    assert done.stdout.startswith("leadbridge")
    assert not done.stderr


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"])

    assert result.exit_code == 0
    for name, line in COMMANDS.items():
        assert f"{name} " in result.output
        assert line[:40] in result.output


def pages() -> Iterator[tuple[str, Command]]:
    """Each command and group, with the words that call it."""
    for name in COMMANDS:
        command = get_command(import_module(f"bridge.cli.{name}").app)
        yield name, command
        for more, child in getattr(command, "commands", {}).items():
            yield f"{name} {more}", child


PAGES = dict(pages())
WITHOUT_CONFIGURATION = {"init", "demo", "sandbox", "connectors new"}


@pytest.mark.parametrize("name", ["", *PAGES])
def test_every_help_page_has_examples_that_are_good(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "-h"], prog_name="leadbridge")

    assert result.exit_code == 0, result.output
    assert f"Usage: leadbridge {name}".strip() in result.output
    _, _, rest = result.output.partition("Examples:\n")
    examples = [line.strip() for line in rest.splitlines() if line.strip().startswith("leadbridge")]
    assert examples, result.output
    for line in examples:
        words = shlex.split(line.partition(" >")[0])
        called = max((each for each in PAGES if words[1 : 1 + len(each.split())] == each.split()), key=len)
        assert called.startswith(name)
        # Raises for an option or a number of arguments that the command does not have.
        PAGES[called].make_context(called, words[1 + len(called.split()) :])
        assert len(line) <= 78


def test_every_command_takes_a_configuration() -> None:
    for name, command in PAGES.items():
        if name not in WITHOUT_CONFIGURATION and not hasattr(command, "commands"):
            options = {option: each for each in command.params for option in each.opts}
            assert {"-c", "--config"} <= set(options), name
            arguments = [each for each in command.params if isinstance(each, TyperArgument)]
            assert arguments, f"{name}: takes PATH too"


def test_a_configuration_is_named_once(place: "Place") -> None:
    assert place("check", "-c", "config.yaml").exit_code == 0
    assert place("check", "config.yaml", "-c", "config.yaml").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["events"],
        ["events", "nonsense"],
        ["events", "list", "--state", "nonsense"],
        ["events", "list", "--limit", "0"],
        ["events", "show"],
        ["deliveries", "show", "x"],
        ["deliveries", "replay"],
        ["deliveries", "replay", "1", "--all"],
        ["deliveries", "replay", "1", "--chatbot", "acme"],
        ["deliveries", "discard", "--all", "--state", "delivered"],
        ["lanes", "pause"],
        ["quarantine", "release"],
        ["quarantine", "release", "1", "--all"],
        ["explain"],
        ["explain", "config.yaml"],
        ["send", "config.yaml", "event.json", "another.json"],
        ["--nonsense"],
    ],
)
def test_wrong_usage_is_exit_status_2(filled: "Place", arguments: list[str]) -> None:
    result = filled(*arguments)

    assert result.exit_code == 2, result.output
    assert not result.stdout
    assert "Traceback" not in result.stderr


def test_an_error_is_one_line_on_standard_error(place: "Place") -> None:
    result = place("events", "list")

    assert result.exit_code == 1
    assert not result.stdout
    assert result.stderr == (
        "leadbridge.db: there is no store yet; `leadbridge serve` makes it, or run `leadbridge db migrate`\n"
    )


def test_the_configuration_is_the_option_then_the_variable_then_the_default(place: "Place", tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.yaml"
    place.path.rename(elsewhere)

    assert place("check").exit_code == 1
    assert "config.yaml: no such file" in place("check").stderr
    assert place("check", elsewhere).exit_code == 0
    assert place("db", "migrate", "--config", elsewhere).exit_code == 0
    place.environ["LEADBRIDGE_CONFIG"] = str(elsewhere)
    assert place("check").exit_code == 0
    assert place("events", "list").exit_code == 0
    assert place("events", "list", "-c", "nowhere.yaml").exit_code == 1


def test_a_closed_pipe_is_no_traceback(filled: "Place") -> None:
    """`leadbridge events list | head -0`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", "events", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**filled.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=filled.folder,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    with process.stderr:
        assert b"Traceback" not in process.stderr.read()
    assert process.wait() == 1
