"""Every connector that ships with Leadbridge has the same files for the same roles, checked here."""

import ast
import importlib
import inspect
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import pytest

from connectors.base import Connector

CONNECTORS: Final = Path(importlib.import_module("connectors").__path__[0])
SHIPPED: Final = sorted(
    each.name for each in entry_points(group="leadbridge.connectors") if each.value.startswith("connectors.")
)
REQUIRED: Final = {"__init__", "settings", "connector", "requests", "answers"}
OPTIONAL: Final = {"auth", "client", "errors", "probe", "activities"}
OWN: Final = {
    "http": {"address", "headers", "body", "lookup"},  # the parts of a call that a configuration builds
    "hubspot": {"contacts", "held_values", "lead_objects", "remarks"}  # two kinds of objects, the texts of activities
    | {"owners", "companies", "related_records"},  # and what else sales teams expect
    "salesforce": {
        *("leads", "records", "descriptions", "related_records"),  # the records that are written
        *("finder", "users", "duplicates"),  # the records that are found
        *("schema", "status_codes"),  # fields of an org, and its errors
    },
    "zoho": {"leads", "users"},  # reads, upserts and repairs of records
}
PURE: Final = (
    "settings",
    "requests",
    "answers",
    "errors",
    "records",
    "remarks",
    "duplicates",
    "address",
    "headers",
    "body",
    "lookup",
)
IMPURE: Final = {"asyncio", "connectors.http_client.session"}


def imported(module: Path) -> set[str]:
    """Return the names of the modules that a file imports for use at run time."""
    tree = ast.parse(module.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_connector_has_the_files_of_every_connector(name: str) -> None:
    files = {path.stem for path in (CONNECTORS / name).glob("*.py")}
    assert files >= REQUIRED
    assert files - REQUIRED - OPTIONAL - OWN.get(name, set()) == set()
    assert all(len(path.read_text().splitlines()) <= 420 for path in (CONNECTORS / name).glob("*.py"))


@pytest.mark.parametrize("name", SHIPPED)
def test_connector_py_holds_the_one_connector(name: str) -> None:
    module = importlib.import_module(f"connectors.{name}.connector")
    own = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Connector) and each.__module__ == module.__name__
    ]
    assert len(own) == 1
    assert getattr(importlib.import_module(f"connectors.{name}"), own[0].__name__) is own[0]
    assert own[0].destination_settings.__module__ == f"connectors.{name}.settings"


@pytest.mark.parametrize("name", SHIPPED)
def test_requests_and_answers_do_no_io(name: str) -> None:
    for stem in PURE:
        path = CONNECTORS / name / f"{stem}.py"
        if path.exists():
            assert not imported(path) & IMPURE, path
