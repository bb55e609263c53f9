r"""Regular expressions over a stranger's text. Pure.

They run on RE2, whose time grows with the length of the text and never with the number of ways to read it. So it has
no look-around and no back-references. Its error messages are put into words here, with the way to write it instead.

RE2 works on UTF-8. Texts are encoded once and searched as bytes: its wrapper would count characters for each match,
and would misread letters beyond ASCII in a replacement.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Protocol

import re2  # type: ignore[import-untyped]  # has no annotations; `_Compiled` and `_Match` name what is used of it

from bridge.mapping import budget

_MEMORY: Final = 4 * 1024 * 1024
"""Bytes that RE2 may use for one pattern; with less a long list of Unicode classes would not fit."""
_MATCH: Final = 2_000
"""Steps that a match takes besides the search, in `replace`."""
_INSTRUCTION: Final = 5_000
"""Steps that an instruction of a compiled pattern takes from a `CompileBudget`."""
_REFUSED: Final = 100_000_000
"""Steps that a pattern takes from it that cannot be compiled."""
_UNWATCHED: Final = 10_000_000
"""Steps that searches could take at the worst before `replace` looks at the clock again."""
_ESCAPE: Final = re.compile(r"\\(?:g<(\w+)>|([1-9]\d?)|(.?))", re.DOTALL)
_CONTROLS: Final = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_ANY_BYTE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\C")
_LEAST_CONTINUATION: Final = 0x80
_MOST_CONTINUATION: Final = 0xBF
_SURROUNDINGS: Final = "match the surrounding text too, and put the part that you want into a group `( )`"
_INSTEAD: Final[tuple[tuple[str, str, str], ...]] = (
    (r"\(\?<?[=!]", "a look-around", _SURROUNDINGS),
    (r"\(\?P$|\\[1-9]|\\k", "a back-reference", "write out what is repeated"),
    (r"\(\?>", "an atomic group", "write `(?:`, because RE2 never goes back"),
    (r"[*+?}]\+", "a possessive repetition", "leave out the second `+`, because RE2 never goes back"),
    (r"\(\?\(", "a condition", "write the alternatives with `|`"),
    (r"\(\?#", "a comment", "leave it out"),
    (r"\(\?[a-zA-Z-]*", "a flag", "it has `i`, `m`, `s` and `U`"),
    (r"\\Z", "`\\Z`", "write `\\z` for the end of the text"),
    (r"\\[uUN]", "a character by its number", "write the character itself, or `\\x{20AC}`"),
)
"""Of RE2's errors: how what it complains of begins, its name, and what to write instead."""


class PatternError(ValueError):
    """A text that is not a pattern of RE2's. The message says what to write instead."""


class _Match(Protocol):
    """What is used of a match of RE2's wrapper on bytes."""

    def __getitem__(self, group: int | str) -> bytes | None: ...
    def span(self) -> tuple[int, int]: ...


class _Compiled(Protocol):
    """What is used of a pattern of RE2's wrapper."""

    groups: int
    groupindex: dict[str, int]
    programsize: int

    def search(self, text: bytes) -> _Match | None: ...
    def finditer(self, text: bytes) -> Iterator[_Match]: ...


