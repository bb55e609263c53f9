"""Output of commands: tables and colours in a terminal, plain text in a pipe, JSON with --json.

Parts of the output come from strangers. In text for people their control characters are written as escapes, so that
no event can control the terminal of its reader.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from bridge.errors import LeadbridgeError, NotFoundError

if TYPE_CHECKING:
    from rich.status import Status
    from rich.text import Text

Shown = Mapping[str, Any]
"""A row of a listing, or the facts of one thing: JSON values by their names."""

_COLOURS = {
    "pending": "yellow",
    "delivered": "green",
    "dead": "red",
    "discarded": "dim",
    "unrecognised": "red",
    "test": "dim",
    "running": "green",
    "paused": "red",
    "unowned": "yellow",
    "quarantined": "red",
    "matches": "green",
    "skipped": "dim",
    "fails": "red",
}
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_MILLISECONDS = re.compile(r"\.\d{3}Z$")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_EVENT_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SHORT_ID: Final = 14
"""Fewest digits of a shortened id: the time of creation, and enough to distinguish the events of one second."""
_GAP: Final = 2
_LEAST_WIDTH: Final = 12
"""Fewest characters to which a column is cut."""
_LATER_CONTROLS = re.compile("[\x7f-\x9f]")


def application(
    *commands: str, cls: type[TyperGroup] = TyperGroup, add_completion: bool = False, no_args_is_help: bool = False
) -> typer.Typer:
    """Return a Typer application with the settings of this program. Its help ends with the commands as examples.

    Help is plain, because Rich's costs a tenth of a second. Tracebacks are Python's own, because Typer's show local
    variables, which may hold secrets.
    """
    return typer.Typer(
        cls=cls,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=examples(*commands),
        add_completion=add_completion,
        no_args_is_help=no_args_is_help,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def examples(*commands: str) -> str | None:
    """Return the end of a help page: commands to try, each on a line of its own."""
    # The backspace is Click's mark for a paragraph that keeps its lines.
    return "\n".join(("\b", "Examples:", *(f"  {each}" for each in commands))) if commands else None


def say(text: str = "", colour: str | None = None) -> None:
    """Write lines to standard output, in a terminal with the colour."""
    shown = visible(text)
    typer.echo(typer.style(shown, fg=colour) if colour and _has_colours() else shown)


def say_hanging(head: str, text: str, colour: str | None = None) -> None:
    """Write a line; in a terminal its text is folded beside its head."""
    width = _width()
    if width is not None and len(head) + _LEAST_WIDTH < width:
        lines = textwrap.wrap(text, width - len(head), break_long_words=False, break_on_hyphens=False)
        text = f"\n{' ' * len(head)}".join(lines)
    say(head + text, colour)


def complain(text: str) -> None:
    """Write lines to standard error: an error, a warning, or a hint that is not part of the answer."""
    typer.echo(visible(text), err=True)


def error_text(error: LeadbridgeError) -> str:
    """Return the message of an error, with the command that lists the existing objects where one is missing."""
    listing = error.listing if isinstance(error, NotFoundError) else None
    return f"{error}; see `leadbridge {listing} list`" if listing else str(error)


def is_terminal() -> bool:
    """Return True if a person reads the output. Lists show people, masked, to a person only: a pipe may be a log."""
    return sys.stdout.isatty()


def _has_colours() -> bool:
    """Return True for a terminal whose user has not set NO_COLOR (no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def visible(text: str) -> str:
    """Write control characters as escapes, except line ends and tabs."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(value: Any) -> None:
    """Write a JSON document to standard output, as UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # A lone surrogate cannot be written as UTF-8, and JSON leaves these controls to the terminal.
    text = _LATER_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    typer.echo(text.encode("utf-8", "backslashreplace"))


class _Progress:
    """A line about the work under way, on standard error. It may be shown from another thread."""

    under_way = False
    """True while a line is in use. Nested work shows no second line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._is_over = False

    def start(self) -> None:
        """Show the line, unless the work is over."""
        from rich.console import Console  # only a terminal needs it

        with self._lock:
            if not self._is_over:
                self._status = Console(stderr=True).status(_plain_text(self._text))
                self._status.start()

    def show(self, text: str) -> None:
        """Replace the text."""
        with self._lock:
            self._text = text
            if self._status:
                self._status.update(_plain_text(text))

    def stop(self) -> None:
        """Remove the line."""
        with self._lock:
            self._is_over = True
            if self._status:
                self._status.stop()


def _plain_text(text: str) -> "Text":
    from rich.text import Text  # only a terminal needs it

    return Text(visible(text))


@contextlib.contextmanager
def waiting(text: str = "", *, after: float = 0.0) -> Iterator[Callable[[str], None]]:
    """Show the progress on standard error until the context ends, if that is a terminal.

    The returned function replaces the text.

    Args:
        text: The work under way.
        after: Seconds before it is shown, for work that is mostly short.
    """
    if not sys.stderr.isatty() or _Progress.under_way:
        yield lambda _: None
        return
    progress = _Progress(text)
    timer = threading.Timer(after, progress.start)
    timer.daemon = True
    _Progress.under_way = True
    try:
        if after:
            timer.start()
        else:
            progress.start()
        yield progress.show
    finally:
        _Progress.under_way = False
        timer.cancel()
        progress.stop()


def show_rows(rows: Sequence[Shown], columns: Sequence[str], *, as_json: bool, spare: Sequence[str] = ()) -> None:
    """Show a listing: all of the rows as JSON, or the named columns as a table without the empty ones.

    Each row takes one line. Where the table is wider than the terminal, times and ids become shorter, and long texts
    are cut. If that is not enough, the `spare` columns are left out in their order. In a pipe the table has its full
    width.
    """
    if as_json:
        write_json(list(rows))
    elif not rows:
        complain("There is nothing to list.")
    else:
        lines, widths = _laid_out(rows, columns, spare, _width())
        for line in _aligned(lines, widths, _coloured if _has_colours() else str):
            typer.echo(line)


def show_page(
    rows: Sequence[Shown], columns: Sequence[str], limit: int, *, as_json: bool, spare: Sequence[str] = ()
) -> None:
    """Show a page of a listing; for people, with the option that shows the next page if the page is full."""
    show_rows(rows, columns, as_json=as_json, spare=spare)
    if not as_json and len(rows) == limit:
        complain(f"For older ones: --before {rows[-1]['id']}")


def show_facts(facts: Shown) -> None:
    """Show one object: a line for each fact that has a value, the names in a column of their own."""
    lines = [[name, _text(value)] for name, value in facts.items() if value not in (None, "", {}, [])]
    for line in _aligned(lines):
        say(line)


def show_columns(lines: Sequence[Sequence[str]], indent: str = "") -> None:
    """Show lines of cells without a heading, the cells below each other."""
    for line in _aligned(lines):
        say(f"{indent}{line}")


def _width() -> int | None:
    """Return the width of the terminal; None for a pipe, which takes any width."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def _laid_out(
    rows: Sequence[Shown], columns: Sequence[str], spare: Sequence[str], width: int | None
) -> tuple[list[list[str]], list[int]]:
    """Return the lines of a table as cells, the heading first, and the widths of its columns."""
    full = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    used = [name for name in columns if any(row[name] for row in full)] or list(columns[:1])
    lines = _lines(full, used)
    if width is None or _total(lines) <= width:
        return lines, _widths(lines)
    short = _shortened(full)
    lines = _lines(short, used)
    for name in spare:
        if _least(lines) <= width:
            break
        used = [each for each in used if each != name]
        lines = _lines(short, used)
    return lines, _narrowed(lines, width)


