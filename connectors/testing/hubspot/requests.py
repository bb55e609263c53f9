"""Bodies of requests to the HubSpot sandbox, and refusals of bodies that the real API cannot read. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from connectors.testing.hubspot.errors import RefusedError, not_set, unreadable

MOST_INPUTS = 100
"""Maximum number of inputs in one batch call (HubSpot's guide to the object APIs)."""


def read_json(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the object in a body. Raises `RefusedError` for another content type, and for anything but an object."""
    if content_type != "application/json":
        raise RefusedError(415, "Unsupported Media Type", None)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise unreadable(error.msg, error.lineno, error.colno) from None
    if not isinstance(document, dict):
        raise unreadable("Cannot deserialize value of type an object from another value", 1, 1)
    return document


def need(document: Mapping[str, Any], *names: str) -> None:
    """Raise `RefusedError` for a document without these fields; a null counts as missing."""
    missing = [name for name in names if document.get(name) is None]
    if missing:
        raise not_set(missing)


def read_properties(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the `properties`: texts by name. A number, a null or anything else is refused, as in the schema."""
    need(document, "properties")
    given = document["properties"]
    if not isinstance(given, dict):
        raise unreadable("Cannot deserialize value of type `java.util.LinkedHashMap` from `properties`")
    for value in given.values():
        if not isinstance(value, str):
            raise unreadable(f"Cannot deserialize value of type `java.lang.String` from {_kind(value)}")
    return given


def read_text(document: Mapping[str, Any], name: str) -> str | None:
    """Return a text that may be missing."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise unreadable(f"Cannot deserialize value of type `java.lang.String` from {_kind(value)} for `{name}`")
    return value


def read_texts(document: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of texts; empty if it is missing."""
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise unreadable(f"Cannot deserialize value of type `java.util.ArrayList` for `{name}`")
    return value


def read_inputs(document: Mapping[str, Any], *names: str, most: int = MOST_INPUTS) -> list[dict[str, Any]]:
    """Return the inputs of a batch, each with these fields. Raises `RefusedError` for none or more than `most`."""
    need(document, "inputs")
    inputs = document["inputs"]
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise unreadable("Cannot deserialize value of type `java.util.ArrayList` for `inputs`")
    for each in inputs:
        need(each, *names)
    if not 1 <= len(inputs) <= most:
        raise RefusedError(
            400,
            f"The number of inputs supported in a batch request is 1 to {most}. "
            "Please reduce the number of items and try again",
        )
    return inputs


def _kind(value: object) -> str:
    if value is None:
        return "a null"
    return {bool: "a Boolean value", dict: "an Object value", list: "an Array value"}.get(type(value), "a Number value")
