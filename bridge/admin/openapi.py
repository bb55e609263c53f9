"""The OpenAPI document, made of the endpoints and their models. Pure."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from bridge.admin.authentication import Role
from bridge.admin.endpoint import JSON, Endpoint
from bridge.admin.schemas import Failure

if TYPE_CHECKING:
    from pydantic import BaseModel

_REF: Final = "#/components/schemas/"
_ALWAYS: Final = (400, 401, 403, 405, 429, 503)
_SAYS: Final[Mapping[int, str]] = {
    400: "The request says something that is not taken.",
    401: "No token, or a wrong one.",
    403: "Not for this role, or asked for by a page of another origin.",
    404: "There is no such thing.",
    405: "Not with this method.",
    409: "It cannot be done as things stand; nothing was changed.",
    413: "The body is too large.",
    415: "The body is no application/json.",
    429: "Too many wrong tokens from this address, or too many searches by a viewer.",
    503: "The store is in trouble, or the answer took too long; the same request may succeed later.",
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Describe the endpoints."""
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Failure, "serialization")]
    for each in endpoints:
        wanted += [(each.given, "validation"), (each.answer, "serialization")]
    refs, found = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REF + "{model}")
    definitions = found["$defs"]
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        given = definitions[refs[each.given, "validation"]["$ref"].removeprefix(_REF)]
        operation = _operation(each, given, refs[each.answer, "serialization"], refs[Failure, "serialization"])
        paths.setdefault(each.path, {})[each.method.lower()] = operation
    inputs = {refs[each.given, "validation"]["$ref"].removeprefix(_REF) for each in endpoints}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Leadbridge",
            "version": metadata.version("leadbridge"),
            "description": "What the bridge has received, what became of it, and what an operator can do about it.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in definitions.items() if name not in inputs},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`server.admin_token`, or `server.viewer_token` for what changes nothing.",
                }
            },
        },
    }


def _operation(
    endpoint: Endpoint, given: Mapping[str, Any], answer: Mapping[str, Any], failure: Mapping[str, Any]
) -> dict[str, Any]:
    properties = {name: _without_null(schema) for name, schema in given.get("properties", {}).items()}
    required = given.get("required", ())
    outside = endpoint.in_path if endpoint.method != "GET" else frozenset(properties)
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _name(endpoint),
        "tags": [endpoint.path.split("/")[2]],
        "description": "For operators." if endpoint.role is Role.OPERATOR else "For operators and viewers.",
        "parameters": [
            _parameter(name, properties[name], endpoint.in_path, name in required)
            for name in sorted(outside, key=list(properties).index)
        ],
        "responses": {
            "200": {"description": "The answer.", "content": {JSON: {"schema": answer}}},
            **{
                str(status): {"description": _SAYS[status], "content": {JSON: {"schema": failure}}}
                for status in sorted({*_ALWAYS, *endpoint.failures, *_failures(endpoint)})
            },
        },
    }
    inside = {name: _in_body(schema) for name, schema in given.get("properties", {}).items() if name not in outside}
    if inside:
        needed = [name for name in required if name in inside]
        schema = {"type": "object", "properties": inside, "required": needed, "additionalProperties": False}
        operation["requestBody"] = {"required": bool(needed), "content": {JSON: {"schema": schema}}}
    return operation


def _failures(endpoint: Endpoint) -> set[int]:
    return {413, 415, 409} if endpoint.method != "GET" else set()


def _parameter(name: str, schema: Mapping[str, Any], in_path: frozenset[str], required: bool) -> dict[str, Any]:  # noqa: FBT001 - a fact of the parameter
    """Describe a parameter; what is said of the field stands beside its schema."""
    bare = {key: value for key, value in schema.items() if key != "description"}
    told = {"description": schema["description"]} if "description" in schema else {}
    where = "path" if name in in_path else "query"
    return {"name": name, "in": where, "required": required, **told, "schema": bare}


def _in_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a field of a body: null, where it may stand, says the same as leaving the field out."""
    return {key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out that a field may be null: in an address that cannot be written."""
    kept = {key: value for key, value in schema.items() if key not in {"anyOf", "default", "title"}}
    if "default" in schema and schema["default"] is not None:
        kept["default"] = schema["default"]
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return {**(choices[0] if choices else {}), **kept}


def _name(endpoint: Endpoint) -> str:
    parts = [part.strip("{}") for part in endpoint.path.split("/")[2:]]
    return "_".join([endpoint.method.lower(), *parts])