def _lines(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[list[str]]:
    return [[_heading(name) for name in columns], *([row[name] for name in columns] for row in rows)]


def _shortened(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Write times as `Nov 25 09:46`, and the ids of events as beginnings that differ from each other."""
    ids = {cell for row in rows for cell in row.values() if _EVENT_ID.fullmatch(cell)}
    digits = next((n for n in range(_SHORT_ID, 32, 2) if len({each[:n] for each in ids}) == len(ids)), 32)

    def short(cell: str) -> str:
        if _EVENT_ID.fullmatch(cell):
            return cell[:digits]
        return f"{datetime.fromisoformat(cell):%b %d %H:%M}" if _TIME.fullmatch(cell) else cell

    return [{name: short(cell) for name, cell in row.items()} for row in rows]


def _cuttable(lines: Sequence[Sequence[str]]) -> set[int]:
    """Return the positions of the wide columns, but for the first: a person types what stands there."""
    return {at for at, width in enumerate(_widths(lines)) if at and width > _LEAST_WIDTH}


def _least(lines: Sequence[Sequence[str]]) -> int:
    """Return the least width of a table whose texts are cut."""
    return _total(lines) - sum(_widths(lines)[at] - _LEAST_WIDTH for at in _cuttable(lines))


def _narrowed(lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """Take the missing characters from the widest columns that may be cut."""
    widths, cuttable = _widths(lines), _cuttable(lines)
    while cuttable and sum(widths) + _GAP * (len(widths) - 1) > width:
        widest = max(cuttable, key=lambda at: widths[at])
        widths[widest] -= 1
        if widths[widest] == _LEAST_WIDTH:
            cuttable.remove(widest)
    return widths


def _coloured(cell: str) -> str:
    """Colour a state."""
    colour = _COLOURS.get(cell)
    return cell if colour is None else typer.style(cell, dim=True) if colour == "dim" else typer.style(cell, fg=colour)


def _cell(value: Any) -> str:
    return visible(" ".join(_MILLISECONDS.sub("Z", _text(value)).splitlines()))


def _heading(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ").upper()


def _total(lines: Sequence[Sequence[str]]) -> int:
    widths = _widths(lines)
    return sum(widths) + _GAP * (len(widths) - 1)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(_length, cells)) for cells in zip(*lines, strict=True)]


def _aligned(
    lines: Sequence[Sequence[str]], widths: Sequence[int] | None = None, style: Callable[[str], str] = str
) -> Iterator[str]:
    """Lay cells out in columns; a cell that is wider than its column is cut."""
    flat = [[" ".join(cell.splitlines()) for cell in line] for line in lines]
    widths = widths or _widths(flat)
    for line in flat:
        cells = [_cut(cell, width) for cell, width in zip(line, widths, strict=True)]
        padded = (style(cell) + " " * (width - _length(cell)) for cell, width in zip(cells, widths, strict=True))
        yield (" " * _GAP).join(padded).rstrip()


def _cut(text: str, width: int) -> str:
    """Return a text that takes at most `width` columns, with an ellipsis where its end is missing."""
    if _length(text) <= width:
        return text
    from rich.cells import set_cell_size  # only a table that is too wide needs it

    return set_cell_size(text, width - 1).rstrip() + "…"


def _length(text: str) -> int:
    """Return the columns that a text takes; some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # only names of people need it

    return cell_len(text)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{_text(each)} {name}" for name, each in value.items())
    return str(value)
