"""Transforms and connectors of one's own: what a plugin may be, and what becomes of one that fails."""

import importlib.metadata
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Config, ConfigError, load, plugins
from bridge.config.plugins import plugins_in
from bridge.mapping.mapping import MappingError
from bridge.mapping.plugin_api import transform, transforms_in
from bridge.mapping.transform_api import TransformError
from tests.building import field_traces

HERE = Path(__file__).parent
CONFIG = """
plugins: [./plugins]
destinations:
  crm: {connector: crm, url: "https://crm.example.com"}
chatbots:
  acme:
    serial_number: one
    signing_keys: ["${ACME_SIGN_KEY}"]
    routes:
      - to: crm
        fields:
          good: Email
          mine: {from: FirstName, transform: [mine]}
          filter: "{{ FirstName | mine }}"
"""
SECRET = "Ada-the-secret-name"


class Place:
    """A folder with a configuration and plugins."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text(CONFIG)
        self.plugins = folder / "plugins"
        self.plugins.mkdir()
        self.environ = environ

    def write(self, body: str, name: str = "mine.py") -> None:
        (self.plugins / name).write_text(f"from bridge.mapping.plugin_api import transform\n\n{body}")

    def load(self) -> Config:
        return load(self.path, self.environ)

    def apply(self, fields: str = "mine filter") -> dict[str, Any]:
        (route,) = self.load().chatbots["acme"].routes
        record = route.mapping.apply({"FirstName": SECRET, "Email": "a@b.co"})
        return {name: record.get(name) for name in fields.split()}

    def fault(self) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load()
        return str(caught.value.problems[0].message)


@pytest.fixture
def place(tmp_path: Path, environ: dict[str, str]) -> Place:
    return Place(tmp_path, environ)


def test_a_function_is_a_transform_and_a_filter(place: Place) -> None:
    place.write("@transform\ndef mine(value: str) -> str:\n    return value[:3].upper()\n")
    assert place.apply() == {"mine": "ADA", "filter": "ADA"}
    assert place.load().plugins == (place.plugins,)


def test_transforms_with_arguments_do_what_they_are_told(environ: dict[str, str]) -> None:
    (route,) = load(HERE / "good/plugins", environ).chatbots["acme"].routes
    with pytest.raises(MappingError, match="field `f`: transform `scaled` fails with ValueError"):
        route.mapping.apply({"FirstName": "", "Content": "red"})
    made = route.mapping.apply({"FirstName": "ada king", "Content": "7"})
    assert made == {"a": "ak", "b": "A.K.", "c": "a.", "f": 18}


def test_an_edit_is_seen_even_within_the_same_second(place: Place) -> None:
    for letters in (1, 2, 3):
        place.write(f"@transform\ndef mine(value: str) -> str:\n    return value[:{letters}]\n")
        assert place.apply("mine") == {"mine": SECRET[:letters]}
    assert not (place.plugins / "__pycache__").exists()


def test_an_unchanged_folder_is_imported_once(place: Place) -> None:
    place.write("@transform\ndef mine(value: str) -> str:\n    return value\n")
    place.load()
    before = set(sys.modules)
    place.load()
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise KeyError(value)", "fails with KeyError"),
        ("raise TypeError(value)", "fails with TypeError"),
        ("return 1 / 0", "fails with ZeroDivisionError"),
        ("raise SystemExit(value)", "fails with SystemExit"),
        ("return mine(value)", "fails with RecursionError"),
        ("return {1, 2}", "returns a value that JSON does not support (set)"),
        ("return object()", "returns a value that JSON does not support (object)"),
        ("return [value, b'x']", "returns a value that JSON does not support (list)"),
    ],
)
def test_an_exception_spoils_its_field_only_and_shows_no_value(place: Place, body: str, what: str) -> None:
    place.write(f"@transform\ndef mine(value: str) -> object:\n    {body}\n")
    (route,) = place.load().chatbots["acme"].routes
    with pytest.raises(MappingError, match="field `mine`: transform `mine`") as caught:
        route.mapping.apply({"FirstName": SECRET, "Email": "a@b.co"})
    assert what in str(caught.value)
    assert SECRET not in str(caught.value)
    good, mine, filtered = field_traces(route.mapping, {"FirstName": SECRET, "Email": "a@b.co"})
    assert (good.value, good.error) == ("a@b.co", None)
    assert what in (mine.error or "")
    assert what in (filtered.error or "")
    assert SECRET not in f"{mine.error} {filtered.error}"


def test_a_result_is_the_bridges_own(place: Place) -> None:
    place.write("KEPT = ['a']\n\n@transform\ndef mine(value: str) -> list:\n    return KEPT\n")
    first = place.apply("mine")["mine"]
    first.append("b")
    assert place.apply("mine")["mine"] == ["a"]


def test_an_import_that_fails_is_told_with_file_and_line(place: Place) -> None:
    place.write("\n\nimport no_such_module\n")
    assert place.fault() == (
        f"{place.plugins}/mine.py:5: cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_a_file_that_is_no_python_is_told_with_its_line(place: Place) -> None:
    place.write("def mine(value:\n    return value\n")
    assert place.fault().startswith(f"{place.plugins}/mine.py:3: cannot be imported: SyntaxError: ")


def test_a_function_that_cannot_be_a_transform_is_told_with_its_line(place: Place) -> None:
    place.write("@transform\ndef mine(value: str, times=1) -> str:\n    return value * times\n")
    assert place.fault() == (
        f"{place.plugins}/mine.py:3: cannot be imported: TypeError: @transform: the parameter `times` of `mine` must "
        "be annotated with one or more of str, int, float, bool, list, dict"
    )


def test_a_file_that_cannot_be_imported_by_its_name_is_told(place: Place) -> None:
    place.write("", "not-a-name.py")
    assert place.fault() == f"{place.plugins}/not-a-name.py: rename it: use letters, digits and `_` only"


def test_the_other_files_of_a_folder_are_used_all_the_same(place: Place) -> None:
    place.write("@transform\ndef mine(value: str) -> str:\n    return value\n")
    place.write("1 / 0\n", "other.py")
    with pytest.raises(ConfigError) as caught:
        place.load()
    (problem,) = caught.value.problems
    assert problem.path == 'plugins[0]."other.py"'


def test_an_empty_folder_is_told(place: Place) -> None:
    place.path.write_text("plugins: [plugins]\n")
    assert [str(each).partition(": ")[2] for each in place.load().warnings] == [
        "chatbots: no chatbots: every event will be stored as unrecognised",
        f"plugins[0]: there is no *.py file in {place.plugins}",
    ]


class Installed:
    name = "names"
    value = "somewhere.names"

    def __init__(self, found: object) -> None:
        self.found = found

    def load(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def install(monkeypatch: pytest.MonkeyPatch, found: object) -> None:
    def entries() -> Mapping[str, importlib.metadata.EntryPoint]:
        return {"names": Installed(found)}  # type: ignore[dict-item]  # the attributes and the method that are used

    monkeypatch.setattr(plugins, "transform_entries", entries)


def test_an_installed_module_brings_transforms(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    @transform
    def mine(value: str) -> str:
        return value[::-1]

    install(monkeypatch, mine)
    place.write("", "empty.py")
    assert place.apply("mine") == {"mine": SECRET[::-1]}


def test_an_installed_module_that_is_broken_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ImportError("No module named 'gone'"))
    assert place.fault() == (
        "the installed transforms `names` (somewhere.names): cannot be imported: ImportError: No module named 'gone'"
    )


def test_the_arguments_are_those_of_the_signature() -> None:
    @transform
    def many(
        value: str,
        text: str,
        number: Annotated[float, "how much"] = 1.5,
        either: int | str | None = None,
        *,
        flag: bool = False,
        table: dict[str, Any] | None = None,
    ) -> str:
        """Many arguments.

        And more about them.
        """
        return repr((value, text, number, either, flag, table))

    (made,) = transforms_in(many)
    assert (made.name, made.description) == ("many", "Many arguments.")
    assert [part.kinds for part in made.parameters] == [(str,), (float,), (int, str), (bool,), (dict,)]
    assert made.parameters[1].description == "how much"
    assert made.bind(["a"])("v") == "('v', 'a', 1.5, None, False, None)"
    assert made.bind(["a"], {"number": 2, "flag": "true", "table": {}})("v") == "('v', 'a', 2.0, None, True, {})"
    wrongly: list[dict[str, Any]] = [{"number": "x"}, {"flag": 1}, {"table": []}, {"number": True}, {"either": 1.5}]
    for wrong in wrongly:
        with pytest.raises(TransformError, match="must be"):
            made.bind(["a"], wrong)
    assert many("v", "a") == "('v', 'a', 1.5, None, False, None)"  # the function is what it was


def untyped(value: str, x) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001 - what is refused
    return value


def odd(value: str, x: bytes) -> str:
    return value


def variadic(value: str, *x: str) -> str:
    return value


def nothing() -> str:
    return ""


def only_named(*, value: str) -> str:
    return value


async def asynchronous(value: str) -> str:
    return value


def generator(value: str) -> Any:
    yield value


@pytest.mark.parametrize("function", [untyped, odd, variadic, nothing, only_named, asynchronous, generator, len])
def test_what_cannot_be_a_transform_is_told(function: Any) -> None:
    with pytest.raises(TypeError, match="@transform: "):
        transform(function)


def test_a_name_must_be_one() -> None:
    with pytest.raises(TypeError, match="must be a name"):
        transform(name="my-own")(odd)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_value_goes_through_untouched(value: Any) -> None:
    @transform
    def same(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - a plugin may be untyped
        return value

    (made,) = transforms_in(same)
    try:
        assert made.bind()(value) == value
    except TransformError:
        assert isinstance(value, list)  # a number beyond 64 bits, a lone surrogate


CRM = """
from connectors.base import Connector, DestinationSettings
from connectors.http import HttpConnector


