"""The report: a table in a terminal, plain lines elsewhere, JSON on request."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Figure

_COLOURS = {"aim": "green", "mark": "yellow", "missed": "bold red", "": "dim"}
_FUNCTIONS = 25
_LEAST_SHARE = 0.01
"""Of a thread's time, for a function to be shown."""


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
        console.print(f"fault: {fault}", markup=False, soft_wrap=True)


def show_profile(console: Console, what: str, path: Path) -> None:
    """Print where a measure's time went, thread by thread."""
    threads: Mapping[str, Mapping[str, Mapping[str, float]]] = orjson.loads(path.read_bytes())
    totals = {name: sum(kinds["own"].values()) for name, kinds in threads.items()}
    everything = sum(totals.values()) or 1.0
    for name, kinds in sorted(threads.items(), key=lambda item: -totals[item[0]]):
        share = totals[name] / everything
        if share < _LEAST_SHARE:
            continue
        console.print(f"\n{what}: thread {name}, {share:.0%} of the processor time", markup=False, soft_wrap=True)
        rows = _top(kinds["with_callees"], kinds["own"], totals[name])
        _plain(console, [("with callees", "itself", "function"), *rows])


def _top(
    with_callees: Mapping[str, float], own: Mapping[str, float], total: float
) -> Iterable[tuple[str, str, str]]:
    names = set(sorted(with_callees, key=with_callees.__getitem__, reverse=True)[:_FUNCTIONS])
    names |= set(sorted(own, key=own.__getitem__, reverse=True)[:_FUNCTIONS])
    for name in sorted(names, key=with_callees.__getitem__, reverse=True):
        if with_callees[name] >= _LEAST_SHARE * total:
            yield f"{with_callees[name] / total:.1%}", f"{own.get(name, 0.0) / total:.1%}", name


def write(path: Path, machine: Mapping[str, str], figures: Sequence[Figure], faults: Sequence[str]) -> None:
    """Write everything as JSON."""
    content: Mapping[str, Any] = {
        "machine": machine,
        "figures": [figure.plain() for figure in figures],
        "faults": list(faults),
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
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.print(line, markup=False, highlight=False, soft_wrap=True)
