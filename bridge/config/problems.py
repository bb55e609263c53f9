"""What is wrong with a configuration, and where. Pure."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.errors import LeadbridgeError

_PLAIN_KEY = re.compile(r"[\w-]+")

Path = tuple[str | int, ...]
"""Keys and list indexes that lead from the top of the configuration to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a configuration file; ordered as a reader meets them."""

    file: str
    """As the user gave it: a relative path stays relative."""
    line: int
    """From 1."""
    column: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that the author of a configuration should change. `str()` is the line that is shown."""

    file: str
    line: int
    column: int
    path: str
    """Where it is in the configuration, as `written` gives it."""
    message: str
    """What is wrong and what would be right; never a value that came from a variable or a secret file."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}"


class ConfigError(LeadbridgeError):
    """The configuration cannot be used: the author must change it. Carries every problem found, not the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


def written(path: Path) -> str:
    """Write a path as its author would say it: `chatbots.acme.routes[0].to`; `(file)` for the top."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            name = key if _PLAIN_KEY.fullmatch(key) else f'"{key}"'
            text += f".{name}" if text else name
    return text or "(file)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give ` (did you mean `x`?)` for the known name that is nearest, or nothing where none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f" (did you mean `{by_folded[near[0]]}`?)" if near else ""
