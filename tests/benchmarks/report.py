"""The report: a table in a terminal, plain lines elsewhere, JSON on request."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure

_COLOURS = {"aim": "green", "mark": "yellow", "missed": "bold red", "": "dim"}
_LEAST_SHARE = 0.01
"""Of the main thread's time, for a function to be shown."""


def show(console: Console, figures: Sequence[Figure], faults: Sequence[str]) -> None:
    """Print all figures, then what must not be."""
    columns = ("figure", "measured", "reference", "ratio", "mark", "aim", "verdict", "note")
    rows = [_row(figure) for figure in figures]
    if console.is_terminal:
        table = Table(*columns)
        for figure, row in zip(figures, rows, strict=True):
            table.add_row(*row, style=_COLOURS[figure.verdict])
        console.print(table)
    else:
        _plain(console, [columns, *rows])
    for fault in faults:
        _print(console, f"fault: {fault}")


def show_profile(console: Console, what: str, path: Path) -> None:
    """Print where a measure's time went."""
    profile = orjson.loads(path.read_bytes())
    threads: Mapping[str, float] = profile["threads"]
    functions: Mapping[str, tuple[float, float]] = profile["functions"]
    total = sum(own for _, own in functions.values()) or 1.0
    _print(console, f"\n{what}: processor time by thread")
    _plain(console, [(f"{seconds:.2f} s", name) for name, seconds in threads.items()])
    _print(console, f"{what}: the main thread's functions")
    rows = [
        (f"{with_callees / total:.1%}", f"{own / total:.1%}", name)
        for name, (with_callees, own) in sorted(functions.items(), key=lambda item: -item[1][0])
        if _LEAST_SHARE * total <= with_callees
    ]
    _plain(console, [("with callees", "itself", "function"), *rows])


def write(path: Path, machine: Mapping[str, str], figures: Sequence[Figure], bench: Bench) -> None:
    """Write everything as JSON."""
    content: Mapping[str, Any] = {
        "machine": machine,
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "others": bench.others,
        "figures": [figure.plain() for figure in figures],
        "faults": bench.faults,
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def _row(figure: Figure) -> tuple[str, ...]:
    share = "ratio" if figure.judged == "ratio" else figure.unit
    return (
        figure.name,
        f"{_number(figure.measured)} {figure.unit}",
        "" if figure.reference is None else f"{_number(figure.reference)} {figure.unit}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        _limit(figure, figure.mark, share),
        _limit(figure, figure.aim, share),
        figure.verdict,
        figure.note,
    )


def _limit(figure: Figure, limit: float | None, unit: str) -> str:
    sign = "≤" if figure.better == "lower" else "≥"
    return "" if limit is None else f"{sign} {limit:g}" + ("" if unit == "ratio" else f" {unit}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _plain(console: Console, rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _print(console, "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
