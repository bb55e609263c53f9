"""The documentation against the code: its configurations pass `check`, its commands exist, its recipes pass `test`."""

import ast
import asyncio
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.main import get_command
from typer.testing import CliRunner, Result

from bridge.cli import COMMANDS, app
from bridge.config import ConfigError, plugins
from bridge.config.load import load
from connectors.testing import HubSpotSandbox, SalesforceSandbox

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (DOCS / "architecture.md").read_text()
EXAMPLE = ROOT / "config.example.yaml"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
RECIPES = sorted((DOCS / "recipes").glob("*.yaml"))
VARIABLES = {"HUBSPOT_ACCESS_TOKEN": "pat-na1-a-token", "ACME_SIGN_KEY": "a-signing-key-of-good-length"}
pytestmark = [
    pytest.mark.check,
    # Modules that Apprise loads.
    pytest.mark.filterwarnings("ignore:'(imghdr|cgi)' is deprecated:DeprecationWarning"),
]
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- frame: ([\w-]+) -->\s*\Z")
"""Stands before a block that is no whole configuration: its routes, or settings for `http`; `other`: no part of one."""
COMMAND_LINE = re.compile(r"(?:^|[ ;$`(])leadbridge((?: [^\n`|>;]*)?)", re.MULTILINE)
OTHER_OPTIONS = frozenset({"--help", "-h"})


def leadbridge(*arguments: object, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    kind: str
    text: str
    frame: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        marker = MARKER.search(text, 0, match.start())
        content = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match["kind"], content, marker[1] if marker else "")


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


class Environ(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]

    def __missing__(self, name: str) -> str:
        if "STORE_KEY" in name:
            return "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
        if name == "SERVICE_ACCOUNT":
            return service_account()
        if name.endswith(("ALERT_URL", "REPORT_URL", "EMAIL_URL", "SLACK_URL", "TEAMS_URL", "SMS_URL")):
            return "json://localhost"
        return f"https://{name.lower()}.example.com" if name.endswith("URL") else f"value-number-0815-of-{name}"


@cache
def service_account() -> str:
    """Return the JSON key of a service account."""
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    return json.dumps({"client_email": "leads@acme.iam.gserviceaccount.com", "private_key": pem})


def framed(block: Block) -> str:
    """Return a whole configuration with the part that a block shows."""
    if block.frame == "route":
        routes = yaml.safe_load(block.text)
    elif block.frame == "http":
        routes = [{"to": "crm", "fields": {"email": "Email", "age": "Content"}}]
    else:
        return block.text
    own: dict[str, dict[str, Any]] = {
        "crm": {
            "connector": "http",
            "url": "https://crm.example.com/api/leads",
            **(yaml.safe_load(block.text) if block.frame == "http" else {}),
        },
        "gohighlevel": {"access_token": "${GHL_TOKEN}", "location_id": "ve9EPM428h8vShlRW1KT"},
        "hubspot": {"access_token": "${HUBSPOT_ACCESS_TOKEN}"},
        "salesforce": {
            "login_url": "https://acme.my.salesforce.com",
            "client_id": "${SF_ID}",
            "client_secret": "${SF_SECRET}",
        },
        "zoho": {"client_id": "${ZOHO_ID}", "client_secret": "${ZOHO_SECRET}", "refresh_token": "${ZOHO_TOKEN}"},
    }
    names = {route["to"] for route in routes}
    return yaml.safe_dump(
        {
            "destinations": {name: {"connector": name, **own[name]} for name in names},
            "chatbots": {"acme": {"serial_number": "one", "signing_keys": ["${ACME_SIGN_KEY}"], "routes": routes}},
        },
        sort_keys=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the plug-ins that pages name."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "plugins").mkdir()
    for block in BLOCKS:
        if block.text.startswith("# plugins/"):
            (folder / block.text.split(maxsplit=2)[1]).write_text(block.text)
    assert leadbridge("connectors", "new", "--batch", "my_crm", folder / "my_crm").exit_code == 0
    return folder


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.kind == "yaml"], ids=str)
def test_yaml_is_a_good_configuration(block: Block, place: Path) -> None:
    if block.frame == "other":
        assert yaml.safe_load(block.text)
        return
    path = place / "config.yaml"
    path.write_text(framed(block))
    load(path, Environ())


