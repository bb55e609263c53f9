"""What a `Description` says once a remark has been added to it. Pure."""

from collections.abc import Sequence

from connectors.salesforce.texts import cut, units


def added(said: str, parts: Sequence[str], longest: int | None) -> tuple[str, tuple[str, ...]]:
    """Add texts to a description, and give it with what the operator should know of it.

    A text is added only where it does not stand there as a block of its own, between empty lines, so that a record
    that is written again says nothing twice; what is only a part of an older text has yet to be said. Where there is no
    room, the oldest text makes way for the newest.

    Args:
        said: What the description says, empty for a new record.
        parts: The texts, the oldest first; the last is the one that must be kept.
        longest: How many characters it takes, as Salesforce counts them; None where that is not known.
    """
    parts, warnings = [each.strip() for each in parts], list[str]()
    if longest is not None:
        room = longest
        for number in reversed(range(len(parts))):
            if units(parts[number]) > room:
                parts[number] = cut(parts[number], room).strip()
                warnings.append(f"Description takes {longest} characters, so what is added to it was cut")
            room = max(0, room - units(parts[number]) - 2)
    for part in parts:
        if part and not _has_block(said, part):
            said = f"{said}\n\n{part}" if said else part
    if longest is not None and units(said) > longest:
        said = _end(said, longest)
        warnings.append("Description is full, so its oldest text was cut")
    return said, tuple(warnings)


def _end(text: str, longest: int) -> str:
    """Give the end of a text, without half an emoji."""
    end = text.encode("utf-16-le")[-2 * longest :]
    return end.decode("utf-16-le", "ignore")


def _has_block(said: str, part: str) -> bool:
    """Tell whether a text is a block of another; Salesforce gives line ends back as CRLF."""
    return f"\n\n{_plain(part)}\n\n" in f"\n\n{_plain(said)}\n\n"


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
