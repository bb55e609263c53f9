"""Texts within Salesforce's limits, and remarks that are appended to a description. Pure."""

from collections.abc import Sequence


def as_text(value: object) -> str:
    """Return a value as text, empty for None."""
    return "" if value is None else str(value)


def cut(text: str, longest: int) -> str:
    """Return a text cut to a number of characters as Salesforce counts them: an emoji is two (UTF-16)."""
    return text.encode("utf-16-le")[: 2 * longest].decode("utf-16-le", "ignore")


def units(text: str) -> int:
    """Return the number of characters as Salesforce counts them."""
    return len(text.encode("utf-16-le")) // 2


def append_texts(description: str, parts: Sequence[str], longest: int | None) -> tuple[str, tuple[str, ...]]:
    """Append texts to a description, and return it with warnings for the operator.

    A text is appended only if it is not already a block of its own, between empty lines, so that a repeated write does
    not repeat it. A text that is merely part of an older text is appended. If there is not enough room, the oldest text
    makes way for the newest.

    Args:
        description: The description, empty for a new record.
        parts: The texts, the oldest first; the last one must be kept.
        longest: Maximum number of characters, as Salesforce counts them; None if unknown.
    """
    parts, warnings = [each.strip() for each in parts], list[str]()
    if longest is not None:
        room = longest
        for number in reversed(range(len(parts))):
            if units(parts[number]) > room:
                parts[number] = cut(parts[number], room).strip()
                warnings.append(f"Description takes {longest} characters, so the added text was cut")
            room = max(0, room - units(parts[number]) - 2)
    for part in parts:
        if part and not _has_block(description, part):
            description = f"{description}\n\n{part}" if description else part
    if longest is not None and units(description) > longest:
        description = _end(description, longest)
        warnings.append("Description is full, so its oldest text was cut")
    return description, tuple(warnings)


def _end(text: str, longest: int) -> str:
    """Return the end of a text, without half an emoji."""
    end = text.encode("utf-16-le")[-2 * longest :]
    return end.decode("utf-16-le", "ignore")


def _has_block(description: str, part: str) -> bool:
    """Return True if a text is a block of another; Salesforce returns line ends as CRLF."""
    return f"\n\n{_plain(part)}\n\n" in f"\n\n{_plain(description)}\n\n"


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
