r"""Regular expressions over untrusted text. Pure.

They run on RE2, whose time grows with the length of the text and never with the number of possible matches. Therefore
it has no look-around and no back-references. Its errors are replaced by messages that name the alternative.

RE2 works on UTF-8. Texts are encoded once and searched as bytes, because its wrapper counts characters for each match
and misreads letters beyond ASCII in a replacement.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Protocol

from bridge.mapping import budget

_RE2_MEMORY: Final = 4 * 1024 * 1024
"""Memory of RE2 for one pattern, in bytes. A long list of Unicode classes does not fit into less."""
_MATCH_STEPS: Final = 2_000
"""Steps for each match in `replace`, besides the search."""
_INSTRUCTION_STEPS: Final = 5_000
"""Steps of a `CompileBudget` for each instruction of a compiled pattern."""
_INVALID_STEPS: Final = 100_000_000
"""Steps of a `CompileBudget` for a pattern that cannot be compiled."""
_CLOCK_STEPS: Final = 10_000_000
"""Steps of searches in the worst case after which `replace` checks the time again."""
_ESCAPE: Final = re.compile(r"\\(?:g<(\w+)>|([1-9]\d?)|(.?))", re.DOTALL)
_CONTROLS: Final = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_ANY_BYTE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\C")
_MIN_CONTINUATION: Final = 0x80
_MAX_CONTINUATION: Final = 0xBF
_SURROUNDINGS: Final = "match the surrounding text too, and put the part that you want into a group `( )`"
_ALTERNATIVES: Final[tuple[tuple[str, str, str], ...]] = (
    (r"\(\?<?[=!]", "a look-around", _SURROUNDINGS),
    (r"\(\?P$|\\[1-9]|\\k", "a back-reference", "write out the repeated part"),
    (r"\(\?>", "an atomic group", "write `(?:`, because RE2 never goes back"),
    (r"[*+?}]\+", "a possessive repetition", "leave out the second `+`, because RE2 never goes back"),
    (r"\(\?\(", "a condition", "write the alternatives with `|`"),
    (r"\(\?#", "a comment", "leave it out"),
    (r"\(\?[a-zA-Z-]*", "a flag", "it has `i`, `m`, `s` and `U`"),
    (r"\\Z", "`\\Z`", "write `\\z` for the end of the text"),
    (r"\\[uUN]", "a character by number", "write the character itself, or `\\x{20AC}`"),
)
"""Start of the rejected part of a pattern, its name, and the alternative."""


class PatternError(ValueError):
    """Error for a text that is no RE2 pattern. The message names the alternative."""


class _Match(Protocol):
    """The used part of RE2's match on bytes."""

    def __getitem__(self, group: int | str) -> bytes | None: ...
    def span(self) -> tuple[int, int]: ...


class _Compiled(Protocol):
    """The used part of RE2's compiled pattern."""

    groups: int
    groupindex: dict[str, int]
    programsize: int

    def search(self, text: bytes) -> _Match | None: ...
    def finditer(self, text: bytes) -> Iterator[_Match]: ...


