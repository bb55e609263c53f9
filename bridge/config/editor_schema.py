"""JSON Schema (2020-12) of a configuration, for editors, generated from the models that check the configuration.

It describes a file as written, before variables are filled in, with every accepted form of each value. An editor cannot
check variables, names in other files, or expressions; `leadbridge check` does.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from bridge.config.merge import NAME_PATTERN
from bridge.config.presets import KINDS
from bridge.config.schema import ConfigPart
from bridge.mapping.transform_api import REQUIRED, Parameter, Transform
from bridge.mapping.transforms import BUILTIN
from connectors.base import Connector

SOURCES: Final[Mapping[str, str]] = {
    "SerialNumber": "The chatbot's id.",
    "Type": "`Lead` or `Appointment`.",
    "FirstName": "First name.",
    "LastName": "Last name.",
    "Email": "E-mail address as typed by the visitor.",
    "PhoneNumber": "Phone number as typed by the visitor.",
    "CreateTime": "Time of creation, in UTC.",
    "Content": "Text that the visitor wrote, or the subject of the appointment.",
    "SessionID": "Number of the chat session.",
    "URI": "Address of the page with the chat.",
    "chatbot": "Name of the chatbot in this configuration.",
    "event.id": "Id of the event in Leadbridge: the same on every attempt.",
    "event.received_at": "Time of receipt, ISO 8601 in UTC.",
}
"""Descriptions of the names that fields, templates and expressions can use."""

JsonSchema = dict[str, Any]

TEMPLATE: Final[JsonSchema] = {
    "type": "string",
    "pattern": r"\{[{%#]|\$\{",
    "description": "A template: text with `{{ }}`, which can use the event's fields and all transforms, such as `{{ "
    "FirstName }} {{ LastName }}`.",
    "examples": ["{{ FirstName }} {{ LastName }}", "{{ Content | truncate(500) }}"],
}
SOURCE: Final[JsonSchema] = {
    "type": "string",
    "enum": list(SOURCES),
    "enumDescriptions": list(SOURCES.values()),
    "description": "A field of the event.",
}
_KINDS: Final[Mapping[type, list[JsonSchema]]] = {
    str: [{"type": "string"}],
    int: [{"type": "integer"}, {"type": "string", "pattern": r"^-?\d{1,9}$|\$\{"}],
    float: [{"type": "number"}, {"type": "string", "pattern": r"^-?\d{1,9}(\.\d{1,9})?$|\$\{"}],
    bool: [{"type": "boolean"}, {"type": "string", "pattern": r"^(true|false)$|\$\{"}],
    list: [{"type": "array"}],
    dict: [{"type": "object"}],
}


def field_definitions(long_form: JsonSchema, transforms: Mapping[str, Transform]) -> dict[str, JsonSchema]:
    """Return the definitions of a field, of its long form and of a transform.

    Args:
        long_form: The schema of the model `FieldForm`.
        transforms: The available transforms, by name.
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
        "description": "A source or a constant, and the steps that change it.",
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


def _one_or_several(written: JsonSchema, single: JsonSchema) -> JsonSchema:
    described = {key: value for key, value in written.items() if key in {"description", "default", "examples"}}
    return {**described, "anyOf": [single, {"type": "array", "items": single}]}


def _transform(transforms: Iterable[Transform]) -> JsonSchema:
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


def _call(transform: Transform) -> JsonSchema:
    """Return the schema of a transform's arguments: one argument, a list of them, or a map by name."""
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


def _value(part: Parameter) -> JsonSchema:
    kinds = [schema for kind in part.kinds for schema in _KINDS[kind]]
    value: JsonSchema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    described = {**value, **({"description": part.description} if part.description else {})}
    return described if part.default in (REQUIRED, None) else {**described, "default": part.default}


_TEXT_FORMS: Final = {
    "integer": r"^-?\d+$|\$\{",
    "number": r"^-?\d+(\.\d+)?$|\$\{",
    "boolean": r"^([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$|\$\{",
}
"""Pattern of the texts that stand for a value of another type, in quotes or from a variable."""
_REFERENCE: Final = re.compile(r"#/\$defs/(\w+)")
_VARIABLE: Final[JsonSchema] = {"type": "string", "pattern": r"\$\{"}
_TEXT: Final[JsonSchema] = {"type": "string"}


