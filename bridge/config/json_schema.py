"""The JSON Schema (2020-12) of a configuration, for editors: made from the models that check it, and no others.

It describes a file as it is written, before variables are filled in, and the forms in which a value may be written
that the program understands. What an editor cannot know (variables, names in other files, expressions) is left to
`leadbridge check`.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from bridge.config.draft import NAME
from bridge.config.json_fields import Json, field_definitions
from bridge.config.schema import ConfigPart
from bridge.steps import Transform
from bridge.transforms import BUILTIN
from connectors.base import Connector

if TYPE_CHECKING:
    from pydantic import BaseModel

_LEFT_OUT: Final = frozenset({"title", "format", "writeOnly"})
_WRITTEN_OUT: Final = {
    "integer": r"^-?\d+$|\$\{",
    "number": r"^-?\d+(\.\d+)?$|\$\{",
    "boolean": r"^([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$|\$\{",
}
"""How a value that is no text may be written as one: in quotes, or by a variable."""
_REFERENCE: Final = re.compile(r"#/\$defs/(\w+)")
_VARIABLE: Final[Json] = {"type": "string", "pattern": r"\$\{"}


def json_schema(connectors: Mapping[str, type[Connector]], transforms: Mapping[str, Transform] = BUILTIN) -> Json:
    """Give the schema of a configuration.

    Args:
        connectors: Those that destinations may name.
        transforms: Those that fields may use.
    """
    settings = {name: kind.destination_settings for name, kind in connectors.items()}
    route_settings = {name: kind.route_settings for name, kind in connectors.items()}
    models: list[type[BaseModel]] = list(dict.fromkeys([ConfigPart, *settings.values(), *route_settings.values()]))
    made = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    names = {model: reference["$ref"].rpartition("/")[2] for (model, _), reference in made[0].items()}
    definitions = {name: _cleaned(each) for name, each in made[1]["$defs"].items()}
    definitions |= field_definitions(definitions["FieldForm"], transforms)
    top = definitions.pop(names[ConfigPart])
    by_connector = {name: definitions[names[model]] for name, model in settings.items()}
    definitions["DestinationPart"] = _destination(definitions["DestinationPart"], by_connector)
    definitions["RoutePart"] = _route(
        definitions["RoutePart"], {name: definitions[names[model]] for name, model in route_settings.items()}
    )
    for model in {*settings.values(), *route_settings.values()}:
        definitions.pop(names[model], None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Leadbridge configuration",
        **top,
        "properties": {name: _section(name, each) for name, each in top["properties"].items()},
        "$defs": _in_use(top, definitions),
    }


def _in_use(top: Json, definitions: Mapping[str, Json]) -> dict[str, Json]:
    """Give the definitions that are referred to, by way of others too."""
    found: set[str] = set()
    new = set(_REFERENCE.findall(str(top)))
    while new:
        found |= new
        new = set(_REFERENCE.findall(str([definitions[name] for name in new]))) - found
    return {name: definitions[name] for name in sorted(found)}


def _section(name: str, schema: Json) -> Json:
    """Let a section have no value, and its names be what names can be."""
    named = {"propertyNames": {"pattern": f"^(?:{NAME.pattern})$"}} if name in {"destinations", "chatbots"} else {}
    described: Json = {key: schema[key] for key in ("description", "default") if key in schema}
    kept = {key: value for key, value in schema.items() if key not in described}
    return {**described, "anyOf": [{**kept, **named}, {"type": "null"}]}


def _destination(common: Json, by_connector: Mapping[str, Json]) -> Json:
    """Let the connector choose which settings may stand beside those that all destinations have."""
    connector = {**common["properties"]["connector"], "anyOf": [{"enum": sorted(by_connector)}, _VARIABLE]}
    connector.pop("type", None)
    shared = dict.fromkeys(common["properties"], True)
    chosen = [
        {
            "if": {"properties": {"connector": {"const": name}}, "required": ["connector"]},
            "then": {
                "properties": {**shared, **own.get("properties", {})},
                "required": own.get("required", []),
                "additionalProperties": False,
            },
        }
        for name, own in sorted(by_connector.items())
    ]
    rest = {key: value for key, value in common.items() if key != "additionalProperties"}
    return {**rest, "properties": {**common["properties"], "connector": connector}, "allOf": chosen}


def _route(common: Json, by_connector: Mapping[str, Json]) -> Json:
    """Allow the route settings of all connectors: which of them it is stands elsewhere, maybe in another file."""
    having: dict[str, dict[str, Json]] = {}
    for connector, own in sorted(by_connector.items()):
        for name, schema in own.get("properties", {}).items():
            having.setdefault(name, {})[connector] = schema
    return {**common, "properties": {**common["properties"], **{name: _any_of(each) for name, each in having.items()}}}


def _any_of(by_connector: Mapping[str, Json]) -> Json:
    """Describe a key that has a meaning for each of several connectors."""
    description = " ".join(f"`{name}`: {each.get('description', '')}" for name, each in by_connector.items())
    choices: list[Json] = []
    for each in by_connector.values():
        bare = {key: value for key, value in each.items() if key not in {"description", "default"}}
        if bare not in choices:
            choices.append(bare)
    return {"description": description, **(choices[0] if len(choices) == 1 else {"anyOf": choices})}


def _cleaned(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Take out what only a program needs, and let values be written as they may be."""
    if isinstance(schema, list):
        return [_cleaned(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept: Json = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _cleaned(each) for name, each in value.items()}
        elif key in {"default", "examples", "enum", "const"}:
            kept[key] = value
        elif key not in _LEFT_OUT:
            kept[key] = _cleaned(value)
    if kept.get("default", "") is None:
        del kept["default"]
    return _as_written(_without_null(kept))


def _without_null(schema: Json) -> Json:
    """Leave out that a key may be there and have no value."""
    choices = [inner for each in schema.get("anyOf", []) for inner in _choices(each) if inner != {"type": "null"}]
    if {"type": "string"} in choices:  # then any other text is one as well
        choices = [each for each in choices if each == {"type": "string"} or each.get("type") != "string"]
    if not choices:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **choices[0]} if len(choices) == 1 else {**rest, "anyOf": choices}


def _choices(schema: Json) -> list[Json]:
    return list(schema["anyOf"]) if schema.keys() == {"anyOf"} else [schema]


def _as_written(schema: Json) -> Json:
    """Let a value that is no free text be given by a variable, and a number in quotes."""
    kind = schema.get("type")
    written = _WRITTEN_OUT.get(kind) if isinstance(kind, str) else None
    if written is None and not (kind == "string" and {"pattern", "enum", "const"} & schema.keys()):
        return schema
    outside = {"description", "default", "examples"}
    about = {key: value for key, value in schema.items() if key in outside}
    strict = {key: value for key, value in schema.items() if key not in outside}
    return {**about, "anyOf": [strict, {"type": "string", "pattern": written} if written else _VARIABLE]}