def test_a_wrong_key_is_found(place: Path) -> None:
    block = next(each for each in BLOCKS if each.page == DOCS / "agencies.md" and each.kind == "yaml")
    path = place / "config.yaml"
    path.write_text(block.text.replace("serial_number", "serial_numbr", 1))
    with pytest.raises(ConfigError, match="serial_numbr"):
        load(path, Environ())


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {each.kind for each in BLOCKS} <= {"", "sh", "yaml", "python", "javascript", "toml"}


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.kind == "python"], ids=str)
def test_python_can_be_compiled(block: Block) -> None:
    ast.parse(block.text)


def fault(arguments: str) -> str | None:
    """Return why a command line of a page is wrong."""
    try:
        words = shlex.split(arguments, comments=True)
    except ValueError as error:
        return str(error)
    words = words[1:] if words[:1] == ["leadbridge"] else words  # after the name of a service
    if not words or words[0] in {"--help", "--version", "-h", "-V"}:
        return None
    if words[0] not in COMMANDS:
        return f"there is no command {words[0]}" if re.fullmatch(r"[a-z-]+", words[0]) else None
    command: Any = get_command(importlib.import_module(f"bridge.cli.{words[0]}").app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and re.fullmatch(r"[a-z]+", rest[0].rstrip(",")):
        if rest[0].rstrip(",") not in command.commands:
            return f"{words[0]} has no command {rest[0]}"
        command = command.commands[rest[0].rstrip(",")]
        rest = rest[1:]
    if hasattr(command, "commands"):
        return None  # the group is meant
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | OTHER_OPTIONS
    unknown = [each for each in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", " ".join(rest)) if each not in known]
    return f"{words[0]} has no option {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    text = page.read_text()
    in_lines = [match[1] for match in re.finditer(r"`leadbridge ([^`\n]+)`", text)]
    in_blocks = [
        match[1] for block in blocks_of(page) if block.kind in {"", "sh"} for match in COMMAND_LINE.finditer(block.text)
    ]
    faults = {each.strip(): fault(each) for each in (*in_lines, *in_blocks)}
    assert {each: reason for each, reason in faults.items() if reason} == {}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_of_a_table_have_equal_cells(page: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE)
    uneven = [table for table in tables if len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) > 1]
    assert uneven == []


@cache
def reference_pages() -> Any:
    """Return the module that generates parts of pages."""
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    assert spec is not None
    assert spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    return pages


def test_the_page_of_signatures_is_fresh() -> None:
    assert (DOCS / "extend/signatures.md").read_text() == reference_pages().signatures_page(ROOT), "run `make docs`"


@pytest.mark.parametrize("link", ["nowhere.md", "index.md#nowhere"])
def test_the_site_is_not_built_with_a_link_to_nothing(tmp_path: Path, link: str) -> None:
    pytest.importorskip("zensical", reason="`make check` installs it")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    reference_pages().build_site(tmp_path, tmp_path / "site")
    assert 'id="deliveries-list"' in (tmp_path / "site/reference/commands.html").read_text()
    with (tmp_path / "docs/comparison.md").open("a") as page:
        page.write(f"\n[A link]({link})\n")
    with pytest.raises(subprocess.CalledProcessError):
        reference_pages().build_site(tmp_path, tmp_path / "site")


def test_the_page_on_batches_quotes_the_new_connector(place: Path) -> None:
    assert leadbridge("connectors", "new", "--batch", "my_crm", place / "batches").exit_code == 0
    written = {line.strip() for path in (place / "batches").iterdir() for line in path.read_text().splitlines()}
    quoted = [each.text for each in BLOCKS if each.page.name == "batches.md" and each.kind == "python"]
    quoted = [each for each in quoted if not each.startswith(("def failing", "class MyCrmRoute"))]
    assert len(quoted) == 3
    assert [line for each in quoted for line in each.splitlines() if line.strip() not in written] == []


@pytest.mark.parametrize("arguments", ["serv", "check --onlin", "deliveries lst", "lanes pause NAME --why x"])
def test_wrong_commands_are_found(arguments: str) -> None:
    assert fault(arguments)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_passes_check_and_test(recipe: Path) -> None:
    text = recipe.read_text()
    environ = Environ()
    variables = {name: environ[name] for name in re.findall(r"\$\{(\w+)", text)}
    checked = leadbridge("check", recipe, **variables)
    assert checked.exit_code == 0, checked.output
    assert " warning: " not in checked.output
    tested = leadbridge("test", recipe, **variables)
    assert tested.exit_code == 0, tested.output
    assert "tests:" in text
    assert text.startswith("# ")


def test_there_are_many_recipes() -> None:
    assert len(RECIPES) >= 15


def test_every_connector_has_a_page_and_a_recipe() -> None:
    names = plugins.connector_entries()
    pages = "".join(block.text for block in BLOCKS if block.page.parent.name == "crms")
    recipes = "".join(recipe.read_text() for recipe in RECIPES)
    assert [name for name in names if f"connector: {name}" not in pages] == []
    assert [name for name in names if f"connector: {name}" not in recipes] == []


def test_the_readmes_configuration_is_good(tmp_path: Path) -> None:
    (found,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "config.yaml"
    path.write_text(found)
    checked = leadbridge("check", path, **VARIABLES)
    assert checked.exit_code == 0, checked.output
    assert " warning: " not in checked.output
    # Verifying, mapping and delivering to HubSpot fit into what a reader takes in at a glance.
    assert len(found.strip().splitlines()) <= 15


HAND_WRITTEN = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *(page for page in DOCS.rglob("*.md") if page.name not in {"configuration.md", "signatures.md"}),
]


def words(*pages: Path) -> int:
    """Count as `wc -w` does."""
    return sum(len(page.read_text().split()) for page in pages)


def test_the_documents_stay_short() -> None:
    assert words(*HAND_WRITTEN) <= 20_000
    assert words(ROOT / "README.md") <= 600
    assert words(ROOT / "CHANGELOG.md") <= 400
    assert words(DOCS / "architecture.md") <= 1_200
    assert words(DOCS / "security.md") <= 1_200


def test_the_readmes_links_lead_somewhere() -> None:
    targets = [each.partition("#")[0] for each in re.findall(r"\]\(([^)]+)\)", README)]
    assert [each for each in targets if "://" not in each and not (ROOT / each).exists()] == []


def test_pictures_are_small() -> None:
    assert [path.name for path in DOCS.rglob("*.png") if path.stat().st_size > 150_000] == []
    pictures = {path.name for path in (DOCS / "pictures").glob("*") if path.suffix in {".png", ".svg"}}
    used = set(re.findall(r"pictures/([\w-]+\.(?:png|svg))", "\n".join(page.read_text() for page in PAGES)))
    assert used == pictures


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(
        re.findall(r"(?:^|[`( ])((?:bridge|connectors|deploy|docs|tests)/[\w./-]*\w)", page.read_text(), re.MULTILINE)
    )
    assert sorted(each for each in named if not (ROOT / each).exists()) == []


def test_pages_that_the_code_names_are_there() -> None:
    folders = (ROOT / name for name in ("bridge", "connectors", "deploy", "tests", ".github"))
    files = [ROOT / "Makefile", ROOT / "Dockerfile", *(path for folder in folders for path in folder.rglob("*"))]
    texts = [
        path.read_text("utf-8", "replace")
        for path in files
        if path.suffix in {".py", ".yml", ".yaml", ".service"} or path.parent == ROOT
    ]
    named = {each for text in texts for each in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", text)}
    assert len(named) > 5
    assert sorted(each for each in named if not (ROOT / each).exists()) == []


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
