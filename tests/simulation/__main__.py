"""Simulates many chatbots on many processes: `python -m tests.simulation [--chatbots N ...] [--processes N ...]`.

Leads come as a Poisson process at an hour of peak, spread over the destinations by Zipf's law; one process dies in the
middle, and one destination in fifty is away for two minutes. The lanes, their order, retries, pauses, rate limits and
shares are the program's own code; time, CRMs, processors and the database are simulated.
"""

import argparse
import sys

from tests.simulation.run import Outcome, Times, run
from tests.simulation.world import Crm, Scenario

CHATBOTS = (1_000, 10_000, 100_000, 1_000_000)
PROCESSES = (1, 3, 10, 100)
_HEAD = (
    "chatbots",
    "destinations",
    "processes",
    "leads per second",
    "of the largest",
    "lanes per process",
    "busiest processor",
    "to CRM: median, p99",
    "taken over: median, p99, longest",
    "destination away: median, longest",
    "without owner",
)


def main() -> int:
    """Simulate what is asked for; prints a table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--chatbots", type=int, nargs="+", default=CHATBOTS)
    parser.add_argument("--processes", type=int, nargs="+", default=PROCESSES)
    parser.add_argument("--per-destination", type=int, default=10, help="chatbots that share a destination")
    parser.add_argument("--batch", type=int, default=100, help="records that a call takes")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(f"| {' | '.join(_HEAD)} |\n|{' --- |' * len(_HEAD)}", flush=True)
    for chatbots in asked.chatbots:
        for processes in asked.processes:
            scenario = Scenario(
                chatbots,
                processes,
                chatbots_per_destination=asked.per_destination,
                kills=int(processes > 1),
                seed=asked.seed,
            )
            print(f"| {' | '.join(_row(run(scenario, Crm(batch=asked.batch))))} |", flush=True)
    return 0


def _row(outcome: Outcome) -> list[str]:
    scenario = outcome.scenario
    return [
        f"{scenario.chatbots:,}",
        f"{scenario.destinations:,}",
        str(scenario.processes),
        f"{outcome.leads / scenario.seconds:.3g}",
        f"{outcome.largest:.2g}",
        f"{outcome.smallest_share:,} to {outcome.largest_share:,}",
        f"{outcome.busiest:.1%}",
        f"{outcome.undisturbed.median:.2f} s, {outcome.undisturbed.p99:.1f} s",
        _some(outcome.taken_over, "median", "p99", "longest"),
        _some(outcome.away, "median", "longest"),
        f"{outcome.ownerless:.1f} s",
    ]


def _some(times: Times, *names: str) -> str:
    return ", ".join(f"{getattr(times, name):.1f} s" for name in names) if times.count else "none"


if __name__ == "__main__":
    sys.exit(main())