class Pattern:
    """A compiled pattern, created by `compile_pattern`."""

    def __init__(self, compiled: _Compiled) -> None:
        self._compiled = compiled
        self.size = compiled.programsize
        self.groups = compiled.groups
        self.names = compiled.groupindex
        """Numbers of the named groups."""

    def extract(self, text: str, group: int | str) -> str:
        """Return a group of the first match, or `""` if there is no match. Raises `LimitError`."""
        encoded = _encoded(text)
        budget.current_budget().charge(len(encoded) * self.size)
        match = self._compiled.search(encoded)
        return _decoded(match[group] or b"") if match else ""

    def replacement(self, template: str) -> tuple[bytes | int, ...]:
        r"""Return the parts of a replacement: texts, and numbers of groups for `\1` and `\g<name>`.

        Raises `PatternError` for a group that the pattern does not have.
        """
        pieces: list[bytes | int] = []
        at = 0
        for match in _ESCAPE.finditer(template):
            pieces.append(_encoded(template[at : match.start()]))
            named, number, letter = match.groups()
            pieces.append(_encoded(_control(letter)) if letter is not None else self._group(named or number))
            at = match.end()
        pieces.append(_encoded(template[at:]))
        return tuple(piece for piece in pieces if piece != b"")

    def replace(self, text: str, pieces: tuple[bytes | int, ...], clock: Callable[[], float] = time.thread_time) -> str:
        """Replace each match. Raises `LimitError`.

        A search is linear, but it may read far beyond its match, and the next search then reads the same text again.
        RE2 does not report how far it read. So the time is measured if that could matter, which never happens for texts
        of a usual length.
        """
        current = budget.current_budget()
        encoded = _encoded(text)
        total = len(encoded)
        result: list[bytes] = []
        at = size = 0
        last = (-1, -1)
        current.charge(total * self.size)
        steps_since_check, began = 0, clock() if total * self.size > _CLOCK_STEPS // 1_000 else 0.0
        for match in self._compiled.finditer(encoded):
            start, end = span = match.span()
            # After an empty match the wrapper returns it again, or continues inside a character.
            if start == end and (
                span == last or (start < total and _MIN_CONTINUATION <= encoded[start] <= _MAX_CONTINUATION)
            ):
                continue
            last = span
            instead = [piece if isinstance(piece, bytes) else match[piece] or b"" for piece in pieces]
            result.append(encoded[at:start])
            result += instead
            size += start - at + sum(map(len, instead))
            at = end
            current.charge(_MATCH_STEPS)
            steps_since_check += (total - end) * self.size
            if steps_since_check > _CLOCK_STEPS:
                now = clock()
                current.charge(int((now - began) * 1e9))
                steps_since_check, began = 0, now
            if size > budget.FIELD_TEXT:
                break
        result.append(encoded[at:])
        current.charge_text(size + total - at)
        return _decoded(b"".join(result))

    def _group(self, name: str) -> int:
        number = int(name) if name.isdecimal() else self.names.get(name, -1)
        if not 0 <= number <= self.groups:
            raise PatternError("refers to a group that the pattern does not have")
        return number


@lru_cache(maxsize=1024)
def compile_pattern(source: str) -> Pattern:
    """Return a compiled pattern; raise `PatternError`, and `LimitError` if a `CompileBudget` is used up."""
    current = budget.budget_in_force()
    if not isinstance(current, budget.CompileBudget):
        return _compile(source)
    current.charge(_INSTRUCTION_STEPS)
    try:
        pattern = _compile(source)
    except PatternError:
        current.charge(_INVALID_STEPS)
        raise
    current.charge(pattern.size * _INSTRUCTION_STEPS)
    return pattern


def _compile(source: str) -> Pattern:
    # Imported on use: with its C++ library it takes 3 MB, which a configuration without patterns does not need. The
    # classes `_Compiled` and `_Match` stand in for its missing annotations.
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415

    options = re2.Options()
    options.log_errors = False  # otherwise RE2 writes each error to stderr
    options.max_mem = _RE2_MEMORY
    if _ANY_BYTE.search(source):
        raise PatternError("uses `\\C`, which splits characters: write `.`")
    try:
        return Pattern(re2.compile(source, options))
    except UnicodeEncodeError:
        raise PatternError("contains half a character: write the whole character") from None
    except re2.error as error:
        raise PatternError(_explain(error.args[0] if error.args else b"")) from None


def _explain(error_text: Any) -> str:
    message = error_text.decode("utf-8", "replace") if isinstance(error_text, bytes) else str(error_text)
    what, _, which = message.partition(": ")
    for beginning, name, instead in _ALTERNATIVES:
        if re.match(beginning, which):
            shown = "" if name.startswith("`") else f" (`{which}`)"
            return f"uses {name}{shown}, which RE2 does not have: {instead}"
    if what == "invalid repetition size":
        return (
            f"has an invalid repetition (`{which}`): RE2 repeats at most 1,000 times, and the lower bound comes first"
        )
    if what.startswith("pattern too large"):
        return "is too large: use fewer or shorter repetitions such as `{1,200}`"
    return f"is not a valid RE2 pattern: {what}"


def _control(letter: str) -> str:
    return _CONTROLS.get(letter, f"\\{letter}")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
