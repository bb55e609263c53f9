from typing import Annotated

from bridge.mapping.plugin_api import transform


@transform
def initials(value: str, dots: Annotated[bool, "whether dots follow"] = False, most: int | None = None) -> str:
    """The first letter of each word."""
    return "".join(word[0] + ("." if dots else "") for word in value.split()[:most])


@transform
def pick(value: str, among: list[str], factor: float = 1) -> str:
    return value if value in among else ""
