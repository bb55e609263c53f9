"""The OpenAPI document of the endpoints and their models. Pure."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from bridge.admin.authentication import Role
from bridge.admin.endpoint import CSV_TYPE, Endpoint
from bridge.admin.responses import JSON_TYPE
from bridge.admin.schemas import FailureSchema

if TYPE_CHECKING:
    from pydantic import BaseModel

_REF: Final = "#/components/schemas/"
_ALWAYS: Final = (400, 401, 403, 405, 429, 503)
_SAYS: Final[Mapping[int, str]] = {
    400: "The request has a field or value that is not accepted.",
    401: "No token, or a wrong one.",
    403: "The role does not allow it, or a page of another site sent it.",
    404: "Nothing has this id or name.",
    405: "The path does not have this method.",
    409: "The state of the object does not allow it; nothing was changed.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    429: "Too many wrong tokens from this address, or too many searches by a viewer.",
    503: "The store is in trouble, or the response took too long. The same request may succeed later.",
}


def openapi_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the document."""
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(FailureSchema, "serialization")]
    for each in endpoints:
        wanted.append((each.given, "validation"))
        if each.answer:
            wanted.append((each.answer, "serialization"))
    refs, found = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REF + "{model}")
    definitions = found["$defs"]
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        given = definitions[refs[each.given, "validation"]["$ref"].removeprefix(_REF)]
        answer: Mapping[str, Any] = {CSV_TYPE: {"schema": {"type": "string"}}}
        if each.answer:
            answer = {JSON_TYPE: {"schema": refs[each.answer, "serialization"]}}
        operation = _operation(each, given, answer, refs[FailureSchema, "serialization"])
        paths.setdefault(each.path, {})[each.method.lower()] = operation
    inputs = {refs[each.given, "validation"]["$ref"].removeprefix(_REF) for each in endpoints}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Leadbridge",
            "version": metadata.version("leadbridge"),
            "description": "Events, deliveries and lanes of the bridge, and the actions of an operator.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in definitions.items() if name not in inputs},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`server.admin_token`, or `server.viewer_token` to read only.",
                }
            },
        },
    }


def _operation(
    endpoint: Endpoint, given: Mapping[str, Any], answer: Mapping[str, Any], error_response: Mapping[str, Any]
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
            "200": {"description": "The answer.", "content": answer},
            **{
                str(status): {"description": _SAYS[status], "content": {JSON_TYPE: {"schema": error_response}}}
                for status in sorted({*_ALWAYS, *endpoint.failures, *_failures(endpoint)})
            },
        },
    }
    inside = {name: _in_body(schema) for name, schema in given.get("properties", {}).items() if name not in outside}
    if inside:
        needed = [name for name in required if name in inside]
        schema = {"type": "object", "properties": inside, "required": needed, "additionalProperties": False}
        operation["requestBody"] = {"required": bool(needed), "content": {JSON_TYPE: {"schema": schema}}}
    return operation


def _failures(endpoint: Endpoint) -> set[int]:
    return {413, 415, 409} if endpoint.method != "GET" else set()


def _parameter(name: str, schema: Mapping[str, Any], in_path: frozenset[str], required: bool) -> dict[str, Any]:  # noqa: FBT001 - a fact of the parameter
    """Describe a parameter, with the description of its field beside the schema."""
    bare = {key: value for key, value in schema.items() if key != "description"}
    description = {"description": schema["description"]} if "description" in schema else {}
    where = "path" if name in in_path else "query"
    return {"name": name, "in": where, "required": required, **description, "schema": bare}


def _in_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a field of a body. Null means the same as a missing field."""
    return {key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without null, which an address cannot express."""
    kept = {key: value for key, value in schema.items() if key not in {"anyOf", "default", "title"}}
    if "default" in schema and schema["default"] is not None:
        kept["default"] = schema["default"]
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return {**(choices[0] if choices else {}), **kept}


def _name(endpoint: Endpoint) -> str:
    parts = [part.strip("{}") for part in endpoint.path.split("/")[2:]]
    return "_".join([endpoint.method.lower(), *parts])
