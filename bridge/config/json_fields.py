"""The JSON Schema of a route's fields, which have short and long forms, and of the transforms. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bridge.config.glossary import SOURCES
from bridge.steps import REQUIRED, Parameter, Transform

Json = dict[str, Any]

TEMPLATE: Final[Json] = {
    "type": "string",
    "pattern": r"\{[{%#]|\$\{",
    "description": "A template: text with `{{ }}` over the event's fields and the transforms, such as "
    "`{{ FirstName }} {{ LastName }}`.",
    "examples": ["{{ FirstName }} {{ LastName }}", "{{ Content | truncate(500) }}"],
}
SOURCE: Final[Json] = {
    "type": "string",
    "enum": list(SOURCES),
    "enumDescriptions": list(SOURCES.values()),
    "description": "A field of the event.",
}
_KINDS: Final[Mapping[type, list[Json]]] = {
    str: [{"type": "string"}],
    int: [{"type": "integer"}, {"type": "string", "pattern": r"^-?\d{1,9}$|\$\{"}],
    float: [{"type": "number"}, {"type": "string", "pattern": r"^-?\d{1,9}(\.\d{1,9})?$|\$\{"}],
    bool: [{"type": "boolean"}, {"type": "string", "pattern": r"^(true|false)$|\$\{"}],
    list: [{"type": "array"}],
    dict: [{"type": "object"}],
}


def field_definitions(long_form: Json, transforms: Mapping[str, Transform]) -> dict[str, Json]:
    """Give the definitions of a field and of what it is made of.

    Args:
        long_form: The schema of the model `FieldForm`.
        transforms: Those that can be used.
    """
    written = long_form["properties"]
    single_source = {"anyOf": [SOURCE, TEMPLATE]}
    properties = {
        **written,
        "from": _one_or_several(written["from"], single_source),
        "transform": _one_or_several(written["transform"], {"$ref": "#/$defs/Transform"}),
    }
    long = {
        "type": "object",
        "description": "A source or a constant, and what is done with it.",
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [{"required": ["from"]}, {"required": ["value"]}],
        "dependentSchemas": {"value": {"properties": {"transform": False, "lookup": False, "default": False}}},
    }
    return {
        "FieldForm": {"anyOf": [SOURCE, TEMPLATE, {"$ref": "#/$defs/FieldMap"}]},
        "FieldMap": long,
        "Transform": _transform(transforms.values()),
    }


def _one_or_several(written: Json, single: Json) -> Json:
    described = {key: value for key, value in written.items() if key in {"description", "default", "examples"}}
    return {**described, "anyOf": [single, {"type": "array", "items": single}]}


def _transform(transforms: Iterable[Transform]) -> Json:
    known = sorted(transforms, key=lambda each: each.name)
    alone = [each for each in known if all(part.default is not REQUIRED for part in each.parameters)]
    names = {
        "type": "string",
        "enum": [each.name for each in alone],
        "enumDescriptions": [each.description for each in alone],
        "description": "A transform without arguments.",
    }
    calls = {
        "type": "object",
        "description": "A transform with its arguments: `{truncate: 500}`.",
        "properties": {each.name: _call(each) for each in known},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [names, calls]}


def _call(transform: Transform) -> Json:
    """Give the schema of what stands behind a transform's name: one argument, a list of them, or a map by name."""
    parts = transform.parameters
    needed = [part.name for part in parts if part.default is REQUIRED]
    described = {"description": f"{transform.description}{_arguments(parts)}"}
    if not parts:
        return {**described, "type": "null"}
    if len(parts) == 1 and parts[0].kinds in {(dict,), (list,)}:
        return {**described, **_value(parts[0])}
    by_name = {
        "type": "object",
        "properties": {part.name: _value(part) for part in parts},
        "required": needed,
        "additionalProperties": False,
    }
    listed = {
        "type": "array",
        "prefixItems": [_value(part) for part in parts],
        "minItems": len(needed),
        "maxItems": len(parts),
    }
    alone = [_value(parts[0])] if len(needed) <= 1 else []
    return {**described, "anyOf": [*alone, by_name, listed, *([] if needed else [{"type": "null"}])]}


def _arguments(parts: Iterable[Parameter]) -> str:
    lines = [f"\n- `{part.name}`: {part.description or 'see the plugin'}" for part in parts]
    return "".join(lines)


def _value(part: Parameter) -> Json:
    kinds = [schema for kind in part.kinds for schema in _KINDS[kind]]
    value: Json = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    described = {**value, **({"description": part.description} if part.description else {})}
    return described if part.default in (REQUIRED, None) else {**described, "default": part.default}
