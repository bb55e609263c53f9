"""The documents against the code: what they show works, what they name is there."""

import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import COMMANDS, app
from connectors.testing import HubSpotSandbox, SalesforceSandbox

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
EXAMPLE = ROOT / "config.example.yaml"
VARIABLES = {"HUBSPOT_ACCESS_TOKEN": "pat-na1-a-token", "ACME_SIGN_KEY": "a-signing-key-of-good-length"}


def leadbridge(*arguments: object, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def test_the_readmes_configuration_is_good(tmp_path: Path) -> None:
    (found,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "config.yaml"
    path.write_text(found)
    checked = leadbridge("check", path, **VARIABLES)
    assert checked.exit_code == 0, checked.output
    assert " warning: " not in checked.output
    # Verifying, mapping and delivering to HubSpot fit into what a reader takes in at a glance.
    assert len(found.strip().splitlines()) <= 15


def test_the_readme_names_every_command_and_no_other() -> None:
    table = README[README.index("| command | does |") :]
    named = set(re.findall(r"^\| `([a-z]+)", table, re.MULTILINE))
    assert named == set(COMMANDS)


def test_the_example_is_good_without_any_variable() -> None:
    for command in ("check", "test"):
        result = leadbridge(command, EXAMPLE)
        assert result.exit_code == 0, result.output


def test_the_examples_first_line_names_the_schema() -> None:
    named = EXAMPLE.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (ROOT / named) == ROOT / "config.schema.json"
    assert (ROOT / named).exists()


async def test_both_crms_know_what_the_example_writes(tmp_path: Path) -> None:
    async with HubSpotSandbox() as hubspot, SalesforceSandbox() as salesforce:
        text = EXAMPLE.read_text()
        for name, more in (("hubspot", f"    base_url: {hubspot.origin}\n"), ("salesforce", "")):
            text = text.replace(f"\n  {name}:\n", f"\n  {name}:\n    allow_private: true\n{more}", 1)
        path = tmp_path / "config.yaml"
        path.write_text(text)
        variables = {
            **VARIABLES,
            "HUBSPOT_ACCESS_TOKEN": hubspot.access_token or "",
            "SALESFORCE_LOGIN_URL": salesforce.origin,
            "SALESFORCE_CLIENT_ID": salesforce.tokens.client.id,
            "SALESFORCE_CLIENT_SECRET": salesforce.tokens.client.secret,
        }
        checked = await asyncio.to_thread(lambda: leadbridge("check", path, "--online", **variables))
    assert checked.exit_code == 0, checked.output
    assert " warning: " not in checked.output


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`((?:bridge|connectors|tests)/[\w./]*)`", ARCHITECTURE))))
def test_what_the_architecture_names_is_there(named: str) -> None:
    assert (ROOT / named).exists()


def test_every_module_has_a_place_in_the_architecture() -> None:
    places = re.findall(r"`(bridge/[\w./]+)`", ARCHITECTURE)
    folders = tuple(place for place in places if place.endswith("/"))
    modules = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "bridge").glob("**/*.py"))]
    lost = [each for each in modules if each not in places and not each.startswith(folders)]
    assert [each for each in lost if not each.endswith("__init__.py")] == []


@pytest.mark.parametrize("target", ["demo", "test", "acceptance", "check", "bench"])
def test_the_makefile_has_the_doors(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"make {target}" in README
