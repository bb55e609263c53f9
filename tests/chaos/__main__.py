"""Runs of the real program under load and under blows: `python -m tests.chaos [--seed N] [--runs N] [--quick]`.

Each lead that was answered with success must be in each CRM, once. Exit status 1 if one is lost or doubled, or if
anything else is found that must not be; the seed of that run is told, and `--seed N --runs 1` repeats it.
"""

import argparse
import asyncio
import logging
import sys

import uvloop

from tests.benchmarks.machine import describe
from tests.chaos.run import Engine, run
from tests.chaos.verdict import Result

KILLS = 23
QUICK_KILLS = 5
RUNS = 9


def main() -> int:
    """Run, tell of each run, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next ones count up")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills in a run instead of {KILLS}")
    parser.add_argument(
        "--store", choices=[each.name.lower() for each in Engine], help="of all runs; default: one after the other"
    )
    asked = parser.parse_args()
    # The CRMs' own servers complain of each caller that hangs up, as the program does that is killed.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    results = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for seed in range(asked.seed, asked.seed + asked.runs):
            kills = QUICK_KILLS if asked.quick else KILLS
            engine = Engine[asked.store.upper()] if asked.store else list(Engine)[seed % len(Engine)]
            results.append(runner.run(run(seed, kills, engine)))
            _tell(results[-1])
    _sum_up(results)
    return int(any(each.findings for each in results))


def _tell(result: Result) -> None:
    print(
        f"seed {result.seed} ({result.store}): {result.seconds:.0f} s, {result.kills} kills, "
        f"{sum(result.blows.values())} blows, {result.cuts} cuts, {result.faults} calls failed, "
        f"{result.acknowledged} acknowledged, {result.lost} lost, {result.doubled} doubled",
        flush=True,
    )
    for finding in result.findings:
        print(f"  FOUND: {finding}", flush=True)


def _sum_up(results: list[Result]) -> None:
    total = Result(0, "")
    for each in results:
        total.blows += each.blows
    print("\n| | |\n| --- | --- |")
    rows = (
        *describe().items(),
        ("runs", len(results)),
        ("seconds", round(sum(each.seconds for each in results))),
        ("SIGKILL in all", sum(each.kills for each in results)),
        *((blow, count) for blow, count in sorted(total.blows.items())),
        ("connections cut in the middle", sum(each.cuts for each in results)),
        ("calls that the CRMs failed", sum(each.faults for each in results)),
        ("requests without a whole answer", sum(each.unanswered for each in results)),
        ("leads acknowledged", sum(each.acknowledged for each in results)),
        ("records written in four CRMs", sum(each.delivered for each in results)),
        ("lost", sum(each.lost for each in results)),
        ("doubled", sum(each.doubled for each in results)),
        ("other findings", sum(len(each.findings) for each in results)),
    )
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    sys.exit(main())
