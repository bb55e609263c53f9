"""Output of commands: tables and colours in a terminal, plain text in a pipe, JSON with --json.

Parts of the output come from strangers. In text for people their control characters are written as escapes, so that
no event can control the terminal of its reader.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from bridge.errors import LeadbridgeError, NotFoundError

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
_LATER_CONTROLS = re.compile("[\x7f-\x9f]")


def application(
    cls: type[TyperGroup] = TyperGroup, *, add_completion: bool = False, no_args_is_help: bool = False
) -> typer.Typer:
    """Return a Typer application with the settings of this program.

    Help is plain, because Rich's costs a tenth of a second. Tracebacks are Python's own, because Typer's show local
    variables, which may hold secrets.
    """
    return typer.Typer(
        cls=cls,
        add_completion=add_completion,
        no_args_is_help=no_args_is_help,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def say(text: str = "", colour: str | None = None) -> None:
    """Write lines to standard output, in a terminal with the colour."""
    shown = visible(text)
    typer.echo(typer.style(shown, fg=colour) if colour else shown)


def complain(text: str) -> None:
    """Write lines to standard error: an error, a warning, or a hint that is not part of the answer."""
    typer.echo(visible(text), err=True)


def error_text(error: LeadbridgeError) -> str:
    """Return the message of an error, with the command that lists the existing objects where one is missing."""
    listing = error.listing if isinstance(error, NotFoundError) else None
    return f"{error}; see `leadbridge {listing} list`" if listing else str(error)


def visible(text: str) -> str:
    """Write control characters as escapes, except line ends and tabs."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(value: Any) -> None:
    """Write a JSON document to standard output, as UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # A lone surrogate cannot be written as UTF-8, and JSON leaves these controls to the terminal.
    text = _LATER_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    typer.echo(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """Return a function that shows the progress in a terminal until the context ends, and does nothing elsewhere."""
    if not sys.stdout.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.text import Text

    with Console().status("") as status:
        yield lambda text: status.update(Text(visible(text)))


def show_rows(rows: Sequence[Shown], columns: Sequence[str], *, as_json: bool) -> None:
    """Show a listing: all of the rows as JSON, or the named columns as a table."""
    if as_json:
        write_json(list(rows))
    elif sys.stdout.isatty():
        _show_table(rows, columns)
    else:
        for line in _aligned([[_heading(name) for name in columns], *(_cells(row, columns) for row in rows)]):
            say(line)


def show_page(rows: Sequence[Shown], columns: Sequence[str], limit: int, *, as_json: bool) -> None:
    """Show a page of a listing; for people, with the option that shows the next page if the page is full."""
    show_rows(rows, columns, as_json=as_json)
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


def _show_table(rows: Sequence[Shown], columns: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD  # only a terminal needs it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(_heading(name), overflow="fold")
    for row in rows:
        # Text, not a string: nothing in it is markup.
        table.add_row(*(Text(visible(cell), style=_COLOURS.get(cell, "")) for cell in _cells(row, columns)))
    Console().print(table)


def _cells(row: Shown, columns: Sequence[str]) -> list[str]:
    return [_MILLISECONDS.sub("Z", _text(row.get(name))) for name in columns]


def _heading(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ").upper()


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay cells out in columns, with nothing cut off."""
    flat = [[" ".join(cell.splitlines()) for cell in line] for line in lines]
    widths = [max(map(len, cells)) for cells in zip(*flat, strict=True)]
    for line in flat:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


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
