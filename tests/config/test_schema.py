"""The JSON Schema for editors, against the program: what one takes, the other takes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bridge.cli.connectors import connectors
from bridge.config import ConfigError
from bridge.config.diagnostics import Findings
from bridge.config.editor_schema import field_definitions, json_schema
from bridge.config.plugins import plugins_in
from bridge.config.setting_types import parse_address
from bridge.config.yaml_reader import read_yaml
from bridge.config.yaml_tree import plain
from bridge.mapping.transforms import BUILTIN
from connectors.base import parse_duration, parse_size
from connectors.http import HttpConnector
from tests.config.conftest import CrmConnector

HERE = Path(__file__).parent
TOP = HERE.parent.parent
GOOD = [each for each in sorted((HERE / "good").rglob("*.yaml")) if not each.name.startswith(".")]
BAD = [
    "chatbot_values",
    "connector_settings",
    "connector_unknown",
    "destination_limits",
    "fields_forms",
    "fields_unknown",
    "http_settings",
    "keys_missing",
    "names_odd",
    "plugins_not_a_list",
    "route_forms",
    "route_values",
    "route_without_events",
    "sections_not_maps",
    "server_values",
    "store_url",
    "templates",
    "tests_forms",
    "transform_forms",
    "transforms",
    "unknown_keys",
    "yaml_number_too_long",
]


TRANSFORMS = plugins_in([HERE / "good/plugins/mine", HERE / "good/plugins/more"]).transforms
CONNECTORS = connectors()  # before the tests' own connectors take the place of those that are installed
INSTALLED = json_schema(CONNECTORS)
VALIDATOR = Draft202012Validator(json_schema({"crm": CrmConnector, "http": HttpConnector}, TRANSFORMS))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    Draft202012Validator.check_schema(INSTALLED)


def written(file: Path) -> Any:
    """What an editor sees: variables are not filled in."""
    tree = read_yaml(str(file), file.read_text("utf-8-sig"), Findings())
    assert tree is not None
    return plain(tree)


def faults(value: Any, validator: Any = VALIDATOR) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.name)
def test_what_the_program_takes_no_editor_marks(file: Path) -> None:
    assert faults(written(file)) == []


def test_no_editor_marks_the_example() -> None:
    assert faults(written(TOP / "config.example.yaml"), Draft202012Validator(INSTALLED)) == []


@pytest.mark.parametrize("case", BAD)
def test_what_the_program_refuses_an_editor_marks(case: str) -> None:
    assert faults(written(HERE / "bad" / f"{case}.yaml"))


def field(form: Any) -> dict[str, Any]:
    return {"chatbots": {"a": {"serial_number": "a", "routes": [{"to": "crm", "fields": {"x": form}}]}}}


PAGE = (TOP / "docs/configuration.md").read_text("utf-8")
EXAMPLES = re.findall(
    r"^\| `([a-z0-9_]+)` .*?\| ``?(.+?)``?<br>of ", (TOP / "docs/configuration.md").read_text("utf-8"), re.MULTILINE
)
"""Each transform and its example in the documentation."""


def test_every_transform_is_shown_on_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == BUILTIN.keys()


@pytest.mark.parametrize("example", [each for _, each in EXAMPLES])
def test_an_editor_knows_every_transform(example: str) -> None:
    asked = yaml.safe_load(example.replace("\\|", "|"))
    assert faults(field({"from": "Content", "transform": [asked]})) == []
    assert faults(field({"from": "Content", "transform": asked})) == []


@pytest.mark.parametrize(
    "form",
    [
        "Emial",
        {"value": 1, "default": 2},
        {"from": "Email", "transform": ["truncate"]},
        {"from": "Email", "transform": [{"truncate": "many"}]},
        {"from": "Email", "transform": [{"date": {"format": "%Y", "zone": "UTC"}}]},
        {"from": "Email", "transform": [{"date": ["%Y", "UTC", "x"]}]},
        {"from": "Email", "transform": [{"trim": None, "lower": None}]},
        {"from": "Email", "requierd": True},
        {"default": 1},
    ],
)
def test_an_editor_marks_a_field_that_cannot_be(form: Any) -> None:
    assert faults(field(form))


def described(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, list):
        for at, each in enumerate(schema):
            yield from described(each, f"{path}[{at}]")
    elif isinstance(schema, dict):
        if not path.endswith((".if", ".then.properties")):
            for name, each in schema.get("properties", {}).items():
                yield f"{path}.{name}", each
        for key, each in schema.items():
            if key not in {"default", "examples", "if", "dependentSchemas"}:
                yield from described(each, f"{path}.{key}")


def test_every_key_has_a_hover_text() -> None:
    schema = INSTALLED
    silent = [
        path
        for path, each in described(schema)
        if isinstance(each, dict)
        and "description" not in {**schema["$defs"].get(each.get("$ref", "").rpartition("/")[2], {}), **each}
        and "$ref" not in str(each)
    ]
    assert silent == []


def test_a_key_that_may_be_left_out_says_what_holds_then() -> None:
    server = INSTALLED["$defs"]["ServerPart"]["properties"]
    assert {name: each.get("default") for name, each in server.items()} == {
        "listen": "0.0.0.0:8080",
        "admin": "127.0.0.1:8081",
        "admin_token": None,
        "viewer_token": None,
        "trusted_proxies": [],
        "users": [],
        "max_body": "1MiB",
        "read_timeout": "10s",
    }


def test_the_committed_schema_is_in_step() -> None:
    committed = json.loads((TOP / "config.schema.json").read_text("utf-8"))
    assert committed == INSTALLED, "run `make docs`"


def test_the_example_names_the_schema_in_its_first_line() -> None:
    with (TOP / "config.example.yaml").open(encoding="utf-8") as file:
        assert file.readline() == "# yaml-language-server: $schema=./config.schema.json\n"


def test_the_documentation_is_in_step() -> None:
    made = subprocess.run([sys.executable, "docs/configuration_page.py"], cwd=TOP, capture_output=True, check=True)
    assert (TOP / "docs/configuration.md").read_text("utf-8") == made.stdout.decode(), "run `make docs`"


def test_the_plugin_of_the_documentation_works(tmp_path: Path) -> None:
    text = (TOP / "docs/configuration.md").read_text("utf-8")
    (tmp_path / "names.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    step = plugins_in([tmp_path]).transforms["initials"].bind([True])
    assert step("Ada King") == "A.K."


TEXTS = st.one_of(
    st.text(max_size=8),
    st.from_regex(r"\d{1,4}(\.\d{1,3})? ?(ms|s|m|h|d|B|KiB|MiB|GiB)?", fullmatch=True),
    st.from_regex(r"(\[::1\]|[a-z.]{0,5}):\d{1,6}", fullmatch=True),
).filter(lambda text: "${" not in text and not text.endswith("\n"))


@given(TEXTS)
def test_units_are_the_same_for_editor_and_program(text: str) -> None:
    for parse, value in (
        (parse_duration, {"chatbots": {"a": {"serial_number": "a", "signature_tolerance": text}}}),
        (parse_size, {"server": {"max_body": text}}),
        (parse_address, {"server": {"listen": text}}),
    ):
        try:
            parse(text)
        except ValueError:
            continue  # an editor may be more lenient (a size of 0, a port beyond the last), never stricter
        assert faults(value) == []


def test_a_plugin_that_is_broken_is_told() -> None:
    with pytest.raises(ConfigError, match=r"--plugins:1:1: plugins\[0\].*gone.py:5"):
        plugins_in([HERE / "bad/plugins_broken/plugins"])


def test_transforms_of_plugins_are_known() -> None:
    definitions = field_definitions({"properties": {"from": {}, "transform": {}}}, TRANSFORMS)
    assert "initials" in definitions["Transform"]["anyOf"][0]["enum"]
    assert "pick" not in definitions["Transform"]["anyOf"][0]["enum"]  # it needs an argument
    assert "pick" in definitions["Transform"]["anyOf"][1]["properties"]