class _Base(Connector):
    destination_settings = DestinationSettings

    def __init__(self, settings, context):
        pass

    async def deliver(self, records):
        return []

    def preview(self, records):
        raise NotImplementedError

    async def close(self):
        pass


class Crm(_Base):
    pass
"""


def faults(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plugins_in([folder])
    return [str(each.message).replace(f"{folder}/", "") for each in caught.value.problems]


def test_a_file_brings_the_connector_that_it_defines(place: Place) -> None:
    place.write(CRM, "my_crm.py")
    found = plugins_in([place.plugins]).connectors
    assert {"my_crm", "crm", "http"} <= found.keys()
    kind = plugins.connector_class(found["my_crm"])
    assert kind.__name__ == "Crm"
    assert kind is plugins.connector_class(plugins_in([place.plugins]).connectors["my_crm"])


def test_an_edited_connector_is_another_class(place: Place) -> None:
    place.write(CRM, "my_crm.py")
    first = plugins.connector_class(plugins_in([place.plugins]).connectors["my_crm"])
    place.write(CRM.replace("return []", "return [None]"), "my_crm.py")
    assert plugins.connector_class(plugins_in([place.plugins]).connectors["my_crm"]) is not first


def test_a_file_may_bring_both(place: Place) -> None:
    place.write(CRM + "\n\n@transform\ndef mine(value: str) -> str:\n    return value\n", "my_crm.py")
    found = plugins_in([place.plugins])
    assert "my_crm" in found.connectors
    assert "mine" in found.transforms


@pytest.mark.parametrize("name", ["test_mine.py", "conftest.py", "_mine.py"])
def test_tests_and_shared_code_are_not_imported(place: Place, name: str) -> None:
    place.write("1 / 0\n", name)
    place.write(CRM, "my_crm.py")
    assert "my_crm" in plugins_in([place.plugins]).connectors


@pytest.mark.parametrize(
    ("name", "body", "fault"),
    [
        ("crm.py", CRM, "crm.py: a connector `crm` exists already: rename the file, whose name is the connector's"),
        (
            "mine.py",
            CRM + "\n\nclass Other(_Base):\n    pass\n",
            "mine.py: cannot be imported: TypeError: several connectors in a file (Crm, Other): use one file each",
        ),
        (
            "mine.py",
            CRM.replace("    destination_settings = DestinationSettings\n", ""),
            "needs a destination_settings",
        ),
        ("mine.py", CRM + "    route_settings = dict\n", "needs a route_settings: a subclass of connectors.base.Route"),
    ],
)
def test_a_connector_that_cannot_be_one_is_told(place: Place, name: str, body: str, fault: str) -> None:
    place.write(body.replace("    pass\n    route", "    route"), name)
    (found,) = faults(place.plugins)
    assert fault in found


def test_a_broken_connector_does_not_hide_another(place: Place) -> None:
    place.write("import no_such_module\n", "broken.py")
    place.write(CRM.replace("DestinationSettings\n\n    def", "dict\n\n    def"), "wrong.py")
    assert len(faults(place.plugins)) == 2
