"""Texts as Salesforce takes and counts them. Pure."""


def text_of(value: object) -> str:
    """Give a value as text, nothing for None."""
    return "" if value is None else str(value)


def clean(text: str) -> str:
    """Replace half an emoji, which has no form in UTF-8."""
    return text.encode("utf-8", "replace").decode()


def cut(text: str, longest: int) -> str:
    """Shorten a text to so many characters as Salesforce counts them: an emoji is two (UTF-16)."""
    return text.encode("utf-16-le")[: 2 * longest].decode("utf-16-le", "ignore")


def units(text: str) -> int:
    """Count characters as Salesforce does."""
    return len(text.encode("utf-16-le")) // 2
