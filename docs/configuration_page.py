"""Generates docs/configuration.md: `python docs/configuration_page.py > docs/configuration.md`.

The text is in `configuration.template`. A comment there such as `<!-- keys ServerPart -->` is replaced by a table,
generated from the models that check a configuration, from the transforms, and from the results of running them.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml
from reference_pages import table

from bridge.cli.connectors import code, connectors, line, setting_rows, yaml_value
from bridge.config.editor_schema import SOURCES, JsonSchema, json_schema, settings_schema
from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_form import FieldForm
from bridge.mapping.mapping import compile_mapping
from bridge.mapping.transform_api import REQUIRED
from bridge.mapping.transforms import BUILTIN
from connectors.base import Connector, RouteSettings

_TABLE: Final = re.compile(r"^<!-- (\w+) ?(\w*) -->$", re.MULTILINE)
_WIDTH: Final = 40
"""Maximum number of characters of an example."""
TRANSFORM_EXAMPLES: Final[Mapping[str, tuple[str, str]]] = {
    "trim": ("trim", "  Ada  "),
    "lower": ("lower", "Ada@Example.COM"),
    "upper": ("upper", "gb"),
    "title": ("title", "MARY O'NEILL-SMITH"),
    "truncate": ("{truncate: 12}", "A quote for 40 chairs, please"),
    "e164": ("{e164: US}", "(415) 555-0100"),
    "phone_country": ("{phone_country: US}", "+44 20 7946 0958"),
    "email": ("email", " mailto:Ada@Example.COM "),
    "date": ('{date: {format: "%d.%m.%Y %H:%M", tz: Europe/Berlin}}', "2026-11-24T22:30:00Z"),
    "epoch_ms": ("epoch_ms", "2026-11-24T22:30:00Z"),
    "appointment_start": (
        "{appointment_start: {tz: Europe/Madrid}}",
        "Cita: miércoles 25 de noviembre de 2026 a las 10:00",
    ),
    "regex_extract": ("{regex_extract: 'order (\\d+)'}", "About order 4711: where is it?"),
    "regex_replace": ("{regex_replace: {pattern: '\\s+', with: ' '}}", "too   many    blanks"),
    "first_name": ("first_name", "Dr. Ada King Lovelace"),
    "rest_of_name": ("rest_of_name", "Juan Carlos Pérez Gómez"),
    "last_name": ("last_name", "Dr. Ada King Lovelace"),
    "lookup": ("{lookup: {Lead: new, Appointment: meeting-booked}}", "Appointment"),
    "hash": ("hash", "ada@example.com"),
    "url_host": ("url_host", "https://www.example.com/contact?x=1"),
    "query_param": ("{query_param: utm_source}", "https://example.com/?utm_source=mail&utm_medium=x"),
    "html_escape": ("html_escape", "1 < 2 & 3"),
    "bmp": ("bmp", "Thanks 🎉!"),
    "json": ("json", 'She said "hello"'),
}
"""Notation in YAML and an example value, for each built-in transform."""
_HEAD: Final = ("key", "meaning", "default", "example")


def reference(known: Mapping[str, type[Connector]]) -> str:
    """Return the documentation of the configuration.

    Args:
        known: The connectors to document, by name.
    """
    schema = json_schema(known)
    text = Path(__file__).with_name("configuration.template").read_text("utf-8")
    return _TABLE.sub(lambda match: "\n".join(_table_lines(schema, known, match[1], match[2])), text)


def _table_lines(schema: JsonSchema, known: Mapping[str, type[Connector]], what: str, name: str) -> Iterator[str]:
    definitions = schema["$defs"]
    if what == "keys":
        part = definitions[name]
        if name == "RoutePart":  # the rest stands with each connector
            own = {key for each in known.values() for key in each.route_settings.model_fields}
            part = {**part, "properties": {key: each for key, each in part["properties"].items() if key not in own}}
        yield from table(_HEAD, setting_rows(part, definitions))
    elif what == "sources":
        yield from table(("name", "description"), ([code(each), about] for each, about in SOURCES.items()))
    elif what == "transforms":
        yield from table(("transform", "description", "example", "result"), map(_transform, sorted(BUILTIN)))
    elif what == "connectors":
        for branch in definitions["DestinationPart"]["allOf"]:
            connector = branch["if"]["properties"]["connector"]["const"]
            yield from _connector(connector, branch["then"], known[connector].route_settings, definitions)


def _connector(
    name: str, settings: JsonSchema, route_settings: type[RouteSettings], definitions: Mapping[str, JsonSchema]
) -> Iterator[str]:
    yield f"### `connector: {name}`"
    yield ""
    yield from table(_HEAD, setting_rows(settings, definitions))
    yield ""
    rows = list(setting_rows(*settings_schema(route_settings)))
    if rows:
        yield "On a route to it:"
        yield ""
        yield from table(_HEAD, rows)
        yield ""


def _transform(name: str) -> list[str]:
    transform, (notation, value) = BUILTIN[name], TRANSFORM_EXAMPLES[name]
    arguments = "".join(
        f"<br>`{part.name}`: {part.description}"
        + (
            ""
            if part.default is REQUIRED
            else f" (default {yaml_value(part.default)})"
            if part.default
            else " (optional)"
        )
        for part in transform.parameters
    )
    form = FieldForm.model_validate({"from": "Content", "transform": yaml.safe_load(f"[{notation}]")})
    record = compile_mapping({name: form}, JinjaExpressions()).apply({"Content": value})
    shown = f"{code(notation)}<br>of {code(json.dumps(value, ensure_ascii=False))}"
    return [code(name), line(transform.description) + arguments, shown, _shortened(record[name])]


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return code(text if len(text) <= _WIDTH else f'{text[: _WIDTH - 8]}…"')


if __name__ == "__main__":
    sys.stdout.write(reference(connectors()))