class EditorSchema(GenerateJsonSchema):
    """Schema of the models, without the parts that editors ignore, and with every accepted form of a value."""

    def generate_inner(self, schema: Any) -> JsonSchema:
        """Return the schema of a value with all of its accepted forms."""
        made = super().generate_inner(schema)
        made = {key: value for key, value in made.items() if key not in {"title", "format", "writeOnly"}}
        if "anyOf" not in made:
            return _with_text_forms(made)
        choices: list[JsonSchema] = []
        for each in made["anyOf"]:
            choices += [inner for inner in _choices(_with_text_forms(each)) if inner not in choices]
        return {**made, "anyOf": choices}

    def model_schema(self, schema: Any) -> JsonSchema:
        """Leave the title out."""
        return {key: value for key, value in super().model_schema(schema).items() if key != "title"}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - a hook of pydantic
        """Return False: a field needs no title, because its name is shown anyway."""
        return False

    def nullable_schema(self, schema: Any) -> JsonSchema:
        """Leave `null` out: a key without a value is removed instead."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchema:
        """Leave out the default of a key without a value."""
        made = super().default_schema(schema)
        return {key: value for key, value in made.items() if key != "default" or value is not None}

    def get_union_of_schemas(self, schemas: list[JsonSchema]) -> JsonSchema:
        """Return one list of choices; free text includes the other texts."""
        choices = [inner for each in schemas for inner in _choices(each)]
        if _TEXT in choices:
            choices = [each for each in choices if each == _TEXT or each.get("type") != "string"]
        return super().get_union_of_schemas(choices)


def _choices(schema: JsonSchema) -> list[JsonSchema]:
    return list(schema["anyOf"]) if schema.keys() == {"anyOf"} else [schema]


def _with_text_forms(schema: JsonSchema) -> JsonSchema:
    """Allow a variable in place of a value that is no free text, and quotes around a number."""
    kind = schema.get("type")
    written = _TEXT_FORMS.get(kind) if isinstance(kind, str) else None
    is_bound = kind == "string" and bool({"pattern", "enum", "const"} & schema.keys())
    if written is None and (not is_bound or str(schema.get("pattern", "")).endswith(_VARIABLE["pattern"])):
        return schema
    outside = {"description", "default", "examples"}
    about = {key: value for key, value in schema.items() if key in outside}
    strict = {key: value for key, value in schema.items() if key not in outside}
    return {**about, "anyOf": [strict, {"type": "string", "pattern": written} if written else _VARIABLE]}


def _generate(models: Sequence[type[BaseModel]]) -> tuple[Any, Any]:
    return models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}", schema_generator=EditorSchema
    )


def json_schema(connectors: Mapping[str, type[Connector]], transforms: Mapping[str, Transform] = BUILTIN) -> JsonSchema:
    """Return the schema of a configuration.

    Args:
        connectors: Classes of the connectors that destinations may name, by name.
        transforms: The transforms that fields may use, by name.
    """
    settings = {name: kind.destination_settings for name, kind in connectors.items()}
    route_settings = {name: kind.route_settings for name, kind in connectors.items()}
    models: list[type[BaseModel]] = list(dict.fromkeys([ConfigPart, *settings.values(), *route_settings.values()]))
    generated = _generate(models)
    names = {model: reference["$ref"].rpartition("/")[2] for (model, _), reference in generated[0].items()}
    definitions: dict[str, JsonSchema] = dict(generated[1]["$defs"])
    definitions |= field_definitions(definitions["FieldForm"], transforms)
    top = definitions.pop(names[ConfigPart])
    by_connector = {name: definitions[names[model]] for name, model in settings.items()}
    definitions["DestinationPart"] = _destination(definitions["DestinationPart"], by_connector)
    definitions["RoutePart"] = _route(
        definitions["RoutePart"], {name: definitions[names[model]] for name, model in route_settings.items()}
    )
    for model in {*settings.values(), *route_settings.values()}:
        definitions.pop(names[model], None)
    for kind, part in (("destinations", "DestinationPart"), ("routes", "RoutePart"), ("chatbots", "ChatbotPart")):
        name = part.replace("Part", "Preset")
        definitions[name] = _required_from(definitions[part], "nothing")
        entries = definitions["PresetsPart"]["properties"][kind] | {"additionalProperties": {"$ref": f"#/$defs/{name}"}}
        definitions["PresetsPart"]["properties"][kind] = _section(kind, entries)
        definitions[part] = _required_from(definitions[part], "presets")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:leadbridge:configuration",
        "title": "Leadbridge configuration",
        **top,
        "properties": {name: _section(name, each) for name, each in top["properties"].items()},
        "$defs": _in_use(top, definitions),
    }


def settings_schema(settings: type[BaseModel]) -> tuple[JsonSchema, Mapping[str, JsonSchema]]:
    """Return the schema of a connector's settings for a destination or a route, and the definitions that it uses."""
    generated = _generate([settings])
    definitions: Mapping[str, JsonSchema] = generated[1]["$defs"]
    return definitions[generated[0][settings, "validation"]["$ref"].rpartition("/")[2]], definitions


