"""Which of these tests have the machine to themselves (those that fill it, or hold the program to times), and the order
of the others, three at a time."""

import itertools
import os
from typing import Final

import pytest

ALONE: Final = {
    "test_back_pressure.py",
    "test_chaos_short.py",
    "test_database_away.py",
    "test_latency.py",
    "test_many_chatbots.py",
    "test_many_processes.py",
    "test_processes_killed.py",
    "test_slow_clients.py",
}
LONG: Final = {"test_commands.py", "test_killed.py", "test_rate_limit.py", "test_rows_locked.py", "test_shards.py"}
"""Up to a minute each, for most of which they wait: begun first, beside what computes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the former, for `-m alone` and `-m "not alone"`; have each process begin with its part of the latter.

    pytest-xdist's `worksteal` cuts the list into one part for each; those that are done take from the others.
    """
    alone = [item for item in items if item.path.name in ALONE]
    for item in alone:
        item.add_marker(pytest.mark.alone)
    long = [item for item in items if item.path.name in LONG]
    short = [item for item in items if item.path.name not in ALONE | LONG]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    cuts = [len(short) * number // workers for number in range(workers + 1)]
    parts = [long[number::workers] + short[cuts[number] : cuts[number + 1]] for number in range(workers)]
    items[:] = [*itertools.chain(*parts), *alone]
