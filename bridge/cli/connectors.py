"""`leadbridge connectors`: list connectors, show their settings, begin a new one."""

import inspect
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from string import Template
from typing import Annotated, Any, Final

import typer
import yaml

from bridge.cli import inputs, output
from bridge.cli.inputs import JsonOption
from bridge.config import plugins
from bridge.config.editor_schema import JsonSchema, json_schema, required_keys
from bridge.config.plugins import Plugins, connector_entries, plugins_in
from bridge.errors import OperatorError, did_you_mean
from connectors.base import Connector


def connectors(entries: Mapping[str, EntryPoint] | None = None) -> dict[str, type[Connector]]:
    """Return connectors by name: all installed ones, or the given entries.

    Raises:
        OperatorError: A connector cannot be loaded.
    """
    found = plugins.connector_entries() if entries is None else entries
    return {name: connector(name, found) for name in sorted(found)}


def plugins_of(config: Path | None, folders: Sequence[Path] | None) -> Plugins:
    """Load plug-ins: those of a configuration, and those of the folders. Raises ConfigError or OperatorError."""
    configured = inputs.read_whole(config).plugins if config else ()
    return plugins_in([*configured, *(folders or ())])


def connector(name: str, entries: Mapping[str, EntryPoint] | None = None) -> type[Connector]:
    """Load the connector of a name, as `connectors` does.

    Raises:
        OperatorError: There is no such connector, or it cannot be loaded.
    """
    found = plugins.connector_entries() if entries is None else entries
    if name not in found:
        hint = did_you_mean(name, found) or f"; installed: {', '.join(sorted(found)) or 'none'}"
        raise OperatorError(f"there is no connector `{name}`{hint}")
    try:
        return plugins.connector_class(found[name])
    except ImportError as error:
        raise OperatorError(f"{error}; reinstall its package, or remove it") from error


app = output.application("leadbridge connectors list", "leadbridge connectors show hubspot", no_args_is_help=True)

_COLUMNS = ("setting", "meaning", "default", "example")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_TEMPLATES: Mapping[str, str] = {"{}.py": "new_connector.txt", "test_{}.py": "new_connector_test.txt"}
"""Files of a new connector, and their templates."""
_BATCH_TEMPLATES: Mapping[str, str] = {
    "{}.py": "new_batch_connector.txt",
    "test_{}.py": "new_batch_connector_test.txt",
}

_CONFIGURATION = "Include the plug-ins of this configuration."
PluginsPathArgument = Annotated[Path | None, typer.Argument(metavar="PATH", show_default=False, help=_CONFIGURATION)]
PluginsConfigOption = Annotated[Path | None, typer.Option("--config", "-c", metavar="PATH", help=_CONFIGURATION)]
PluginsOption = Annotated[
    list[Path] | None,
    typer.Option("--plugins", metavar="FOLDER", help="Include the plug-ins of this folder; repeatable."),
]


@app.callback()
def group() -> None:
    """See the installed connectors and their settings; begin one of your own."""


@app.command("list", epilog=output.examples("leadbridge connectors list"))
def list_connectors(
    path: PluginsPathArgument = None,
    *,
    config: PluginsConfigOption = None,
    plugins: PluginsOption = None,
    json: JsonOption = False,
) -> None:
    """List the installed connectors: the values of a destination's `connector:`."""
    installed = connector_entries()
    rows = [
        {
            "id": name,
            "state": "installed" if name in installed else "plugin",
            "name": name,
            "does": does(kind),
            "records_in_a_call": kind.max_batch,
            "module": kind.__module__,
        }
        for name, kind in connectors(plugins_of(inputs.chosen_path(path, config), plugins).connectors).items()
    ]
    output.show_rows(rows, ("name", "does", "records_in_a_call"), as_json=json)


@app.command(epilog=output.examples("leadbridge connectors show hubspot", "leadbridge connectors show http --json"))
def show(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="The connectors, as `list` names them.", show_default=False)
    ],
    *,
    config: PluginsConfigOption = None,
    plugins: PluginsOption = None,
    json: JsonOption = False,
) -> None:
    """Show the settings of connectors: those of a destination, then those of a route.

    A dot leads into a map: `auth.bearer` is written `auth: {bearer: …}`. Besides these, every destination takes the
    keys that docs/configuration.md lists under `destinations`. With --json, one object, or for several NAMEs an array
    of them.
    """
    known = plugins_of(config, plugins).connectors

    def show_one(name: str) -> dict[str, Any]:
        kind = connector(name, known)
        destination, route = (list(each) for each in _settings(name, kind))
        if not json:
            if name != names[0]:
                output.say()
            output.say(f"{name}: {does(kind)}")
            for title, rows in (("destinations.NAME", destination), ("chatbots.NAME.routes[]", route)):
                output.say()
                output.say(f"{title}:{'' if rows else ' no settings of its own'}")
                if rows:
                    output.show_rows(rows, _COLUMNS, as_json=False)
        return {"name": name, "does": does(kind), "destination": destination, "route": route}

    inputs.show_each(names, show_one, as_json=json)


