"""Generates docs/configuration.md: `python -m bridge.config.reference > docs/configuration.md`.

The text is in `reference.md`. A comment there such as `<!-- keys ServerPart -->` is replaced by a table, generated from
the models that check a configuration, from the transforms, and from the results of running them.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from bridge.config import plugins
from bridge.config.editor_schema import (
    SOURCES,
    TRANSFORM_EXAMPLES,
    JsonSchema,
    json_schema,
    required_keys,
    settings_schema,
)
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_form import FieldForm
from bridge.mapping.mapping import compile_mapping
from bridge.mapping.transform_api import REQUIRED
from bridge.mapping.transforms import BUILTIN
from connectors.base import Connector, RouteSettings

_TABLE: Final = re.compile(r"^<!-- (\w+) ?(\w*) -->$", re.MULTILINE)
_WIDTH: Final = 40
"""Maximum number of characters of an example."""
_UNITS: Final = (
    (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)),
    (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)),
)
_HEAD: Final = ("key", "meaning", "default", "example")


def installed_connectors() -> dict[str, type[Connector]]:
    """Return the classes of the installed connectors by name. Raises ImportError if one cannot be loaded."""
    entries = plugins.connector_entries()
    return {name: plugins.connector_class(entry) for name, entry in sorted(entries.items())}


def reference(connectors: Mapping[str, type[Connector]]) -> str:
    """Return the documentation of the configuration.

    Args:
        connectors: The connectors to document, by name.
    """
    schema = json_schema(connectors)
    text = Path(__file__).with_name("reference.md").read_text("utf-8")
    return _TABLE.sub(lambda match: "\n".join(_table_lines(schema, connectors, match[1], match[2])), text)


def _table_lines(schema: JsonSchema, connectors: Mapping[str, type[Connector]], what: str, name: str) -> Iterator[str]:
    definitions = schema["$defs"]
    if what == "keys":
        part = definitions[name]
        if name == "RoutePart":  # the rest stands with each connector
            own = {key for each in connectors.values() for key in each.route_settings.model_fields}
            part = {**part, "properties": {key: each for key, each in part["properties"].items() if key not in own}}
        yield from table(_HEAD, keys(part, definitions))
    elif what == "sources":
        yield from table(("name", "description"), ([_code(each), about] for each, about in SOURCES.items()))
    elif what == "transforms":
        yield from table(("transform", "description", "example", "result"), map(_transform, sorted(BUILTIN)))
    elif what == "connectors":
        for branch in definitions["DestinationPart"]["allOf"]:
            connector = branch["if"]["properties"]["connector"]["const"]
            yield from _connector(connector, branch["then"], connectors[connector].route_settings, definitions)


def _connector(
    name: str, settings: JsonSchema, route_settings: type[RouteSettings], definitions: Mapping[str, JsonSchema]
) -> Iterator[str]:
    yield f"### `connector: {name}`"
    yield ""
    yield from table(_HEAD, keys(settings, definitions))
    yield ""
    rows = list(keys(*settings_schema(route_settings)))
    if rows:
        yield "On a route to it:"
        yield ""
        yield from table(_HEAD, rows)
        yield ""


def keys(part: JsonSchema, definitions: Mapping[str, JsonSchema], before: str = "") -> Iterator[list[str]]:
    """Return a row for each key of a part and for the keys below it: `retention`, `retention.delivered`, …."""
    for name, written in part.get("properties", {}).items():
        if written is True:  # described elsewhere
            continue
        schema = {**_resolved(written, definitions), **written}
        default = "required" if name in required_keys(part) else _default(schema)
        yield [_code(before + name), _line(schema.get("description", "")), default, _example(schema)]
        for suffix, part_of in _parts(written, definitions):
            yield from keys(part_of, definitions, f"{before}{name}{suffix}.")


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
            return _value((others or each["examples"])[0])
    for each in (schema, *choices):
        if each.get("enum"):
            return " ".join(_value(example) for example in each["enum"])
        if each.get("type") == "boolean":
            return _value(not schema.get("default"))
    return ""


def _default(schema: JsonSchema) -> str:
    """Return the default as YAML; of a size or a duration, with the largest unit that divides it."""
    value = schema.get("default")
    patterns = [str(each.get("pattern", "")) for each in schema.get("anyOf", [])]
    for units in _UNITS:
        if isinstance(value, int | float) and any(units[-1][0] in each and units[0][0] in each for each in patterns):
            unit, size = next((unit, size) for unit, size in units if value % size == 0)
            return _code(f"{value // size:.0f}{unit}")
    return _value(value)


def _value(value: Any) -> str:
    """Return a value as YAML; empty for no value."""
    if value in (None, []) or isinstance(value, dict):
        return ""
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return _code(written.removesuffix("...\n").strip())


def _transform(name: str) -> list[str]:
    transform, (notation, value) = BUILTIN[name], TRANSFORM_EXAMPLES[name]
    arguments = "".join(
        f"<br>`{part.name}`: {part.description}"
        + ("" if part.default is REQUIRED else f" (default {_value(part.default)})" if part.default else " (optional)")
        for part in transform.parameters
    )
    form = FieldForm.model_validate({"from": "Content", "transform": yaml.safe_load(f"[{notation}]")})
    record = compile_mapping({name: form}, JinjaExpressions()).apply({"Content": value})
    shown = f"{_code(notation)}<br>of {_code(json.dumps(value, ensure_ascii=False))}"
    return [_code(name), _line(transform.description) + arguments, shown, _shortened(record[name])]


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _code(text if len(text) <= _WIDTH else f'{text[: _WIDTH - 8]}…"')


def table(head: tuple[str, ...], rows: Iterable[list[str]]) -> Iterator[str]:
    """Return the lines of a table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference(installed_connectors()))