class Pattern:
    """A compiled pattern. `compile_pattern` makes it."""

    def __init__(self, compiled: _Compiled) -> None:
        self._compiled = compiled
        self.size = compiled.programsize
        self.groups = compiled.groups
        self.names = compiled.groupindex
        """The numbers of the groups that have a name."""

    def extract(self, text: str, group: int | str) -> str:
        """Return what a group finds where the pattern is found first, `""` where it is not. Raises `LimitError`."""
        encoded = _encoded(text)
        budget.current().charge(len(encoded) * self.size)
        found = self._compiled.search(encoded)
        return _decoded(found[group] or b"") if found else ""

    def replacement(self, template: str) -> tuple[bytes | int, ...]:
        r"""Read the text that comes in place of a match: pieces, and numbers of groups for `\1` and `\g<name>`.

        Raises `PatternError` for a group that the pattern does not have.
        """
        pieces: list[bytes | int] = []
        at = 0
        for found in _ESCAPE.finditer(template):
            pieces.append(_encoded(template[at : found.start()]))
            named, number, letter = found.groups()
            pieces.append(_encoded(_control(letter)) if letter is not None else self._group(named or number))
            at = found.end()
        pieces.append(_encoded(template[at:]))
        return tuple(piece for piece in pieces if piece != b"")

    def replace(self, text: str, pieces: tuple[bytes | int, ...], clock: Callable[[], float] = time.thread_time) -> str:
        """Put a replacement in place of each match. Raises `LimitError`.

        A search is linear, but it may look far beyond the match that it finds, and then the next one looks at the
        same text again. RE2 does not say how far it looked. So the time is taken where that could matter, which is
        never so on texts of a usual length.
        """
        left = budget.current()
        encoded = _encoded(text)
        total = len(encoded)
        made: list[bytes] = []
        at = size = 0
        last = (-1, -1)
        left.charge(total * self.size)
        unwatched, began = 0, clock() if total * self.size > _UNWATCHED // 1_000 else 0.0
        for found in self._compiled.finditer(encoded):
            start, end = span = found.span()
            # After an empty match the wrapper finds it again, or goes on into the middle of a character.
            if start == end and (
                span == last or (start < total and _LEAST_CONTINUATION <= encoded[start] <= _MOST_CONTINUATION)
            ):
                continue
            last = span
            instead = [piece if isinstance(piece, bytes) else found[piece] or b"" for piece in pieces]
            made.append(encoded[at:start])
            made += instead
            size += start - at + sum(map(len, instead))
            at = end
            left.charge(_MATCH)
            unwatched += (total - end) * self.size
            if unwatched > _UNWATCHED:
                now = clock()
                left.charge(int((now - began) * 1e9))
                unwatched, began = 0, now
            if size > budget.FIELD_TEXT:
                break
        made.append(encoded[at:])
        left.charge_text(size + total - at)
        return _decoded(b"".join(made))

    def _group(self, name: str) -> int:
        number = int(name) if name.isdecimal() else self.names.get(name, -1)
        if not 0 <= number <= self.groups:
            raise PatternError("names a group that the pattern does not have")
        return number


@lru_cache(maxsize=1024)
def compile_pattern(source: str) -> Pattern:
    """Compile a pattern; raises `PatternError`, and `LimitError` if a `CompileBudget` is used up."""
    left = budget.in_force()
    if not isinstance(left, budget.CompileBudget):
        return _compile(source)
    left.charge(_INSTRUCTION)
    try:
        pattern = _compile(source)
    except PatternError:
        left.charge(_REFUSED)
        raise
    left.charge(pattern.size * _INSTRUCTION)
    return pattern


def _compile(source: str) -> Pattern:
    options = re2.Options()
    options.log_errors = False  # else RE2 writes each error to stderr
    options.max_mem = _MEMORY
    if _ANY_BYTE.search(source):
        raise PatternError("uses `\\C`, which takes characters apart: write `.`")
    try:
        return Pattern(re2.compile(source, options))
    except UnicodeEncodeError:
        raise PatternError("holds half a character: write it as a whole") from None
    except re2.error as error:
        raise PatternError(_in_words(error.args[0] if error.args else b"")) from None


def _in_words(said: Any) -> str:  # noqa: ANN401 - RE2's wrapper gives bytes or text
    message = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    what, _, which = message.partition(": ")
    for beginning, name, instead in _INSTEAD:
        if re.match(beginning, which):
            shown = "" if name.startswith("`") else f" (`{which}`)"
            return f"uses {name}{shown}, which RE2 does not have: {instead}"
    if what == "invalid repetition size":
        return f"repeats too often (`{which}`): RE2 repeats at most 1,000 times, and the lower bound comes first"
    if what.startswith("pattern too large"):
        return "is too large: use fewer or shorter repetitions such as `{1,200}`"
    return f"is not a regular expression of RE2's kind: {what}"


def _control(letter: str) -> str:
    return _CONTROLS.get(letter, f"\\{letter}")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
