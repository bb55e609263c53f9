"""The cheap part of plain English, checked: how docstrings begin, how long their sentences are, a few words."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.check
ROOT = Path(__file__).parent.parent
WORDS_LIMIT = 40
FIRST_WORDS = frozenset({"Give", "What", "Who", "Whether", "Which", "How", "Where", "When", "Why", "Tell"})
BANNED = re.compile(r"\b(mend(s|ed)?|told|whoever|spoilt|untold|as ever|comes again)\b", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\n\s*\n|\n\s*(?:- |\* |\w+:\s)")

LEFT = {
    "bridge/store": 1,
    "connectors/http": 2,
    "connectors/testing": 4,
}
"""Findings in folders that are still to be described. A number may only shrink; a folder that has none goes."""


def described(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Return each module, class and function of a file that has a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node, text


def findings(source: str) -> list[str]:
    """Return what is wrong with the docstrings of a file."""
    found = []
    for node, text in described(ast.parse(source)):
        line = getattr(node, "lineno", 1)
        first = text.split(None, 1)[0].rstrip(",.:")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and first in FIRST_WORDS:
            found.append(f"{line}: begins with {first}: begin with a verb such as Return")
        found += [
            f"{line}: a sentence of {len(each.split())} words: split it"
            for each in SENTENCE_END.split(text)
            if len(each.split()) > WORDS_LIMIT
        ]
        found += [f"{line}: the word {match[0]!r}: use a plain one" for match in BANNED.finditer(text)]
    return found


def folder(file: Path) -> str:
    """Return the two outer folders of a file, or the outer one for a flat module."""
    parts = file.relative_to(ROOT).parts
    return "/".join(parts[:-1][:2])


@cache
def all_findings() -> list[tuple[str, str]]:
    """Return every finding with its folder."""
    files = [file for root in ("bridge", "connectors") for file in sorted((ROOT / root).rglob("*.py"))]
    return [(folder(file), f"{file.relative_to(ROOT)}:{each}") for file in files for each in findings(file.read_text())]


def test_docstrings_are_plain_english() -> None:
    everything = all_findings()
    counts = Counter(where for where, _ in everything)
    grown = {where for where, count in counts.items() if count > LEFT.get(where, 0)}
    assert [text for where, text in everything if where in grown] == []


def test_folders_without_findings_are_not_listed() -> None:
    counts = Counter(where for where, _ in all_findings())
    assert [where for where in LEFT if not counts[where]] == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('def f():\n    """Give the lanes."""', 1),
        ('def f():\n    """Whether it holds."""', 1),
        ('def f():\n    """Return the lanes. The cause is mended."""', 1),
        (f'def f():\n    """Return {"very " * 40}long texts."""', 1),
        ('def f():\n    """Return the lanes that are new."""', 0),
        ('class Lane:\n    """Where deliveries wait."""', 0),
    ],
)
def test_findings(source: str, count: int) -> None:
    assert len(findings(source)) == count
