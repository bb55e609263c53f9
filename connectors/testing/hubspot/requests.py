"""Requests to the HubSpot sandbox: their addresses and bodies, and refusals of what the real API cannot read. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, unquote

import orjson

from connectors.testing.hubspot.answers import VERSIONS, Version
from connectors.testing.hubspot.errors import RefusedError, not_set, unknown_address, unreadable

MOST_INPUTS = 100
"""Maximum number of inputs in one batch call (HubSpot's guide to the object APIs)."""

Area = Literal["associations", "objects", "properties", "owners", "pipelines", "lists"]


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


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a request."""

    version: Version
    area: Area
    kind: str
    """The object, as named in the path; empty for owners, pipelines and lists."""
    rest: tuple[str, ...]
    """Parts of the path after it, decoded."""
    query: dict[str, list[str]]

    def one(self, name: str) -> str | None:
        """Return a value of the query; None if it is missing."""
        return self.query[name][-1] if name in self.query else None

    def several(self, name: str) -> list[str]:
        """Return values of the query, separated by commas or repeated."""
        return [part for each in self.query.get(name, []) for part in each.split(",") if part]


def read_address(path: str) -> Address:
    """Return the parts of a path with its query. Raises `RefusedError` for an unknown address.

    `/crm/objects/2026-09/contacts` and `/crm/v3/objects/contacts` are the same resource in two versions. Associations
    are in the fourth version of the old paths, which is otherwise not served.
    """
    way, _, query = path.partition("?")
    match way.split("/")[1:]:
        case [
            "crm",
            ("associations" | "objects" | "properties") as area,
            "2026-03" | "2026-09" as version,
            kind,
            *rest,
        ]:
            pass
        case ["crm", "v3" as version, ("objects" | "properties") as area, kind, *rest]:
            pass
        case ["crm", ("owners" | "pipelines" | "lists") as area, "2026-03" | "2026-09" as version, *rest]:
            kind = ""
        case ["crm", "v3" as version, ("owners" | "pipelines" | "lists") as area, *rest]:
            kind = ""
        case ["crm", "v4", "associations" as area, kind, *rest]:
            version = "v3"
        case ["crm", "v4", "objects" as area, kind, _, "associations", "default", _, _]:
            version, rest = "v3", way.split("/")[5:]
        case _:
            raise unknown_address()
    parts = tuple(unquote(each) for each in rest if each or kind)
    return Address(VERSIONS[version], _area(area), unquote(kind), parts, parse_qs(query, keep_blank_values=True))


def _area(name: str) -> Area:
    areas: dict[str, Area] = {each: each for each in get_args(Area)}
    return areas[name]
