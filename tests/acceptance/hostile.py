"""Patterns that look honest, each with a text on which an engine that goes back never ends."""

from typing import Final

PATTERNS: Final[tuple[tuple[str, str, str], ...]] = (
    ("csv", r"(.*?),(.*?),(.*?);", "," * 4_000),
    ("letters", r"(a|aa)+$", "a" * 40 + "!"),
    ("words", r"^(\w+\s?)*$", "a" * 40 + "!"),
    ("address", r"^([a-zA-Z0-9])(([-.]|_+)?([a-zA-Z0-9]+))*@", "a" * 40),
    ("url", r"^(https?://)?([\w-]+\.?)+(/[\w-]*)*$", "a" * 40 + "!"),
    ("quoted", r'"(\\.|[^"\\]|[^"])*"', '"' + "a" * 40),
    ("price", r"(\d+\s*)+EUR", "1" * 40),
    ("name", r"^(([A-Z]?[a-z]*)+\s?)+$", "Aa" * 20 + "!"),
    ("numbers", r"^(-?\d+,?)+$", "1" * 40 + "!"),
    ("columns", r"(.*)\s+(.*)\s+(.*)\s+(.*):", " " * 2_000),
    ("phone", r"^((\+|00)?\d+[ -]?)+x\d+$", "1" * 40),
    ("trimmed", r"^\s*(.*?)\s*(\S*\s*)*\.$", "a" * 40 + " !"),
)
"""Of each: the field that it makes, the pattern, and the text."""
