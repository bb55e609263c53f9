"""The addresses of the HubSpot API that the sandbox serves. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, unquote

from connectors.testing.hubspot.answers import VERSIONS, Version
from connectors.testing.hubspot.errors import unknown_address

Area = Literal["associations", "objects", "properties", "owners", "pipelines", "lists"]


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
