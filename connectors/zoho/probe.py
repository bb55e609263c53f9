"""The fields of a route, compared with those of the module for `leadbridge check --online`. Pure."""

from collections.abc import Mapping
from difflib import get_close_matches

from connectors.base import Finding, MappedRoute, Severity
from connectors.http_client.json_api import Reply


def findings(fields: Reply, mapped_route: MappedRoute, route: int) -> list[Finding]:
    """Return the differences between the mapped fields and those of the module."""
    known = {
        each["api_name"]: each for each in fields.get("fields") or () if isinstance(each, dict) and "api_name" in each
    }
    mapped = {each.name for each in mapped_route.fields}
    differences = [
        Finding(Severity.ERROR, f"no such field{_hint(name, known)}", route, name)
        for name in (each.name for each in mapped_route.fields)
        if name not in known
    ]
    differences += [
        Finding(Severity.ERROR, "must be mapped: the module requires it", route, name)
        for name, each in known.items()
        if each.get("system_mandatory") is True and name not in mapped
    ]
    return differences


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, 1)
    return f" (did you mean `{near[0]}`?)" if near else ""
