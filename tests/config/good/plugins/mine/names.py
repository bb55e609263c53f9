from __future__ import annotations

from typing import Annotated

from bridge.mapping.plugin_api import transform

from ._letters import first


@transform
def initials(value: str, dots: Annotated[bool, "whether dots follow"] = False, *, most: int | None = None) -> str:
    """The first letter of each word."""
    return "".join(first(word) + ("." if dots else "") for word in value.split()[:most])