def _in_use(top: JsonSchema, definitions: Mapping[str, JsonSchema]) -> dict[str, JsonSchema]:
    """Return the definitions that are used, directly or through others."""
    used: set[str] = set()
    new = set(_REFERENCE.findall(str(top)))
    while new:
        used |= new
        new = set(_REFERENCE.findall(str([definitions[name] for name in new]))) - used
    return {name: definitions[name] for name in sorted(used)}


def _section(name: str, schema: JsonSchema) -> JsonSchema:
    """Return the schema of a section, which may have no value; restrict the names of its entries."""
    named = {"propertyNames": {"pattern": f"^(?:{NAME_PATTERN.pattern})$"}} if name in {*KINDS, "reports"} else {}
    described: JsonSchema = {key: schema[key] for key in ("description", "default") if key in schema}
    kept = {key: value for key, value in schema.items() if key not in described}
    return {**described, "anyOf": [{**kept, **named}, {"type": "null"}]}


def _destination(common: JsonSchema, by_connector: Mapping[str, JsonSchema]) -> JsonSchema:
    """Return the schema of a destination, whose settings depend on its connector."""
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


def _required_from(schema: JsonSchema, source: Literal["presets", "nothing"]) -> JsonSchema:
    """Return the schema of a map whose required keys may come from presets, or that requires nothing."""
    kept = {key: value for key, value in schema.items() if key != "required"}
    if "allOf" in schema:
        kept["allOf"] = [{**each, "then": _required_from(each["then"], source)} for each in schema["allOf"]]
    required = schema.get("required", [])
    if source == "nothing" or not required:
        return kept
    return {**kept, "if": {"required": ["use"]}, "else": {"required": required}}


def required_keys(schema: JsonSchema) -> list[str]:
    """Return the keys that a map needs, itself or from presets."""
    return list(schema.get("required", schema.get("else", {}).get("required", [])))


def _route(common: JsonSchema, by_connector: Mapping[str, JsonSchema]) -> JsonSchema:
    """Return the schema of a route with the settings of all connectors; the destination may be in another file."""
    having: dict[str, dict[str, JsonSchema]] = {}
    for connector, own in sorted(by_connector.items()):
        for name, schema in own.get("properties", {}).items():
            having.setdefault(name, {})[connector] = schema
    own = {name: _any_of(each) for name, each in having.items()}
    fields = common["properties"]["fields"]
    removal = {"type": "null", "description": "Removes the field of a preset."}
    fields = {**fields, "additionalProperties": {"anyOf": [fields["additionalProperties"], removal]}}
    return {**common, "properties": {**common["properties"], "fields": fields, **own}}


def _any_of(by_connector: Mapping[str, JsonSchema]) -> JsonSchema:
    """Return the schema of a key that several connectors use, with the description of each."""
    description = " ".join(f"`{name}`: {each.get('description', '')}" for name, each in by_connector.items())
    choices: list[JsonSchema] = []
    for each in by_connector.values():
        bare = {key: value for key, value in each.items() if key not in {"description", "default"}}
        if bare not in choices:
            choices.append(bare)
    return {"description": description, **(choices[0] if len(choices) == 1 else {"anyOf": choices})}