@app.command(
    epilog=output.examples("leadbridge connectors new acme_crm plugins", "leadbridge connectors new --batch acme_crm")
)
def new(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The value of `connector:`: small letters, digits, `_`.", show_default=False
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Where to write it.", show_default="a new folder NAME")
    ] = None,
    *,
    batch: Annotated[
        bool, typer.Option("--batch", help="Begin with an API that takes many records in a call and answers 207.")
    ] = False,
) -> None:
    """Write a connector to begin with, and its test, into one folder; next, see docs/extend/connectors.md.

    It works as it is: it writes each record as JSON, and its test holds it to everything that connectors are held to.
    With --batch it writes many records in one call, and reads a result for each; see docs/extend/batches.md.
    Nothing is overwritten: if one of the files is there, nothing is written, and the exit status is 1.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name.startswith("test_") or name == "conftest":
        raise typer.BadParameter(f"`{name}` cannot be the name of a Python file: small letters, digits and `_`")
    if name in plugins.connector_entries():
        raise OperatorError(f"there is a connector `{name}` already; choose another name")
    folder = folder or Path(name)
    words = {"name": name, "Name": "".join(part.capitalize() for part in name.split("_"))}
    templates = _BATCH_TEMPLATES if batch else _TEMPLATES
    files = {
        folder / file.format(name): Template(_template(source)).substitute(words) for file, source in templates.items()
    }
    _write(files)
    output.say()
    output.say("Next:")
    output.say(f"  (cd {folder} && python -m pytest)    # needs pytest and pytest-asyncio")
    output.say(f"  leadbridge connectors show {name} --plugins {folder}")
    output.say(f"  and in the configuration: `plugins: [{folder}]`, `connector: {name}`")


def _template(file: str) -> str:
    return Path(__file__).with_name(file).read_text("utf-8")


def _write(files: Mapping[Path, str]) -> None:
    there = [str(file) for file in files if file.exists()]
    if there:
        raise OperatorError(f"{', '.join(there)}: there already, and nothing is overwritten; name another folder")
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
            output.say(f"wrote {file}")
    except OSError as error:
        raise OperatorError(f"{error.filename}: cannot be written: {error.strerror}; name another folder") from error


def does(kind: type[Connector]) -> str:
    """Return what a connector does, in one line."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _settings(name: str, kind: type[Connector]) -> Iterator[Iterator[dict[str, Any]]]:
    """Return the rows of the destination's own settings, and of the route's, as the documentation has them."""
    definitions = json_schema({name: kind})["$defs"]
    (branch,) = definitions["DestinationPart"]["allOf"]
    own = set(kind.route_settings.model_json_schema().get("properties", {}))
    of_route = {key: each for key, each in definitions["RoutePart"]["properties"].items() if key in own}
    needed = [key for key in definitions["RoutePart"].get("required", []) if key in own]
    for part in (branch["then"], {"properties": of_route, "required": needed}):
        yield (dict(zip(_COLUMNS, map(_unmarked, row), strict=True)) for row in setting_rows(part, definitions))


def _unmarked(cell: str) -> str:
    """Remove the Markdown of a cell."""
    return cell.replace("`", "").replace("\\|", "|")


_UNITS: Final = (
    (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)),
    (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)),
)


def setting_rows(part: JsonSchema, definitions: Mapping[str, JsonSchema], before: str = "") -> Iterator[list[str]]:
    """Return a row for each key of a part and for the keys below it: `retention`, `retention.delivered`, …."""
    for name, written in part.get("properties", {}).items():
        if written is True:  # described elsewhere
            continue
        schema = {**_resolved(written, definitions), **written}
        default = "required" if name in required_keys(part) else _default(schema)
        yield [code(before + name), line(schema.get("description", "")), default, _example(schema)]
        for suffix, part_of in _parts(written, definitions):
            yield from setting_rows(part_of, definitions, f"{before}{name}{suffix}.")


def _parts(schema: JsonSchema, definitions: Mapping[str, JsonSchema]) -> Iterator[tuple[str, JsonSchema]]:
    """Return the maps with their own keys that a value or its elements can be, except those with their own chapter."""
    for each in [schema, *schema.get("anyOf", [])]:
        for suffix, form in (("", each), ("[]", each.get("items", {}))):
            name = form.get("$ref", "").rpartition("/")[2] if isinstance(form, dict) else ""
            if name and name not in {"FieldForm", "RoutePart", "TestPart"}:
                yield suffix, definitions[name]


def _resolved(schema: JsonSchema, definitions: Mapping[str, JsonSchema]) -> JsonSchema:
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else {}


def _example(schema: JsonSchema) -> str:
    choices = [each for each in schema.get("anyOf", []) if isinstance(each, dict)]
    for each in (schema, *choices):
        if each.get("examples"):
            others = [example for example in each["examples"] if example != schema.get("default")]
            return yaml_value((others or each["examples"])[0])
    for each in (schema, *choices):
        if each.get("enum"):
            return " ".join(yaml_value(example) for example in each["enum"])
        if each.get("type") == "boolean":
            return yaml_value(not schema.get("default"))
    return ""


def _default(schema: JsonSchema) -> str:
    """Return the default as YAML; of a size or a duration, with the largest unit that divides it."""
    value = schema.get("default")
    patterns = [str(each.get("pattern", "")) for each in schema.get("anyOf", [])]
    for units in _UNITS:
        if isinstance(value, int | float) and any(units[-1][0] in each and units[0][0] in each for each in patterns):
            unit, size = next((unit, size) for unit, size in units if value % size == 0)
            return code(f"{value // size:.0f}{unit}")
    return yaml_value(value)


def yaml_value(value: Any) -> str:
    """Return a value as YAML; empty for no value."""
    if value in (None, []) or isinstance(value, dict):
        return ""
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return code(written.removesuffix("...\n").strip())


def line(text: str) -> str:
    """Return a text as one line of a table in Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return a text as code in a table in Markdown."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")
