"""`python -m tests.benchmarks`: measures the product beside its references, in one run on this machine.

Exit status 0: every mark is reached. 1: one is missed, or something happened that must not. 2: nothing was measured.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from tests.benchmarks import machine, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.children import ChildError
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import LoadError
from tests.benchmarks.measures import (
    arrival,
    carried,
    drain,
    footprint,
    latency,
    many,
    mapping,
    pages,
    pending,
    postgresql,
    throughput,
)

MEASURES: Mapping[str, Callable[[Bench], Awaitable[list[Figure]]]] = {
    "throughput": throughput.measure,
    "encrypted": throughput.measure_encrypted,
    "latency": latency.measure,
    "latency-beside-delivery": latency.measure_beside_delivery,
    "arrival": arrival.measure,
    "drain": drain.measure,
    "footprint": footprint.measure,
    "mapping": mapping.measure,
    "postgresql": postgresql.measure,
    "pending": pending.measure,
    "pages": pages.measure,
    "many": many.measure,
    "carried": carried.measure,
}
APART = frozenset({"postgresql", "pending", "pages", "many", "carried"})
"""Measured only when asked for: they need a server of their own, which takes its share of the cores, or some GB of
disk or memory."""
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.3


def main() -> int:
    """Run what is asked for and report it; gives the exit status."""
    options = _options()
    console = Console()
    machine.confine()
    described = machine.describe()
    for name, value in described.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    # So that a `kill` ends the children as well, through every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leadbridge-profiles-")))
        bench = Bench(options.rounds, options.seconds, options.program, folder if options.profile else None)
        try:
            names = options.only or [name for name in MEASURES if name not in APART]
            figures = uvloop.run(_measure(console, bench, names))
        except (ChildError, LoadError, TimeoutError) as error:
            console.print(f"nothing measured: {error}", markup=False, soft_wrap=True)
            return 2
        report.show(console, figures, bench.faults)
        for what, path in bench.profiles:
            report.show_profile(console, what, path)
        if options.json:
            report.write(options.json, described, figures, bench)
    return 1 if bench.faults or any(figure.verdict == "missed" for figure in figures) else 0


async def _measure(console: Console, bench: Bench, names: Sequence[str]) -> list[Figure]:
    figures = []
    for name in names:
        began, others = time.monotonic(), machine.Others()
        figures += await MEASURES[name](bench)
        bench.others[name] = others.share()
        took = f"{time.monotonic() - began:.0f} s; other processes took {bench.others[name]:.0%} of the cores"
        console.print(f"{name}: {took}", highlight=False)
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=main.__doc__)
    parser.add_argument("--only", action="append", choices=MEASURES, help="measure this alone; may be given again")
    parser.add_argument("--rounds", type=int, help="bursts of each side (default: 12)")
    parser.add_argument("--seconds", type=float, help="length of a burst (default: 1)")
    parser.add_argument("--quick", action="store_true", help="few and short bursts: a look, not a measurement")
    parser.add_argument("--profile", action="store_true", help="show where the program's time goes (distorts figures)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE as well")
    parser.add_argument(
        "--program",
        type=Path,
        default=Path(sys.executable).with_name("leadbridge"),
        help="the program to measure (default: the leadbridge installed beside this Python)",
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else 12)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else 1.0)
    if not options.program.exists():
        parser.error(f"{options.program} is not there: install the project, or name a --program")
    return options


if __name__ == "__main__":
    sys.exit(main())
