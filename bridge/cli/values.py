"""How values are shown to a person: as JSON, so that a text is told from a number, and not longer than a line. Pure."""

import json
from typing import Any, Final

WIDTH: Final = 60
"""Characters of a value, at most."""


def shown(value: Any, width: int = WIDTH) -> str:  # noqa: ANN401 - any JSON value
    """Write a value as JSON, its end cut off where it is too long."""
    text = _written(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def shown_change(before: Any, after: Any, width: int = WIDTH) -> tuple[str, str]:  # noqa: ANN401 - any JSON values
    """Write two values that differ, and see to it that what differs is not cut off."""
    texts = _written(before), _written(after)
    start = max(0, _alike(*texts) - width // 2) if max(map(len, texts)) > width else 0
    one, other = (_window(text, start, width) for text in texts)
    return one, other


def _written(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False)


def _alike(one: str, other: str) -> int:
    """Count the characters in which two texts begin alike."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _window(text: str, start: int, width: int) -> str:
    """Show a part of a text, with an ellipsis for what is left out at either end."""
    part = text[start : start + width]
    return f"{'…' if start else ''}{part}{'…' if start + width < len(text) else ''}"
