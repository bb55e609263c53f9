"""The documents against the code: what they show works, what they name is there."""

import re
from pathlib import Path

import pytest

from bridge.cli import COMMANDS
from bridge.config import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
VARIABLES = {"CRM_TOKEN": "a-token-of-the-crm", "ACME_SIGN_KEY": "a-signing-key-of-good-length"}


def test_the_readmes_configuration_is_good(tmp_path: Path) -> None:
    (found,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "config.yaml").write_text(found)
    config = load(tmp_path / "config.yaml", VARIABLES)
    assert config.warnings == ()
    # Verifying, mapping and delivering fit into what a reader takes in at a glance.
    assert len(found.strip().splitlines()) <= 16


def test_the_readme_names_every_command_and_no_other() -> None:
    table = README[README.index("| command | does |") :]
    named = set(re.findall(r"^\| `([a-z]+)", table, re.MULTILINE))
    assert named == set(COMMANDS)


def test_the_example_is_good_without_any_variable() -> None:
    load(ROOT / "config.example.yaml", {})


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`((?:bridge|connectors|tests)/[\w./]*)`", ARCHITECTURE))))
def test_what_the_architecture_names_is_there(named: str) -> None:
    assert (ROOT / named).exists()


def test_every_module_has_a_place_in_the_architecture() -> None:
    places = re.findall(r"`(bridge/[\w./]+)`", ARCHITECTURE)
    folders = tuple(place for place in places if place.endswith("/"))
    modules = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "bridge").glob("**/*.py"))]
    lost = [each for each in modules if each not in places and not each.startswith(folders)]
    assert [each for each in lost if not each.endswith("__init__.py")] == []


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench"])
def test_the_makefile_has_the_doors(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"make {target}" in README
